"""Weights of few bits: one row of one table each, of the weights that are trained.

A scale is undefined, and with it what is computed, where one of the weights is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Quantiser = Callable[[Array], tuple[Array, Array]]


def _binary(W: Array) -> tuple[Array, Array]:
    """Signs, with the scale that is nearest to the weights (Rastegari et al. 2016)."""
    scale = np.abs(W).mean(axis=(-2, -1), keepdims=True)
    return scale, np.where(W < 0, -np.ones_like(W), np.ones_like(W))


def _ternary(W: Array) -> tuple[Array, Array]:
    """-1, 0 and 1: zero below 0.7 of the mean size (Li, Zhang, Liu 2016)."""
    size = np.abs(W)
    large = size > W.dtype.type(0.7) * size.mean(axis=(-2, -1), keepdims=True)
    n_large = np.maximum(large.sum(axis=(-2, -1), keepdims=True), 1).astype(W.dtype)
    return (size * large).sum(axis=(-2, -1), keepdims=True) / n_large, np.sign(W) * large


def _int8(W: Array) -> tuple[Array, Array]:
    """-127 to 127, where the largest weight is one of the ends."""
    scale = np.abs(W).max(axis=(-2, -1), keepdims=True) / W.dtype.type(127)
    return scale, np.rint(W / np.where(scale == 0, W.dtype.type(1), scale))


# (..., K, n) weights to scales (..., 1, 1) and whole numbers, whose product computes.
QUANTISERS: dict[str, Quantiser] = {"ternary": _ternary, "binary": _binary, "int8": _int8}
WEIGHTS = ("float", *QUANTISERS)


def quantise(W: Array, kind: str) -> Array:
    """Weights (..., K, n) as they compute: for "float" themselves, else a scale times integers."""
    if kind == "float":
        return W
    scale, integers = QUANTISERS[kind](W)
    return np.asarray(scale * integers)
