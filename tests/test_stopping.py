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
    assert (es.stop_reason_, es.result_.status, es.result_.success) == ("max_evals", 1, False)
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
    assert (es.stop_reason_, es.n_iter_, es.result_.status) == ("max_time", 3, 1)


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
def test_f_target(name):
    """The generation in which a value is good enough is the last one: a success."""
    values = fit(make(name, max_iter=9)).history_["best"]
    target = float(np.sort(values)[len(values) // 2])
    last = int(np.argmax(values <= target))
    es = fit(make(name, max_iter=9, f_target=target))
    assert (es.stop_reason_, es.n_iter_) == ("f_target", last + 1)
    assert (es.result_.success, es.result_.status) == (True, 0)
    assert es.fun_best_ <= target
    told = loop(make(name, max_iter=9, f_target=target).start(X0))
    assert state(told, final=False) == state(es, final=False)
    assert fit(make(name, f_target=np.nextafter(min(values), -np.inf))).stop_reason_ == "max_iter"


@every
def test_f_target_goes_before_other_reasons_and_can_be_lowered(name):
    """What was reached was reached; with a lower target the search goes on."""
    es = fit(make(name, f_target=1e9, max_iter=1))
    assert (es.stop_reason_, es.n_iter_) == ("f_target", 1)
    assert es.set_params(f_target=-1.0, max_iter=5).stop_reason_ is None
    assert es.set_params(f_target=1e9).stop_reason_ == "f_target"
    assert es.set_params(f_target=None, max_iter=1).stop_reason_ == "max_iter"
    assert bits(loop(es.set_params(max_iter=5)).state_) == bits(fit(make(name)).state_)
    assert fit(make(name, f_target=3.0), lambda x: 3.0).stop_reason_ == "f_target"
    es = make(name, f_target=0.0).start(X0)
    es.tell(es.ask(guide(es)), [-np.inf, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert es.stop_reason_ == "f_target"
    for bad in (np.nan, "x", [0.0], True):
        with pytest.raises(ValueError, match="f_target"):
            make(name, f_target=bad).start(X0)


@every
@pytest.mark.parametrize("n_reevaluations", [1, 2, 5])
def test_the_final_center_is_evaluated_again(name, n_reevaluations):
    """fun_ is the mean; each has its own seed, the first that of the generation; all count."""
    seen = []

    def noisy(x, seed):
        seen.append((x.copy(), seed, bowl(x) + seed / 2**31))
        return seen[-1][2]

    es = fit(make(name, n_reevaluations=n_reevaluations), noisy)
    last = seen[-n_reevaluations:]
    assert len(seen) == es.n_evaluations_ == 30 + n_reevaluations
    assert len({bits(x)[2] for x, _, _ in last}) == 1
    assert len({seed for _, seed, _ in last}) == n_reevaluations
    assert es.fun_ == pytest.approx(np.mean([value for _, _, value in last]), rel=1e-15)
    once = []
    fit(make(name), lambda x, seed: once.append(seed) or bowl(x) + seed / 2**31)
    assert [seed for _, seed, _ in seen[:31]] == once
    same = fit(make(name, n_reevaluations=n_reevaluations))
    assert same.fun_ == bowl(same.x_)  # equal values have that mean, bit for bit
    rows = []
    fit(make(name, n_reevaluations=n_reevaluations, vectorized=True),
        lambda X, seed: rows.append(seed) or bowl(X) + seed / 2**31)  # fmt: skip
    assert rows[-n_reevaluations:] == [seed for _, seed, _ in last]


@every
@pytest.mark.parametrize("max_evals", [5, 10, 11, 12, 16, 17, 25])
def test_reevaluations_are_within_max_evals(name, max_evals):
    """They are set aside; more of them than there are evaluations is an error."""
    calls = []
    es = make(name, max_evals=max_evals, max_iter=99, n_reevaluations=5)
    fit(es, lambda x: calls.append(x) or bowl(x))
    assert len(calls) == es.n_evaluations_ == (max_evals - 5) // 6 * 6 + 5
    with pytest.raises(ValueError, match=f"n_reevaluations={max_evals + 1} does not fit into max"):
        es.set_params(n_reevaluations=max_evals + 1).start(X0)


def test_reevaluations_that_fail_are_left_out():
    """And counted; if all fail, fun_ is NaN."""
    calls = []

    def objective(x):
        calls.append(x)
        return np.nan if len(calls) in (32, 33) else bowl(x)

    es = fit(make("vanilla-es", n_reevaluations=4), objective)
    assert (es.fun_, es.n_failed_, es.n_evaluations_) == (bowl(es.x_), 2, 34)
    assert np.isnan(fit(es.set_params(n_reevaluations=2), lambda x: calls.clear() or np.nan
                        if np.array_equal(x, es.x_) else bowl(x)).fun_)  # fmt: skip
    for bad in (0, 1.0, None, True):
        with pytest.raises(ValueError, match="n_reevaluations"):
            make("vanilla-es", n_reevaluations=bad).start(X0)


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
    """As in SciPy: 0 is success, 1 a budget spent, and every other reason has its own status."""
    by_status = {0: set(), 1: set()}
    for reason, (status, message) in STOP_REASONS.items():
        by_status.setdefault(status, set()).add(reason)
        assert message
    assert (by_status.pop(0), by_status.pop(1)) == (set(_search.SUCCESS), set(_search.BUDGETS))
    assert all(len(reasons) == 1 for reasons in by_status.values())
    assert fit(make("vanilla-es")).result_.message == STOP_REASONS["max_iter"][1]
