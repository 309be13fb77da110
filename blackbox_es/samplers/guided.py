"""A base distribution elongated along the span of surrogate gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import gram, mix, unit, weighted_sum
from blackbox_es._value import Fraction, Rows, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array, Base


@value
class Guided:
    """A base distribution elongated along a subspace: ``Sigma = alpha/n I + (1-alpha)/k U U^T``.

    ``d = sqrt(alpha) d_base + sigma sqrt(n (1-alpha)/k) U z`` with z standard normal of size k, so
    that ``E[d d^T] = n sigma^2 Sigma``: sigma is the root mean squared scale of the coordinates
    (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided evolutionary strategies").

    Parameters
    ----------
    base : Isotropic or LowRank
        Gives sigma and the share ``alpha`` of the variance.
    rows : ndarray of shape (k, n), k >= 1
        Orthonormal rows: the transpose of U. See `orthonormal_rows`.
    alpha : float in [0, 1]
        Share of the variance that is spread over the full space.
    """

    base: Base
    rows: Rows
    alpha: Fraction

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.base.n

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate, root mean squared over the coordinates."""
        return self.base.sigma

    def latent(self, key: Key, pairs: noise.Range) -> Array:
        """The normals z of the subspace, shape (pairs, k), float32."""
        return _latent(key, pairs, len(self.rows))

    @property
    def _scale(self) -> float:
        """Standard deviation of a coordinate inside the subspace, ``sigma sqrt(n (1-alpha)/k)``."""
        base = self.base
        return base.sigma * math.sqrt(base.n * (1.0 - self.alpha) / len(self.rows))

    def coefs(self, key: Key, pairs: noise.Range, dtype: npt.DTypeLike) -> Array:
        """Coordinates inside the subspace, ``sigma sqrt(n (1-alpha)/k) z``, shape (pairs, k)."""
        coefs = self.latent(key, pairs).astype(dtype)
        coefs *= self._scale
        return coefs

    def full_space(self) -> Base:
        """The base distribution with its share of the variance, ``alpha sigma^2``."""
        base = self.base
        return base.with_sigma(base.sigma * math.sqrt(self.alpha))

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        offset = self.coefs(key, pairs, center.dtype), self.rows
        return self.full_space().perturb(center, key, pairs, offset)

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``."""
        coefs = weighted_sum(weights, self.latent(key, (0, weights.size)), self._scale)
        return self.full_space().combine(weights, key, dtype, (coefs, self.rows))

    def inverse_combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] Sigma^-1 d_p``, for alpha > 0.

        ``Sigma^-1 = n/alpha (I - w U U^T)`` with ``w = (1-alpha) n / ((1-alpha) n + alpha k)``.
        What ``d`` has inside the subspace by its own normals is multiplied by ``1 - w``, which is
        computed as it is: no large part is subtracted from another.
        """
        n, k = self.n, len(self.rows)
        inside = (1.0 - self.alpha) * n
        kept = self.alpha * k / (inside + self.alpha * k)  # 1 - w
        total = self.full_space().combine(weights, key, dtype)
        coefs = kept * weighted_sum(weights, self.latent(key, (0, weights.size)), self._scale)
        coefs -= (1.0 - kept) * gram(np.concatenate([total[None], self.rows]))[0, 1:]
        total += mix(coefs[None].astype(dtype), self.rows)[0]
        total *= n / self.alpha
        return total


@lru_cache(maxsize=1)  # points, gradient and quality of a generation need the same ones
def _latent(key: Key, pairs: noise.Range, k: int) -> Array:
    z = noise.normals(key, pairs, (0, k), stream=noise.SUBSPACE)
    z.flags.writeable = False
    return z


_PARALLEL = 1e-12  # squared sine below which guides count as one: an angle of a microradian
_WELL_CONDITIONED = 0.05  # ratio of eigenvalues above which rounding grows by less than 20


def unit_guide(guide: Array, dtype: npt.DTypeLike = np.float64) -> Array | None:
    """The guide at length 1, or None if it is zero, infinite or NaN and so says nothing.

    Safe for every scale: divided by its largest entry before the norm is taken and the dtype is.
    """
    return unit(guide, dtype)


def orthonormal_rows(guides: Iterable[Array], dtype: npt.DTypeLike) -> Array:
    """An orthonormal basis of the span of unit guides, as rows; only the span matters.

    Duplicated and dependent guides add no row, so the number of rows is the rank. A round of
    ``V <- (V V^T)^(-1/2) V``, restricted to what is not null, makes the rows orthonormal to
    rounding times the condition number of ``V V^T``; a second one follows if that is large. A round
    costs two matrix products, not k passes over memory.

    Parameters
    ----------
    guides : iterable of k ndarrays of shape (n,)
        Of length 1, see `unit_guide`.
    dtype : float32 or float64

    Returns
    -------
    ndarray of shape (rank, n)

    Examples
    --------
    >>> orthonormal_rows([np.array([0.6, 0.8]), np.array([-0.6, -0.8])], float).shape
    (1, 2)
    """
    guides = list(guides)
    if len(guides) == 1:
        return guides[0].astype(dtype)[None]
    rows = np.array(guides, dtype)
    for _ in range(2):
        values, vectors = np.linalg.eigh(gram(rows))
        keep = values > _PARALLEL * values[-1]
        root = vectors[:, keep] / np.sqrt(values[keep])
        well = values[0] > _WELL_CONDITIONED * values[-1]
        if well:  # the symmetric root does not depend on the signs of eigenvectors
            root = root @ vectors.T
        rows = mix(root.T.astype(dtype), rows)
        if well:
            break
    return rows
