"""Descent along the surrogate alone: an exact path, in the shell that all strategies have."""

import numpy as np
import pytest
from problems import X0, bits, bowl, slope, state

from blackbox_es import GuidedES, SurrogateDescent, minimize
from blackbox_es.strategies import BASELINES, STRATEGIES

OPTIONS = {"optimizer": "sgd", "learning_rate": 0.2, "max_iter": 5}


def test_the_path_is_that_of_gradient_descent():
    """``x <- x - rate s(x)``, with one evaluation at each center, and one at the end."""
    seen, x = [], X0
    es = SurrogateDescent(**OPTIONS).fit(lambda x: seen.append(x) or bowl(x), X0, slope)
    for at in seen:
        np.testing.assert_array_equal(at, x)
        x = x - 0.2 * slope(x)
    assert (es.n_evaluations_, es.n_surrogate_calls_, len(seen)) == (6, 5, 6)
    assert (es.fun_, es.n_iter_, es.stop_reason_) == (bowl(es.x_), 5, "max_iter")


def test_ask_and_tell_are_fit(tmp_path):
    """By hand, through a file in each generation, by minimize: the same bits."""
    es = SurrogateDescent(**OPTIONS).start(X0)
    while not es.stop_reason_:
        X = es.ask(slope(es.x_))
        es.save(tmp_path / "run.npz")
        es = SurrogateDescent.load(tmp_path / "run.npz")
        es.tell(X, [bowl(x) for x in X])
    expected = SurrogateDescent(**OPTIONS).fit(bowl, X0, slope)
    assert state(es, final=False) == state(expected, final=False)
    found = minimize(bowl, X0, method="surrogate-descent", jac=slope, options=OPTIONS)
    assert bits(found.x) == bits(expected.x_)
    assert {*BASELINES}.isdisjoint(STRATEGIES)


def test_values_move_nothing():
    """Of 2 P evaluations of one center the mean is reported; failures of some change nothing."""
    values = iter(range(100))
    es = SurrogateDescent(**{**OPTIONS, "max_iter": 1}, n_pairs=3)
    es.fit(lambda x: float(next(values)), X0, slope)
    assert (es.n_evaluations_, es.history_["mean"][0]) == (7, 2.5)
    calls = iter([np.nan] + [1.0] * 99)
    broken = SurrogateDescent(**{**OPTIONS, "max_iter": 1}, n_pairs=3)
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        broken.fit(lambda x: next(calls), X0, slope)
    assert bits(broken.x_) == bits(es.x_)


@pytest.mark.parametrize("surrogate", [None, [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]])
def test_without_a_surrogate_it_stands_still(surrogate):
    """It is counted, and warned about once."""
    es = SurrogateDescent(**OPTIONS).start(X0)
    with pytest.warns(RuntimeWarning, match="SurrogateDescent stands still"):
        es.ask(surrogate)
    es.tell(es.ask(), [1.0])
    es.tell(es.ask(surrogate), [1.0])
    assert es.n_surrogate_rejected_ == 2
    assert bits(es.x_) == bits(X0)


def test_several_surrogates_are_their_mean():
    """Of shape (n, k)."""
    es = SurrogateDescent(**OPTIONS).start(X0)
    es.tell(es.ask(np.stack([slope(X0), -3 * slope(X0)], axis=1)), [1.0])
    np.testing.assert_allclose(es.gradient_, -slope(X0))


def test_budgets_and_limits():
    """One evaluation a generation, and one at the end; values at one point are no plateau."""
    es = SurrogateDescent(max_evals=40, max_iter=99).fit(lambda x: 1.0, X0, slope)
    assert (es.n_evaluations_, es.n_iter_, es.stop_reason_) == (40, 39, "max_evals")
    es = SurrogateDescent(max_evals=40, n_pairs=2, max_iter=99).fit(bowl, X0, slope)
    assert (es.n_evaluations_, es.n_iter_) == (37, 9)
    for bad in ({"n_pairs": 0}, {"learning_rate": 0.0}, {"optimizer": "x"}):
        (name,) = bad
        with pytest.raises(ValueError, match=name):
            SurrogateDescent(**bad).start(X0)


@pytest.mark.filterwarnings("ignore:the surrogate gradient has been no better")
def test_it_stalls_where_a_guide_goes_on():
    """A fixed bias: descent ends at the surrogate's zero, f = |b|^2 / 4; guided search below."""
    bias = np.full(20, 0.5)

    def f(x):
        return x @ x

    def biased(x):
        return 2 * x + bias

    x0 = np.ones(20)
    es = SurrogateDescent(optimizer="sgd", learning_rate=0.1, max_iter=300).fit(f, x0, biased)
    assert es.fun_ == pytest.approx(bias @ bias / 4)
    guided = GuidedES(sigma="auto", learning_rate="auto", alpha="auto", max_evals=3000,
                      random_state=0).fit(f, x0, biased)  # fmt: skip
    assert guided.fun_ < es.fun_ / 1e3
