"""Why and how a search stops: budgets, callbacks, flat objectives, underflow and overflow."""

import pickle

import numpy as np
import pytest
from problems import X0, bits, bowl, each, fit, guide, loop, make, plain, state, takes, taking

from blackbox_es import _search
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import STOP_REASONS

every = pytest.mark.parametrize("name", STRATEGIES)


@every
@pytest.mark.parametrize("max_evals", [1, 6, 7, 12, 13, 14, 25])
def test_max_evals_is_never_exceeded(name, max_evals):
    """Real calls are at most max_evals, the final center included, and as many as fit."""
    calls = []
    es = fit(make(name, max_evals=max_evals, max_iter=99), lambda x: calls.append(x) or bowl(x))
    assert len(calls) == es.n_evaluations_ == (max_evals - 1) // 6 * 6 + 1
    assert (es.stop_reason_, es.result_.status, es.result_.success) == ("max_evals", 1, True)
    assert es.fun_best_ <= es.fun_ == bowl(es.x_)


@every
def test_max_time(name, monkeypatch):
    """The search stops after the first generation that ends when max_time seconds have passed."""
    now = [100.0]
    monkeypatch.setattr(_search.time, "perf_counter", lambda: now[0])

    def objective(x):
        now[0] += 1.0
        return bowl(x)

    es = fit(make(name, max_time=15.0, max_iter=99), objective)
    assert (es.stop_reason_, es.n_iter_, es.result_.status) == ("max_time", 3, 2)


@every
def test_max_time_goes_along_with_a_copy(name, monkeypatch):
    """A search that is pickled takes the time it has used along, not the clock's reading."""
    now = [1000.0]
    monkeypatch.setattr(_search.time, "perf_counter", lambda: now[0])
    es = make(name, max_time=100.0, max_iter=99).start(X0)
    now[0] += 10.0
    es = pickle.dumps(es)
    now[0] = 5.0  # another process, another clock
    es = pickle.loads(es)
    for seconds, reason in ((80.0, None), (11.0, "max_time")):
        now[0] += seconds
        es.tell(es.ask(guide(es)), np.arange(6.0))
        assert es.stop_reason_ == reason


@every
@pytest.mark.parametrize("form", ["by name", "x"])
def test_callback_stops(name, form):
    """StopIteration after generation k: as if max_iter had been k, then only the center's value."""
    calls, seen = [], []

    def stop(x):
        seen.append(x)
        if len(seen) == 3:
            calls.clear()
            raise StopIteration

    def by_name(intermediate_result):
        assert intermediate_result.nit == len(seen) + 1
        stop(intermediate_result.x)

    es = make(name)
    callback = by_name if form == "by name" else stop
    fit(es, lambda x: calls.append(x) or bowl(x), callback=callback)
    assert bits(calls) == bits([es.x_])
    assert (es.stop_reason_, es.result_.status, es.result_.success) == ("callback", 99, False)
    expected = fit(make(name, max_iter=3))
    assert {**state(es), "stop_reason_": bits("max_iter")} == state(expected)
    assert bits(seen[2]) == bits(expected.x_)


@every
def test_callback_raises(name):
    """Another exception of the callback comes out, and the generation before it is complete."""

    def callback(x):
        if es.n_iter_ == 3:
            raise KeyError("mine")

    es = make(name)
    with pytest.raises(KeyError, match="mine"):
        fit(es, callback=callback)
    assert es.stop_reason_ is None
    assert state(loop(es), final=False) == state(fit(make(name)), final=False)


@every
def test_flat_objectives(name):
    """An objective that is the same everywhere stops the search with "flat", x unmoved."""
    es = fit(make(name, max_iter=999), lambda x: 3.0)
    assert (es.stop_reason_, es.fun_, es.result_.success) == ("flat", 3.0, False)
    assert es.n_iter_ < 100
    assert bits(es.x_) == bits(X0)
    es.start(X0)
    for _ in range(3):  # counted from the start again
        es.tell(es.ask(guide(es)), np.full(6, 3.0))
    assert es.stop_reason_ is None
    plateau = fit(make(name, max_iter=30), lambda x: 3.0 if es.n_iter_ % 9 else bowl(x))
    assert plateau.stop_reason_ != "sigma_underflow"


@each("shaping", "raw", "standardized", "centered_ranks", "nes")
def test_flat_generations_do_not_move(name, shaping):
    """All values equal leave the center where it is, exactly, with every shaping."""
    es = plain(name, shaping=shaping).start(X0)
    es.tell(es.ask(guide(es)), np.full(6, 0.1))
    assert bits(es.x_) == bits(X0)


@every
@pytest.mark.parametrize(
    ("sigma", "x0"), [(1e-30, X0), (1e-200, X0), (1e-9, np.float32(X0)), (5e-324, X0)]
)
def test_sigma_underflow(name, sigma, x0):
    """A sigma below the resolution of x stops the search with that reason."""
    es = fit(make(name, sigma=sigma), x0=x0)
    assert (es.stop_reason_, es.result_.success) == ("sigma_underflow", False)
    assert bits(es.x_) == bits(np.asarray(x0))


@every
@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([1.7e308, 1.0, 1.0, -1.7e308, 2.0, 3.0], {}),  # f+ - f-
        ([1.7e308, 1.6e308, 1.5e308, 1.0, 2.0, 3.0], {}),  # the sum of values
        ([1e200, 1.0, 1.0, 2.0, 2.0, 3.0], {}),  # its square
        ([1e308, 1.0, 1.0, 2.0, 2.0, 3.0], {"sigma": 1e-6}),  # the gradient
        ([1e300, 1.0, 1.0, 2.0, 2.0, 3.0], {"learning_rate": 1e300}),  # the step
        ([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], {"sigma": 1e-170}),  # 1/sigma^2
        ([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], {"sigma": 1e200}),  # sigma^2
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_overflow(name, values, options, optimizer):
    """Whatever overflows, x_ stays finite, and nothing but a stop reason speaks of it."""
    options = {"optimizer": optimizer, **options}
    options = {key: v for key, v in options.items() if takes(name, **{key: v})}
    es = make(name, **options).start(np.zeros(3))
    es.tell(es.ask(guide(es)), values)
    assert np.isfinite(es.x_).all()
    assert (es.n_iter_, es.fun_best_) == (1, min(values))
    assert es.stop_reason_ in (None, "non_finite", "diverged")
    if es.stop_reason_:
        assert not es.x_.any()
        assert (es.result_.success, es.result_.status) == (False, 6)


@taking(beta=1.0)
def test_diverging_steps_keep_the_last_finite_center(name):
    """A step out of the finite numbers is not made, and stops the search."""
    es = fit(make(name, optimizer="sgd", learning_rate=1e308), lambda x: 1e30 * bowl(x))
    assert es.stop_reason_ == "non_finite"
    assert np.isfinite(es.x_).all()
    assert np.isfinite(es.fun_)


def test_stop_reasons_are_listed():
    """Each reason has its own status and a message."""
    assert len({status for status, _ in STOP_REASONS.values()}) == len(STOP_REASONS)
    assert fit(make("vanilla-es")).result_.message == STOP_REASONS["max_iter"][1]
