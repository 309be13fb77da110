"""Statistical assertions whose error rates are known, in both directions.

``FALSE_ALARM`` is the probability, over seeds, that one assertion fails on correct code. Skewness
raises that of `assert_mean`: to some 50 times as much for means of a few hundred skewed values. So
a hundred assertions, a few of them on skewed values, fail for less than one seed in a million; and
with fixed seeds, what passes keeps passing. Each assertion also states in ``detects`` the smallest
departure that it must find with probability ``1 - MISS``, and raises ValueError, which no test
expects, if the sample is too small for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

FALSE_ALARM = 1e-9
MISS = 1e-6


def assert_mean(
    sample: npt.ArrayLike,
    expected: npt.ArrayLike,
    *,
    std: npt.ArrayLike | None = None,
    detects: float,
) -> None:
    """The mean is as expected, for each row of the sample (corrected for their number).

    ``|mean - expected| <= z std / sqrt(size)`` with z the normal quantile at ``FALSE_ALARM``.

    Parameters
    ----------
    sample : array-like of shape (size,) or (rows, size)
        Independent observations.
    expected : float or array-like of shape (rows,)
    std : float or array-like of shape (rows,), optional
        Standard deviation of one observation; the sample's by default.
    detects : float
        A mean that is off by this is found with probability ``1 - MISS``.

    Raises
    ------
    AssertionError
        If a mean is off.
    ValueError
        If the sample is too small to detect what it should.

    Examples
    --------
    >>> uniform = np.random.default_rng(0).random(10_000)
    >>> assert_mean(uniform, 0.5, detects=0.04)
    """
    rows = np.reshape(sample, (-1, np.shape(sample)[-1]))
    error = np.reshape(rows.std(axis=1) if std is None else std, -1) / math.sqrt(rows.shape[1])
    limit = -_normal_quantile(FALSE_ALARM / 2 / len(rows))
    _require_power(error.max() * (limit - _normal_quantile(MISS)), detects)
    off = np.abs(rows.mean(axis=1) - np.reshape(expected, -1))
    worst = np.argmax(off - limit * error)
    if not (off <= limit * error).all():  # NaN is not as expected either
        raise AssertionError(f"row {worst} is off by {off[worst]:.3g}, {limit:.3g} standard errors")


def assert_distributed(
    sample: npt.ArrayLike, cdf: Callable[[Array], Array], *, detects: float
) -> None:
    """Independent draws have this distribution function (Kolmogorov-Smirnov, DKW bounds).

    ``sup |F_size - F| <= sqrt(log(2 / FALSE_ALARM) / (2 size))`` (Massart 1990).

    Parameters
    ----------
    sample : array-like of shape (size,)
    cdf : callable
        The continuous distribution function F, of an array.
    detects : float
        A distance between distribution functions that is found with probability ``1 - MISS``.

    Raises
    ------
    AssertionError
        If they are further apart.
    ValueError
        If the sample is too small to detect what it should.

    Examples
    --------
    >>> uniform = np.random.default_rng(0).random(10_000)
    >>> assert_distributed(uniform, lambda x: x, detects=0.06)
    """
    steps = np.arange(np.size(sample) + 1) / np.size(sample)
    allowed, missed = (
        math.sqrt(math.log(2 / rate) / 2 / np.size(sample)) for rate in (FALSE_ALARM, MISS)
    )
    _require_power(allowed + missed, detects)
    at_most = cdf(np.sort(sample))
    distance = max((at_most - steps[:-1]).max(), (steps[1:] - at_most).max())
    if not distance <= allowed:
        raise AssertionError(f"at a distance of {distance:.3g}, allowed {allowed:.3g}")


def assert_independent(x: Array, y: Array, *, detects: float) -> None:
    """Standard normals x and y have uncorrelated values and squares, in each row.

    Parameters
    ----------
    x : ndarray of shape (size,)
    y : ndarray of shape (size,) or (rows, size)
    detects : float
        A correlation that is found with probability ``1 - MISS``.

    Raises
    ------
    AssertionError
        If a correlation is not zero.
    ValueError
        If the sample is too small to detect what it should.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).standard_normal((2, 10_000))
    >>> assert_independent(x, y, detects=0.12)
    """
    products = np.stack([x * y, (x * x - 1) * (y * y - 1) / 2])  # both of variance one
    assert_mean(products, 0.0, std=1.0, detects=detects)


def mean_square_limit(weights: npt.ArrayLike, count: int, rate: float = FALSE_ALARM) -> float:
    """How far the mean of ``count`` draws of ``sum_i w_i z_i^2`` may be from ``sum_i w_i``.

    For standard normals z it is further off with probability ``rate`` at most: ``2 |w|_2 sqrt(t /
    count) + 2 |w|_inf t / count`` with ``t = log(2 / rate)`` (Laurent and Massart 2000, lemma 1).
    No normal approximation comes in, so this holds however skewed the sum is.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((1000, 2))
    >>> bool(abs((z**2).sum(axis=1).mean() - 2.0) <= mean_square_limit([1.0, 1.0], 1000))
    True
    """
    t, w = math.log(2 / rate), np.abs(weights)
    return float(2 * np.sqrt((w**2).sum() * t / count) + 2 * w.max() * t / count)


def _require_power(needed: float, detects: float) -> None:
    if needed > detects:
        raise ValueError(f"the sample can only detect {needed:.3g}, not {detects:.3g}")


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri  # late: a report that needs none of it starts sooner

    return float(ndtri(probability))
