"""Trials: their values come when they come, from threads, late, or never."""

import copy
import json
import math
import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, fit, guide, make, state, takes, vanilla

from blackbox_es import AdaptiveES, EvaluationError, Int, Log, Space
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import Trial

every = pytest.mark.parametrize("name", STRATEGIES)
growing = pytest.mark.parametrize("name", [n for n in STRATEGIES if STRATEGIES[n].may_grow])


def searching(name, **options):
    """In a generation whose points are drawn, where there are others."""
    alone = {"slopes": False} if takes(name, slopes=False) else {}
    return make(name, **alone, **options).start(X0)


def tell(es, trials):
    return [es.tell_trial(trial.id, bowl(trial.x)) for trial in trials]


# -- what a trial is -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_json(dtype):
    """A trial comes back from JSON to its last bit, and its id as a key of JSON is taken."""
    es = vanilla().start(X0.astype(dtype))
    for trial in es.ask_trials():
        again = Trial.from_json(trial.to_json())
        assert bits(again.x) == bits(trial.x)
        assert (again.id, again.seed, again.generation) == (trial.id, trial.seed, 0)
        told = json.loads(json.dumps({again.id: float(bowl(again.x))}))
        for id, value in told.items():
            assert es.tell_trial(id, value)
    assert es.n_iter_ == 1


@pytest.mark.parametrize("shared", ["generation", "pair", None])
def test_seeds(shared):
    """A trial has the seed that `fit` gives an objective."""
    seen = []

    def noisy(x, seed):
        seen.append((x.tobytes(), seed))
        return bowl(x)

    es = vanilla(common_random_numbers=shared, max_iter=2)
    es.fit(noisy, X0)
    by_hand = vanilla(common_random_numbers=shared, max_iter=2).start(X0)
    given_out = []
    while not by_hand.stop_reason_:
        for trial in by_hand.ask_trials():
            given_out.append((trial.x.tobytes(), trial.seed))
            by_hand.tell_trial(trial.id, bowl(trial.x))
    assert sorted(seen[:-1]) == sorted(given_out)


# -- further pairs, and pairs that nobody waits for ------------------------------------------------


@every
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_the_order_does_not_matter(name, data):
    """The state is a function of the values of the whole pairs that the generation ended with."""
    es, canonical = searching(name), searching(name)
    n_further = data.draw(st.integers(0, 3), "further pairs") if es.may_grow else 0
    trials = list(es.ask_trials(guide(es), ahead=n_further))
    list(canonical.ask_trials(guide(canonical), ahead=3))
    pairs = {}
    for trial in trials:
        place = trial.id - trials[0].id
        pair = place % 3 if place < 6 else 3 + (place - 6) // 2
        pairs.setdefault(pair, []).append(trial)
    whole = data.draw(st.permutations(sorted(pairs)), "pairs")[:3]
    halves = [pairs[pair][0] for pair in pairs if pair not in whole]
    told = [trial for pair in whole for trial in pairs[pair]]
    last = told.pop()
    order = data.draw(st.permutations(told + halves), "order")
    assert all(tell(es, [*order, last]))
    assert es.n_iter_ == 1
    assert es.n_evaluations_ == 6 + len(halves)
    tell(canonical, [trial for pair in sorted(whole) for trial in pairs[pair]])
    assert bits(es.state_) == bits(canonical.state_)
    # And it goes on: ids are new, and as many values as ever complete a generation.
    later = list(es.ask_trials(guide(es)))
    assert min(trial.id for trial in later) > max(trial.id for trial in trials)
    assert all(tell(es, later))
    assert es.n_iter_ == 2


def test_what_a_generation_learns_from():
    """``beta / (2 n sigma^2 P) sum_p d_p (f(x + d_p) - f(x - d_p))`` over the P pairs it has."""
    es = vanilla(n_pairs=4, beta=2.0).start(X0)
    trials = list(es.ask_trials(ahead=2))
    chosen = [0, 4, 2, 6, 8, 9, 10, 11]  # pairs 0, 2 and both further ones
    tell(es, [trials[place] for place in chosen])
    g = np.zeros(3)
    for plus, minus in ((0, 4), (2, 6), (8, 9), (10, 11)):
        d = trials[plus].x - X0
        g += d * (bowl(trials[plus].x) - bowl(trials[minus].x))
    np.testing.assert_allclose(es.gradient_, 2.0 * g / (2 * 3 * es.sigma**2 * 4), rtol=1e-9)


@every
def test_min_fraction(name):
    """A generation is over when enough pairs are whole; the rest is late, counted, no failure."""
    es = searching(name, min_fraction=0.5)  # 2 of 3 pairs
    trials = list(es.ask_trials(guide(es)))
    assert tell(es, [trials[i] for i in (0, 1, 3)]) == [True] * 3
    assert (es.n_iter_, es.tell_trial(trials[4].id, 2.0)) == (0, True)
    assert (es.n_iter_, es.n_evaluations_, es.n_failed_, es.n_late_) == (1, 4, 0, 0)
    with pytest.raises(TypeError, match="trial 2"):
        es.tell_trial(trials[2].id, None)
    assert es.tell_trial(trials[2].id, 1.0) is False
    assert es.tell_failed(trials[5].id) is False
    assert (es.n_evaluations_, es.n_late_) == (5, 1)
    next(es.ask_trials(guide(es)))
    for id in (trials[2].id, trials[0].id, 10**6):  # told late before, told before, never given
        with pytest.raises(ValueError, match="unknown or of a past"):
            es.tell_trial(id, 1.0)


def test_values_that_come_after_the_end():
    """They are late, too."""
    es = vanilla(min_fraction=0.5, max_iter=1).start(X0)
    trials = list(es.ask_trials())
    tell(es, [trials[i] for i in (0, 1, 4, 5)])
    assert es.stop_reason_ == "max_iter"
    assert es.tell_trial(trials[2].id, 1.0) is False
    assert list(es.ask_trials(ahead=4)) == []


def test_points_that_are_chosen_are_all_waited_for():
    """Neither further pairs nor fewer: a slope needs every one of its differences."""
    es = AdaptiveES(random_state=0, min_fraction=0.5).start(X0)
    plain = AdaptiveES(random_state=0).start(X0)
    for _ in range(4):  # two looks at the noise, differences, a ray
        trials, expected = list(es.ask_trials(ahead=8)), list(plain.ask_trials())
        if not plain._takes_values(plain.state_):
            break
        assert bits([trial.x for trial in trials]) == bits([trial.x for trial in expected])
        tell(es, trials)
        tell(plain, expected)
    assert bits(es.state_) == bits(plain.state_)
    assert es.n_iter_ > 1


def test_pairs_with_an_inner_state_have_no_further_ones():
    """Each of `NRES` begins with its episode."""
    es = make("nres").start(X0)
    assert len(list(es.ask_trials(ahead=8))) == 6


@pytest.mark.parametrize("bad", [0.0, 1.5, -1, math.nan, None, "1"])
def test_bad_fractions(bad):
    with pytest.raises(ValueError, match="min_fraction="):
        vanilla(min_fraction=bad).start(X0)


# -- who has been given what -----------------------------------------------------------------------


def test_each_trial_is_given_out_once():
    """With ``ahead``, by one iterator or several; without, all that have no value."""
    es = vanilla().start(X0)
    first = [next(es.ask_trials(ahead=1)).id for _ in range(10)]
    assert sorted(first) == list(range(10))  # eight, and a further pair
    assert next(es.ask_trials(ahead=1), None) is None
    assert next(es.ask_trials(ahead=2)).id == 10
    assert [trial.id for trial in es.ask_trials()] == list(range(12))
    assert es.tell_failed(3)
    assert [trial.id for trial in es.ask_trials(ahead=2)] == [3, 11]
    again = copy.deepcopy(es)  # another process knows nothing of the workers of this one
    assert {trial.id for trial in again.ask_trials(ahead=2)} == set(range(12))


def test_lost_evaluations():
    """They are done again ``max_retries`` times; then they have failed, and their pair is out."""
    es = vanilla(max_retries=1).start(X0)
    trials = list(es.ask_trials(ahead=0))
    assert es.tell_failed(trials[2].id)
    assert [trial.id for trial in es.ask_trials(ahead=0)] == [2]
    assert not es.tell_failed(str(trials[2].id))
    assert list(es.ask_trials(ahead=0)) == []
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        tell(es, trials[:2] + trials[3:])
    assert (es.n_iter_, es.n_failed_) == (1, 1)
    assert es.tell_failed(next(es.ask_trials()).id)  # counted anew


def test_a_failure_is_mended():
    """NaN is replaced by a number that comes before the end; a number stays what it is."""
    es, plain = vanilla(max_retries=0).start(X0), vanilla().start(X0)
    trials = list(es.ask_trials())
    es.tell_trial(trials[0].id, math.nan)
    assert not es.tell_failed(trials[1].id)
    tell(es, trials)
    tell(plain, list(plain.ask_trials()))
    assert bits(es.state_) == bits(plain.state_)
    assert es.n_failed_ == 0
    trial = next(es.ask_trials())
    es.tell_trial(trial.id, 1.0)
    with pytest.raises(ValueError, match=r"told 1\.0 before and now nan"):
        es.tell_trial(trial.id, math.nan)
    assert not es.tell_failed(trial.id)  # it has its value


def test_too_many_are_lost():
    """More than half of the pairs: EvaluationError, which numbers that come later mend."""
    es = vanilla(max_retries=0).start(X0)
    trials = list(es.ask_trials())
    for trial in trials[:3]:
        es.tell_failed(trial.id)
    with pytest.raises(EvaluationError, match="3 of 4 pairs"):
        tell(es, trials[3:])
    assert es.n_iter_ == 0
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        tell(es, trials[:1])
    assert (es.n_iter_, es.n_failed_) == (1, 2)


# -- saved, copied, resumed ------------------------------------------------------------------------


@growing
@pytest.mark.parametrize("how", ["saved", "pickled", "copied"])
def test_generations_that_have_grown_are_kept(name, how, tmp_path):
    """Further pairs, values, lost trials and late ones."""
    es = searching(name, min_fraction=0.6, max_retries=1)
    trials = list(es.ask_trials(guide(es), ahead=1))
    tell(es, [trials[i] for i in (0, 3, 6, 7)])  # the first generation is over
    trials = list(es.ask_trials(guide(es), ahead=2))
    tell(es, [trials[i] for i in (1, 6, 9)])
    es.tell_failed(trials[0].id)
    if how == "saved":
        es.save(tmp_path / "run.npz")
        again = type(es).load(tmp_path / "run.npz")
    else:
        again = copy.deepcopy(es) if how == "copied" else pickle.loads(pickle.dumps(es))
    late = min(es._search.late)
    for one in (es, again):
        assert not one.tell_trial(late, 1.0)
        assert not one.tell_failed(trials[0].id)
        left = {trial.id for trial in one.ask_trials()}
        assert left == {trial.id for trial in trials} - {trials[i].id for i in (0, 1, 6, 9)}
        tell(one, [trials[i] for i in (7, 2, 5)])
        assert (one.n_iter_, one.n_late_) == (2, 1)
    assert state(again) == state(es)


def test_fit_goes_on_with_trials():
    """What has been told is kept, values of further pairs, too."""
    es = vanilla(max_iter=3).start(X0)
    trials = list(es.ask_trials(ahead=1))
    tell(es, [trials[i] for i in (0, 5, 8, 9)])
    calls = []
    es.fit(lambda x: calls.append(1) or bowl(x), resume=True)
    assert es.n_evaluations_ == 10 + 8 + 8 + 1
    assert len(calls) == es.n_evaluations_ - 4


# -- threads ---------------------------------------------------------------------------------------


def run(worker, n_threads=4):
    """Threads that change over as often as they can; raises what any of them raises."""
    errors, before = [], sys.getswitchinterval()

    def guarded():
        try:
            worker()
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=guarded) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("repetition", range(5))
def test_threads_that_tell(repetition):
    """No value is lost and no generation ends twice: the state is that of one thread."""
    es = vanilla(n_pairs=100, max_iter=2).start(X0)
    for _ in range(2):
        trials = list(es.ask_trials())

        def worker(trials=trials):
            while trials:
                try:
                    trial = trials.pop()
                except IndexError:
                    return
                assert es.tell_trial(trial.id, bowl(trial.x))

        run(worker)
    assert (es.n_iter_, es.n_evaluations_) == (2, 400)
    assert state(es, final=False) == state(fit(vanilla(n_pairs=100, max_iter=2)), final=False)


def test_threads_that_ask_tell_and_fail():
    """Each asks for itself; every third evaluation is lost. Nothing is given out twice."""
    es = vanilla(n_pairs=10, max_iter=30, max_retries=5).start(X0)
    given_out, lost, lock = [], [], threading.Lock()

    def worker():
        while not es.stop_reason_:
            trial = next(es.ask_trials(ahead=4), None)
            if trial is None:
                continue
            with lock:
                given_out.append(trial.id)
                n = len(given_out)
            if n % 3 == 0:
                if es.tell_failed(trial.id):
                    lost.append(trial.id)
            else:
                es.tell_trial(trial.id, bowl(trial.x))

    run(worker)
    assert es.n_iter_ == 30
    assert len(given_out) - len(set(given_out)) <= len(lost)
    assert es.n_failed_ == 0
    assert es.fun_ < bowl(X0)


# -- parameters by name ----------------------------------------------------------------------------


def test_trials_of_a_space(tmp_path):
    """With a `Space` for bounds a trial has keyword arguments, after loading, too."""
    space = Space(lr=Log(1e-4, 1.0), depth=Int(1, 9))

    def cost(lr, depth):
        return abs(math.log10(lr) + 2) + abs(depth - 3)

    es = AdaptiveES(bounds=space, random_state=0, max_evals=300).start(None)
    while not es.stop_reason_:
        for trial in es.ask_trials():
            assert trial.params == space.params(trial.x)
            es.tell_trial(trial.id, cost(**trial.params))
        es.save(tmp_path / "run.npz")
        es = AdaptiveES.load(tmp_path / "run.npz")
    assert space.params(es.x_best_)["depth"] == 3
    by_box = AdaptiveES(bounds=space.bounds, min_sigma=space.min_sigma, random_state=0)
    by_box.set_params(max_evals=300).fit(space.objective(cost), None)
    assert bits(by_box.x_best_) == bits(es.x_best_)
    assert next(vanilla().start(X0).ask_trials()).params is None
