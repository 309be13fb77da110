"""How good a surrogate gradient is, and what follows for alpha and beta.

For linear objectives, and for any quadratic since antithetic differences cancel even terms, the
guided estimate with P pairs has a mean squared error that depends on the surrogate only through
``r = |U^T grad|^2 / |grad|^2``, the squared cosine between gradient and subspace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _moments(alpha: float, r: float, n: int, k: int) -> tuple[float, float]:
    """``g^T Sigma g / |g|^2`` and ``g^T Sigma^2 g / |g|^2``."""
    outside = alpha / n
    inside = outside + ((1.0 - alpha) / k if k else 0.0)
    return outside * (1.0 - r) + inside * r, outside**2 * (1.0 - r) + inside**2 * r


def optimal_beta(alpha: float, r: float, *, n: int, k: int, n_pairs: int) -> float:
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
        Dimension, dimension of the subspace (0 for isotropic search), number of pairs.

    Examples
    --------
    >>> round(optimal_beta(1.0, 0.0, n=98, k=0, n_pairs=1), 12)  # n / (n + 2)
    0.98
    """
    m1, m2 = _moments(alpha, r, n, k)
    return n_pairs * m1 / ((n_pairs + 1) * m2 + m1) if m1 > 0.0 else float(k or n)


def mean_squared_error(
    alpha: float, beta: float, r: float, *, n: int, k: int, n_pairs: int
) -> float:
    """``E|g - grad|^2 / |grad|^2`` of the guided estimate on a linear objective.

    ``1 - 2 beta m1 + beta^2 (m2 + (m1 + m2) / P)``: squared bias plus variance.

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


@dataclass(frozen=True, slots=True)
class SurrogateQuality:
    """A running estimate of r from the differences that evolution strategies measure anyway.

    Let ``y = (f+ - f-) / 2`` and z the normals of the subspace (k of them). For smooth f
    ``E y^2 = A + B`` and ``E y^2 (|z|^2 - k) = 2 B``, where ``A = sigma^2 alpha/n |grad|^2`` and
    ``B = sigma^2 (1-alpha)/k |U^T grad|^2``: two averages give r, for any number of pairs, without
    a further evaluation. The averages forget: old pairs count less by ``exp(-pairs / memory)``.
    """

    energy: float = 0.0
    guided: float = 0.0
    weight: float = 0.0

    def update(self, differences: Array, latent: Array, memory: float) -> SurrogateQuality:
        """With the values of one more generation.

        Parameters
        ----------
        differences : ndarray of shape (n_pairs,)
            ``f+ - f-``.
        latent : ndarray of shape (n_pairs, k)
            The normals of the subspace.
        memory : float
            Number of pairs after which a pair counts 1/e.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            y2 = differences * differences
        if not np.isfinite(y2.sum()):  # too large to be squared: tells nothing of the rest
            return self
        excess = np.einsum("pk,pk->p", latent, latent, dtype=np.float64) - latent.shape[1]
        keep = math.exp(-len(y2) / memory)
        return SurrogateQuality(
            keep * self.energy + float(y2.sum()),
            keep * self.guided + float(y2 @ excess) / 2.0,
            keep * self.weight + len(y2),
        )

    def r(self, alpha: float, *, n: int, k: int) -> float:
        """The estimate of ``r``, between 0 and 1; the level of chance k/n before there is any."""
        if not 0.0 < self.energy < math.inf or alpha in (0.0, 1.0):
            return k / n
        inside = min(max(self.guided / self.energy, 0.0), 1.0)  # B / (A + B)
        along = inside * k / (1.0 - alpha)
        total = (1.0 - inside) * n / alpha
        return along / max(total, along)
