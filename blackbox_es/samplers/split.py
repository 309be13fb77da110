"""Directions either inside a subspace or across it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import gram, mix, weighted_sum
from blackbox_es._value import Fraction, Positive, Rows, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array
from blackbox_es.samplers.normal import Isotropic


@value
class Split:
    """``Sigma = alpha/k U U^T + (1-alpha)/(n-k) (I - U U^T)``, each direction in one of the two.

    A direction is in the subspace with probability alpha: ``d = sigma sqrt(n/k) U z``, and else
    across it, ``d = sigma sqrt(n/(n-k)) (I - U U^T) z``, z standard normal, so that ``E[d d^T] = n
    sigma^2 Sigma``. By systematic sampling the number of those inside is never further than one
    from alpha times the number of pairs.

    Parameters
    ----------
    rows : ndarray of shape (k, n), 1 <= k < n
        Orthonormal rows: the transpose of U. See `orthonormal_rows`.
    alpha : float in [0, 1]
    sigma : float
        Standard deviation of each coordinate, root mean squared over the coordinates.

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> d = directions(Split(np.array([[1.0, 0.0, 0.0]]), alpha=0.5), (0, 0), (0, 4))
    >>> (d != 0.0).astype(int)
    array([[1, 0, 0],
           [0, 1, 1],
           [1, 0, 0],
           [0, 1, 1]])
    """

    rows: Rows
    alpha: Fraction
    sigma: Positive = 1.0

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return int(self.rows.shape[1])

    @property
    def _scales(self) -> tuple[float, float]:
        """Standard deviation of a coordinate, inside and across."""
        n, k = self.n, len(self.rows)
        return self.sigma * math.sqrt(n / k), self.sigma * math.sqrt(n / (n - k))

    def inside(self, key: Key, pairs: noise.Range) -> npt.NDArray[np.bool_]:
        """Which directions are in the subspace: shape (pairs,)."""
        k = len(self.rows)
        z = float(noise.normals(key, (0, 1), (k, k + 1), stream=noise.SUBSPACE)[0, 0])
        start = 0.5 + 0.5 * math.erf(z / math.sqrt(2.0))  # uniform
        steps = np.floor(self.alpha * np.arange(pairs[0], pairs[1] + 1) + start)
        return np.asarray(np.diff(steps) > 0.0)

    def _latent(self, key: Key, pairs: noise.Range) -> Array:
        return noise.normals(key, pairs, (0, len(self.rows)), stream=noise.SUBSPACE)

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        dtype, rows = center.dtype, self.rows
        inside, (along, across) = self.inside(key, pairs), self._scales
        d = noise.normals(key, pairs, (0, self.n)).astype(dtype)
        d -= mix(mix(d, rows.T), rows)
        d *= dtype.type(across)
        latent = self._latent(key, pairs)[inside].astype(dtype) * dtype.type(along)
        d[inside] = mix(latent, rows)
        points = np.empty((2, *d.shape), dtype)
        np.add(center, d, out=points[0])
        np.subtract(center, d, out=points[1])
        return points

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``, summed in float64 in the order of the pairs."""
        pairs = 0, weights.size
        inside, (along, across) = self.inside(key, pairs), self._scales
        total = Isotropic(self.n, across).combine(np.where(inside, 0.0, weights), key, dtype)
        coefs = weighted_sum(np.where(inside, weights, 0.0), self._latent(key, pairs), along)
        coefs -= gram(np.concatenate([total[None], self.rows]))[0, 1:]
        total += mix(coefs[None].astype(dtype), self.rows)[0]
        return total
