"""Points that are chosen, not drawn: along the axes, and along a ray."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._value import Shape, Vector, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array

Steps = Annotated[npt.NDArray[Any], Shape(("m",))]


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
class Ray:
    """``d_p = steps_p direction``: points on a line, for a line search; a step of 0 is the center.

    Parameters
    ----------
    direction : ndarray of shape (n,), dtype of the center
    steps : ndarray of shape (m,), dtype of the center

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> ray = Ray(np.array([1.0, -2.0]), np.array([0.5, 1.0]))
    >>> directions(ray, key=(0, 0), pairs=(0, 2)).tolist()
    [[0.5, -1.0], [1.0, -2.0]]
    """

    direction: Vector
    steps: Steps

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.direction.size

    @property
    def sigma(self) -> float:
        """Root mean square of a coordinate of a direction."""
        squares = (
            np.square(part, dtype=np.float64).mean() for part in (self.direction, self.steps)
        )
        return float(np.sqrt(next(squares)) * np.sqrt(next(squares)))

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        d = np.outer(self.steps[pairs[0] : pairs[1]], self.direction)
        return np.stack([center + d, center - d])

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``."""
        return np.asarray(float((weights * self.steps).sum()) * self.direction, dtype)


PROBES = (Axes, Ray)  # values there are wanted themselves, not their ranks, and some may fail
