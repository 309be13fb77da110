"""Theory: closed forms against exact expectations, and optima against everything else.

Expectations of polynomials of normals are exact by Gauss-Hermite quadrature: with three nodes to
degree five in each normal. The weights are sixths, so a node of weight 4/6 is taken four times.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blackbox_es import _jit
from blackbox_es.generation import Generation
from blackbox_es.samplers import Guided, Isotropic
from blackbox_es.testing.statistics import assert_distributed, assert_mean
from blackbox_es.theory import (
    SurrogateQuality,
    mean_squared_error,
    optimal_alpha,
    optimal_beta,
)

few = settings(deadline=None, max_examples=60, derandomize=True)
NODES = (-math.sqrt(3), 0.0, 0.0, 0.0, 0.0, math.sqrt(3))
unit = st.floats(0.0, 1.0)
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

THREE_NODES = ((-math.sqrt(3), 1 / 6), (0.0, 4 / 6), (math.sqrt(3), 1 / 6))


def expectation(f, n_normals):
    """Of ``f(normals)``, a tuple of polynomials: exact to degree five in each of the normals."""
    total = 0.0
    for nodes in itertools.product(THREE_NODES, repeat=n_normals):
        z, weights = np.transpose(nodes)
        total = total + math.prod(weights) * np.array(f(z))
    return total


def unit_vector(k):
    return np.cos(np.arange(k)) / np.linalg.norm(np.cos(np.arange(k)))


@pytest.mark.parametrize(("n_pairs", "k"), [(2, 1), (4, 1), (3, 2)])
@settings(few, max_examples=6)
@given(share=unit, sizes=st.data())
def test_regression_has_no_bias_whatever_the_differences(n_pairs, k, share, sizes):
    """The exact expectation over z for given y, be they as unequal as they like.

    Given ``y = b z + e``, z has mean ``y b / v`` and covariance ``I - b b^T / v``, v = var y.
    """
    of_y = st.floats(-1e3, 1e3).filter(lambda v: abs(v) > 1e-3)
    y = np.array(sizes.draw(st.lists(of_y, min_size=n_pairs, max_size=n_pairs)))
    u = unit_vector(k)
    root = np.eye(k) - (1 - math.sqrt(1 - share)) * np.outer(u, u)

    def sums(normals):
        z = math.sqrt(share) * y[:, None] * u + normals.reshape(n_pairs, k) @ root
        quality = SurrogateQuality().update(y, z, memory=math.inf)
        return quality.guided, quality.rest

    expected = [n_pairs * k * share, n_pairs * (1 - share)]
    assert expectation(sums, n_pairs * k) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n_pairs", "k"), [(1, 1), (1, 3), (2, 2)])
@settings(few, max_examples=6)
@given(share=unit)
def test_moments_have_no_bias_beside_a_running_scale(n_pairs, k, share):
    """The exact expectation over z and e, the scale known from many pairs before."""
    before, u = SurrogateQuality(weight=1e15, level=math.log(3.0)), unit_vector(k)

    def sums(normals):
        z, e = normals[n_pairs:].reshape(n_pairs, k), normals[:n_pairs]
        y = math.sqrt(share) * z @ u + math.sqrt(1 - share) * e
        quality = before.update(y, z, memory=math.inf)
        return quality.guided, quality.rest

    expected = np.array([n_pairs * k * share, n_pairs * (1 - share)]) / 9
    found = expectation(sums, n_pairs * (k + 1))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def generations(n, k, alpha, r, n_pairs, count):
    """Differences and normals of generations of the package for a linear f."""
    slope = np.zeros(n)
    slope[:k], slope[k] = math.sqrt(r) * unit_vector(k), math.sqrt(1 - r)
    sampler = Guided(Isotropic(n, 0.1), np.eye(k, n), alpha)
    for index in range(count):
        generation = Generation(np.zeros(n), sampler, 11, index, n_pairs)
        plus, minus = (generation.points() @ slope).reshape(2, -1)
        yield plus - minus, sampler.latent(generation.key, (0, n_pairs))


def share_of_guides(n, k, alpha, r):
    along, across = (1 - alpha) / k * r, alpha / n
    return along / (along + across)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize("n_pairs", [2, 8])
@pytest.mark.parametrize("r", [0.0, 0.1, 0.9])
def test_rest_of_a_generation_is_distributed_as_stated(n_pairs, r):
    """One guide: ``1 - s`` times ``chi2 / (P-1)`` with P - 1 degrees of freedom."""
    setting = {"n": 10, "k": 1, "alpha": 0.5, "r": r}
    rest = [
        SurrogateQuality().update(y, z, memory=1.0).rest / n_pairs
        for y, z in generations(**setting, n_pairs=n_pairs, count=6000)
    ]
    sample = np.array(rest) / (1 - share_of_guides(**setting)) * (n_pairs - 1)
    assert_distributed(sample, stats.chi2(n_pairs - 1).cdf, detects=0.08)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize(("n_pairs", "k"), [(8, 3), (100, 3), (4, 2)])
def test_rest_has_the_moments_stated_for_several_guides(n_pairs, k):
    """Mean ``1 - s``; mean square ``(P+1) P / ((P-k+1) (P-k))`` times its square."""
    setting = {"n": 10, "k": k, "alpha": 0.5, "r": 0.5}
    rest = [
        SurrogateQuality().update(y, z, memory=1.0).rest / n_pairs
        for y, z in generations(**setting, n_pairs=n_pairs, count=10_000)
    ]
    sample = np.array(rest) / (1 - share_of_guides(**setting))
    ratio = (n_pairs + 1) * n_pairs / ((n_pairs - k + 1) * (n_pairs - k))
    assert_mean(sample, 1.0, std=math.sqrt(ratio - 1), detects=0.25)
    assert np.mean(sample**2) == pytest.approx(ratio, rel=0.15)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize("r", [0.0, 0.1, 0.9])
def test_single_pairs_converge_to_the_squared_cosine(r):
    setting = {"n": 10, "k": 1, "alpha": 0.9, "r": r}  # r = 0.9 is a share of one half
    quality, share = SurrogateQuality(), share_of_guides(**setting)
    for y, z in generations(**setting, n_pairs=1, count=20_000):
        quality = quality.update(y, z, memory=2000.0)
    found = quality.guided / (quality.guided + quality.rest)  # of an effective 4000 pairs
    assert found == pytest.approx(share, abs=0.15)


MEDIAN_WITHIN = {1: 1.07, 3: 1.12}  # a factor
EIGHTY_PERCENT_WITHIN = {1: 1.4, 3: 1.6}


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n_pairs", [2, 8, 100])
@pytest.mark.parametrize("r", ["chance", 0.1, 0.5, 0.9])
def test_quantiles_of_the_estimate(n_pairs, k, r):
    """In a thousand dimensions, with the memory of `GuidedES` and new guides every generation.

    With P <= k there is only a bound on how wrong the moments are, above and below chance.
    """
    n, alpha, rng = 1000, 0.5, np.random.default_rng(5)
    chance = k / n
    r = chance if r == "chance" else r
    estimates = []
    for _ in range(41):
        quality = SurrogateQuality()
        for _ in range(max(600 // n_pairs, 6)):
            z = rng.standard_normal((n_pairs, k), dtype=np.float32)
            u = rng.normal(size=k)
            y = math.sqrt((1 - alpha) / k * r) * (z @ (u / np.linalg.norm(u)))
            y += math.sqrt(alpha / n) * rng.normal(size=n_pairs)
            quality = quality.update(y, z, memory=200.0)
        estimates.append(quality.r(alpha, n=n, k=k))
    low, median, high = np.quantile(estimates, [0.1, 0.5, 0.9])
    if n_pairs > k:
        assert max(median / r, r / median) < MEDIAN_WITHIN[k]
        assert r / low < EIGHTY_PERCENT_WITHIN[k]
        assert high < min(EIGHTY_PERCENT_WITHIN[k] * r, 1.0 + 1e-12)
    elif r == chance:
        assert chance / 2 < median < 2 * chance
    else:
        assert low > chance
        assert median > 5 * chance


@few
@given(values=st.lists(st.floats(), min_size=1, max_size=9), alpha=unit,
       ks=st.lists(st.integers(1, 4), min_size=1, max_size=4), more=st.integers(0, 50),
       seed=st.integers(0, 99))  # fmt: skip
def test_quality_is_between_zero_and_one(values, alpha, ks, more, seed):
    """Whatever the values, infinite and not a number among them, and as the guides change."""
    rng, quality = np.random.default_rng(seed), SurrogateQuality()
    for k in ks:
        latent = rng.normal(size=(len(values), k)).astype(np.float32)
        quality = quality.update(rng.permutation(values), latent, memory=20)
        assert np.isfinite(dataclasses.astuple(quality)).all()
        assert 0 <= quality.r(alpha, n=k + more, k=k) <= 1


def test_quality_is_that_of_chance_before_anything_is_known():
    assert SurrogateQuality().r(0.5, n=40, k=2) == 2 / 40
    for nothing in (np.zeros(3), np.full(3, np.nan), np.array([1.0, np.inf, 0.0])):
        unknown = SurrogateQuality().update(nothing, np.ones((3, 2)), memory=200)
        assert unknown.r(0.5, n=40, k=2) == 2 / 40


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_quality_is_that_of_chance_where_it_cannot_be_known(alpha):
    """All differences are due to the guides, or none."""
    rng = np.random.default_rng(0)
    quality = SurrogateQuality().update(rng.normal(size=8), rng.normal(size=(8, 2)), memory=200)
    assert quality.r(alpha, n=40, k=2) == 2 / 40


def test_quality_of_a_gradient_within_the_span_is_one():
    """To rounding; with one guide, to far less than the square root of it."""
    z = np.random.default_rng(0).normal(size=(8, 3))
    assert SurrogateQuality().update(z @ [1, 2, 3], z, memory=200).r(0.5, n=1000, k=3) == 1.0
    z, e = z[:, :1], z[:, 1]
    small = SurrogateQuality().update(z[:, 0] + 1e-12 * e, z, memory=200)
    smaller = SurrogateQuality().update(z[:, 0] + 1e-13 * e, z, memory=200)
    assert small.rest / smaller.rest == pytest.approx(100, rel=0.01)


@few
@given(power=st.integers(-200, 200), seed=st.integers(0, 99), k=st.sampled_from([2, 8]))
def test_quality_does_not_depend_on_the_scale_of_the_objective(power, seed, k):
    """Bit for bit for powers of two."""
    rng = np.random.default_rng(seed)
    values, latent = rng.normal(size=8), rng.normal(size=(8, k))
    found, expected = (
        SurrogateQuality().update(scale * values, latent, memory=9).r(0.3, n=20, k=k)
        for scale in (2.0**power, 1.0)
    )
    assert found == expected


def test_generations_count_alike_whatever_their_gradients():
    """More pairs than guides: their lengths change no bit."""
    rng = np.random.default_rng(0)
    for k in (1, 3):
        same = different = SurrogateQuality()
        for _ in range(50):
            y, z, scale = (
                rng.normal(size=8),
                rng.normal(size=(8, k)),
                2.0 ** rng.integers(-500, 500),
            )
            same, different = same.update(y, z, 200.0), different.update(scale * y, z, 200.0)
        assert (same.guided, same.rest) == (different.guided, different.rest)


@pytest.mark.parametrize("outlier", [1e3, 1e300, 1e-300])
def test_one_generation_does_not_dominate_the_moments(outlier):
    """It counts as a hundred pairs at most, of 400, and is soon forgotten."""
    rng = np.random.default_rng(1)
    quality, shares = SurrogateQuality(), []
    for index in range(3000):
        z = rng.normal(size=(1, 1))
        y = z[:, 0] + 2.0 * rng.normal(size=1)  # a share of 0.2
        if index == 1500:
            y, z = np.array([outlier]), np.array([[2.0]])
        quality = quality.update(y, z, memory=400.0)
        shares.append(quality.guided / (quality.guided + quality.rest))
    assert abs(shares[1500] - shares[1499]) < 0.4
    assert shares[-1] == pytest.approx(0.2, abs=0.15)


@few
@given(seed=st.integers(0, 99), k=st.integers(1, 9), failed=st.sets(st.integers(0, 7)))
def test_differences_of_zero_are_left_out(seed, k, failed):
    rng = np.random.default_rng(seed)
    before = SurrogateQuality().update(rng.normal(size=8), rng.normal(size=(8, k)), memory=50)
    values, latent = rng.normal(size=8), rng.normal(size=(8, k))
    values[list(failed)] = 0.0
    without = [np.delete(a, list(failed), axis=0) for a in (values, latent)]
    assert before.update(values, latent, memory=50) == before.update(*without, memory=50)
    assert before.update(0 * values, latent, memory=50) == before


@pytest.mark.parametrize("n_pairs", [2, 8])
def test_quality_does_not_depend_on_how_many_guides_there_were(n_pairs):
    """The same r by one guide and by three, in turn."""
    n, alpha, r, rng = 1000, 0.5, 0.003, np.random.default_rng(3)
    quality = SurrogateQuality()
    for index in range(6000):
        k = 1 if index % 2 else 3
        z = rng.normal(size=(n_pairs, k))
        y = math.sqrt((1 - alpha) / k * r) * z[:, 0] + math.sqrt(alpha / n) * rng.normal(
            size=n_pairs
        )
        quality = quality.update(y, z, memory=20_000.0)
    assert quality.r(alpha, n=n, k=3) == quality.r(alpha, n=n, k=1) == pytest.approx(r, rel=0.15)


@pytest.mark.parametrize("k", [1, 60])
def test_quality_forgets_by_the_number_of_pairs(k):
    """A pair counts 1/e after ``memory`` more pairs, however they come in generations."""
    rng = np.random.default_rng(0)
    values, latent = rng.normal(size=60), rng.normal(size=(60, k))
    for size in (1, 59):
        once, never = SurrogateQuality(guided=1e9, rest=1e9, weight=1.0), SurrogateQuality()
        for start in range(1, 60, size):
            part = slice(start, start + size)
            once = once.update(values[part], latent[part], memory=59)
            never = never.update(values[part], latent[part], memory=59)
        assert once.rest / 1e9 == pytest.approx(math.exp(-1), rel=1e-4)
        assert once.guided / 1e9 == pytest.approx(math.exp(-1), rel=1e-4)
        assert once.weight - never.weight == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("k", [1, 12])
def test_quality_survives_values_of_any_size(k):
    """A penalty of 1e300 overflows nothing and does not end the estimate for good."""
    rng = np.random.default_rng(0)
    quality = SurrogateQuality().update(np.array([1e300, 1.0]), np.ones((2, k)), memory=10)
    assert 0 <= quality.r(0.5, n=40, k=k) <= 1
    for _ in range(2000):  # forgets by exp(-2000)
        z = rng.normal(size=(10, k))
        quality = quality.update(z[:, 0], z, memory=10 * k)
    assert quality.r(0.5, n=40, k=k) > 0.5
