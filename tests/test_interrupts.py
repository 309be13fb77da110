"""Ctrl-C at any line of shell and strategies: the step has happened, or it has not."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
from problems import X0, bits, bowl, fitted, guide, make, snapshot, takes

import blackbox_es
from blackbox_es import SGD, Isotropic, _jit, config
from blackbox_es.optimizers import Optimizer
from blackbox_es.steps import Plan, State
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import EvolutionStrategy

ROOT = str(Path(blackbox_es.__file__).parent)


@config
class InPlace(Optimizer):
    """Momentum in a buffer that is written to in place, step by step."""

    def _check(self):
        pass

    def init(self, x):
        return (np.zeros_like(x),)

    def step(self, x, gradient, state, rate):
        state[0][:] *= 0.5
        state[0][:] += gradient
        return x - (rate * state[0]).astype(x.dtype), state


class Interrupt:
    """Raises KeyboardInterrupt at the k-th new line of the package that is executed."""

    def __init__(self, k):
        self.k, self.seen, self.raised = k, set(), False

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if not code.co_filename.startswith(ROOT):
            return None
        place = code.co_filename, frame.f_lineno
        if event == "line" and not self.raised and place not in self.seen:
            self.seen.add(place)
            if len(self.seen) > self.k:
                self.raised = True
                raise KeyboardInterrupt
        return self


def interrupted(call, k):
    """Whether the call was interrupted at its k-th line."""
    trace = Interrupt(k)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        assert trace.raised
    finally:
        sys.settrace(before)
    return trace.raised


def whole(es, values, k):
    """ask, then tell a generation; either may be interrupted, and is called again."""
    hit = interrupted(lambda: es.ask(guide(es)), k)
    X, t = es.ask(guide(es) if es._search.pending is None else None), es.n_iter_
    hit += interrupted(lambda: es.tell(X, values(X)), k)
    if es.n_iter_ == t:
        es.tell(X, values(X))
    return hit


def in_parts(es, values, k):
    """Pairs of point and value in two parts."""
    X, t = es.ask(guide(es)), es.n_iter_
    hit = 0
    for part in (slice(0, 2), slice(2, None)):
        pairs = list(zip(X[part], values(X[part]), strict=True))
        hit += interrupted(lambda pairs=pairs: es.tell(pairs), k)
        if es.n_iter_ == t:
            es.tell(pairs)
    return hit


def by_trials(es, values, k):
    """One by one; the last completes the generation."""
    t, hit = es.n_iter_, 0
    for trial in list(es.ask_trials(guide(es))):
        hit += interrupted(lambda trial=trial: es.tell_trial(trial.id, values(trial.x)), k)
        if es.n_iter_ == t:
            es.tell_trial(trial.id, values(trial.x))
    return hit


def outcome(name, way, k, options):
    """Everything fitted after a search that was interrupted wherever it can be."""
    es, hits = make(name, **{"n_pairs": 2, "max_iter": 3, **options}).start(X0), 0
    while not es.stop_reason_:
        hits += way(es, bowl, k)
    return bits(fitted(es)), bits(es.state_), hits


CASES = [(name, {}) for name in STRATEGIES] + [
    ("guided-es", {"optimizer": SGD(momentum=0.9)}),
    ("vanilla-es", {"optimizer": InPlace(), "learning_rate": 0.1}),
    ("guided-es", {"n_pairs": 4, "alpha": "auto", "sigma": "auto", "learning_rate": "auto"}),
]


@pytest.mark.skipif(_jit.DISABLED, reason="kernels would be interrupted, too: slow")
@pytest.mark.parametrize("way", [whole, in_parts, by_trials])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_interrupted_at_any_line(name, options, way):
    """Called again if it has not happened, the search goes on bit for bit as if nothing had."""
    assert takes(name, **options)
    expected, state, _ = outcome(name, way, 10**9, options)
    places = 0
    for k in range(10**4):
        found, after, hits = outcome(name, way, k, options)
        if not hits:
            break
        places += hits
        assert found == expected
        assert after == state
    assert places > 100


# -- parameters, and functions that raise --------------------------------------------------------

CHANGES = [
    ("guided-es", {"optimizer": SGD(momentum=0.9)}, {"optimizer__momentum": 0.5, "n_pairs": 3}),
    ("vanilla-es", {}, {"sigma": 0.2, "learning_rate": 0.3}),
    ("vanilla-es", {}, {"max_iter": 2}),  # which ends the search
    ("snes", {}, {"n_pairs": 4, "shaping": "centered_ranks"}),
]


def changed(name, options, change, k):
    """A search whose parameters change in mid-generation, interrupted at the k-th line of that."""
    es = make(name, n_pairs=2, max_iter=4, **copy.deepcopy(options)).start(X0)
    for _ in range(2):
        es.tell(es.ask(guide(es)), bowl(es.ask()))
    if "max_iter" not in change:
        trial = next(es.ask_trials(guide(es)))
        es.tell_trial(trial.id, bowl(trial.x))
    before = bits(fitted(es)), bits(es.state_), es._search.pending
    hit = interrupted(lambda: es.set_params(**change), k)
    if hit and es.stop_reason_ is None:
        assert (bits(fitted(es)), bits(es.state_), es._search.pending) == before
    es.set_params(**change)
    while not es.stop_reason_:
        X = es.ask(guide(es) if es._search.pending is None else None)
        es.tell(X, bowl(X))
    return bits(fitted(es)), bits(es.state_), es.get_params(), hit


@pytest.mark.skipif(_jit.DISABLED, reason="kernels would be interrupted, too: slow")
@pytest.mark.parametrize(("name", "options", "change"), CHANGES)
def test_parameters_set_again_after_an_interruption(name, options, change):
    """Interrupted at any line, set_params has changed no result; called again, it is as if once."""
    *expected, _ = changed(name, options, change, 10**9)
    places = 0
    for k in range(10**4):
        *found, hit = changed(name, options, change, k)
        if not hit:
            break
        places += 1
        assert bits(found) == bits(expected)
    assert places > 50


def test_parameters_interrupted_while_they_are_checked(monkeypatch):
    """They are the old ones again."""
    es = make("vanilla-es").start(X0)
    before = snapshot(es)

    def check_parameters(self, n):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(es), "check_parameters", check_parameters)
    with pytest.raises(KeyboardInterrupt):
        es.set_params(sigma=0.5, n_pairs=2)
    assert snapshot(es) == before


@config
class Moody(EvolutionStrategy):
    """A strategy of the user's whose function ``mood`` may raise after it has learnt."""

    mood: object = None

    def _init(self, x):
        return State(x, 0)

    def _ask(self, state, surrogate):
        return state, Plan(Isotropic(state.x.size, 0.1), self.pairs(state.x.size))

    def _tell(self, state, told):
        x = state.x - 0.1 * told.gradient(1.0)
        if self.mood is not None:
            self.mood()
        return State(x, state.t + 1)


@pytest.mark.parametrize("way", [whole, in_parts, by_trials])
def test_a_strategy_that_raises_has_taken_no_step(way):
    """Told again, it goes on bit for bit; every other call of its function raises."""
    calls = []

    def mood():
        calls.append(None)
        if len(calls) % 2:
            raise ZeroDivisionError

    def search(mood):
        es = Moody(n_pairs=2, max_iter=3, random_state=7, mood=mood).start(X0)
        while not es.stop_reason_:
            before = snapshot(es)
            try:
                way(es, bowl, 10**9)
            except ZeroDivisionError:
                assert es._search.pending is not None
                kept = snapshot(es)
                assert kept["search"][1:3] == before["search"][1:3]  # state and record
                es.tell(es.ask(), bowl(es.ask()))
        return bits(fitted(es)), bits(es.state_)

    assert search(mood) == search(None)
    assert len(calls) == 6
