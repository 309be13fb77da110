"""Diagnostics: closed forms against exact expectations, and optima against everything else.

Expectations of polynomials of normals are exact by Gauss-Hermite quadrature: with three nodes to
degree five in each normal. The weights are sixths, so a node of weight 4/6 is taken four times.
"""

import itertools
import math

import numpy as np
import pytest
from calibrated import assert_mean
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import _jit
from blackbox_es.diagnostics import (
    SurrogateQuality,
    mean_squared_error,
    optimal_alpha,
    optimal_beta,
)
from blackbox_es.generation import Generation
from blackbox_es.samplers import Guided, Isotropic

few = settings(deadline=None, max_examples=60, derandomize=True)
NODES = (-math.sqrt(3), 0.0, 0.0, 0.0, 0.0, math.sqrt(3))
unit = st.floats(0.0, 1.0)
inner = st.floats(0.01, 0.99)
sizes = st.integers(1, 5).flatmap(
    lambda k: st.fixed_dictionaries(
        {"k": st.just(k), "n": st.integers(k + 1, 2000), "n_pairs": st.integers(1, 500)}
    )
)


def every_combination(n_normals):
    return np.array(list(itertools.product(NODES, repeat=n_normals)))


# --- mean squared error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "k", "n_pairs"), [(2, 1, 1), (3, 1, 1), (2, 2, 1), (2, 0, 2), (1, 1, 2)]
)
@settings(few, max_examples=10)
@given(alpha=unit, beta=st.floats(0.0, 5.0), angle=st.floats(0.0, 3.0))
def test_mean_squared_error_is_the_exact_expectation(n, k, n_pairs, alpha, beta, angle):
    """Of ``|g - grad|^2 / |grad|^2`` over all directions of all pairs, f linear."""
    alpha = alpha if k else 1.0
    slope = np.array([math.cos(angle), math.sin(angle), 0.5])[:n]
    rows = np.eye(k, n)
    z = every_combination(n + k)
    d = math.sqrt(alpha / n) * z[:, :n] + math.sqrt((1 - alpha) / max(k, 1)) * z[:, n:] @ rows
    terms = beta * (d @ slope)[:, None] * d
    for _ in range(n_pairs - 1):  # the mean over pairs, all combinations again
        terms = (terms[:, None] + beta * ((d @ slope)[:, None] * d)[None]).reshape(-1, n)
    error = ((terms / n_pairs - slope) ** 2).sum(axis=1).mean() / (slope @ slope)
    r = (rows @ slope) @ (rows @ slope) / (slope @ slope)
    found = mean_squared_error(alpha, beta, r, n=n, k=k, n_pairs=n_pairs)
    assert found == pytest.approx(error, rel=1e-12, abs=1e-12)


# --- optimal beta and alpha ----------------------------------------------------------------------


@few
@given(sizes=sizes, alpha=unit, r=unit, factor=st.floats(0.0, 3.0))
def test_no_other_beta_has_a_lower_error(sizes, alpha, r, factor):
    """A parabola in beta with its vertex there; it is positive."""
    best = optimal_beta(alpha, r, **sizes)
    least = mean_squared_error(alpha, best, r, **sizes)
    assert best > 0
    assert 0 <= least <= 1
    assert mean_squared_error(alpha, factor * best, r, **sizes) >= least - 1e-15
    nearby = [mean_squared_error(alpha, best * (1 + h), r, **sizes) for h in (-0.5, 0.5)]
    assert nearby[0] == pytest.approx(nearby[1], rel=1e-9, abs=1e-15)


def least_error(alpha, r, sizes):
    return mean_squared_error(alpha, optimal_beta(alpha, r, **sizes), r, **sizes)


@few
@given(sizes=sizes, r=unit)
def test_no_other_alpha_has_a_lower_error(sizes, r):
    """Nor any of a grid of 501, each with its own best beta."""
    alpha = optimal_alpha(r, **sizes)
    assert 0 <= alpha <= 1
    grid = [least_error(a, r, sizes) for a in np.linspace(0, 1, 501)]
    assert least_error(alpha, r, sizes) <= min(grid) + 1e-12


@few
@given(sizes=sizes)
def test_three_regimes_of_alpha(sizes):
    """1 up to the level of chance, 0 from ``(k + q) / (n + q)``, continuous in between."""
    n, k, q = sizes["n"], sizes["k"], 2 * (sizes["n_pairs"] + 1)
    low, high = k / n, (k + q) / (n + q)
    assert optimal_alpha(low, **sizes) == optimal_alpha(0.0, **sizes) == 1.0
    assert optimal_alpha(high, **sizes) == optimal_alpha(1.0, **sizes) == 0.0
    inside = [optimal_alpha(low + (high - low) * f, **sizes) for f in (1e-9, 0.3, 0.6, 1 - 1e-9)]
    assert inside == sorted(inside, reverse=True)
    assert inside[0] == pytest.approx(1.0, abs=1e-4)
    assert inside[-1] == pytest.approx(0.0, abs=1e-4)


def test_isotropic_search_is_the_shrinkage_of_its_variance():
    """Without a guide ``beta = n P / (P + n + 1)``, and nothing depends on r."""
    for n, n_pairs in [(1, 1), (98, 1), (10, 1000)]:
        beta = optimal_beta(1.0, 0.0, n=n, k=0, n_pairs=n_pairs)
        assert beta == pytest.approx(n * n_pairs / (n_pairs + n + 1))
        assert optimal_beta(1.0, 0.7, n=n, k=0, n_pairs=n_pairs) == pytest.approx(beta)


# --- quality of the surrogate --------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (2, 2), (3, 2)])
@few
@given(alpha=inner, angle=st.floats(0.0, 3.0), scale=st.floats(1e-6, 1e6))
def test_quality_is_exact_over_all_combinations(n, k, alpha, angle, scale):
    """All nodes as one generation, f linear: the estimate is r to rounding."""
    slope = scale * np.array([math.cos(angle), math.sin(angle), 0.5])[:n]
    z = every_combination(n + k)
    rows = np.eye(k, n)
    d = math.sqrt(alpha / n) * z[:, :n] + math.sqrt((1 - alpha) / k) * z[:, n:] @ rows
    quality = SurrogateQuality().update(2 * d @ slope, z[:, n:], memory=1e9)
    r = (rows @ slope) @ (rows @ slope) / (slope @ slope)
    assert quality.r(alpha, n=n, k=k) == pytest.approx(r, rel=1e-6, abs=1e-9)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize("n_pairs", [1, 8, 100])
@pytest.mark.parametrize("r", [0.0, 0.1, 0.9])
def test_quality_converges_to_the_squared_cosine(n_pairs, r):
    """For any number of pairs; finds a share ``B / (A + B)`` that is off by ``.45 / sqrt(P)``.

    ``y^2 (|z|^2 - k) / 2 - share y^2`` has mean zero, which gives the interval of the share.
    """
    n, k, alpha = 10, 1, 0.9  # chance is r = 0.1; r = 0.9 is a share of one half
    guide, slope = np.eye(k, n), math.sqrt(r) * np.eye(n)[0] + math.sqrt(1 - r) * np.eye(n)[1]
    sampler = Guided(Isotropic(n, 0.1), guide, alpha)
    quality, zero_means, energies = SurrogateQuality(), [], []
    share = (1 - alpha) / k * r / ((1 - alpha) / k * r + alpha / n)
    for index in range(6000):
        generation = Generation(np.zeros(n), sampler, 11, index, n_pairs)
        plus, minus = (generation.points() @ slope).reshape(2, -1)
        latent = sampler.latent(generation.key, (0, n_pairs))
        quality = quality.update(plus - minus, latent, memory=math.inf)
        y2 = (plus - minus) ** 2
        energies.append(y2)
        zero_means.append(y2 * ((latent.astype(float) ** 2).sum(axis=1) - k) / 2 - share * y2)
    energy = np.mean(energies)
    assert_mean(np.ravel(zero_means) / energy, 0.0, detects=0.45 / math.sqrt(n_pairs))
    found = quality.guided / quality.energy
    assert found == pytest.approx(share + np.mean(zero_means) / energy)
    along, total = found * k / (1 - alpha), (1 - found) * n / alpha
    assert quality.r(alpha, n=n, k=k) == pytest.approx(min(max(along / total, 0.0), 1.0))


@few
@given(values=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=9), alpha=unit,
       k=st.integers(1, 3), more=st.integers(0, 50), seed=st.integers(0, 99))  # fmt: skip
def test_quality_is_between_zero_and_one(values, alpha, k, more, seed):
    latent = np.random.default_rng(seed).normal(size=(len(values), k)).astype(np.float32)
    quality = SurrogateQuality().update(np.array(values), latent, memory=20)
    assert 0 <= quality.r(alpha, n=k + more, k=k) <= 1


def test_quality_is_that_of_chance_before_anything_is_known():
    assert SurrogateQuality().r(0.5, n=40, k=2) == 2 / 40
    unknown = SurrogateQuality().update(np.zeros(3), np.ones((3, 2)), memory=200)
    assert unknown.r(0.5, n=40, k=2) == 2 / 40


@few
@given(power=st.integers(-200, 200), seed=st.integers(0, 99))
def test_quality_does_not_depend_on_the_scale_of_the_objective(power, seed):
    """Bit for bit for powers of two."""
    rng = np.random.default_rng(seed)
    values, latent = rng.normal(size=8), rng.normal(size=(8, 2))
    found, expected = (
        SurrogateQuality().update(scale * values, latent, memory=9).r(0.3, n=20, k=2)
        for scale in (2.0**power, 1.0)
    )
    assert found == expected


def test_quality_forgets_by_the_number_of_pairs():
    """A pair counts 1/e after ``memory`` more pairs, however they come in generations."""
    rng = np.random.default_rng(0)
    values, latent = rng.normal(size=60), rng.normal(size=(60, 2))
    once = SurrogateQuality().update(values[:1], latent[:1], memory=59)
    by_size = []
    for size in (1, 59):
        quality = once
        for start in range(1, 60, size):
            part = slice(start, start + size)
            quality = quality.update(0 * values[part], latent[part], memory=59)
        by_size.append(quality.energy / once.energy)
    assert by_size == pytest.approx([math.exp(-1)] * 2)


def test_quality_survives_values_of_any_size():
    """A penalty of 1e300 overflows nothing and does not end the estimate for good."""
    rng = np.random.default_rng(0)
    quality = SurrogateQuality().update(np.array([1e300, 1.0]), np.ones((2, 1)), memory=10)
    assert 0 <= quality.r(0.5, n=40, k=1) <= 1
    for _ in range(2000):  # forgets by exp(-2000)
        z = rng.normal(size=(10, 1))
        quality = quality.update(z[:, 0], z, memory=10)
    assert quality.r(0.5, n=40, k=1) > 0.5
