"""The mean of each square of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.layers.base import Shape
from blackbox_es.neural.layers.pools import Pool2D, flat

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class AvgPool2D(Pool2D):
    """The mean of ``size x size`` pixels, channel by channel.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> AvgPool2D(2).shape((28, 28, 6))
    (14, 14, 6)
    """

    def forward(self, h: Array, given: Shape) -> Array:
        """The mean."""
        first, *others = self.corners(h, given)
        out = first.copy()
        for other in others:
            out += other
        out *= h.dtype.type(1 / self.size**2)
        return flat(out)

    def backward(self, slopes: Array, h: Array, given: Shape) -> Array:
        """The same share to each."""
        total = np.empty_like(h)
        for target in self.corners(total, given):
            target[:] = slopes.reshape(target.shape) * h.dtype.type(1 / self.size**2)
        return total
