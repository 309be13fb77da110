"""Squares of pixels made one: what all pools share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from blackbox_es._validation import check_count
from blackbox_es.neural.layers.base import Map, Shape

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pool2D(Map):
    """One number of ``size x size`` pixels, channel by channel.

    Parameters
    ----------
    size : int
    """

    is_pool: ClassVar[bool] = True
    size: int = 2

    def shape(self, given: Shape) -> Shape:
        """Height and width divided by the size; ValueError unless they are multiples of it."""
        check_count("size", self.size)
        height, width, channels = given
        if height % self.size or width % self.size:
            raise ValueError(
                f"size={self.size} does not divide an image of {height} x {width}: take a size "
                "that does"
            )
        return height // self.size, width // self.size, channels

    def corners(self, h: Array, given: Shape) -> Iterator[Array]:
        """For each pixel of a square a view of h, (V, G, height, width, channels, LANES)."""
        (height, width, channels), size = self.shape(given), self.size
        image = h.reshape(*h.shape[:2], height, size, width, size, channels, h.shape[-1])
        for row in range(size):
            for column in range(size):
                yield image[:, :, :, row, :, column]


def flat(image: Array) -> Array:
    """(V, G, height, width, channels, LANES) as (V, G, U, LANES)."""
    return image.reshape(*image.shape[:2], -1, image.shape[-1])
