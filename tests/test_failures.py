"""Evaluations that fail: NaN, infinity, caught exceptions, and what becomes of their pairs."""

import itertools
import math

import numpy as np
import pytest
from problems import X0, bits, bowl, fit, make, snapshot, state, step, vanilla

from blackbox_es import EvaluationError
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)


def test_a_failed_pair_is_left_out():
    """NaN drops its pair and rescales by those that survive: half of them, twice the gradient."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 1.5, -2.0, 5.0, 8.0])
    without = values.copy()
    without[[0, 4, 2, 6]] = 0.0  # weight 0, but counted
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        es = step(np.where(np.arange(8) == 0, np.nan, np.where(np.arange(8) == 6, np.nan, values)),
                  beta=1.0)  # fmt: skip
    assert bits(es.gradient_) == bits(2.0 * step(without, beta=1.0).gradient_)
    assert es.n_failed_ == 2
    assert (es.fun_best_, es.history_["best"].tolist()) == (-2.0, [-2.0])
    assert es.fun_ == np.mean([2.0, 3.0, 4.0, 1.5, -2.0, 8.0])


@every
def test_failed_evaluations_warn_once(name):
    """One warning in each fit, however many evaluations fail, and the search goes on."""
    es, calls = make(name, max_iter=9, n_pairs=8), itertools.count(1)
    for _ in range(2):
        with pytest.warns(RuntimeWarning) as caught:
            fit(es, lambda x: math.nan if next(calls) % 9 == 0 else bowl(x))
        assert len(caught) == 1
    assert es.stop_reason_ == "max_iter"
    assert es.n_failed_ > 1
    assert np.isfinite([es.fun_best_, *es.history_["mean"], *es.x_]).all()


@pytest.mark.parametrize("shaping", ["raw", "standardized"])
def test_plus_infinity_is_a_failure_for_raw_values(shaping):
    """+inf is as NaN where the size of values counts."""
    values = np.array([1.0, np.nan, 3.0, 4.0, 1.5, -2.0, 5.0, 8.0])
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        nan = step(values, shaping=shaping)
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        inf = step(np.nan_to_num(values, nan=np.inf), shaping=shaping)
    assert state(nan) == state(inf)


@pytest.mark.parametrize("shaping", ["centered_ranks", "nes"])
def test_plus_infinity_is_the_worst_rank(shaping):
    """+inf is simply the worst value where only the order counts: nothing failed."""
    values = np.array([1.0, np.inf, 3.0, 4.0, 1.5, np.inf, 5.0, 8.0])
    es = step(values, shaping=shaping)
    assert bits(es.gradient_) == bits(
        step(np.nan_to_num(values, posinf=1e9), shaping=shaping).gradient_
    )
    assert (es.n_failed_, es.fun_best_, es.stop_reason_) == (0, 1.0, None)


@every
def test_minus_infinity_ends_the_search(name):
    """-inf stops with "unbounded", at the point that gave it; that is no failure."""
    es = fit(make(name), lambda x: -math.inf if x[0] > 0.52 else bowl(x))
    assert (es.stop_reason_, es.fun_best_, es.n_failed_) == ("unbounded", -math.inf, 0)
    assert es.x_best_[0] > 0.52
    assert np.isfinite(es.x_).all()
    assert (es.result_.success, es.result_.status) == (False, 5)


@pytest.mark.parametrize("n_failed", [1, 2, 3, 4])
def test_more_than_half_failed(n_failed):
    """More than half of the pairs failed: EvaluationError, and the state is unchanged."""
    es = vanilla().start(X0)
    values = np.arange(8.0)
    values[:n_failed] = np.nan
    X = es.ask()
    before = snapshot(es)
    if n_failed <= 2:
        with pytest.warns(RuntimeWarning, match="evaluations failed"):
            es.tell(X, values)
        return
    with pytest.raises(EvaluationError, match=f"{n_failed} of 4 pairs of generation 0 failed"):
        es.tell(X, values)
    assert snapshot(es) == before
    es.tell(X, np.arange(8.0))  # evaluated again
    assert es.n_iter_ == 1


@pytest.mark.parametrize("vectorized", [False, True])
def test_caught_exceptions_are_failures(vectorized):
    """catch=(TypeA,) makes TypeA a failed evaluation; other types come out."""

    def broken(error):
        def objective(x):
            if np.ndim(x) == 1 and x[2] > 2.08:
                raise error
            return bowl(x)

        return objective

    es = vanilla(catch=(ArithmeticError,), max_iter=5, vectorized=vectorized)
    if vectorized:
        with pytest.raises(EvaluationError, match="4 of 4 pairs"):
            es.fit(lambda X: 1 / 0, X0)
        return
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        es.fit(broken(ZeroDivisionError()), X0)
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        nan = vanilla(max_iter=5).fit(lambda x: math.nan if x[2] > 2.08 else bowl(x), X0)
    assert state(es) == state(nan)
    with pytest.raises(KeyError):
        es.fit(broken(KeyError()), X0)


def test_the_center_may_fail():
    """A caught exception at the final center makes fun_ NaN and counts as a failure."""

    def objective(x):
        if np.array_equal(x, es.x_):
            raise ZeroDivisionError
        return bowl(x)

    es = vanilla(catch=(ZeroDivisionError,))
    es.fit(objective, X0)
    assert math.isnan(es.fun_)
    assert es.n_failed_ == 1
    assert es.fun_best_ == min(es.history_["best"])


def test_a_warning_that_is_an_error_comes_last():
    """Where warnings are errors, as here, the generation is finished before one is raised."""
    es = vanilla(max_iter=1).start(X0)
    with pytest.raises(RuntimeWarning, match="evaluations failed"):
        es.tell(es.ask(), [np.nan, *range(7)])
    assert (es.n_iter_, es.n_failed_, es.stop_reason_) == (1, 1, "max_iter")
