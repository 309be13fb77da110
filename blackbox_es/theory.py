"""How good a surrogate gradient is, and what follows for alpha and beta.

For linear objectives, and for any quadratic since antithetic differences cancel even terms, the
guided estimate with P pairs has a mean squared error that depends on the surrogate only through
``r = |U^T grad|^2 / |grad|^2``, the squared cosine between gradient and subspace.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._products import regress
from blackbox_es._value import value

Array = npt.NDArray[Any]

_MOST = math.log(10.0)  # of a generation's root mean square over the running geometric mean


def _moments(alpha: float, r: float, n: float, k: int) -> tuple[float, float]:
    """``g^T Sigma g / |g|^2`` and ``g^T Sigma^2 g / |g|^2``."""
    outside = alpha / n
    inside = outside + ((1.0 - alpha) / k if k else 0.0)
    return outside * (1.0 - r) + inside * r, outside**2 * (1.0 - r) + inside**2 * r


def optimal_beta(alpha: float, r: float, *, n: float, k: int, n_pairs: int) -> float:
    """The beta with the least mean squared error of the gradient estimate.

    ``beta = P m1 / ((P + 1) m2 + m1)`` with ``m1 = g^T Sigma g / |g|^2`` and
    ``m2 = g^T Sigma^2 g / |g|^2``, which minimises squared bias plus variance (from the bias and
    variance of Maheswaranathan et al. 2019, section 3).

    Parameters
    ----------
    alpha : float in [0, 1]
    r : float in [0, 1]
        Squared cosine between the gradient and the subspace.
    n, k, n_pairs : int
        Dimension, dimension of the subspace (0 for isotropic search), number of pairs. Where scales
        differ, k = 0 and n = ``1 / tr Sigma^2``, it is best on average over gradients.

    Examples
    --------
    >>> round(optimal_beta(1.0, 0.0, n=98, k=0, n_pairs=1), 12)  # n / (n + 2)
    0.98
    """
    m1, m2 = _moments(alpha, r, n, k)
    return n_pairs * m1 / ((n_pairs + 1) * m2 + m1) if m1 > 0.0 else float(k or n)


def mean_squared_error(
    alpha: float, beta: float, r: float, *, n: int, k: int, n_pairs: float
) -> float:
    """``E|g - grad|^2 / |grad|^2`` of the guided estimate on a linear objective.

    ``1 - 2 beta m1 + beta^2 (m2 + (m1 + m2) / P)``, with m1 and m2 of `optimal_beta`: squared
    bias plus variance. Neither depends on sigma. With ``n_pairs=inf`` it is the squared bias.

    Parameters
    ----------
    alpha : float in [0, 1]
    beta : float
    r : float in [0, 1]
        Squared cosine between the gradient and the subspace.
    n, k : int
        Dimension, dimension of the subspace (0 for isotropic search).
    n_pairs : int or inf

    Examples
    --------
    >>> beta = optimal_beta(0.5, 0.25, n=1000, k=1, n_pairs=8)
    >>> round(mean_squared_error(0.5, beta, 0.25, n=1000, k=1, n_pairs=8), 3)
    0.817
    """
    m1, m2 = _moments(alpha, r, n, k)
    return 1.0 - 2.0 * beta * m1 + beta**2 * (m2 + (m1 + m2) / n_pairs)


def optimal_alpha(r: float, *, n: int, k: int, n_pairs: int) -> float:
    """The alpha with the least mean squared error, beta being optimal too.

    With ``q = 2 (P + 1)``: 1 for ``r <= k/n``, a guide no better than a random subspace; 0 for
    ``r >= (k + q) / (n + q)``; between them the zero of the derivative, which is linear in alpha:
    ``n r (q (1-r) + k - r n) / (q n r (1-r) - (k - r n)^2)``.

    The least error now is not the best search: at alpha 0 nothing outside the subspace is found.

    Parameters
    ----------
    r : float in [0, 1]
        Squared cosine between the gradient and the subspace.
    n, k, n_pairs : int
        Dimension, dimension of the subspace (at least 1), number of pairs.

    Examples
    --------
    >>> [round(optimal_alpha(r, n=1000, k=1, n_pairs=50), 3) for r in (0.0005, 0.09, 0.5)]
    [1.0, 0.794, 0.0]
    """
    q = 2.0 * (n_pairs + 1)
    if r <= k / n:
        return 1.0
    if r >= (k + q) / (n + q):
        return 0.0
    return n * r * (q * (1.0 - r) + k - r * n) / (q * n * r * (1.0 - r) - (k - r * n) ** 2)


def unbiased_variance(alpha: float, r: float, *, n: int, k: int, n_pairs: int) -> float:
    """``E|g - grad|^2 / |grad|^2`` of the estimate multiplied by ``Sigma^-1``, which has no bias.

    ``(tr Sigma^-1 m1 + 1) / P`` with m1 of `optimal_beta` and ``tr Sigma^-1 = (n-k) n / alpha +
    k / (alpha/n + (1-alpha)/k)``, since ``E (g^T d)^2 |Sigma^-1 d|^2 = g^T Sigma g tr Sigma^-1 +
    2 |g|^2`` for ``d ~ N(0, Sigma)``. Without guides it is ``(n + 1) / P``; a guide makes it
    larger, unless it is worse than a random subspace: what is freed of bias is not guided.

    Parameters
    ----------
    alpha : float in (0, 1]
    r : float in [0, 1]
        Squared cosine between the gradient and the subspace.
    n, k, n_pairs : int
        Dimension, dimension of the subspace (0 for isotropic search), number of pairs.

    Examples
    --------
    >>> [round(unbiased_variance(a, 0.5, n=100, k=1, n_pairs=100), 2) for a in (1.0, 0.9, 0.5)]
    [1.01, 6.51, 50.51]
    """
    outside = alpha / n
    inside = outside + ((1.0 - alpha) / k if k else 0.0)
    m1, _ = _moments(alpha, r, n, k)
    return (((n - k) / outside + k / inside) * m1 + 1.0) / n_pairs


def orthogonal_errors(r: float, *, n: int, k: int, n_pairs: int) -> tuple[float, float]:
    """Squared bias and variance, over ``|grad|^2``, of the projection of `OrthogonalES`.

    ``(1-r) (1-s)^2`` and ``(1-r) s (1-s)`` with ``s = (P-k) / (n-k)``, the share of what is across
    the guides that is searched; ``(1-r) (1-s)`` in all, on linear and quadratic objectives. Made
    unbiased, by ``1/s`` across, the estimate has the variance ``(1-r) (1-s) / s``.

    Parameters
    ----------
    r : float in [0, 1]
        Squared cosine between the gradient and the subspace.
    n, k, n_pairs : int
        Dimension, dimension of the subspace, number of pairs, ``k <= P <= n``.

    Examples
    --------
    >>> [round(sum(orthogonal_errors(0.25, n=1000, k=1, n_pairs=P)), 3) for P in (2, 500)]
    [0.749, 0.375]
    """
    s = (n_pairs - k) / (n - k) if n > k else 1.0
    return (1.0 - r) * (1.0 - s) ** 2, (1.0 - r) * s * (1.0 - s)


def n_axes(alpha: float, *, n: int, k: int) -> float:
    """``1 / tr Sigma^2``: among how many axes the search is spread, n of them at alpha 1.

    Parameters
    ----------
    alpha : float in [0, 1]
    n, k : int
        Dimension, dimension of the subspace.

    Examples
    --------
    >>> [round(n_axes(alpha, n=1000, k=1), 1) for alpha in (0.0, 0.5, 0.9, 1.0)]
    [1.0, 4.0, 91.0, 1000.0]
    """
    outside = alpha / n
    inside = outside + ((1.0 - alpha) / k if k else 0.0)
    return 1.0 / ((n - k) * outside**2 + k * inside**2)


@value
class SurrogateQuality:
    """A running estimate of r from the differences that evolution strategies measure anyway.

    Let ``y = (f+ - f-) / 2`` and z the k normals of the subspace. For linear and quadratic f
    ``y = b^T z + e``, both normal, where ``|b|^2 = n sigma^2 (1-alpha)/k |U^T grad|^2`` and
    ``var e = sigma^2 alpha |grad|^2``, sigma being that of a coordinate. With
    ``s = |b|^2 / var y``, the guides' share of the variance,
    ``r = alpha k s / ((1-alpha) n (1-s))``: the size of sigma does not matter.

    With P > k pairs z is regressed on y, rather than y on z, as the residuals
    ``E = Z^T Z - Z^T y y^T Z / |y|^2`` have Wishart's distribution whatever y is, with P - 1
    degrees of freedom and scale ``I - s b b^T / |b|^2``. Its determinant is ``1 - s``; hence
    ``det E / ((P-1) (P-2) ... (P-k))`` has mean ``1 - s``, and it is distributed as ``1 - s``
    times independent ``chi2_m / m``, m = P-1, ..., P-k. It is the same for all multiples of y:
    generations count alike whatever the size of their gradients, at no bias.

    With P <= k there are the moments, ``E y^2 (|z|^2 - k) / 2 = s E y^2``, y in units of the
    running geometric mean of the generations' root mean squares, and cut to ten of them. That the
    unit contains y is a bias of the order of P / memory. For r well above k/n, where s is close to
    1, they tell little more than that.

    Where alpha changes, with ``o = alpha / (1 - alpha)`` over the odds of that alpha which `r` is
    asked for, ``o k s`` is summed in place of ``k s``. As ``r (1 - s) = o k s alpha / ((1-alpha)
    n)`` in each generation, the estimating equation ``sum o k s alpha / ((1-alpha) n) - r (1 - s) =
    0`` has mean zero at the true r, whatever the alphas were, and however they were chosen from
    generations before. A generation adds to it an error in proportion to its odds.

    The sums of ``k s`` and of ``1 - s`` over generations forget: old pairs count less by
    ``exp(-pairs / memory)``. Differences of exactly zero, such as those of failed pairs, are left
    out. Noise of the objective adds to ``var e`` and lowers r.

    Attributes
    ----------
    guided, rest : float
        The sums of ``k s`` and ``1 - s`` over pairs.
    weight : float
        The number of these pairs.
    level : float
        The running mean of the logarithms of the generations' root mean squares.
    """

    guided: float = 0.0
    rest: float = 0.0
    weight: float = 0.0
    level: float = 0.0

    def update(
        self, differences: Array, latent: Array, memory: float, odds: float = 1.0
    ) -> SurrogateQuality:
        """With the values of one more generation.

        Parameters
        ----------
        differences : ndarray of shape (n_pairs,)
            ``f+ - f-``, or any multiple of it.
        latent : ndarray of shape (n_pairs, k)
            The normals of the subspace.
        memory : float
            Number of pairs after which a pair counts 1/e.
        odds : float
            ``alpha / (1 - alpha)`` of this generation, over the odds of the alpha that `r` is asked
            for.
        """
        k = latent.shape[1]
        residuals, n_pairs, largest, total, excess = regress(differences, latent)
        if not 0.0 < largest < math.inf:
            return self
        size = math.log(largest) + 0.5 * math.log(total / n_pairs)
        keep = math.exp(-n_pairs / memory)
        weight = keep * self.weight + n_pairs
        level = (keep * self.weight * self.level + n_pairs * size) / weight
        if n_pairs > k:
            energy = float(n_pairs)
            log_det = _log_det(residuals)
            rest = energy * math.exp(log_det - math.lgamma(n_pairs) + math.lgamma(n_pairs - k))
        else:
            energy = n_pairs * math.exp(2.0 * min(size - level, _MOST))
            rest = energy * (1.0 - excess / total / 2.0)
        return SurrogateQuality(
            keep * self.guided + odds * k * (energy - rest),
            keep * self.rest + rest,
            weight,
            level,
        )

    def r(self, alpha: float, *, n: int, k: int) -> float:
        """The estimate of ``r``, between 0 and 1; the level of chance k/n before there is any."""
        along = alpha * max(self.guided, 0.0)
        total = (1.0 - alpha) * n * max(self.rest, 0.0)
        if alpha in (0.0, 1.0) or not max(along, total) > 0.0:
            return k / n
        return along / max(along, total)


def _log_det(matrix: Array) -> float:
    """The logarithm of the determinant of a Gram matrix."""
    if matrix.size == 1 and matrix[0, 0] > 0.0:  # one guide: LAPACK is a third of the update
        return math.log(matrix[0, 0])
    return float(np.linalg.slogdet(matrix)[1])
