"""The contract of all strategies: one law, one test; a line in the registry enrols a strategy.

What holds of any optimizer that is asked and told, whatever happens to it or to its arrays in
between, is in test_testing_stateful.
"""

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.base
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, fit, guide, loop, make, plain, slope, state, taking

from blackbox_es import SGD, Adam, ClipUp, _jit, evaluation
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)
with_optimizer = taking(optimizer="sgd")
few = settings(deadline=None, max_examples=10, derandomize=True)
orders = st.permutations(range(6))


def pickled(es):
    return pickle.loads(pickle.dumps(es))


# -- three ways through the same search ----------------------------------------------------------


@every
def test_ask_and_tell_are_fit(name):
    """ask and tell in a loop == fit, bit for bit."""
    assert state(loop(make(name).start(X0)), final=False) == state(fit(make(name)), final=False)


@with_optimizer
@pytest.mark.parametrize("optimizer", ["sgd", "clipup", SGD(momentum=0.5)])
def test_ask_and_tell_are_fit_with_any_optimizer(name, optimizer):
    """The same with optimizers that have a state, and with one that has none."""
    es = loop(make(name, optimizer=optimizer).start(X0))
    assert state(es, final=False) == state(fit(make(name, optimizer=optimizer)), final=False)


@every
@few
@given(order=orders, cut=st.integers(0, 6))
def test_pairs_told_in_parts_are_fit(name, order, cut):
    """tell([(x, value), ...]) in any order and in parts == fit, bit for bit."""
    es = make(name).start(X0)
    while not es.stop_reason_:
        X = es.ask(guide(es))
        pairs = [(X[i].tolist(), bowl(X[i])) for i in order]
        es.tell(pairs[:cut])
        if cut < 6:
            es.tell(iter(pairs[cut:]))
    assert state(es, final=False) == state(fit(make(name)), final=False)


@every
def test_trials_are_the_rows_of_ask(name):
    """Trial i is row i of ask, its id is new, and those with a value are not given out again."""
    es = make(name).start(X0)
    X, trials = es.ask(guide(es)), list(es.ask_trials())
    assert [bits(trial.x) for trial in trials] == [bits(x) for x in X]
    es.tell_trial(trials[4].id, 1.0)
    assert [trial.id for trial in es.ask_trials()] == [trials[i].id for i in (0, 1, 2, 3, 5)]
    es.tell(X, [1.0] * 6)
    later = {trial.id for trial in es.ask_trials(guide(es))}
    assert len(later) == 6
    assert later.isdisjoint(trial.id for trial in trials)


@every
def test_points_are_antithetic_around_the_center(name):
    """Rows x + d_1 .. x + d_P, then x - d_1 .. x - d_P, in the dtype of x."""
    es = make(name).start(np.zeros(3))
    X = es.ask(guide(es))
    assert X.shape == (6, 3)
    assert bits(X[:3] + 0.0) == bits(-X[3:] + 0.0)


# -- started again, copied, interrupted ----------------------------------------------------------


@every
def test_fit_again_is_fit(name):
    """A second fit equals the first, whatever was fitted between."""
    es = fit(make(name))
    first = state(es)
    fit(es, lambda x: float(x[1]), np.arange(5.0) if not es.takes_surrogate else [3.0, 4.0, 5.0])
    assert state(fit(es)) == first


@every
def test_clone_is_fresh(name):
    """A clone has the parameters and no state, and fits the same."""
    es = fit(make(name, max_evals=24))
    twin = sklearn.base.clone(es)
    assert repr(twin) == repr(es)
    assert vars(twin).keys() == twin.get_params(deep=False).keys()
    assert state(fit(twin)) == state(es)


@every
@pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
def test_copies_are_read_only_too(name, copied):
    """The center of a copy cannot be written either."""
    assert not copied(make(name).start(X0)).x_.flags.writeable


# -- the same bits however it is computed --------------------------------------------------------


@every
@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [2, None])
def test_workers_do_not_change_bits(name, backend, n_jobs):
    """n_jobs=2, of the strategy or of the context, with threads or processes == serial."""
    with joblib.parallel_config(backend, n_jobs=2 if n_jobs is None else None):
        es = fit(make(name, n_jobs=n_jobs, n_pairs=5))
    assert state(es) == state(fit(make(name, n_pairs=5)))


@every
def test_threads_do_not_share_state(name):
    """Searches at the same time in several threads are as searches one after the other."""
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(fit, make(name, random_state=seed)) for seed in range(6)]
    for seed, future in enumerate(futures):
        assert state(future.result()) == state(fit(make(name, random_state=seed)))


@every
@pytest.mark.parametrize("n_bytes", [1, 2 * 48, 2**30])
def test_chunks_do_not_change_bits(name, n_bytes, monkeypatch):
    """Points made one pair, two pairs or all at once give the same bits."""
    expected = state(fit(make(name)))
    monkeypatch.setattr(evaluation, "_POINTS_AT_ONCE", n_bytes)
    assert state(fit(make(name))) == expected


@every
@pytest.mark.parametrize("working_memory", [0, 1, 1024])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_vectorized_is_one_point(name, working_memory, n_jobs):
    """An objective whose rows have the bits of its points gives the same search."""
    with sklearn.config_context(working_memory=working_memory):
        es = fit(make(name, vectorized=True, n_jobs=n_jobs))
    assert state(es) == state(fit(make(name)))


@every
@pytest.mark.parametrize(
    "x0",
    [
        [1, -2, 3],
        (1.0, -2.0, 3.0),
        np.array([1, -2, 3], np.int8),
        np.array([1, -2, 3], np.float16),
        np.array([1, -2, 3], ">f8"),
        np.repeat([1.0, -2.0, 3.0], 2)[::2],
        np.array([3.0, -2.0, 1.0])[::-1],
        np.asfortranarray([[1.0, -2.0, 3.0]])[0],
        np.broadcast_to(np.array([[1.0, -2.0, 3.0]]), (2, 3))[0],
        pd.Series([1.0, -2.0, 3.0], index=["a", "b", "c"]),
    ],
    ids=str,
)
def test_any_vector_is_a_start(name, x0):
    """Lists, integers, Series, strided and read-only arrays start the float64 search."""
    assert state(fit(make(name), x0=x0)) == state(fit(make(name), x0=np.array([1.0, -2.0, 3.0])))


@every
def test_a_scalar_is_a_vector_of_one(name):
    """x0=2.0 starts where x0=[2.0] does."""
    es = [make(name).start(x0) for x0 in (2.0, [2.0])]
    assert bits(es[0].x_) == bits(es[1].x_)


@every
def test_float32_stays_float32(name):
    """With a float32 x0 points and centers are float32, values float64."""
    es = make(name, sigma=np.float64(0.1)).start(np.float32(X0))
    X = es.ask(guide(es))
    es.tell(X, [bowl(x) for x in X])
    assert {a.dtype for a in (X, es.x_, es.x_best_, es.ask(guide(es)))} == {X.dtype}
    assert X.dtype == np.float32
    assert {type(value) for value in (es.fun_, es.fun_best_)} == {float}


@with_optimizer
@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "adam", "clipup", Adam(np.float64(0.1), beta_1=np.float64(0.9)),
     SGD(np.float64(0.1), momentum=np.float64(0.5)), ClipUp(max_speed=np.float64(0.1))],
)  # fmt: skip
def test_gradients_stay_float32(name, optimizer):
    """Whatever the optimizer and the type of its parameters."""
    es = make(name, optimizer=optimizer, sigma=np.float64(0.1)).start(np.float32(X0))
    X = es.ask(guide(es))
    es.tell(X, [bowl(x) for x in X])
    assert {es.x_.dtype, es.gradient_.dtype} == {np.dtype(np.float32)}


# -- whose arrays they are -----------------------------------------------------------------------


@every
def test_a_surrogate_may_reuse_its_array(name):
    """What surrogate_fn and the objective do to their arguments and results changes nothing."""
    es, out = make(name), np.empty(3)

    def surrogate_fn(x):
        out[:] = slope(x)
        x[:] = np.nan
        return out

    es.fit(bowl, X0, surrogate_fn if es.takes_surrogate else None)
    assert state(es) == state(fit(make(name)))


@every
def test_arrays_handed_out_are_read_only_or_fresh(name):
    """Nothing that is handed out can change the search."""
    es, results = make(name), []

    def spoil(intermediate_result):
        results.append(intermediate_result)
        for field in {"x", "x_best", "gradient"} & intermediate_result.keys():
            if intermediate_result[field].flags.writeable:
                intermediate_result[field][:] = np.nan
        assert not es.x_.flags.writeable

    assert state(fit(es, callback=spoil)) == state(fit(make(name)))
    assert not es.start(X0).ask(guide(es)).flags.writeable
    assert not np.shares_memory(es.result_.x, es.x_)
    assert es.result_.x.flags.writeable


# -- memory ----------------------------------------------------------------------------------------


# The center, the best generation's, the gradient; and a pair of points, or the next two. More are
# the standard deviations and paths, those of the best generation, and sums in float64.
VECTORS = {"orthogonal-es": 15, "sges": 19, "asebo": 23, "pgpe": 11, "snes": 10, "adaptive-es": 24}


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "xnes"])  # which keeps a matrix
@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.filterwarnings("ignore:a surrogate gradient is missing")
def test_fit_keeps_few_vectors(name, vectorized):
    """Five, whatever the population, and those that a strategy learns."""
    n = 2**19  # a pair is as large as what is made at once
    x0 = np.zeros(n, np.float32)
    compiled = plain(name, vectorized=vectorized)
    compiled.fit(lambda x: x[..., 0], np.zeros(100, np.float32))
    with sklearn.config_context(working_memory=1):
        tracemalloc.start()
        try:
            es = plain(name, vectorized=vectorized)
            es.fit(lambda x: x[..., 0], x0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < (VECTORS.get(name, 5) + 0.5) * x0.nbytes
