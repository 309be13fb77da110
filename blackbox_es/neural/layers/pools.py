"""Squares of pixels made one: what both pools share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from blackbox_es._validation import check_count
from blackbox_es.neural.layers.base import Shape

Array = npt.NDArray[Any]


def pooled_shape(size: int, given: Shape) -> Shape:
    """Height and width divided by the size; ValueError unless they are multiples of it."""
    check_count("size", size)
    height, width, channels = given
    if height % size or width % size:
        raise ValueError(
            f"size={size} does not divide an image of {height} x {width}: take a size that does"
        )
    return height // size, width // size, channels


def corners(h: Array, given: Shape, size: int) -> Iterator[Array]:
    """For each pixel of a square a view of h, (V, G, height, width, channels, LANES)."""
    height, width, channels = pooled_shape(size, given)
    image = h.reshape(*h.shape[:2], height, size, width, size, channels, h.shape[-1])
    for row in range(size):
        for column in range(size):
            yield image[:, :, :, row, :, column]


def flat(image: Array) -> Array:
    """(V, G, height, width, channels, LANES) as (V, G, U, LANES)."""
    return image.reshape(*image.shape[:2], -1, image.shape[-1])
