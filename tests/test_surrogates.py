"""Surrogates in AdaptiveES: followed as far as they are worth it, and harmless else."""

import numpy as np
import pytest
from problems import bits, snapshot
from scipy.optimize import rosen, rosen_der

from blackbox_es.strategies import AdaptiveES
from blackbox_es.strategies.adaptive import guide as guides

ROOT = np.random.default_rng(1).standard_normal((240, 120)) / np.sqrt(240)
X120 = 1.0 + 0.3 * np.random.default_rng(2).standard_normal(120)


def dense(x):
    """A quadratic of condition 30, and its gradient."""
    return float(np.square(ROOT @ x).sum())


def gradient(x):
    return 2.0 * ROOT.T @ (ROOT @ x)


def noisy(cosine, seed=0):
    """The gradient and noise, as large as leaves this cosine."""
    rng, size = np.random.default_rng(seed), np.sqrt(1.0 / cosine**2 - 1.0)

    def surrogate(x):
        g, e = gradient(x), rng.standard_normal(x.size)
        return g + size * np.linalg.norm(g) / np.linalg.norm(e) * e

    return surrogate


def unrelated(x):
    return np.random.default_rng(x.view(np.uint64) % 2**32).standard_normal(x.size)


def evaluations(surrogate, objective=dense, x0=X120, seed=0, target=1e-8):
    """Until x_ is this good."""
    es = AdaptiveES(random_state=seed, max_evals=30_000, restarts=0).start(x0)
    while objective(es.x_) > target:
        at = es.surrogate_x_
        X = es.ask(None if surrogate is None or at is None else surrogate(at))
        es.tell(X, [objective(x) for x in X])
    return es.n_evaluations_


ALONE = evaluations(None)


@pytest.mark.parametrize(
    "surrogate",
    [gradient, lambda x: -gradient(x), lambda x: 1e-9 * gradient(x), noisy(0.9)],
    ids=["exact", "wrong sign", "another unit", "noise"],
)
def test_good_surrogates_gain(surrogate):
    """In many dimensions they need a fifth of the evaluations at the most."""
    assert evaluations(surrogate) < ALONE / 5


@pytest.mark.parametrize(
    "surrogate",
    [unrelated, lambda x: np.ones_like(x), noisy(0.3), lambda x: np.full_like(x, np.nan)],
    ids=["random", "fixed", "noise", "NaN"],
)
def test_bad_surrogates_cost_little(surrogate):
    assert evaluations(surrogate) < 1.15 * ALONE


def test_an_exact_gradient_is_a_quasi_newton_method():
    """In few dimensions, too, once differences have shown what it is."""
    x0 = np.zeros(10)
    assert evaluations(rosen_der, rosen, x0) < evaluations(None, rosen, x0) / 4


def test_a_gauge_says_how_much_of_the_gradient_is_shown():
    """Its estimate is cos^2 = (g s)^2 / (|g|^2 |s|^2) on the average over directions."""
    rng, n = np.random.default_rng(0), 200
    g, s = rng.standard_normal(n), rng.standard_normal(n)
    slopes = np.stack([guides.directions(s, index, 1.0) @ g for index in range(4000)])
    assert np.square(slopes[:, :-1]).mean() == pytest.approx(g @ g, rel=0.05)
    np.testing.assert_allclose(slopes[:, -1] ** 2 / n, (g @ s) ** 2 / (s @ s), rtol=1e-12)
    found = guides.gauged(guides.Guide(), guides.directions(g, 0, 1.0) @ g, g)
    assert found.alone
    assert found.factor == pytest.approx(1.0)
    assert not guides.gauged(guides.Guide(), guides.directions(s, 0, 1.0) @ g, s).alone


def test_surrogates_are_asked_for_where_they_are_of_use():
    """surrogate_x_ is the center of a descent without a slope; what is given else is ignored."""
    es = AdaptiveES(random_state=0).start(np.ones(3))
    assert es.surrogate_x_ is None  # its value comes first
    es.tell(es.ask(np.ones(3)), [3.0, 3.0])  # which shows that there is no noise
    assert bits(es.surrogate_x_) == bits(np.ones(3))
    es.ask(np.ones(3))
    assert es.surrogate_x_ is None


def test_fit_counts_the_calls():
    """It is ask and tell with a surrogate at surrogate_x_."""
    calls = []
    es = AdaptiveES(random_state=0, max_evals=200)
    es.fit(dense, X120, lambda x: calls.append(x) or gradient(x))
    assert es.n_surrogate_calls_ == len(calls) > 10
    loop = AdaptiveES(random_state=0, max_evals=200).start(X120)
    while not loop.stop_reason_:
        at = loop.surrogate_x_
        X = loop.ask(None if at is None else gradient(at))
        loop.tell(X, [dense(x) for x in X])
    assert bits(loop.state_) == bits(es.state_)


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 20])
def test_loaded_goes_on_bit_for_bit(stop, tmp_path):
    """With a guide that has been measured, and a ray in the middle."""

    def goes_on(es, n):
        for _ in range(n):
            at = es.surrogate_x_
            X = es.ask(None if at is None else gradient(at))
            es.tell(X, [dense(x) for x in X])
        return es

    es = goes_on(AdaptiveES(random_state=0, max_evals=9000).start(X120), stop)
    es.save(tmp_path / "run.npz")
    loaded = AdaptiveES.load(tmp_path / "run.npz")
    assert snapshot(goes_on(loaded, 30)) == snapshot(goes_on(es, 30))


@pytest.mark.parametrize("surrogate", [np.ones(4), np.ones((3, 0)), np.array(["a"] * 3)])
def test_what_is_no_surrogate_is_refused(surrogate):
    es = AdaptiveES(random_state=0).start(np.ones(3))
    es.tell(es.ask(), [3.0, 3.0])
    with pytest.raises((TypeError, ValueError), match="surrogate gradient"):
        es.ask(surrogate)


def test_a_budget_below_the_differences_is_used():
    """By surrogates, or by the evolution alone; it is not exceeded."""
    with_one = AdaptiveES(random_state=0, max_evals=150).fit(dense, X120, gradient)
    assert 100 < with_one.n_evaluations_ <= 150
    assert with_one.fun_ < 1e-8
    without = AdaptiveES(random_state=0, max_evals=150).fit(dense, X120)
    assert 100 < without.n_evaluations_ <= 150
    assert without.fun_ < dense(X120)


def path(surrogate, n=60):
    """Where some generations have led to."""
    es = AdaptiveES(random_state=0, max_evals=9000).start(X120)
    centers = []
    for _ in range(n):
        at = es.surrogate_x_
        X = es.ask(None if at is None else surrogate(at))
        es.tell(X, [dense(x) for x in X])
        centers.append(es.x_)
    return centers


@pytest.mark.parametrize("factor", [4.0, -1.0, 2.0**-40])
def test_the_unit_of_a_surrogate_does_not_matter(factor):
    """Powers of two, and the sign, change no bit."""
    noise = noisy(0.9)
    seen = {}

    def surrogate(x):
        return seen.setdefault(x.tobytes(), noise(x))

    plain = path(surrogate)
    assert bits(path(lambda x: factor * surrogate(x))) == bits(plain)


def test_a_surrogate_of_zeros_is_none():
    """Bit for bit."""
    assert bits(path(np.zeros_like)) == bits(path(lambda x: None))
