"""One run of an evolution strategy that finds its own scale and metric: pure functions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Count, Matrix, Positive, Vector, replace, value
from blackbox_es.generation import Pairs, Told
from blackbox_es.samplers import Affine, Elongated, Sampler
from blackbox_es.steps import Plan
from blackbox_es.strategies.adaptive.kernels import Rates, adapted, moments, rates_of, towards

Array = npt.NDArray[Any]
Scales = float | Array  # standard deviations, of all coordinates or of each

_EPSILON = float(np.finfo(float).eps)
_LARGEST = 1e60  # times sigma at the start: where nothing gets better any more, it would grow on


@value
class Evolution:
    """A center, the scale, the metric, and three paths.

    Parameters
    ----------
    x : ndarray of shape (n,)
    n_pairs : int
        Of a generation.
    sigma, start : float
        The scale, and what it was at the start.
    metric : ndarray of shape (n, n) or (n,)
        A root A of the covariance matrix over sigma^2, or the diagonal D of one.
    path : ndarray of shape (n,)
        Of whitened steps, slow: is the scale too small or too large?
    fast : ndarray of shape (n,)
        The same, faster: which way does the search keep going?
    moved : ndarray of shape (n,)
        Of steps over sigma: the axis along which a diagonal metric is elongated.
    level : float
        The best value of a generation when that last changed by more than the tolerance.
    n_level : int
        Generations since then.
    median : float
        The lowest median of a generation.
    n_median : int
        Generations since then.
    reason : str or None
        Why the run has ended.
    """

    x: Vector
    n_pairs: Pairs
    sigma: Positive
    start: Positive
    metric: Matrix | Vector
    path: Vector
    fast: Vector
    moved: Vector
    level: float = math.inf
    n_level: Count = 0
    median: float = math.inf
    n_median: Count = 0
    reason: str | None = None


class Tolerance(NamedTuple):
    """When a run has converged.

    Attributes
    ----------
    x : float
        All standard deviations are below this.
    f : float
        The best values of many generations differ by at most this.
    least : ndarray or None
        Standard deviations never fall below these, and need not be below x then.
    """

    x: float
    f: float
    least: Array | None = None


def begin(x: Array, scales: Scales, n_pairs: int, full: bool) -> Evolution:
    """A run from x with these standard deviations."""
    scales = np.broadcast_to(np.asarray(scales, x.dtype), x.shape)
    sigma = math.exp(float(np.log(scales.astype(float)).mean()))
    relative = (scales / sigma).astype(x.dtype)
    zero = np.zeros_like(x)
    metric = np.diag(relative) if full else relative
    return Evolution(x, n_pairs, sigma, sigma, metric, zero, zero, zero)


def plan(run: Evolution) -> Plan:
    """Where a run searches next."""
    sampler: Sampler
    if run.metric.ndim == 2:
        sampler = Affine(run.metric * run.sigma)
    else:
        share = _row_share(run.x.size)
        row = run.moved * (run.sigma * math.sqrt(share))
        sampler = Elongated(run.metric * (run.sigma * math.sqrt(1.0 - share)), row[None])
    return Plan(sampler, run.n_pairs)


def learn(run: Evolution, told: Told, ordered: Array, tolerance: Tolerance) -> Evolution:
    """The run after a generation, whose values in order are ``ordered``."""
    full, dtype, n = run.metric.ndim == 2, run.x.dtype, run.x.size
    run = _watched(run, ordered, tolerance)
    rates = rates_of(told, full)
    if rates.size == 0.0:  # no direction was better than its opposite
        reason = None
        if _is_still(run, told):
            reason = "tol" if run.path.any() else "sigma_underflow"
        elif run.n_level >= _patience(run):
            reason = "tol" if run.path.any() else "flat"
        return replace(run, reason=reason)
    if full:
        sampler: Any = told.generation.sampler
        latent, second = moments(told, rates)
        step, z = sampler.apply(latent, dtype), latent / rates.size
        moved = step / (run.sigma * rates.size)
    else:
        step = told.combine(rates.odd)
        moved = step / (run.sigma * rates.size)
        z = _whitened(run, moved)
    path = towards(run.path, z, rates.slow)
    length = math.sqrt(float(np.square(path).sum())) / _mean_length(n)
    # A long path says that sigma is far too small: let it grow before C follows.
    fast = towards(run.fast, z if length < 1.4 + 2.0 / (n + 1) else 0.0 * z, rates.fast)
    sigma = run.sigma * math.exp(min(1.0, rates.slow / rates.damping * (length - 1.0)))
    sigma = min(max(sigma, 5e-324), _LARGEST * run.start)
    if full:
        metric = adapted(run.metric, second, rates, fast)
    else:
        metric = _diagonal(run.metric, told, rates, fast)
    if tolerance.least is not None:
        factors = np.maximum(tolerance.least / (sigma * _lengths(metric)), 1.0)
        metric = metric * (factors[:, None] if full else factors)
    after = Evolution(
        run.x + step,
        run.n_pairs,
        sigma,
        run.start,
        metric.astype(dtype, copy=False),
        path,
        fast,
        towards(run.moved, moved, 2.0 / (n + 7)),
        run.level,
        run.n_level,
        run.median,
        run.n_median,
    )
    reason = _reason(after, tolerance)
    return after if reason is None else replace(after, reason=reason)


def _is_still(run: Evolution, told: Told) -> bool:
    """Whether steps are too short to change x."""
    generation = told.generation
    return np.array_equal(generation.sampler.perturb(run.x, generation.key, (0, 1))[0, 0], run.x)


def _watched(run: Evolution, ordered: Array, tolerance: Tolerance) -> Evolution:
    """The run with what its values have come to."""
    best, median = float(ordered[0]), float(ordered[ordered.size // 2])
    same = abs(best - run.level) <= tolerance.f + 4.0 * _EPSILON * abs(best)
    level, n_level = (run.level, run.n_level + 1) if same else (best, 0)
    low, n_low = (median, 0) if median < run.median else (run.median, run.n_median + 1)
    return replace(run, level=level, n_level=n_level, median=low, n_median=n_low)


def _reason(run: Evolution, tolerance: Tolerance) -> str | None:
    """Why the run ends here, if it does."""
    if run.sigma >= _LARGEST * run.start or not np.isfinite(run.metric).all():
        return "diverged"
    if run.n_level >= _patience(run):
        return "tol"
    if run.n_median >= 100 + 50 * run.x.size**1.5 / run.n_pairs:
        return "stalled"
    if run.sigma > tolerance.x and tolerance.least is None:
        return None  # most often: the largest of the scales is about 1
    least = 0.0 if tolerance.least is None else tolerance.least * (1.0 + 1e-9)
    above = run.sigma * _lengths(run.metric) > np.maximum(tolerance.x, least)
    return None if above.any() else "tol"


def _lengths(metric: Array) -> Array:
    """Standard deviations of the coordinates, over sigma."""
    squares = np.square(metric, dtype=float).reshape(len(metric), -1)
    return np.asarray(np.sqrt(squares.sum(axis=1)))


def _patience(run: Evolution) -> int:
    """Generations without a change of the best value after which there is none to be expected."""
    return 10 + 15 * run.x.size // run.n_pairs


def _mean_length(n: int) -> float:
    """``E |N(0, I)|``, to the third order."""
    return math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n))


def _row_share(n: int) -> float:
    """How much of a step is along the row of a diagonal metric."""
    return 1.0 / (6.0 * math.sqrt(n) + 10.0)


def _whitened(run: Evolution, moved: Array) -> Array:
    """The step in coordinates in which the search distribution is round."""
    share = _row_share(moved.size)
    z = moved / (run.metric * math.sqrt(1.0 - share))
    row = run.moved * math.sqrt(share / (1.0 - share)) / run.metric
    square = float(np.square(row).sum())
    if square > 0.0:
        z -= row * (float((row * z).sum()) / square * (1.0 - 1.0 / math.sqrt(1.0 + square)))
    return np.asarray(z)


def _diagonal(metric: Array, told: Told, rates: Rates, fast: Array) -> Array:
    """``D exp(G / 2)``, G what the squares of each coordinate have in excess of 1."""
    even = rates.good - rates.bad
    half = told.squares(even)  # in place from here on: there may be many coordinates
    half -= even.sum()
    half *= rates.many / 2.0
    half += rates.one / 2.0 * (np.square(fast) - 1.0)
    np.exp(np.clip(half, -0.5, 0.5, out=half), out=half)
    return np.asarray(metric * half.astype(metric.dtype))
