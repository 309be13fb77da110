"""Mean and variance of the estimate with its real noise, at known error rates.

With ``c`` fixed and ``s = c @ d`` normal of variance ``tau^2 = n sigma^2 c' Sigma c``, Stein's
lemma gives ``E[d h(s)] = n sigma^2 Sigma c E[h'(s)]``, hence closed forms for functions of
``c @ x``.
"""

import math

import numpy as np
import pytest
import reference

from blackbox_es import _jit
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Guided, Isotropic
from blackbox_es.testing.statistics import assert_mean
from blackbox_es.theory import mean_squared_error

pytestmark = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")

N, SIGMA, BETA = 6, 0.5 / math.sqrt(6), 1.5
X = np.array([0.3, -0.2, 0.1, 0.4, -0.5, 0.2])
C = np.array([1.0, -0.5, 2.0, 0.3, 0.7, -1.2])
ROWS = np.linalg.qr(np.vander(np.linspace(-1, 1, N), 2))[0].T.copy()
CASES = {"isotropic": 1.0, "guided": 0.4, "in the subspace": 0.0}
every_case = pytest.mark.parametrize("alpha", CASES.values(), ids=CASES)


def estimates(f, n_pairs, count, alpha):
    """One estimate of the gradient for each of many generations; f takes rows of points."""
    sampler = Guided(Isotropic(N, SIGMA), ROWS, alpha)
    return np.array([estimate(f, Generation(X, sampler, 5, i, n_pairs)) for i in range(count)])


def estimate(f, generation, other=None):
    plus, minus = f(generation.points()).reshape(2, -1)
    told = Told(other or generation, np.array([plus, minus]), generation.n_pairs)
    return told.gradient(BETA)


def law_mean(estimates, f, factor, alpha):
    """``E[g] = beta Sigma c factor``. Finds errors of 9 % of the length in any coordinate."""
    g = estimates(f, 256, 1024, alpha)
    expected = BETA * reference.shape(alpha, ROWS) @ C * factor
    assert_mean(g.T, expected, detects=0.09 * np.linalg.norm(expected))


def tau2(alpha):
    return C @ reference.covariance(SIGMA, alpha, ROWS) @ C


def law_cubic(estimates, alpha=0.4):
    """``(c @ x)^3`` has the factor ``E 3 (c @ x + s)^2 = 3 (c @ x)^2 + 3 tau^2``."""
    law_mean(estimates, lambda x: (x @ C) ** 3, 3 * (C @ X) ** 2 + 3 * tau2(alpha), alpha)


def law_kink(estimates, alpha=0.4):
    """``|c @ x|`` has the factor ``E sign(c @ x + s) = erf(c @ x / (tau sqrt(2)))``."""
    factor = math.erf(C @ X / math.sqrt(2 * tau2(alpha)))
    law_mean(estimates, lambda x: np.abs(x @ C), factor, alpha)


def law_step(estimates, alpha=0.4):
    """``1 if c @ x > 0`` has the factor ``normal density of variance tau^2 at c @ x``."""
    t2 = tau2(alpha)
    factor = math.exp(-((C @ X) ** 2) / 2 / t2) / math.sqrt(2 * math.pi * t2)
    law_mean(estimates, lambda x: (x @ C > 0).astype(float), factor, alpha)


def law_bias_and_variance(estimates, alpha=0.4, n_pairs=16):
    """On a linear objective those of Maheswaranathan et al. 2019. Finds errors of 25 %.

    With ``r = |U^T c|^2 / |c|^2``, ``s0 = alpha/n`` and ``s1 = alpha/n + (1-alpha)/k``, relative
    to ``|c|^2``: ``variance = beta^2/P ((s0 + s0^2)(1-r) + (s1 + s1^2) r)`` and ``squared bias =
    (beta s0 - 1)^2 (1-r) + (beta s1 - 1)^2 r``.
    """
    g = estimates(lambda x: x @ C, n_pairs, 8192, alpha)
    k, length2 = len(ROWS), C @ C
    r = (ROWS @ C) @ (ROWS @ C) / length2
    s0, s1 = alpha / N, alpha / N + (1 - alpha) / k
    variance = BETA**2 / n_pairs * ((s0 + s0**2) * (1 - r) + (s1 + s1**2) * r)
    bias2 = (BETA * s0 - 1) ** 2 * (1 - r) + (BETA * s1 - 1) ** 2 * r
    mse = mean_squared_error(alpha, BETA, r, n=N, k=k, n_pairs=n_pairs)
    assert math.isclose(mse, bias2 + variance, rel_tol=1e-12)
    expected = BETA * reference.shape(alpha, ROWS) @ C
    for center, value in [(expected, variance), (C, mse)]:
        error2 = ((g - center) ** 2).sum(axis=1) / length2
        assert_mean(error2, value, detects=0.25 * value)


@every_case
@pytest.mark.parametrize("law", [law_cubic, law_kink, law_step])
def test_mean_is_the_closed_form(law, alpha):
    law(estimates, alpha)


@every_case
def test_bias_and_variance_are_the_closed_forms(alpha):
    law_bias_and_variance(estimates, alpha)


# --- wrong estimates are found -------------------------------------------------------------------


class Lying(Guided):
    """Draws with a sigma 10 % larger than it says."""

    def perturb(self, center, key, pairs):
        return center + 1.1 * (super().perturb(center, key, pairs) - center)

    def combine(self, weights, key, dtype):
        return 1.1 * super().combine(weights, key, dtype)


def with_wrong(sampler=Guided, base=Isotropic, rows=ROWS, index=lambda i: i, other=lambda i: i):
    def estimates(f, n_pairs, count, alpha):
        distribution = sampler(base(N, SIGMA), rows, alpha)

        def generation(i):
            return Generation(X, distribution, 5, i, n_pairs)

        return np.array(
            [estimate(f, generation(index(i)), generation(other(i))) for i in range(count)]
        )

    return estimates


WRONG = {
    "sigma 10 % too large": (law_cubic, with_wrong(sampler=Lying)),
    "noise reused": (law_kink, with_wrong(index=lambda i: 0, other=lambda i: 0)),
    "noise of the next generation": (law_cubic, with_wrong(other=lambda i: i + 1)),
    "subspace lost": (law_cubic, with_wrong(rows=ROWS[:1])),
    "subspace not orthonormal": (law_step, with_wrong(rows=ROWS + 0.2 * ROWS[0])),
    "subspace transposed": (law_cubic, with_wrong(rows=ROWS.T.reshape(2, N).copy())),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_estimates_are_found(fault):
    law, wrong = WRONG[fault]
    with pytest.raises(AssertionError):
        law(wrong)
