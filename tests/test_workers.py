"""Workers: the same bits whoever evaluates, few bytes on the way, lost tasks done again."""

import os
import pickle
import signal
import sys
import threading
import time

import cloudpickle
import joblib
import numpy as np
import pytest
import threadpoolctl
from problems import X0, bits, bowl, fit, make, state, vanilla

from blackbox_es import GuidedES, VanillaES, _carriers, _limits, _workers
from blackbox_es._limits import few_threads
from blackbox_es.shaping import EvaluationError

processes = pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
ended = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def dask():
    """A cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


@pytest.fixture(scope="module")
def ray():
    """Ray on two cores of this machine."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    # Its workers look for what is sent by name where this process does.
    here = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=here)
    yield
    ray.shutdown()


class Dies:
    """`bowl`; kills its process whenever there is a file to take away first."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, x):
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return bowl(x)
        os.kill(os.getpid(), signal.SIGKILL)


def killed_at(path, *generations):
    """A callback after which a worker dies."""
    seen = []

    def callback(x):
        seen.append(x)
        if len(seen) in generations:
            path.write_text("")

    return callback


def survives(path, *generations):
    """Whether a search some of whose workers are killed has the bits of one in peace."""
    es = vanilla(max_iter=6, n_jobs=2).fit(Dies(path), X0, callback=killed_at(path, *generations))
    assert not path.exists()
    return state(es) == state(vanilla(max_iter=6).fit(bowl, X0))


# -- lost workers --------------------------------------------------------------------------------


@ended
def test_killed_workers_of_loky(tmp_path):
    """Two of them, in two generations, cost nothing but time."""
    assert survives(tmp_path / "kill", 2, 4)


@ended
def test_a_killed_worker_of_dask(dask, tmp_path):
    """And the objective finds its way to the new one."""
    with joblib.parallel_config("dask"):
        assert survives(tmp_path / "kill", 2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray(ray, tmp_path):
    """The same bits, also if a worker is killed."""
    with joblib.parallel_config("ray", n_jobs=2):
        assert survives(tmp_path / "kill", 2)


@ended
def test_what_kills_every_time_is_named():
    """After max_retries: generation, candidates and cause; the state is that before."""

    def deadly(x, seed):
        if calls_die:
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(x)

    calls_die = True
    es = vanilla(n_jobs=2, max_retries=0)
    with pytest.raises(
        EvaluationError, match=r"generation 0, candidates .* and .*memory"
    ) as caught:
        es.fit(deadly, X0)
    assert "max_retries=0" in str(caught.value)
    assert es.n_iter_ == 0
    calls_die = False
    assert state(es.fit(deadly, resume=True)) == state(vanilla().fit(bowl, X0))


class Broken:
    """A carrier that loses tasks: those of the calls given, and once drops the whole pool."""

    def __init__(self, monkeypatch, lose):
        self.sent, real = [], _carriers.Backend.submit

        def submit(carrier, call, args, callback):
            self.sent.append((args[2], args[0] is not None))
            if len(self.sent) - 1 in lose:
                callback(ConnectionError("lost"))
            else:
                real(carrier, call, args, callback)

        monkeypatch.setattr(_carriers.Backend, "submit", submit)


def test_only_what_was_lost_is_done_again(monkeypatch):
    """The values that arrived are kept; the same parts are sent again."""
    broken = Broken(monkeypatch, lose={1, 2})
    with joblib.parallel_config("threading", n_jobs=2):
        es = vanilla(max_iter=1).fit(bowl, X0)
    assert [part for part, _ in broken.sent] == [(0, 2), (2, 4), (2, 4), (2, 4), (0, 1)]
    assert state(es) == state(vanilla(max_iter=1).fit(bowl, X0))


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_as_many_retries_as_max_retries(monkeypatch, max_retries):
    """One attempt and max_retries more."""
    broken = Broken(monkeypatch, lose=range(99))
    with (
        joblib.parallel_config("threading", n_jobs=4),
        pytest.raises(
            EvaluationError, match="once" if max_retries == 0 else f"{max_retries + 1} times"
        ),
    ):
        vanilla(max_retries=max_retries).fit(bowl, X0)
    assert len(broken.sent) == 4 * (max_retries + 1)


# -- time limit ----------------------------------------------------------------------------------


class Hangs:
    """`bowl`; hangs once if there is a file."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, x):
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return bowl(x)
        time.sleep(600)


@ended
def test_a_task_that_hangs_is_ended_and_done_again(tmp_path):
    """Its process is killed; the bits are the same."""
    path = tmp_path / "hang"
    path.write_text("")
    with joblib.parallel_config("multiprocessing", n_jobs=2):
        es = vanilla(timeout=8.0).fit(Hangs(path), X0)  # a new worker imports Numba first
    assert not path.exists()
    assert state(es) == state(vanilla().fit(bowl, X0))


def test_threads_cannot_be_ended():
    """The error says so, at once and without a retry."""
    end = threading.Event()
    with (
        joblib.parallel_config("threading", n_jobs=2),
        pytest.raises(EvaluationError, match=r"timeout=0.1 seconds. Threads cannot be ended"),
    ):
        vanilla(timeout=0.1).fit(lambda x: end.wait(60), X0)
    end.set()
    latest = time.monotonic() + 30
    while _limits._limits._users and time.monotonic() < latest:
        time.sleep(0.01)  # they hold the limits until they are done
    assert not _limits._limits._users


@pytest.mark.parametrize("timeout", [0.0, -1.0, np.nan, "1"])
def test_timeouts_that_are_none(timeout):
    """Refused by name."""
    with pytest.raises((TypeError, ValueError), match="timeout"):
        vanilla(timeout=timeout).start(X0)


def test_a_timeout_needs_workers():
    """A serial search, or an objective of whole generations, cannot be ended: refused."""
    with pytest.raises(ValueError, match=r"timeout=1.0 needs workers"):
        vanilla(timeout=1.0).fit(bowl, X0)

    class Whole:
        def __call__(self, x):
            return bowl(x)

        def evaluate_generation(self, generation):
            return bowl(generation.pairs(0, generation.n_pairs))

    with pytest.raises(ValueError, match="evaluate_generation"):
        vanilla(timeout=1.0, n_jobs=2).fit(Whole(), X0)


# -- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vanilla-es", "guided-es"])
def test_dask_does_not_change_bits(dask, name):
    """As the other backends do not, in tests of strategies."""
    with joblib.parallel_config("dask"):
        assert state(fit(make(name, n_pairs=5))) == state(fit(make(name, n_pairs=5)))


class Seeded:
    """A noisy objective."""

    def __call__(self, x, seed):
        return bowl(x) + np.random.default_rng(seed).standard_normal()


@processes
@pytest.mark.parametrize("vectorized", [False, True])
def test_the_final_center_is_evaluated_by_workers(backend, vectorized):
    """With the same seeds as without."""
    options = {"n_reevaluations": 5, "vectorized": vectorized, "max_iter": 1}
    with joblib.parallel_config(backend, n_jobs=2):
        es = vanilla(**options).fit(Seeded(), X0)
    assert bits(es.fun_) == bits(vanilla(**options).fit(Seeded(), X0).fun_)


# -- what is sent --------------------------------------------------------------------------------


class Large:
    """`bowl` with 10 MB of data."""

    def __init__(self):
        self.data = np.ones(1_250_000)

    def __call__(self, x):
        return bowl(x) * self.data[0]


@pytest.mark.parametrize(("n", "n_guides"), [(3, 0), (1000, 0), (1000, 2)])
def test_a_task_is_small(monkeypatch, n, n_guides):
    """Below 2 kB plus center and guides; the objective goes to each worker once."""
    sizes, parcels, real = [], [], _carriers.Backend.submit

    def submit(carrier, call, args, callback):
        parcels.append(args[0] is not None)
        sizes.append(len(cloudpickle.dumps((call, (None, *args[1:])))))
        real(carrier, call, args, callback)

    monkeypatch.setattr(_carriers.Backend, "submit", submit)
    es = VanillaES(max_iter=20) if not n_guides else GuidedES(n_guides=n_guides, max_iter=20)
    with joblib.parallel_config("loky", n_jobs=2):
        es.fit(Large(), np.zeros(n), *([lambda x: x + 1.0] if n_guides else []))
    assert max(sizes) < 2048 + 8 * n * (1 + n_guides)
    assert sum(parcels) <= 4  # two at first, and to a worker that got none of them
    assert len(sizes) >= 41


def test_an_objective_changed_between_fits_is_seen():
    """And one that counts begins anew with each fit."""
    objective = Large()
    with joblib.parallel_config("loky", n_jobs=2):
        first = vanilla().fit(objective, X0)
        objective.data[0] = 2.0
        second = vanilla().fit(objective, X0)
    assert second.fun_ == 2.0 * bowl(second.x_)
    assert state(first) != state(second) == state(vanilla().fit(objective, X0))


def test_a_worker_that_does_not_know_the_function_says_so():
    """It keeps some, and forgets the first."""
    task = (1, "__call__", None, pickle.dumps(X0), ())
    assert _workers._work(b"0", *task) == ("unknown", None, None)
    for token in (b"0", b"1", b"2", b"3", b"4"):
        parcel = _carriers.Parcel(pickle.dumps(bowl))
        kind, value, _ = _workers._work(token, 1, "__call__", parcel, pickle.dumps(X0), ())
        assert (kind, value) == ("value", bowl(X0))
    assert [_workers._work(t, *task)[0] for t in (b"0", b"1")] == ["unknown", "value"]
    vars(_workers._kept).clear()


def test_threads_share_the_objective():
    """Nothing is pickled."""
    lock, seen = threading.Lock(), []

    def objective(x):
        with lock:
            seen.append(threading.get_ident())
        return bowl(x)

    with joblib.parallel_config("threading", n_jobs=2):
        es = vanilla().fit(objective, X0)
    assert state(es) == state(vanilla().fit(bowl, X0))
    assert threading.get_ident() not in seen


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [threading.Lock(), (i for i in "a")])
def test_an_objective_that_cannot_be_sent(held):
    """Refused before anything starts, with the way out."""
    es = vanilla(n_jobs=2)
    with (
        joblib.parallel_config("loky"),
        pytest.raises(TypeError, match=r"objective cannot be sent .*threading.* module level"),
    ):
        es.fit(lambda x: (held, bowl(x))[1], X0)
    assert not hasattr(es, "_search")


class Awkward(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


@processes
def test_errors_that_cannot_be_sent(backend):
    """Their text and note come; the traceback of the worker is the cause."""

    def objective(x):
        raise Awkward("mine")

    with (
        joblib.parallel_config(backend, n_jobs=2),
        pytest.raises(RuntimeError, match="Awkward: mine") as caught,
    ):
        vanilla().fit(objective, X0)
    assert "generation 0, of candidate" in caught.value.__notes__[0]
    assert "in objective" in str(caught.value.__cause__)


# -- threads of libraries, and workers in workers -------------------------------------------------


def blas():
    """The most threads of a library, and joblib's workers."""
    counts = [lib["num_threads"] for lib in threadpoolctl.threadpool_info()]
    return max(counts, default=1), joblib.effective_n_jobs(2)


def share_of(x):
    """A value that tells how many threads and workers a call has."""
    threads, workers = blas()
    return 10.0 * threads + workers


@pytest.mark.parametrize("backend", ["threading", "multiprocessing", "loky", "dask"])
def test_a_worker_has_its_share(backend, request):
    """Its part of the processors, no workers of its own; afterwards all is as before."""
    if backend == "dask":
        request.getfixturevalue("dask")
    before, share = blas(), max(1, joblib.cpu_count() // 2)
    with joblib.parallel_config(backend, n_jobs=2):
        es = vanilla(max_iter=1).fit(share_of, X0)
    assert es.fun_ <= 10.0 * share + 1
    assert blas() == before


def threads_of_blas():
    """Those of each library; OpenMP's are not a process's but a thread's."""
    libraries = threadpoolctl.threadpool_info()
    return [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]


def test_a_limit_of_the_caller_is_no_obstacle():
    """Threads have their share, and afterwards the caller's limit is in force."""
    with threadpoolctl.threadpool_limits(4, user_api="blas"):
        before, seen = threads_of_blas(), []
        with joblib.parallel_config("threading", n_jobs=joblib.cpu_count()):
            vanilla(max_iter=1).fit(lambda x: seen.extend(threads_of_blas()) or 0.0, X0)
        assert set(seen) <= {1}
        assert threads_of_blas() == before


def test_limits_of_several_users_end_with_the_last():
    """They come and go in any order; a limit is never raised."""
    before = threads_of_blas()
    first, second = few_threads(1), few_threads(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads_of_blas()) <= {1}
    second.__exit__(None, None, None)
    assert threads_of_blas() == before
    with few_threads(max(before, default=1) + 7):
        assert threads_of_blas() == before


def inner():
    """A search in a worker: which threads evaluate it?"""
    seen = set()

    def objective(x):
        seen.add(threading.get_ident())
        return bowl(x)

    return state(vanilla(n_jobs=2).fit(objective, X0)), seen == {threading.get_ident()}


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_in_a_worker_is_one_job(backend):
    """As in GridSearchCV: workers have no workers."""
    with joblib.parallel_config(backend, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(inner)() for _ in range(2))
    assert found == [(state(vanilla().fit(bowl, X0)), True)] * 2
