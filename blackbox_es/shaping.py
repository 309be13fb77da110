"""Fitness shaping: the values of a generation become utilities.

A shaping maps values of shape (2, n_pairs), row 0 at ``x + d`` and row 1 at ``x - d``, to
utilities of the same shape that do not decrease with the value: less is better. A population that
is not mirrored has one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._value import freeze

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
    return _by_rank(values, _nes(values.size))


def log_ranks(values: Array) -> Array:
    """``ln k - ln((m + 1) / 2)`` for the k-th best of m values, ties averaged.

    Minus this, where it is negative, is what CMA-ES recombines the better half with, and its
    positive part weighs the worse half (Hansen 2016, "The CMA evolution strategy: a tutorial").
    """
    return _by_rank(values, _log(values.size))


@lru_cache(maxsize=16)
def _nes(m: int) -> Array:
    utilities = np.maximum(0.0, np.log(m / 2 + 1) - np.log(np.arange(1, m + 1)))
    return freeze(1.0 / m - utilities / utilities.sum())


@lru_cache(maxsize=16)
def _log(m: int) -> Array:
    return freeze(np.log(np.arange(1, m + 1)) - math.log((m + 1) / 2))


def _by_rank(values: Array, utilities: Array) -> Array:
    """``utilities[k]`` for the k-th smallest value, their mean where values are equal."""
    flat = values.ravel()
    order = flat.argsort(kind="stable")
    ordered = flat[order]
    new = ordered[1:] != ordered[:-1]
    if not new.all():
        starts = np.flatnonzero(np.append(True, new))
        counts = np.diff(starts, append=flat.size)
        utilities = np.repeat(np.add.reduceat(utilities, starts) / counts, counts)
    ranked = np.empty(flat.size)
    ranked[order] = utilities
    return ranked.reshape(values.shape)


SHAPINGS: dict[str, Shaping] = {
    "raw": raw,
    "standardized": standardized,
    "centered_ranks": centered_ranks,
    "nes": nes,
    "log_ranks": log_ranks,
}

RANK_BASED = (centered_ranks, nes, log_ranks)  # these take +inf as simply the worst value


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


class Shaped(NamedTuple):
    """The values of a generation after shaping.

    Attributes
    ----------
    utilities : ndarray of shape (halves, n_pairs), float64
        Zero for pairs that failed.
    n_valid : int
        Pairs that did not fail; 0 if a value is minus infinity, when there is nothing to learn.
    valid : ndarray of shape (n_pairs,), bool, or None
        Which they are; None is all of them.
    n_failed : int
        Evaluations that failed.
    mean : float
        Of the values that are finite; NaN if there are none.
    """

    utilities: Array
    n_valid: int
    valid: npt.NDArray[np.bool_] | None
    n_failed: int
    mean: float


class EvaluationError(RuntimeError):
    """More than half of a generation's pairs failed: nothing can be learnt from it."""


def shaped(
    shaping: Shaping, values: Array, index: int, known: npt.NDArray[np.bool_] | None = None
) -> Shaped:
    """Utilities of values some of which may be missing: NaN, or infinite where ranks do not count.

    Pairs that are not ``known`` have not been waited for: they are left out, and have not failed.

    Raises
    ------
    EvaluationError
        If more than half of the pairs of generation ``index`` failed.
    ValueError
        If a user's shaping returns another shape than that of its argument.
    """
    if known is not None:
        part = shaped(shaping, values[:, known], index)
        utilities, there = np.zeros(values.shape), known.copy()
        utilities[:, known] = part.utilities
        there[known] = True if part.valid is None else part.valid
        return part._replace(utilities=utilities, valid=there)
    n_pairs = values.shape[1]
    total = float(np.add.reduce(values.ravel()))  # finite only if all values are
    if math.isfinite(total):
        return Shaped(_checked(shaping, values), n_pairs, None, 0, total / values.size)
    finite = np.isfinite(values)
    mean = float(values[finite].mean()) if finite.any() else math.nan
    if finite.all():  # their sum is too large
        return Shaped(_checked(shaping, values), n_pairs, None, 0, mean)
    utilities = np.zeros(values.shape)
    unbounded = values == -np.inf
    if unbounded.any():
        return Shaped(utilities, 0, None, int((~finite & ~unbounded).sum()), mean)
    if shaping in RANK_BASED:
        finite |= values == np.inf  # simply the worst
    valid: npt.NDArray[np.bool_] = np.asarray(finite.all(axis=0))
    n_valid = int(valid.sum())
    if 2 * n_valid < n_pairs:
        raise EvaluationError(
            f"{n_pairs - n_valid} of {n_pairs} pairs of generation {index} failed (NaN, inf or a "
            "caught exception): look at the objective near x_, or lower sigma"
        )
    utilities[:, valid] = _checked(shaping, values[:, valid])
    return Shaped(utilities, n_valid, valid, int((~finite).sum()), mean)


def as_they_are(values: Array) -> Shaped:
    """Values in place of utilities, those that are missing, too: for points that are chosen."""
    finite = np.isfinite(values)
    n_pairs = 0 if (values == -np.inf).any() else values.shape[1]
    mean = float(values[finite].mean()) if finite.any() else math.nan
    return Shaped(values, n_pairs, None, int(np.isnan(values).sum()), mean)


def _checked(shaping: Shaping, values: Array) -> Array:
    utilities = shaping(values)
    if utilities is values:
        return values
    utilities = np.asarray(utilities, np.float64)
    if utilities.shape != values.shape:
        raise ValueError(
            f"shaping returned shape {utilities.shape}: expected {values.shape}, one utility for "
            "each value"
        )
    return np.asarray(utilities)
