"""Searches inside the workers of others, after a fork, and several in one process."""

import hashlib
import os
import signal
import threading

import joblib
import numpy as np
import pytest
from problems import X0, bits, bowl, fit, guide, loop, make, state
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV

from blackbox_es import ESMLPClassifier
from blackbox_es.strategies import STRATEGIES

X, Y = make_blobs(40, centers=2, random_state=0)
MODEL = {"hidden_layer_sizes": (4,), "max_iter": 3, "n_pairs": 8, "random_state": 0}


def search_and_its_threads(seed):
    """A search in a worker: its bits, and the threads and processes that evaluated."""
    seen = set()

    def objective(x):
        seen.add((os.getpid(), threading.get_ident()))
        return bowl(x)

    es = fit(make("guided-es", n_pairs=9, random_state=seed), objective)
    return state(es), seen, (os.getpid(), threading.get_ident())


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_inside_a_worker_is_serial(backend):
    """Workers that search do not start workers: each evaluates where it is, with the same bits."""
    with joblib.parallel_config(backend, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(search_and_its_threads)(s) for s in range(4))
    for seed, (held, seen, here) in enumerate(found):
        assert seen == {here}
        assert held == state(fit(make("guided-es", n_pairs=9, random_state=seed)))


def test_a_network_inside_a_grid_search_has_one_thread():
    """As many threads as the grid search has, whatever the context says."""
    seen = set()

    def loss(targets, outputs):
        seen.add(threading.get_ident())
        return float(np.mean((targets - outputs) ** 2))

    grid = GridSearchCV(ESMLPClassifier(**MODEL, loss=loss), {"n_pairs": [16, 32]}, cv=2)
    with joblib.parallel_config("threading", n_jobs=2):
        grid.set_params(refit=False).fit(X, Y)
    assert 1 <= len(seen) <= 2


def after_a_fork(function, *args):
    """What a forked child says that it got, within two minutes."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(120)  # a child that waits for a thread that is not there
            os.write(writer, function(*args).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def digest(*values):
    return hashlib.sha256(repr([bits(value) for value in values]).encode()).hexdigest()


def searched(name, n_jobs):
    with joblib.parallel_config("threading"):
        es = fit(make(name, n_jobs=n_jobs))
    return digest(es.state_, es.fun_best_)


def trained(n_jobs):
    models = [
        ESMLPClassifier(**MODEL, perturb=perturb, guide=None, n_jobs=n_jobs).fit(X, Y)
        for perturb in ("weights", "activations")
    ]
    return digest(*((m.coefs_, m.intercepts_, m.loss_curve_) for m in models))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_fork_after_a_fit_fits_the_same(n_jobs):
    """Kernels hold no threads that a child would miss: it searches and trains on, bit for bit."""
    for name in STRATEGIES:
        assert after_a_fork(searched, name, n_jobs) == searched(name, n_jobs)
    before = trained(n_jobs)
    assert after_a_fork(trained, n_jobs) == before
    assert trained(n_jobs) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_in_the_middle_goes_on_in_a_fork(name):
    """The parent and the child end alike, and neither knows of the other."""
    es = make(name).start(X0)
    for trial, _ in zip(es.ask_trials(guide(es)), range(2), strict=False):
        es.tell_trial(trial.id, bowl(trial.x))
    assert after_a_fork(lambda: digest(loop(es).state_)) == digest(loop(es).state_)
