"""One generation of an evolution, compiled: with few coordinates NumPy's calls would cost most."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import jit
from blackbox_es.generation import Told

Array = npt.NDArray[Any]


class Rates(NamedTuple):
    """Weights of a generation, and the rates that follow from their number.

    Attributes
    ----------
    odd : ndarray of shape (n_pairs,)
        ``w+ - w-`` of each pair, where the weights w of the better half add to 1.
    good, bad : ndarray of shape (n_pairs,)
        Weights of the pair's squares: of its points in the better half, and in the worse.
    size : float
        ``|odd|``; zero if no direction was better than its opposite.
    slow, fast, damping : float
        Of the two paths, and of sigma.
    one, many : float
        Of the path's square in C, and of the squares of all points.
    """

    odd: Array
    good: Array
    bad: Array
    size: float
    slow: float
    fast: float
    damping: float
    one: float
    many: float


def rates_of(told: Told, full: bool) -> Rates:
    """Weights and rates (Hansen 2016, "The CMA evolution strategy: a tutorial")."""
    return Rates(*_weigh(told.utilities, told.generation.center.size, full))


@jit()
def _weigh(utilities, n, full):
    n_pairs = utilities.shape[1]
    odd, good, bad = np.zeros(n_pairs), np.zeros(n_pairs), np.zeros(n_pairs)
    total, against = 0.0, 0.0
    for p in range(n_pairs):
        for half in range(2):
            total += max(-utilities[half, p], 0.0)
            against += max(utilities[half, p], 0.0)
    if total == 0.0:
        return odd, good, bad, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    squares, bad_squares, size = 0.0, 0.0, 0.0
    for p in range(n_pairs):
        plus, minus = max(-utilities[0, p], 0.0) / total, max(-utilities[1, p], 0.0) / total
        odd[p], good[p] = plus - minus, plus + minus
        squares += plus * plus + minus * minus
        size += odd[p] * odd[p]
        if against > 0.0:  # else values are equal, all but some
            plus, minus = max(utilities[0, p], 0.0) / against, max(utilities[1, p], 0.0) / against
            bad[p] = plus + minus
            bad_squares += plus * plus + minus * minus
    mu = 1.0 / squares
    slow = (mu + 2.0) / (n + mu + 5.0)
    damping = 0.7 * (1.0 + slow + 2.0 * max(0.0, math.sqrt((mu - 1.0) / (n + 1.0)) - 1.0))
    faster, boost = (1.4, 2.0) if full else ((n + 2.0) / 6.0, 2.0 * (n + 2.0) / 3.0)
    one = min(0.5, 2.0 * faster / ((n + 1.3) ** 2 + mu))
    many = 2.0 * boost * (mu - 2.0 + 1.0 / mu) / ((n + 2.0) ** 2 + boost * mu)
    many = max(0.0, min(1.0 - one, many))
    if full and many > 0.0 and against > 0.0:  # C stays positive definite
        number = 1.0 / bad_squares
        bad *= min(
            1.0 + one / many,
            min(1.0 + 2.0 * number / (mu + 2.0), (1.0 - one - many) / (n * many)),
        )
    fast = (4.0 + mu / n) / (n + 4.0 + 2.0 * mu / n) if full else 4.0 / (n + 4.0)
    return odd, good, bad, math.sqrt(size), slow, fast, damping, one, many


def towards(path: Array, step: Array, rate: float) -> Array:
    """A path whose variance stays that of its steps: ``(1 - c) path + sqrt(c (2 - c)) step``."""
    out = np.empty_like(path)
    _towards(out, path, step, rate)
    return out


@jit()
def _towards(out, path, step, rate):
    kept, taken = 1.0 - rate, math.sqrt(rate * (2.0 - rate))
    for i in range(out.size):
        out[i] = kept * path[i] + taken * step[i]


def moments(told: Told, rates: Rates) -> tuple[Array, Array]:
    """``sum_p odd_p z_p``, and ``sum_p (good_p - bad_p n / |z_p|^2) z_p z_p^T``, in float64.

    A bad point counts by its direction: a long one would make C indefinite.
    """
    n = told.generation.center.size
    first, second = np.zeros(n), np.zeros((n, n))
    for (start, _), z in told.latents():
        _add_moments(first, second, z, rates.odd, rates.good, rates.bad, start)
    return first, second


@jit(contract=True)
def _add_moments(first, second, latents, odd, good, bad, start):
    n = first.size
    z = np.empty(n)
    for row in range(latents.shape[0]):
        p, length = start + row, 0.0
        for i in range(n):
            z[i] = latents[row, i]
            length += z[i] * z[i]
        weight = good[p] - bad[p] * (n / length)
        for i in range(n):
            first[i] += odd[p] * z[i]
            w, sums = weight * z[i], second[i]
            for j in range(n):
                sums[j] += w * z[j]


def adapted(metric: Array, second: Array, rates: Rates, fast: Array) -> Array:
    """``A exp(G / 2)`` to the second order, G what the squares have in excess of I; float64."""
    out = np.empty(metric.shape)
    excess = float(rates.good.sum() - rates.bad.sum())
    _adapt(out, metric, second, fast, rates.one, rates.many, excess)
    return out


@jit(contract=True)
def _adapt(out, metric, second, fast, one, many, excess):
    n = fast.size
    half, moved = np.empty((n, n)), np.zeros((n, n))
    for i in range(n):
        square = 0.5 * one * fast[i]
        for j in range(n):
            half[i, j] = 0.5 * many * second[i, j] + square * fast[j]
        half[i, i] -= 0.5 * (one + many * excess)
    for i in range(n):
        sums = moved[i]
        for k in range(n):
            a, row = metric[i, k], half[k]
            for j in range(n):
                sums[j] += a * row[j]
        total = out[i]
        for j in range(n):
            total[j] = metric[i, j] + sums[j]
        for k in range(n):
            a, row = 0.5 * sums[k], half[k]
            for j in range(n):
                total[j] += a * row[j]
