"""The antithetic estimate: ``E[g] = beta Sigma grad f``, and nothing else comes in.

Most laws are those of `check_gradient_estimator`: here it runs over all that the package has. What
it cannot see follows. Directions that form an orthonormal design take the place of the expectation,
so that it holds to rounding; it is a function of the estimator, so that wrong ones can be shown to
fail.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import _jit, estimate_gradient, shaping
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Guided, Isotropic, LowRank, orthonormal_rows, unit_guide
from blackbox_es.testing import check_gradient_estimator

EPS = np.finfo(float).eps
few = settings(deadline=None, max_examples=30, derandomize=True)
N = LowRank(((3, 4), (4, 2))).n
ROWS = orthonormal_rows([g / np.linalg.norm(g) for g in np.eye(2, N) + 0.1], float)
SAMPLERS = {
    "isotropic": Isotropic(N, 0.3),
    "low rank": LowRank(((3, 4), (4, 2)), 0.3),
    "guided": Guided(Isotropic(N, 0.3), ROWS, 0.4),
    "guided low rank": Guided(LowRank(((3, 4), (4, 2)), 0.3), ROWS, 0.4),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


@dataclass(frozen=True)
class Design:
    """A sampler of given directions, those of pair p in row p."""

    matrix: np.ndarray
    sigma: float

    @property
    def n(self):
        return self.matrix.shape[1]

    def perturb(self, center, key, pairs):
        d = self.matrix[slice(*pairs)]
        return np.stack([center + d, center - d])

    def combine(self, weights, key, dtype):
        return (weights @ self.matrix[: weights.size]).astype(dtype)


def orthonormal_design(n_pairs, sigma, covariance, seed):
    """P directions with ``sum_p d_p d_p^T / P = n sigma^2 covariance``, exactly."""
    n = len(covariance)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_pairs, n)))
    values, vectors = np.linalg.eigh(covariance)
    return Design(sigma * np.sqrt(n * n_pairs) * q * np.sqrt(np.abs(values)) @ vectors.T, sigma)


def estimate(f, generation, beta=2.0, shape=shaping.raw):
    """What the package computes from the values of f."""
    values = np.array([f(x) for x in generation.points()]).reshape(generation.halves, -1)
    return Told(generation, shape(values), generation.n_pairs).gradient(beta)


def generation_at(x, sampler, n_pairs=5, seed=1, index=2, mirrored=True):
    return Generation(np.asarray(x, float), sampler, seed, index, n_pairs, mirrored)


# --- the laws of the kit -------------------------------------------------------------------------

BETA, ALPHA = 1.5, 0.4


def package(dtype=float, **options):
    """`estimate_gradient` as the kit calls it."""

    def estimator(objective, x, *, seed, surrogate=None):
        return estimate_gradient(
            objective, x.astype(dtype), surrogate, random_state=seed,
            **{"sigma": 0.1, "beta": BETA, "n_pairs": 32, "vectorized": True, **options},
        )  # fmt: skip

    return estimator


def generations(base, shape=shaping.raw):
    """What the package computes from a sampler; the seed is the index of the generation."""

    def estimator(objective, x, *, seed, surrogate=None):
        sampler = base
        if surrogate is not None:
            rows = orthonormal_rows(map(unit_guide, surrogate.T), float)
            sampler = Guided(base, rows, ALPHA)
        return estimate(objective, generation_at(x, sampler, 9, 2**64 - 1, seed), BETA, shape)

    return estimator


LAYERS = LowRank(((3, 4), (4, 2)), 0.1)
ON_LAYERS, GUIDED, RANKS = {"n": N}, {"k": 2, "alpha": ALPHA}, {"shaping": "ranks"}
ESTIMATORS = {
    # name: (estimator, what it is to be checked for)
    "isotropic": (package(), {}),
    "row by row": (package(vectorized=False, n_pairs=8), {}),
    "one pair": (package(n_pairs=1), {}),
    "float32": (package(np.float32), {}),
    "low rank": (package(sampler=LAYERS), ON_LAYERS),
    "low rank, float32": (package(np.float32, sampler=LAYERS), ON_LAYERS),
    "few signs": (package(sampler=LowRank(((2, 2),))), {}),
    **{
        f"guided, k={k}, alpha={alpha}": (package(alpha=alpha), {"k": k, "alpha": alpha})
        for k in (1, 2, 3)
        for alpha in (0.0, 0.4, 1.0)
    },
    "guided, float32": (package(np.float32, alpha=ALPHA), GUIDED),
    "guided, low rank": (package(alpha=ALPHA, sampler=LAYERS), ON_LAYERS | GUIDED),
    "guided, beta auto": (package(alpha=ALPHA, beta="auto"), {"beta": None} | GUIDED),
    **{
        f"{shape.__name__}, {name}": (package(shaping=shape, **options), RANKS | checked)
        for shape in shaping.RANK_BASED
        for name, options, checked in [
            ("isotropic", {}, {}),
            ("low rank", {"sampler": LAYERS}, ON_LAYERS),
            ("guided", {"alpha": ALPHA}, GUIDED),
            ("guided low rank", {"alpha": ALPHA, "sampler": LAYERS}, ON_LAYERS | GUIDED),
            ("guided, float32", {"dtype": np.float32, "alpha": ALPHA}, GUIDED),
        ]
    },
    "generations": (generations(Isotropic(N, 0.1)), ON_LAYERS),
    "generations, low rank": (generations(LAYERS), ON_LAYERS),
    "generations, guided": (generations(Isotropic(N, 0.1)), ON_LAYERS | GUIDED),
    "generations, guided low rank": (generations(LAYERS), ON_LAYERS | GUIDED),
    "generations, ranks": (generations(LAYERS, shaping.nes), ON_LAYERS | RANKS),
}


def assert_lawful(estimator, checked, seed=0):
    """All checks pass, or do not apply; none is too dear."""
    report = check_gradient_estimator(estimator, seed=seed, **{"beta": BETA, **checked})
    assert not [r for r in report if "costs" in str(r["exception"])]


@pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_laws_of_gradient_estimators(name, seed):
    assert_lawful(*ESTIMATORS[name], seed)


# --- exactly beta Sigma grad f -------------------------------------------------------------------


def law_expectation(estimate, *, n=9, k=2, extra_pairs=4, sigma=0.3, alpha=0.4, beta=1.7, seed=0):
    """``beta Sigma grad f`` for linear f, and for quadratic f whatever its curvature."""
    rng = np.random.default_rng(seed)
    rows = np.linalg.qr(rng.normal(size=(n, k)))[0].T
    covariance = reference.shape(alpha, rows)
    sampler = orthonormal_design(n + extra_pairs, sigma, covariance, seed)
    x, slope, curvature = rng.normal(size=n), rng.normal(size=n), rng.normal(size=(n, n))
    generation = generation_at(x, sampler, n + extra_pairs)
    for h in (np.zeros((n, n)), curvature + curvature.T):
        found = estimate(lambda y, h=h: 3.0 + slope @ y + y @ h @ y / 2, generation, beta)
        expected = beta * covariance @ (slope + h @ x)
        terms = max(3 + np.abs(slope) @ y + y @ np.abs(h) @ y for y in np.abs(generation.points()))
        rounding = 2 * EPS * terms * beta / sigma**2 * np.abs(sampler.matrix).mean(axis=0).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)


@few
@given(n=st.integers(2, 20), k=st.integers(1, 2), extra_pairs=st.integers(0, 9),
       sigma=st.floats(1e-3, 1e3), alpha=st.sampled_from([0.0, 0.5, 1.0]),
       beta=st.floats(0.1, 50), seed=st.integers(0, 99))  # fmt: skip
def test_expectation_is_beta_sigma_gradient(**problem):
    law_expectation(estimate, **problem)


def test_expectation_with_alpha_one_and_beta_n_is_the_gradient():
    n, slope = 12, np.arange(12.0)
    sampler = orthonormal_design(n, 0.1, np.eye(n) / n, seed=3)
    found = estimate(lambda y: slope @ y, generation_at(np.ones(n), sampler, n), beta=n)
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-12)


def test_estimate_equals_the_reference():
    x, slope = np.linspace(-1, 1, N), np.arange(float(N))
    for sampler in SAMPLERS.values():
        generation = generation_at(x, sampler)
        plus, _ = generation.pairs(0, 5)
        expected = reference.antithetic_gradient(
            lambda y: np.sin(slope @ y), x, plus - x, sampler.sigma, beta=2.0
        )
        found = estimate(lambda y: np.sin(slope @ y), generation)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def one_sided(f, generation, beta):
    at_center = f(generation.center)
    plus = np.array([2 * (f(x) - at_center) for x in generation.pairs(0, generation.n_pairs)[0]])
    return Told(generation, np.stack([plus, 0 * plus]), generation.n_pairs).gradient(beta)


WRONG_ESTIMATES = {
    "not divided by n": lambda f, g, beta: g.sampler.n * estimate(f, g, beta),
    "sigma, not sigma^2": lambda f, g, beta: g.sampler.sigma * estimate(f, g, beta),
    "P, not 2 P": lambda f, g, beta: 2 * estimate(f, g, beta),
    "sum, not mean": lambda f, g, beta: g.n_pairs * estimate(f, g, beta),
    "no beta": lambda f, g, beta: estimate(f, g, 1.0),
    "uphill": lambda f, g, beta: -estimate(f, g, beta),
    "one-sided differences": one_sided,
    "a pair missing": lambda f, g, beta: estimate(f, generation_at(g.center, g.sampler, 12), beta),
    "off center": lambda f, g, beta: estimate(lambda x: f(x + 1e-9), g, beta),
    "ranks": lambda f, g, beta: estimate(f, g, beta, shaping.centered_ranks),
}


@pytest.mark.parametrize("fault", WRONG_ESTIMATES)
def test_wrong_estimates_are_found(fault):
    with pytest.raises(AssertionError):
        law_expectation(WRONG_ESTIMATES[fault])


# --- what must not matter ------------------------------------------------------------------------


def rough(x):
    """A rugged function with steps."""
    return float(np.sin(50 * x).sum() + np.floor(3 * x).sum())


@every_sampler
@pytest.mark.parametrize("shape", shaping.SHAPINGS.values(), ids=shaping.SHAPINGS)
def test_swapped_halves_change_the_sign(sampler, shape):
    """``f(-x)`` about zero has minus the gradient: bit for bit for values, to rounding for sums."""
    generation = generation_at(np.zeros(N), sampler)
    swapped, found = (estimate(f, generation, shape=shape) for f in (lambda x: rough(-x), rough))
    np.testing.assert_allclose(swapped, -found, rtol=1e-12, atol=1e-13)
    if shape is shaping.raw:
        np.testing.assert_array_equal(swapped, -found)
