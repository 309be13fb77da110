"""The largest value of each square of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.layers.base import Shape
from blackbox_es.neural.layers.pools import Pool2D, flat

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """The largest of ``size x size`` pixels, channel by channel; NaN if one of them is.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> MaxPool2D(2).shape((28, 28, 6))
    (14, 14, 6)
    """

    def forward(self, h: Array, given: Shape) -> Array:
        """The largest."""
        first, *others = self.corners(h, given)
        out = first.copy()
        for other in others:
            np.maximum(out, other, out=out)
        return flat(out)

    def backward(self, slopes: Array, h: Array, given: Shape) -> Array:
        """To the first of the largest."""
        total = np.zeros_like(h)
        views = list(self.corners(h, given))
        largest = self.forward(h, given).reshape(views[0].shape)
        left = slopes.reshape(largest.shape).copy()
        for target, value in zip(self.corners(total, given), views, strict=True):
            np.multiply(left, value == largest, out=target)
            left -= target
        return total
