"""Trials under faults: threads that save, jobs lost twice, failures that come first, budgets."""

import copy
import heapq
import math
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
from problems import X0, bits, bowl, state, vanilla
from test_trials import run

from blackbox_es import EvaluationError, Isotropic, config
from blackbox_es._pending import Pending
from blackbox_es.steps import Plan, State
from blackbox_es.strategy import EvolutionStrategy


def tell(es, trials):
    return [es.tell_trial(trial.id, bowl(trial.x)) for trial in trials]


# -- when a generation closes ----------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.07, 0.14, 0.28, 0.55, 0.56, 0.9, 1.0])
def test_a_fraction_of_a_hundred_pairs(fraction):
    """So many percent of 100 pairs are so many pairs, whatever floats make of it."""
    es = vanilla(n_pairs=100, min_fraction=fraction).start(X0)
    trials = list(es.ask_trials())
    for n_whole in range(1, 101):
        tell(es, [trials[n_whole - 1], trials[n_whole + 99]])
        if es.n_iter_:
            break
    assert n_whole == round(100 * fraction)


def test_pairs_that_failed_close_nothing():
    """Two of four are waited for. Two that fail first are not these, and there is no error."""
    es = vanilla(min_fraction=0.5).start(X0)
    trials = list(es.ask_trials())
    for i in (0, 4, 1, 5):
        assert es.tell_trial(trials[i].id, math.nan)
    tell(es, [trials[i] for i in (2, 6, 3)])
    assert es.n_iter_ == 0
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        tell(es, [trials[7]])
    assert (es.n_iter_, es.n_failed_, es.n_evaluations_) == (1, 4, 8)


def test_more_failures_than_pairs_wait_for_as_many():
    """One of six is enough, but three have failed: it takes three, since half would be too many."""
    es = vanilla(n_pairs=6, min_fraction=0.1).start(X0)
    trials = list(es.ask_trials())
    for i in (0, 6, 1, 7, 2, 8):
        es.tell_trial(trials[i].id, math.nan)
    tell(es, [trials[i] for i in (3, 9, 4, 10, 5)])
    assert es.n_iter_ == 0
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        tell(es, [trials[11]])
    assert (es.n_iter_, es.n_failed_) == (1, 6)


def test_further_pairs_replace_those_that_failed():
    """Of four pairs one fails; the generation takes a further one in its place."""
    es = vanilla().start(X0)
    trials = list(es.ask_trials(ahead=1))
    es.tell_trial(trials[0].id, math.nan)
    tell(es, trials[1:9])
    assert es.n_iter_ == 0
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        tell(es, trials[9:])
    assert (es.n_iter_, es.n_failed_) == (1, 1)
    by_hand = vanilla(n_pairs=5).start(X0)
    values = [bowl(x) for x in by_hand.ask()]
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        by_hand.tell(by_hand.ask(), [math.nan, *values[1:]])
    assert bits(es.state_) == bits(by_hand.state_)


def test_mended_failures_count_at_once():
    """A number for a NaN completes a pair, and with the last one needed the generation."""
    es = vanilla(min_fraction=0.5).start(X0)
    trials = list(es.ask_trials())
    tell(es, [trials[0], trials[4], trials[5]])
    es.tell_trial(trials[1].id, math.nan)
    assert es.n_iter_ == 0
    assert es.tell_trial(trials[1].id, 1.0)
    assert (es.n_iter_, es.n_failed_) == (1, 0)


def test_telling_does_not_go_through_all_values_each_time(monkeypatch):
    """Pairs are counted only when enough of them may be whole: log2 P times, not P."""
    counted, by_pair = [], Pending._by_pair
    monkeypatch.setattr(Pending, "_by_pair", lambda *args: counted.append(1) or by_pair(*args))
    es = vanilla(n_pairs=512, min_fraction=0.5).start(X0)
    trials = list(es.ask_trials())
    rng = np.random.default_rng(0)
    for place in rng.permutation(1024):
        if es.n_iter_ == 0:
            es.tell_trial(trials[place].id, bowl(trials[place].x))
    assert es.n_iter_ == 1
    assert 2 <= len(counted) <= 2 * 12  # twice each time


@config
class Watching(EvolutionStrategy):
    """A strategy of a user's that keeps what values it is told."""

    seen: object = None

    def _init(self, x):
        return State(x, 0)

    def _ask(self, state, surrogate):
        return state, Plan(Isotropic(state.x.size, 0.1), self.pairs(state.x.size))

    def _tell(self, state, told):
        self.seen.append(told.values.copy())
        return State(state.x, state.t + 1)


def test_halves_are_shown_to_no_strategy():
    """What is told without its other half does not reach a strategy that looks at the values."""
    es = Watching(n_pairs=2, min_fraction=0.5, seen=[], random_state=0).start(X0)
    first = list(es.ask_trials())
    tell(es, [first[i] for i in (1, 0, 2)])
    np.testing.assert_array_equal(es.seen[0][:, 0], [bowl(first[0].x), bowl(first[2].x)])
    second = list(es.ask_trials())
    tell(es, [second[i] for i in (0, 1, 3)])
    assert [np.isnan(values).tolist() for values in es.seen] == [
        [[False], [False]], [[True, False], [True, False]]
    ]  # fmt: skip
    told = [first[i] for i in (1, 0, 2)] + [second[i] for i in (0, 1, 3)]
    assert es.fun_best_ == min(bowl(trial.x) for trial in told)  # people are shown all of them


# -- jobs that are lost, twice, or after a restart -------------------------------------------------


def test_lost_twice_is_given_out_once():
    """Queues repeat themselves."""
    es = vanilla(max_retries=5).start(X0)
    list(es.ask_trials(ahead=0))
    assert es.tell_failed(1)
    assert es.tell_failed(1)
    assert [trial.id for trial in es.ask_trials(ahead=0)] == [1]


def test_lost_after_a_restart_is_given_out_once():
    """Nothing had been given out again yet: its turn comes with the others."""
    es = vanilla().start(X0)
    list(es.ask_trials(ahead=0))
    again = copy.deepcopy(es)
    assert again.tell_failed(0)
    assert [trial.id for trial in again.ask_trials(ahead=0)] == list(range(8))


def test_too_many_failures_are_saved_and_mended(tmp_path):
    """Loaded, what failed is given out again, and the search goes on as if nothing had failed."""
    es, plain = vanilla(max_retries=0).start(X0), vanilla().start(X0)
    trials = list(es.ask_trials())
    for trial in trials[:3]:
        es.tell_failed(trial.id)
    with pytest.raises(EvaluationError, match="3 of 4 pairs"):
        tell(es, trials[3:])
    es.save(tmp_path / "run.npz")
    for one in (es, type(es).load(tmp_path / "run.npz")):
        again = list(one.ask_trials())
        assert [trial.id for trial in again] == [0, 1, 2]
        with pytest.warns(RuntimeWarning, match="evaluations failed"):
            tell(one, again[:1])
        assert one.n_failed_ == 2
    es = type(es).load(tmp_path / "run.npz")
    es.tell([(trial.x, bowl(trial.x)) for trial in again])
    tell(plain, list(plain.ask_trials()))
    assert bits(es.state_) == bits(plain.state_)
    assert es.n_failed_ == 0


def test_what_was_never_given_out_is_unknown(tmp_path):
    """Only values that somebody may be working on are late; of a copy that is any."""
    es, given = vanilla(min_fraction=0.5).start(X0), []
    for trial in es.ask_trials():  # over after two of four pairs
        given.append(trial.id)
        es.tell_trial(trial.id, bowl(trial.x))
    assert given == [0, 1, 2, 3, 4, 5]
    trials = list(es.ask_trials())
    with pytest.raises(ValueError, match="trial id 6 is unknown or of a past generation"):
        es.tell_trial(6, 1.0)
    es.save(tmp_path / "run.npz")
    for one in (es, copy.deepcopy(es), type(es).load(tmp_path / "run.npz")):
        tell(one, [trials[i] for i in (0, 4, 1, 5)])
        assert one.tell_trial(trials[7].id, 1.0) is False
        assert one.n_late_ == 1


# -- budgets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ahead", "fraction"), [(8, 1.0), (2, 0.6), (0, 0.6)])
def test_max_evals_holds_whatever_comes_late(seed, ahead, fraction):
    """Evaluations begun, and so those told, late ones included, are never more than max_evals."""
    es = vanilla(max_evals=90, max_iter=10**6, min_fraction=fraction).start(X0)
    rng, running, n_begun, now = np.random.default_rng(seed), [], 0, 0.0
    while True:
        while len(running) < 8 and (trial := next(es.ask_trials(ahead=ahead), None)) is not None:
            end = now + math.exp(1.5 * rng.standard_normal())
            heapq.heappush(running, (end, trial.id, trial))
            n_begun += 1
        if not running:
            break
        now, _, trial = heapq.heappop(running)
        tell(es, [trial])
    assert es.stop_reason_ == "max_evals"
    assert 60 < es.n_evaluations_ == n_begun <= 89  # one for the center


def test_a_budget_set_later_counts_what_may_come():
    """Six evaluations are done, two are under way, eight would follow, and one of the center."""
    es = vanilla(min_fraction=0.75).start(X0)
    trials = list(es.ask_trials())
    tell(es, [trials[i] for i in (0, 1, 2, 4, 5, 6)])
    assert es.set_params(max_evals=17).stop_reason_ is None
    assert es.set_params(max_evals=16).stop_reason_ == "max_evals"


def test_no_further_pairs_beyond_the_budget():
    """Of the six evaluations left, beside that of the center, four belong to the generation."""
    es = vanilla(n_pairs=2, max_evals=8).start(X0)
    assert len(list(es.ask_trials(ahead=9))) == 6


# -- threads ---------------------------------------------------------------------------------------


def test_threads_share_an_iterator():
    """Each trial is given out once, and nobody finds the iterator in use."""
    es = vanilla(n_pairs=100, max_iter=3).start(X0)
    for t in range(3):
        trials, given_out = es.ask_trials(ahead=0), []

        def worker(trials=trials, given_out=given_out):
            for trial in trials:
                given_out.append(trial.id)
                es.tell_trial(trial.id, bowl(trial.x))

        run(worker)
        assert es.n_iter_ == t + 1
        assert sorted(given_out) == list(range(200 * t, 200 * (t + 1)))


def beside_threads_that_tell(doing, es, n_times=40):
    """Do something again and again while three threads evaluate; raises what any of them raises."""
    over, order = [], iter(range(4))

    def worker():
        if next(order):
            while not over:
                trial = next(es.ask_trials(ahead=2), None)
                if trial is not None:
                    es.tell_trial(trial.id, trial.x.sum())  # which has no minimum to end at
        else:
            try:
                for _ in range(n_times):
                    doing()
            finally:
                over.append(True)

    run(worker)


@pytest.mark.parametrize("how", ["saved", "pickled", "copied"])
def test_saved_while_threads_tell(how, tmp_path):
    """What is saved is a search at one moment: it can be loaded, and goes on."""
    es = vanilla(n_pairs=2, max_iter=10**6).start(X0)

    def doing():
        if how == "saved":
            es.save(tmp_path / "run.npz")
            again = type(es).load(tmp_path / "run.npz")
        else:
            again = copy.deepcopy(es) if how == "copied" else pickle.loads(pickle.dumps(es))
        t = again.n_iter_
        for trial in list(again.ask_trials()):
            again.tell_trial(trial.id, trial.x.sum())
        assert again.n_iter_ == t + 1
        assert again.n_evaluations_ >= 4 * (t + 1)

    beside_threads_that_tell(doing, es, 40 if how == "saved" else 400)


def test_parameters_set_while_threads_tell():
    """No generation that ends meanwhile is undone: the generations are those of one thread."""
    es, n_iter = vanilla(n_pairs=2, max_iter=10**6, min_fraction=1.0).start(X0), [0]

    def doing():
        for _ in range(10):
            es.set_params(max_iter=10**6 + len(n_iter))
            n_iter.append(es.n_iter_)

    beside_threads_that_tell(doing, es)
    assert n_iter == sorted(n_iter)
    assert len(es.history_["mean"]) == es.n_iter_


# -- a simulation ----------------------------------------------------------------------------------

ASYNCHRONOUS = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "asynchronous.py"))


def test_eight_workers_with_a_heavy_tail():
    """Log-normal durations, 15 of 100 jobs lost: with further pairs no worker is ever idle."""
    simulate, quadratic = ASYNCHRONOUS["simulate"], ASYNCHRONOUS["quadratic"]
    objective, busy, value = quadratic(5, 0), {}, {}
    options = {"n_pairs": 32, "sigma": 0.1, "learning_rate": 0.05, "max_iter": 10**6,
               "max_evals": 6000, "max_retries": 20, "random_state": 0}  # fmt: skip
    for ahead in (0, 8):
        es = vanilla(**options).start(np.zeros(5))
        rng = np.random.default_rng(0)
        busy[ahead], _ = simulate(es, objective, 8, ahead, rng, 1.0, 0.15)
        value[ahead] = objective(es.x_)
        assert es.n_failed_ == 0
        assert es.n_evaluations_ <= 6000
    assert busy[8] > 0.99 > 0.9 > busy[0]
    start = objective(np.zeros(5))
    assert value[8] < 0.01 * start
    again = vanilla(**options).start(np.zeros(5))
    simulate(again, objective, 8, 8, np.random.default_rng(0), 1.0, 0.15)
    assert state(again) == state(es)
