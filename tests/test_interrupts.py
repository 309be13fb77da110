"""Ctrl-C at any line of shell and strategies: the step has happened, or it has not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from problems import X0, bits, bowl, fitted, guide, make, takes

import blackbox_es
from blackbox_es import SGD, _jit, config
from blackbox_es.optimizers import Optimizer
from blackbox_es.strategies import STRATEGIES

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
    es, hits = make(name, n_pairs=2, max_iter=3, **options).start(X0), 0
    while not es.stop_reason_:
        hits += way(es, bowl, k)
    return bits(fitted(es)), bits(es.state_), hits


CASES = [(name, {}) for name in STRATEGIES] + [
    ("guided-es", {"optimizer": SGD(momentum=0.9)}),
    ("vanilla-es", {"optimizer": InPlace(), "learning_rate": 0.1}),
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
