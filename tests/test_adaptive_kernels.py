"""The compiled arithmetic of AdaptiveES against plain NumPy, and its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blackbox_es import _jit
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Affine
from blackbox_es.shaping import log_ranks
from blackbox_es.strategies.adaptive.kernels import adapted, moments, rates_of, towards
from blackbox_es.testing.statistics import assert_mean

full_or_diagonal = pytest.mark.parametrize("full", [True, False])
utilities = st.integers(1, 9).flatmap(
    lambda n_pairs: arrays(float, (2, n_pairs), elements=st.integers(-3, 3).map(float))
)


def told(u, n=3):
    rng = np.random.default_rng(0)
    sampler = Affine(np.eye(n) + 0.1 * rng.standard_normal((n, n)))
    return Told(Generation(np.zeros(n), sampler, 7, 3, u.shape[1]), u, u.shape[1])


def weights(u):
    """Those of the better half and of the worse, each with the sum 1."""
    better, worse = np.maximum(-u, 0), np.maximum(u, 0)
    return better / better.sum(), worse / worse.sum() if worse.any() else worse


@full_or_diagonal
@given(u=utilities)
def test_rates(full, u):
    """Weights and rates are those of the tutorial's formulas."""
    rates, n = rates_of(told(u), full), 3
    if not (u < 0).any():
        assert rates.size == 0
        return
    better, worse = weights(u)
    odd, mu = better[0] - better[1], 1 / np.square(better).sum()
    np.testing.assert_allclose(rates.odd, odd)
    np.testing.assert_allclose(rates.good, better.sum(axis=0))
    np.testing.assert_allclose(rates.size, np.linalg.norm(odd), atol=1e-15)
    slow = (mu + 2) / (n + mu + 5)
    damping = 0.7 * (1 + slow + 2 * max(0, np.sqrt((mu - 1) / (n + 1)) - 1))
    faster, boost = (1.4, 2) if full else ((n + 2) / 6, 2 * (n + 2) / 3)
    one = min(0.5, 2 * faster / ((n + 1.3) ** 2 + mu))
    many = 2 * boost * (mu - 2 + 1 / mu) / ((n + 2) ** 2 + boost * mu)
    many = max(0, min(1 - one, many))
    fast = (4 + mu / n) / (n + 4 + 2 * mu / n) if full else 4 / (n + 4)
    np.testing.assert_allclose(
        [rates.slow, rates.fast, rates.damping, rates.one, rates.many],
        [slow, fast, damping, one, many],
        atol=1e-15,
    )
    share = 1.0
    if full and many > 0 and worse.any():
        against = 1 / np.square(worse).sum()
        share = min(1 + one / many, 1 + 2 * against / (mu + 2), (1 - one - many) / (n * many))
    np.testing.assert_allclose(rates.bad, share * worse.sum(axis=0), atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_towards(dtype):
    """``(1 - c) path + sqrt(c (2 - c)) step`` in the dtype of the path."""
    path, step = np.arange(5, dtype=dtype), np.array([1.0, -1.0, 0.5, 0.0, 2.0])
    moved = towards(path, step, 0.3)
    assert moved.dtype == dtype
    expected = 0.7 * path.astype(float) + np.sqrt(0.3 * 1.7) * step
    eps = np.finfo(dtype).eps  # of the terms, one of which is near the negative of the other
    np.testing.assert_allclose(moved, expected, rtol=4 * eps, atol=4 * eps)


needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")


@pytest.mark.parametrize("n_pairs", [5, pytest.param(70_000, marks=needs_numba)])  # chunks: 1, 4
def test_moments(n_pairs):
    """The recombined latents, and their squares: a bad one counts by its direction."""
    u = log_ranks(np.random.default_rng(1).standard_normal((2, n_pairs)))
    generation = told(u)
    rates = rates_of(generation, True)
    chunks = [z for _, z in generation.latents()]
    assert len(chunks) == (1 if n_pairs == 5 else 4)
    z = np.concatenate(chunks).astype(float)
    first, second = moments(generation, rates)
    np.testing.assert_allclose(first, rates.odd @ z, rtol=1e-10, atol=1e-12)
    w = rates.good - rates.bad * 3 / np.square(z).sum(axis=1)
    np.testing.assert_allclose(second, (z.T * w) @ z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adapted(dtype):
    """``A (I + G / 2 + G^2 / 8)``, and A itself where the squares are what they should be."""
    rng, u = np.random.default_rng(2), np.array([[-1.0, 0.0, 2.0], [-0.5, 1.0, 0.0]])
    rates = rates_of(told(u), True)
    metric, second = rng.standard_normal((3, 3)).astype(dtype), rng.standard_normal((3, 3))
    fast, excess = rng.standard_normal(3).astype(dtype), rates.good.sum() - rates.bad.sum()
    one, many = rates.one * (np.outer(fast, fast) - np.eye(3)), rates.many * second
    g = one + many - rates.many * excess * np.eye(3)
    expected = metric @ (np.eye(3) + g / 2 + g @ g / 8)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(adapted(metric, second, rates, fast), expected, atol=tolerance)
    still = adapted(metric, excess * np.eye(3), rates._replace(one=0.0), fast)
    np.testing.assert_allclose(still, metric, atol=1e-15)


def test_the_covariance_is_unbiased_where_values_say_nothing():
    """Random ranks: what the squares have in excess of I is zero in the mean, bad points or not."""
    n, generations = 3, 4000
    u = np.random.default_rng(0).random((generations, 2, 5))
    excess = np.empty((generations, n, n))
    for t in range(generations):
        ranks = log_ranks(u[t])
        generation = Told(Generation(np.zeros(n), Affine(np.eye(n)), 1, t, 5), ranks, 5)
        rates = rates_of(generation, True)
        second = moments(generation, rates)[1]
        excess[t] = second - (rates.good.sum() - rates.bad.sum()) * np.eye(n)
    upper = np.triu_indices(n)
    assert_mean(excess[:, *upper].T, np.zeros(6), detects=0.2)
