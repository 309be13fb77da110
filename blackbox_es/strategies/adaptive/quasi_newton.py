"""The limited-memory update of an inverse curvature, from a diagonal one: functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_FLATTEST = 1e-12  # of the curvatures, over the largest


def dot(a: Array, b: Array) -> float:
    """``a @ b`` in a fixed order: that of BLAS depends on its threads."""
    return float((a * b).sum(dtype=float))


def squared_cosine(a: Array, b: Array) -> float:
    """Of the angle between two vectors that are not zero."""
    return dot(a, b) ** 2 / (dot(a, a) * dot(b, b))


def newton(slope: Array, steps: Array, changes: Array, curvature: Any) -> Array:
    """``-H slope``, by two loops over the steps and changes of the slope that are remembered.

    H is the inverse curvature: diagonal at first, or a multiple of I that fits the last change if
    curvature is None (Nocedal 1980, "Updating quasi-Newton matrices with limited storage").
    """
    q = slope.astype(float)
    shares = []
    for s, y in zip(steps[::-1], changes[::-1], strict=True):
        shares.append(dot(s, q) / dot(s, y))
        q -= shares[-1] * y
    if curvature is not None:
        q /= curvature
    elif len(steps):
        q *= dot(steps[-1], changes[-1]) / dot(changes[-1], changes[-1])
    for s, y in zip(steps, changes, strict=True):
        q += s * (shares.pop() - dot(y, q) / dot(s, y))
    return np.asarray(-q, slope.dtype)


def bent(curvature: Array, step: Array, change: Array) -> Array:
    """The diagonal of the update of a diagonal curvature, scaled to fit the change before it.

    Gilbert and Lemarechal 1989, "Some numerical experiments with variable-storage quasi-Newton
    algorithms".
    """
    along = dot(step, change)
    scaled = curvature * (dot(change, change / curvature) / along)
    part = scaled * step
    return positive(scaled - np.square(part) / dot(part, step) + np.square(change) / along)


def positive(curvature: Array) -> Array:
    """The size of curvatures, none of them too small beside the largest; 1 where there is none."""
    sizes = np.abs(curvature)
    largest = sizes.max()
    return np.asarray(np.maximum(sizes, _FLATTEST * largest) if largest > 0.0 else sizes + 1.0)
