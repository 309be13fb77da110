"""A normal distribution whose covariance is diagonal plus low rank."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import weighted_sum
from blackbox_es._value import Rows, Vector, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array


@value
class Elongated:
    """``d = sigmas * z + rows^T w``, z and w standard normal: diagonal plus low rank.

    ``E[d d^T] = diag(sigmas^2) + rows^T rows``, in time and memory O(n k).

    Parameters
    ----------
    sigmas : ndarray of shape (n,), dtype of the center
    rows : ndarray of shape (k, n), dtype of the center

    Examples
    --------
    >>> Elongated(np.array([1.0, 1.0]), np.array([[4.0, 4.0]])).sigma ** 2
    17.0
    """

    sigmas: Vector
    rows: Rows

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.sigmas.size

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate, root mean squared over the coordinates."""
        parts = (np.square(part, dtype=np.float64).sum() for part in (self.sigmas, self.rows))
        return math.sqrt(float(sum(parts)) / self.n)

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        coefs = self._coefs(key, pairs).astype(center.dtype)
        return noise.perturb(center, 1.0, self.sigmas, coefs, self.rows, key, pairs)

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``, summed in float64 in the order of the pairs."""
        coefs = weighted_sum(weights, self._coefs(key, (0, weights.size)), 1.0)
        rows = self.rows.astype(dtype, copy=False)
        return noise.combine(weights, 1.0, self.sigmas, coefs, rows, key)

    def squares(self, weights: Array, key: Key) -> Array:
        """``sum_p weights[p] z_p^2``: shape (n,), float64."""
        return noise.squares(weights, self.n, key)

    def _coefs(self, key: Key, pairs: noise.Range) -> Array:
        return noise.normals(key, pairs, (0, len(self.rows)), stream=noise.SUBSPACE)
