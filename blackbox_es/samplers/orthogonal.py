"""Directions that are orthogonal to each other, the first of them along surrogate gradients."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import mix, orthonormalized
from blackbox_es._value import Positive, Rows, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array


@value
class Orthogonal:
    """``d_p = sigma sqrt(n) q_p``: guides first, then random directions orthogonal to all before.

    The rows q are orthonormal, the random ones uniform in what is left (Meier, Mujika, Gauy, Steger
    2019, "Improving gradient estimation in evolutionary strategies with past descent directions").
    After n of them others begin, orthogonal among themselves. In time O(P^2 n), memory O(P n).

    Parameters
    ----------
    rows : ndarray of shape (k, n)
        Orthonormal: see `orthonormal_rows`. There may be none, k = 0.
    sigma : float
        Root mean square of a coordinate of a direction.

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> d = directions(Orthogonal(np.array([[1.0, 0.0, 0.0]]), sigma=1.0), (0, 0), (0, 3))
    >>> (d @ d.T).round(9) + 0.0
    array([[3., 0., 0.],
           [0., 3., 0.],
           [0., 0., 3.]])
    """

    rows: Rows
    sigma: Positive = 1.0

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return int(self.rows.shape[1])

    @property
    def _length(self) -> float:
        return self.sigma * math.sqrt(self.n)

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        q = _orthonormal(self.rows.dtype.char, self, key, pairs[1])[pairs[0] :]
        d = np.asarray(center.dtype.type(self._length) * q, center.dtype)
        points = np.empty((2, *d.shape), center.dtype)
        np.add(center, d, out=points[0])
        np.subtract(center, d, out=points[1])
        return points

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``, summed in float64 in the order of the pairs."""
        q = _orthonormal(self.rows.dtype.char, self, key, weights.size)
        return np.asarray(self._length * mix(weights[None], q)[0], dtype)


@lru_cache(maxsize=1)  # points and gradient of a generation need the same ones
def _orthonormal(dtype: str, sampler: Orthogonal, key: Key, stop: int) -> Array:
    """The first ``stop`` rows, read-only."""
    n, blocks = sampler.n, []
    for start in range(0, stop, n):
        known = sampler.rows[:stop] if start == 0 else sampler.rows[:0]
        drawn = noise.normals(key, (start + len(known), min(start + n, stop)), (0, n))
        blocks.append(orthonormalized(np.concatenate([known, drawn.astype(dtype)]), len(known)))
    rows = np.concatenate(blocks)
    rows.flags.writeable = False
    return rows
