"""Points that are chosen, not drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._value import Rows, Vector, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array, Size


@value
class Axes:
    """``d_p = steps_p e_p``: one coordinate at a time, for slopes by differences.

    Parameters
    ----------
    steps : ndarray of shape (n,), dtype of the center

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> directions(Axes(np.array([0.5, 2.0])), key=(0, 0), pairs=(0, 2)).tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    """

    steps: Vector

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.steps.size

    @property
    def sigma(self) -> float:
        """Root mean square of a coordinate of a direction."""
        return float(np.sqrt(np.square(self.steps, dtype=float).mean() / self.n))

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        start, stop = pairs
        points = np.tile(center, (2, stop - start, 1))
        rows, axes = np.arange(stop - start), np.arange(start, stop)
        points[0, rows, axes] += self.steps[start:stop]
        points[1, rows, axes] -= self.steps[start:stop]
        return points

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``."""
        return np.asarray(weights * self.steps, dtype)


@value
class Chosen:
    """``d_p = rows_p``: directions that somebody else has chosen, such as a step along a ray.

    Parameters
    ----------
    rows : ndarray of shape (k, n), dtype of the center

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> directions(Chosen(np.array([[0.5, -1.0]])), key=(0, 0), pairs=(0, 1)).tolist()
    [[0.5, -1.0]]
    """

    rows: Rows

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return int(self.rows.shape[1])

    @property
    def sigma(self) -> float:
        """Root mean square of a coordinate of a direction."""
        return float(np.sqrt(np.square(self.rows, dtype=float).mean()))

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        d = self.rows[pairs[0] : pairs[1]]
        return np.stack([center + d, center - d])

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``."""
        return np.asarray((weights[:, None] * self.rows).sum(axis=0), dtype)


@value
class Still:
    """``d_p = 0``: the center itself, to know its value.

    Parameters
    ----------
    n : int
        Dimension.

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> directions(Still(2), key=(0, 0), pairs=(0, 1)).tolist()
    [[0.0, 0.0]]
    """

    n: Size

    @property
    def sigma(self) -> float:
        """Of all coordinates."""
        return 0.0

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """The center: shape (2, pairs, n)."""
        return np.tile(center, (2, pairs[1] - pairs[0], 1))

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """Zero."""
        return np.zeros(self.n, dtype)
