"""`fit` that was cut short, and goes on: the same bits as the run that never stopped."""

import errno
import gc
import os
import resource
import sys
import time
import types
import warnings

import joblib
import numpy as np
import pytest
from problems import X0, bits, bowl, fitted, guide, make, slope, snapshot, surrogate_of, takes
from test_interrupts import interrupted

from blackbox_es import AdaptiveES, CheckpointError, GuidedES, VanillaES, _jit, checkpoint
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)
BOXED = {"bounds": [(-2, 2), (None, 1), (0, 3)]}


def outcome(es):
    """The bits of all that a search leaves: state, fitted attributes, SciPy's result."""
    return bits(es.state_), bits(fitted(es)), bits(dict(es.result_)), es._search.record.warned


class Failing:
    """An objective that raises in one of its calls, and counts them."""

    def __init__(self, at=None, error=KeyboardInterrupt, objective=bowl):
        self.at, self.error, self.objective, self.calls = at, error, objective, 0

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.objective(x)


def resumed(name, path, objective=bowl, callback=None, **params):
    es = STRATEGIES[name].load(path, **params)
    return es.fit(objective, surrogate_fn=surrogate_of(es), callback=callback, resume=True)


# -- wherever it is cut short --------------------------------------------------------------------


@every
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("options", [{}, BOXED, {"n_reevaluations": 3, "max_evals": 20}], ids=str)
def test_cut_short_in_any_evaluation(name, error, options, tmp_path):
    """The file is that of the last finished generation, and goes on as does the object."""
    path, whole = tmp_path / "run.npz", make(name, **options)
    counted = Failing()
    whole.fit(counted, X0, surrogate_of(whole))
    expected = outcome(whole)
    for k in range(1, counted.calls + 1):
        es = make(name, **options)
        with pytest.raises(error):
            es.fit(Failing(k, error), X0, surrogate_of(es), checkpoint=path)
        assert snapshot(STRATEGIES[name].load(path))["search"] == snapshot(es)["search"]
        n_iter, rest = es.n_iter_, Failing()
        assert n_iter == np.searchsorted(whole.history_["n_evaluations"], k)
        assert outcome(resumed(name, path, rest)) == expected
        done = whole.history_["n_evaluations"][n_iter - 1] if n_iter else 0
        assert rest.calls == counted.calls - done
        assert outcome(es.fit(bowl, None, surrogate_of(es), resume=True)) == expected


@every
def test_one_that_has_ended_stays_as_it_is(name, tmp_path):
    """Nothing is evaluated; with a larger budget it goes on from there."""
    es = make(name)
    es.fit(bowl, X0, surrogate_of(es), checkpoint=tmp_path / "run.npz")
    objective = Failing()
    again = resumed(name, tmp_path / "run.npz", objective)
    assert (outcome(again), objective.calls) == (outcome(es), 0)
    longer = resumed(name, tmp_path / "run.npz", objective, max_iter=7)
    assert longer.n_iter_ == 7
    assert bits(longer.x_) == bits(make(name, max_iter=7).fit(bowl, X0, surrogate_of(es)).x_)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files not closed
@pytest.mark.skipif(_jit.DISABLED, reason="kernels would be interrupted, too: slow")
@pytest.mark.parametrize("name", ["guided-es", "adaptive-es"])
def test_interrupted_at_any_line(name, tmp_path):
    """Ctrl-C at every fifth line, of writing too: there is a whole file, or none yet."""
    path, whole = tmp_path / "run.npz", make(name, max_iter=3)
    expected = outcome(whole.fit(bowl, X0, surrogate_of(whole)))
    for k in range(0, 10**4, 5):
        for file in tmp_path.iterdir():
            file.unlink()
        es, often = make(name, max_iter=3), {"checkpoint": path, "checkpoint_every": 1}
        surrogate = surrogate_of(es)
        hit = interrupted(lambda es=es, s=surrogate, o=often: es.fit(bowl, X0, s, **o), k)
        gc.collect()  # an interrupt may have left a file open, which the next one clears away
        if path.exists():
            es, often["resume"] = STRATEGIES[name].load(path), True
            assert outcome(es.fit(bowl, None, surrogate, **often)) == expected
            assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.npz.prev"]
        else:
            assert "_search" not in vars(es) or es.n_iter_ == 0
        if not hit:
            break
    assert k > 200


@every
@pytest.mark.parametrize("who", ["surrogate_fn", "callback"])
def test_cut_short_by_other_functions(name, who, tmp_path):
    """A generation whose callback raised has been done; a surrogate is asked for once."""
    path, whole, seen = tmp_path / "run.npz", make(name), []
    surrogate = surrogate_of(whole)
    expected = outcome(whole.fit(bowl, X0, surrogate, lambda x: seen.append(bits(x))))
    if who == "surrogate_fn" and surrogate is None:
        return
    for k in range(1, 6):
        again, broken = [], Failing(k, ZeroDivisionError, slope)

        def callback(x, k=k, again=again):
            again.append(bits(x))
            if who == "callback" and len(again) == k:
                raise ZeroDivisionError

        es, by = make(name), broken if who == "surrogate_fn" else surrogate
        try:
            es.fit(bowl, X0, by, callback, checkpoint=path)
        except ZeroDivisionError:
            assert STRATEGIES[name].load(path).n_iter_ == len(again)
        es = resumed(name, path, callback=lambda x, again=again: again.append(bits(x)))
        assert outcome(es) == expected
        assert again == seen


def test_stop_iteration_is_kept(tmp_path):
    """A search that a callback has ended has ended."""

    def stop(x):
        raise StopIteration

    es = make("vanilla-es").fit(bowl, X0, None, stop, checkpoint=tmp_path / "run.npz")
    again = resumed("vanilla-es", tmp_path / "run.npz")
    assert (again.stop_reason_, again.n_iter_) == ("callback", 1)
    assert outcome(again) == outcome(es)


@every
def test_what_is_in_force_stays_in_force(name, tmp_path):
    """Workers, caught exceptions and seeds: the same bits, with failures counted and warned of."""

    def objective(x, seed):
        if bits(x)[2][0] % 31 == 0:
            raise ArithmeticError
        return bowl(x) + 1e-3 * (seed % 5)

    options = {"catch": (ArithmeticError,), "n_pairs": 6, "max_iter": 6, "n_jobs": 2}

    def fit(es, f, **how):
        with joblib.parallel_config("threading"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            es.fit(f, surrogate_fn=surrogate_of(es), **how)
        return len(caught)

    whole, path = make(name, **options), tmp_path / "run.npz"
    n_warnings = fit(whole, objective, x0=X0)
    for k in (1, 2, 3, 5):
        es = make(name, **options)

        def interrupting(x, seed, es=es, k=k):
            if es.n_iter_ == k:
                raise KeyboardInterrupt
            return objective(x, seed)

        with pytest.raises(KeyboardInterrupt):
            fit(es, interrupting, x0=X0, checkpoint=path)
        n_before = len(es._search.record.warned)
        es = STRATEGIES[name].load(path)
        assert fit(es, objective, resume=True) + n_before == n_warnings
        assert outcome(es) == outcome(whole)


@every
def test_functions_are_asked_for(name, tmp_path):
    """A shaping of the user's is not in the file; given again, the search goes on."""

    def shaping(values):
        return np.sign(values - np.median(values))

    if not takes(name, shaping=shaping):
        return
    whole, path = make(name, shaping=shaping), tmp_path / "run.npz"
    whole.fit(bowl, X0, surrogate_of(whole))
    es = make(name, shaping=shaping)
    with pytest.raises(KeyboardInterrupt):
        es.fit(Failing(8), X0, surrogate_of(es), checkpoint=path)
    with pytest.raises(ValueError, match=r"could not hold shaping: load\(path, shaping="):
        STRATEGIES[name].load(path)
    assert outcome(resumed(name, path, shaping=shaping)) == outcome(whole)


def test_time_goes_on(monkeypatch, tmp_path):
    """The seconds before count; those in between do not."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def objective(x, fail=False):
        now[0] += 1.0
        if fail and now[0] > 120.0:
            raise KeyboardInterrupt
        return bowl(x)

    options = {"max_iter": 10**6, "max_time": 60.0}
    whole = make("vanilla-es", **options).fit(objective, X0)
    assert (whole.stop_reason_, whole.n_iter_) == ("max_time", 10)
    now[0] = 100.0
    with pytest.raises(KeyboardInterrupt):
        make("vanilla-es", **options).fit(
            lambda x: objective(x, fail=True), X0, checkpoint=tmp_path / "run.npz"
        )
    now[0] += 1e6
    again = resumed("vanilla-es", tmp_path / "run.npz", objective)
    assert (again.stop_reason_, again.n_iter_) == ("max_time", 10)


def test_the_reason_to_stop_is_kept(tmp_path):
    """Though the final evaluation has seen what would have been another one."""
    options = {"f_target": 1.0, "max_iter": 2, "learning_rate": 1e-300}
    es = make("vanilla-es", **options)
    es.fit(lambda x: 0.5 if bits(x) == bits(X0) else 2.0, X0, checkpoint=tmp_path / "run.npz")
    assert (es.stop_reason_, es.fun_best_) == ("max_iter", 0.5)
    again = VanillaES.load(tmp_path / "run.npz")
    assert outcome(again) == outcome(es)
    assert again.set_params(max_iter=3).stop_reason_ == "f_target"


# -- values that were told by hand ---------------------------------------------------------------


class Whole:
    """An objective that evaluates whole generations."""

    def __call__(self, x):
        return bowl(x)

    def evaluate_generation(self, generation):
        return bowl(generation.points()).reshape(generation.halves, -1)


@every
@pytest.mark.parametrize("way", ["one", "rows", "threads", "whole"])
@pytest.mark.parametrize("rows", [(), (0,), (3, 1), (0, 1, 2, 4, 5)], ids=str)
def test_told_values_are_kept(name, way, rows, tmp_path):
    """Only what is missing of a pending generation is evaluated, in whichever way."""
    options = {"vectorized": way == "rows", "n_jobs": 2 if way == "threads" else None}
    objective = Whole() if way == "whole" else Failing()
    es, by_hand = make(name, **options).start(X0), make(name, **options).start(X0)
    for each in (es, by_hand):
        each.tell(each.ask(guide(each)), bowl(each.ask()))
        told = {}
        for row, trial in enumerate(each.ask_trials(guide(each))):
            told[row] = trial
        for row in rows:
            if row in told:
                each.tell_trial(told[row].id, bowl(told[row].x) + 5.0)
    es.save(tmp_path / "run.npz")
    es = STRATEGIES[name].load(tmp_path / "run.npz")
    n_missing = len(told) - len(es._search.pending.told)

    def stop(x):
        raise StopIteration

    with joblib.parallel_config("threading"):
        es.fit(objective, None, surrogate_of(es), stop, resume=True)
    for trial in by_hand.ask_trials():
        by_hand.tell_trial(trial.id, bowl(trial.x))
    final = ("fun_", "fun_best_", "x_best_", "n_evaluations_", "stop_reason_")
    found, expected = ({**fitted(one), **dict.fromkeys(final)} for one in (es, by_hand))
    assert bits(found) == bits(expected)
    assert es.n_evaluations_ == by_hand.n_evaluations_ + 1
    if way in ("one", "threads"):
        assert objective.calls == n_missing + 1


@pytest.mark.parametrize("crn", ["generation", "pair", None])
def test_seeds_of_missing_values(crn):
    """Each point is given the seed that it is given in a whole generation."""
    seeds = {}

    def objective(x, seed):
        return seeds.setdefault(bits(x)[2], seed) * 1e-9 + bowl(x)

    whole = make("vanilla-es", common_random_numbers=crn, max_iter=1).fit(objective, X0)
    first, seeds = seeds, {}
    es = make("vanilla-es", common_random_numbers=crn, max_iter=1).start(X0)
    trials = list(es.ask_trials())
    for trial in trials[1:4]:
        es.tell_trial(trial.id, objective(trial.x, first[bits(trial.x)[2]]))
    es.fit(objective, resume=True)
    assert seeds == first
    assert outcome(es) == outcome(whole)


# -- when it is written --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("often", "expected"),
    [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 0, 2, 2, 4, 4]), (np.int64(3), [0, 0, 0, 3, 3, 3]),
     (1e-9, [0, 1, 2, 3, 4, 5]), (3600.0, [0] * 6)],
)  # fmt: skip
def test_how_often(often, expected, tmp_path):
    """An int is generations, a float seconds; at the beginning and at the end in any case."""
    path, seen = tmp_path / "run.npz", []

    def objective(x):
        seen.append(VanillaES.load(path).n_iter_)
        return bowl(x)

    es = make("vanilla-es").fit(objective, X0, checkpoint=str(path), checkpoint_every=often)
    assert seen[::6] == expected
    assert outcome(VanillaES.load(path)) == outcome(es)
    seen.clear()
    es = VanillaES.load(path, max_iter=6)
    es.fit(objective, resume=True, checkpoint=path, checkpoint_every=often)
    assert seen == [5] * 6 + [6 if expected[1] else 5]


@every
def test_a_file_changes_nothing(name, tmp_path):
    """The search is the same with and without."""
    es, plain = make(name), make(name)
    es.fit(bowl, X0, surrogate_of(es), checkpoint=tmp_path / "run.npz", checkpoint_every=1)
    assert outcome(es) == outcome(plain.fit(bowl, X0, surrogate_of(es)))
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.npz.prev"]


def refusing(monkeypatch, where, error, after):
    """From some call on, a function of checkpoints raises an OSError."""
    calls, function = [], getattr(*where)

    def refused(*args):
        calls.append(0)
        if len(calls) > after:
            raise OSError(error, os.strerror(error))
        return function(*args)

    monkeypatch.setattr(*where, refused)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    ("where", "error"),
    [((os, "fsync"), errno.ENOSPC), ((os, "replace"), errno.EIO),
     ((checkpoint, "_locked_beside"), errno.EROFS)],
    ids=lambda item: item[1] if isinstance(item, tuple) else errno.errorcode[item],
)  # fmt: skip
def test_what_the_disk_refuses(where, error, after, monkeypatch, tmp_path):
    """One warning of path and cause; the search goes on, the old file is whole, none is left."""
    path = tmp_path / "run.npz"
    make("vanilla-es", random_state=1).start(X0).save(path)
    refusing(monkeypatch, where, error, after)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        es = make("vanilla-es").fit(bowl, X0, checkpoint=path, checkpoint_every=1)
    failed = [w for w in caught if "was not written" in str(w.message)]
    assert [w.category for w in failed] == [RuntimeWarning]
    assert failed[0].filename == __file__
    assert str(path) in str(failed[0].message)
    assert os.strerror(error) in str(failed[0].message)
    assert outcome(es) == outcome(make("vanilla-es").fit(bowl, X0))
    VanillaES.load(path)
    assert set(os.listdir(tmp_path)) <= {"run.npz", "run.npz.prev"}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_file_that_may_not_grow(tmp_path):
    """The same with a true limit, in the middle of a run; once there is room it is written."""
    path, limits = tmp_path / "run.npz", resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(result):
        n_iter = result.nit
        bound = 3000 if 2 <= n_iter < 4 else limits[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, limits[1]))
        seen.append(VanillaES.load(path).n_iter_)

    seen = []
    try:
        with pytest.warns(RuntimeWarning, match=r"run\.npz was not written.*File too large") as w:
            make("vanilla-es").fit(
                bowl, X0, None, lambda intermediate_result: limit(intermediate_result),
                checkpoint=path, checkpoint_every=1,
            )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(w) == 1
    assert seen == [0, 1, 1, 1, 4]
    assert (VanillaES.load(path).n_iter_, len(os.listdir(tmp_path))) == (5, 2)


@pytest.mark.filterwarnings("error")
def test_a_warning_that_is_an_error(monkeypatch, tmp_path):
    """It ends the search, in a whole state."""
    refusing(monkeypatch, (os, "fsync"), errno.ENOSPC, 2)
    es = make("vanilla-es")
    with pytest.raises(RuntimeWarning, match="No space left"):
        es.fit(bowl, X0, checkpoint=tmp_path / "run.npz", checkpoint_every=1)
    assert es.n_iter_ > 0
    assert outcome(es.fit(bowl, resume=True)) == outcome(make("vanilla-es").fit(bowl, X0))


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("often", [0, -1, 0.0, -1.0, np.nan, np.inf, True, None, "30"])
def test_bad_intervals(often, tmp_path):
    """An error by name, before anything starts."""
    es = make("vanilla-es").start(X0)
    before = snapshot(es)
    with pytest.raises(ValueError, match="checkpoint_every="):
        es.fit(bowl, X0, checkpoint=tmp_path / "run.npz", checkpoint_every=often)
    assert (snapshot(es), os.listdir(tmp_path)) == (before, [])


def test_bad_paths(tmp_path):
    """A folder that does not exist, a folder for a file, and what is no path."""
    es = make("vanilla-es").start(X0)
    before, objective = snapshot(es), Failing()
    for path, error, message in (
        (tmp_path / "none" / "run.npz", ValueError, "there is no folder .*none: make it"),
        (tmp_path, ValueError, "is no file"),
        (3.5, TypeError, "checkpoint=3.5"),
    ):
        with pytest.raises(error, match=message):
            es.fit(objective, X0, checkpoint=path)
    assert (snapshot(es), os.listdir(tmp_path), objective.calls) == (before, [], 0)


def test_a_search_to_resume():
    """Without one, with an x0, without the surrogate it was given: errors say what to do."""
    es = make("guided-es")
    with pytest.raises(RuntimeError, match=r"there is no search: load\(path\)"):
        es.fit(bowl, surrogate_fn=slope, resume=True)
    with pytest.raises(KeyboardInterrupt):
        es.fit(Failing(9), X0, slope)
    before = snapshot(es)
    with pytest.raises(ValueError, match="leave x0 out"):
        es.fit(bowl, X0, slope, resume=True)
    with pytest.raises(ValueError, match=r"surrogate_fn is None.*pass it again"):
        es.fit(bowl, resume=True)
    with pytest.raises(ValueError, match="resume='yes'"):
        es.fit(bowl, surrogate_fn=slope, resume="yes")
    with pytest.raises(TypeError, match="not callable"):
        es.fit(None, surrogate_fn=slope, resume=True)
    assert snapshot(es) == before
    with pytest.raises(TypeError, match="x0 is None"):
        es.fit(bowl, surrogate_fn=slope)


def test_all_that_has_changed_is_told(tmp_path):
    """Of the parameters that are fixed at the start, each with what it was."""
    make("pgpe").start(X0).save(tmp_path / "run.npz")
    changes = {"random_state": 8, "sigma": 0.5, "bounds": [(0, 1)] * 3}
    with pytest.raises(ValueError, match="random_state, sigma, bounds are fixed") as error:
        STRATEGIES["pgpe"].load(tmp_path / "run.npz", **changes, max_iter=9)
    for told in ("random_state=8, was 7", "sigma=0.5, was 0.06", "bounds=Box(", "was None"):
        assert told in str(error.value)
    assert "max_iter" not in str(error.value)


def test_a_damaged_file_is_refused(tmp_path):
    """And the one before it can be loaded by name."""
    path = tmp_path / "run.npz"
    es = make("guided-es").fit(bowl, X0, slope, checkpoint=path, checkpoint_every=1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="prev"):
        GuidedES.load(path)
    assert outcome(resumed("guided-es", f"{path}.prev")) == outcome(es)


def test_the_bar_goes_on_where_it_was(monkeypatch):
    """It is full at ``max_iter``, however many generations had been done before."""
    bars = []
    fake = types.SimpleNamespace(set_postfix_str=lambda *_, **__: None, update=lambda: None)
    fake.close = lambda: None

    def bar(total, initial, **options):
        bars.append((total, initial))
        return fake

    monkeypatch.setattr("tqdm.tqdm", bar)
    es = make("vanilla-es", verbose=1).fit(bowl, X0)
    es.set_params(max_iter=7).fit(bowl, resume=True)
    assert bars == [(5, 0), (7, 5)]


def test_the_middle_of_the_bounds():
    """x0 may be left out where there is a middle."""
    es = AdaptiveES(max_iter=2, random_state=0, bounds=[(0, 2)] * 3).fit(bowl)
    other = AdaptiveES(max_iter=2, random_state=0, bounds=[(0, 2)] * 3).fit(bowl, np.ones(3))
    assert outcome(es) == outcome(other)
