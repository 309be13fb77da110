"""Fitness shaping: the values of a generation become one weight per antithetic pair.

A shaping maps values of shape (2, n_pairs), row 0 at ``x + d`` and row 1 at ``x - d``, to
utilities of the same shape that do not decrease with the value. The weight of a pair is the
difference of its two utilities, so that the weighted sum of directions points uphill.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shaping = Callable[[Array], Array]


def raw(values: Array) -> Array:
    """The values themselves: ``E[gradient] = beta Sigma grad f``."""
    return values


def standardized(values: Array) -> Array:
    """``(f - mean) / std`` over the generation: the scale of the objective does not matter.

    All values equal give utilities of zero.
    """
    if values.size == 0 or (values == values[0, 0]).all():  # rounding would leave a tiny std
        return np.zeros_like(values)
    centered = values - values.mean()
    centered /= np.abs(centered).max()  # so that no square is out of range
    return np.asarray(centered / centered.std())


def centered_ranks(values: Array) -> Array:
    """Ranks mapped linearly to [-1/2, 1/2], ties averaged: any increasing map changes nothing.

    Salimans, Ho, Chen, Sidor, Sutskever 2017, "Evolution strategies as a scalable alternative to
    reinforcement learning".

    Examples
    --------
    >>> centered_ranks(np.array([[3.0, 1.0], [2.0, 100.0]])).round(3).tolist()
    [[0.167, -0.5], [-0.167, 0.5]]
    """
    return _by_rank(values, np.linspace(-0.5, 0.5, values.size))


def nes(values: Array) -> Array:
    """Minus the utilities of natural evolution strategies, ties averaged.

    ``u_k = max(0, ln(m/2 + 1) - ln k) / sum_j max(0, ln(m/2 + 1) - ln j) - 1/m`` for the k-th
    best of m values (Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber 2014, "Natural
    evolution strategies"): the better half counts, the best most.
    """
    m = values.size
    utilities = np.maximum(0.0, np.log(m / 2 + 1) - np.log(np.arange(1, m + 1)))
    return _by_rank(values, 1.0 / m - utilities / utilities.sum())


def _by_rank(values: Array, utilities: Array) -> Array:
    """``utilities[k]`` for the k-th smallest value, their mean where values are equal."""
    _, rank, count = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    sums = np.add.reduceat(utilities, np.cumsum(count) - count)
    return np.asarray((sums / count)[rank].reshape(values.shape))


SHAPINGS: dict[str, Shaping] = {
    "raw": raw,
    "standardized": standardized,
    "centered_ranks": centered_ranks,
    "nes": nes,
}

RANK_BASED = (centered_ranks, nes)  # these take +inf as simply the worst value


def resolve(shaping: str | Shaping) -> Shaping:
    """The function of that name, or the callable given.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if callable(shaping):
        return shaping
    if not isinstance(shaping, str) or shaping not in SHAPINGS:
        raise ValueError(
            f"shaping={shaping!r} is unknown: take {', '.join(map(repr, SHAPINGS))} or a function "
            "of an array of shape (2, n_pairs)"
        )
    return SHAPINGS[shaping]


def weights(shaping: Shaping, values: Array) -> Array:
    """One weight per pair: utility at ``x + d`` minus utility at ``x - d``.

    Raises
    ------
    ValueError
        If a user's shaping returns another shape than that of its argument.
    """
    utilities: Any = shaping(values)
    if utilities is not values:
        utilities = np.asarray(utilities, np.float64)
        if utilities.shape != values.shape:
            raise ValueError(
                f"shaping returned shape {utilities.shape}: expected {values.shape}, one utility "
                "for each value"
            )
    return np.asarray(utilities[0] - utilities[1])
