"""Orthogonal search: exact along what is searched, and its errors as in theory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import X0, bits, slope

from blackbox_es import GuidedES, OrthogonalES
from blackbox_es.samplers import Orthogonal, directions, orthonormal_rows, unit_guide
from blackbox_es.testing.statistics import assert_mean
from blackbox_es.theory import mean_squared_error, optimal_alpha, optimal_beta

KEY = (3, 5)


def estimate(c, guides=None, *, seed=0, **options):
    """The estimate of the gradient of ``c @ x`` at zero."""
    es = OrthogonalES(sigma=0.5, random_state=seed, **options).start(np.zeros(c.size))
    X = es.ask(guides)
    es.tell(X, X @ c)
    return es.gradient_


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("stop", [5, 40, 45])
def test_directions_are_orthogonal(k, stop):
    """Guides first; all of length ``sigma sqrt(n)``; any part alone; after n others begin."""
    rng = np.random.default_rng(0)
    rows = np.empty((0, 40))
    if k:
        rows = orthonormal_rows([unit_guide(row) for row in rng.standard_normal((k, 40))], float)
    sampler = Orthogonal(rows, sigma=0.5)
    assert (sampler.n, Orthogonal(rows).sigma) == (40, 1.0)
    d = directions(sampler, KEY, (0, stop))
    np.testing.assert_array_equal(d[:k], rows * (0.5 * np.sqrt(40)))
    for block in (d[:40], d[40:]):
        np.testing.assert_allclose(block @ block.T, 10.0 * np.eye(len(block)), atol=1e-13)
    np.testing.assert_array_equal(directions(sampler, KEY, (2, 4)), d[2:4])
    w = rng.standard_normal(stop)
    np.testing.assert_allclose(sampler.combine(w, KEY, float), w @ d, atol=1e-12)


@given(seed=st.integers(0, 99), n_pairs=st.integers(1, 8), k=st.integers(0, 3))
def test_the_estimate_is_the_projection(seed, n_pairs, k):
    """Of the gradient on what was searched: never a worse direction than a guide."""
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(8)
    guides = rng.standard_normal((8, k)) if k else None
    g = estimate(c, guides, seed=seed, n_pairs=n_pairs, n_guides=3)
    np.testing.assert_allclose(g @ g, c @ g, rtol=1e-9)  # a projection of c
    if n_pairs == 8:
        np.testing.assert_allclose(g, c, atol=1e-12)
    if 0 < k <= n_pairs:
        for guide in guides.T:
            np.testing.assert_allclose(g @ guide, c @ guide, atol=1e-9)  # exact along each
            assert cosine(g, c) >= abs(cosine(guide, c)) - 1e-9


@pytest.mark.parametrize(("n_pairs", "error"), [(2, 0.749), (500, 0.375)])
def test_the_error_is_that_of_theory(n_pairs, error):
    """``E |g - grad|^2 / |grad|^2 = (1 - r) (1 - (P - k) / (n - k))``, n = 1000, k = 1, r = .25."""
    c, guide = np.zeros(1000), np.zeros(1000)
    c[0], c[1], guide[0] = 0.5, np.sqrt(0.75), 1.0
    errors = [
        np.square(estimate(c, guide, seed=seed, n_pairs=n_pairs) - c).sum() for seed in range(30)
    ]
    expected = 0.75 * (1 - (n_pairs - 1) / 999)
    assert expected == pytest.approx(error, rel=0.01)
    assert_mean(np.array(errors), expected, detects=0.1 * expected)


def test_unbiased():
    """``E[g] = grad``, whatever the guide, with the error ``(1 - r) ((n - k) / (P - k) - 1)``."""
    c, guide = np.array([3.0, 4.0, 0.0, 0.0, 0.0, 0.0]), np.eye(6)[0]
    found = np.array([estimate(c, guide, seed=s, n_pairs=3, unbiased=True) for s in range(4000)])
    np.testing.assert_allclose(found[:, 0], c[0], rtol=1e-12)
    assert_mean(found.T[1:], c[1:], detects=0.8)
    assert_mean(np.square(found - c).sum(axis=1) / 25.0, 16.0 / 25.0 * (5 / 2 - 1), detects=0.1)


def test_past_estimates_as_guides():
    """Linear objectives: ``1 - X_t = (1 - X_{t-1}) (1 - P/(n-1))``, X the squared cosine.

    It holds of the mean given X_{t-1}, so that what is over has mean zero in each generation and no
    correlation between two: a law that is off by .016 in one of them, or by .005 in all, is found.
    """
    n, n_random, runs, generations = 40, 3, 1500, 12
    left = np.empty((runs, generations))
    for seed in range(runs):
        c = np.random.default_rng(seed).standard_normal(n)
        es = OrthogonalES(n_pairs=n_random + 1, n_past=1, random_state=seed).start(np.zeros(n))
        for t in range(generations):
            X = es.ask()
            es.tell(X, X @ c)
            left[seed, t] = 1 - cosine(es.gradient_, c) ** 2
    over = left[:, 1:] - left[:, :-1] * (1 - n_random / (n - 1))
    assert_mean(over.T, np.zeros(generations - 1), detects=0.016)
    assert_mean(over.mean(axis=1), 0.0, detects=0.005)


@pytest.mark.parametrize(("n_pairs", "error"), [(2, 0.875), (500, 0.626)])
def test_the_error_of_guided_search_is_larger(n_pairs, error):
    """At its best alpha and beta, where orthogonal search has .749 and .375: within 1 %."""
    n, k, r = 1000, 1, 0.25
    alpha = optimal_alpha(r, n=n, k=k, n_pairs=n_pairs)
    beta = optimal_beta(alpha, r, n=n, k=k, n_pairs=n_pairs)
    expected = mean_squared_error(alpha, beta, r, n=n, k=k, n_pairs=n_pairs)
    assert expected == pytest.approx(error, rel=0.01)
    c, guide = np.zeros(n), np.zeros(n)
    c[0], c[1], guide[0] = 0.5, np.sqrt(0.75), 1.0
    errors = []
    for seed in range(4000 if n_pairs == 2 else 60):
        es = GuidedES(alpha=alpha, beta=beta, n_pairs=n_pairs, random_state=seed)
        X = es.start(np.zeros(n)).ask(guide)
        es.tell(X, X @ c)
        errors.append(np.square(es.gradient_ - c).sum())
    assert_mean(np.array(errors), expected, detects=0.06 * expected)


def test_guides_that_say_nothing():
    """They take no pair; the search is warned about nothing and counts them."""
    es = OrthogonalES(n_pairs=3, random_state=0).start(X0)
    assert bits(es.ask(np.zeros(3))) == bits(
        OrthogonalES(n_pairs=3, random_state=0).start(X0).ask()
    )
    assert es.n_surrogate_rejected_ == 1
    es = OrthogonalES(n_pairs=2, n_guides=5, random_state=0).start(X0)
    assert np.isfinite(es.ask(np.eye(3))).all()  # more guides than pairs
    es.tell(es.ask(), [slope(x)[0] for x in es.ask()])
    assert es.n_iter_ == 1


def test_failed_pairs():
    """The projection on what is left, the guide's included."""
    c = np.array([1.0, 2.0, 3.0])
    es = OrthogonalES(n_pairs=3, sigma=0.5, random_state=0).start(np.zeros(3))
    X = es.ask(np.array([0.0, 0.0, 1.0]))
    values = X @ c
    values[1] = np.nan
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        es.tell(X, values)
    q = X[[0, 2]] / np.linalg.norm(X[0])
    np.testing.assert_allclose(es.gradient_, q.T @ (q @ c), atol=1e-12)
