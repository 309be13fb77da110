"""One run of a quasi-Newton descent whose slopes are differences of values: pure functions.

    value at x -> slopes -> a ray -> .. -> x', slopes -> a ray -> ..

Each arrow is a generation: one point, n of them (2 n when forward differences are too coarse), or
one point of a line search. The direction is ``-H g`` with the limited-memory H of Nocedal 1980,
"Updating quasi-Newton matrices with limited storage"; a step is accepted when the value falls by
``1e-4`` of what the slope promises (Armijo 1966), else it is shortened to the minimum of the
parabola through what is known. Without a memory the first ray is extended while values fall.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Count, Positive, Rows, Vector, value
from blackbox_es.generation import Told
from blackbox_es.samplers import Axes, Ray
from blackbox_es.steps import Plan

Array = npt.NDArray[Any]

_MEMORY = 40  # steps remembered
_ARMIJO = 1e-4
_TRIES = 12  # of a ray; by then it is shorter by 2^-12 at the least
_LONGER = 4.0
_FLATTEST = 1e-12  # of the curvatures, over the largest


@value
class Descent:
    """Where a descent is, and what it is waiting for.

    Parameters
    ----------
    x : ndarray of shape (n,)
    scale : float
        The length of the first step, in the coordinate that moves most.
    f : float or None
        The value at x; None as long as it is not known.
    curvature : ndarray of shape (n,) or None
        The size of the second derivatives along the axes, where the run began.
    slope : ndarray of shape (n,) or None
        The gradient at x, where known.
    direction : ndarray of shape (n,) or None
        Of the ray that is searched.
    t, best_t, best_f : float
        The step on the ray whose value is awaited, the best one accepted (0 is none), its value.
    tries : int
        Steps refused on this ray.
    extending : bool
        Whether longer steps are tried as long as values fall.
    central : bool
        Whether differences are central.
    last_x, last_slope : ndarray of shape (n,) or None
        Where the slope before was, and what.
    steps, changes : ndarray of shape (k, n)
        What is remembered of steps and of the changes of the slope along them.
    n_failed : int
        Rays in a row on which no value was lower.
    reason : str or None
        Why the run has ended.
    """

    x: Vector
    scale: Positive
    steps: Rows
    changes: Rows
    f: float | None = None
    curvature: Vector | None = None
    slope: Vector | None = None
    direction: Vector | None = None
    t: float = 0.0
    best_t: float = 0.0
    best_f: float = math.inf
    tries: Count = 0
    extending: bool = False
    central: bool = False
    last_x: Vector | None = None
    last_slope: Vector | None = None
    n_failed: Count = 0
    reason: str | None = None


def begin(x: Array, scale: float) -> Descent:
    """A run from x."""
    nothing = np.empty((0, x.size), x.dtype)
    return Descent(x, scale, nothing, nothing)


def plan(run: Descent) -> Plan:
    """The points whose values a run needs next."""
    x = run.x
    if run.f is None:
        return Plan(Ray(np.ones_like(x), np.zeros(1, x.dtype)), 1, mirrored=False)
    if run.direction is None:
        return Plan(Axes(_differences(run)), x.size, mirrored=_is_central(run))
    return Plan(Ray(run.direction, np.full(1, run.t, x.dtype)), 1, mirrored=False)


def n_points(run: Descent) -> int:
    """How many they are."""
    if run.f is None or run.direction is not None:
        return 1
    return run.x.size * (2 if _is_central(run) else 1)


def learn(run: Descent, told: Told) -> Descent:
    """The run after their values."""
    values = told.values
    if run.f is None:
        f = float(values[0, 0])
        return replace(run, f=f, reason=None if math.isfinite(f) else "failed")
    if run.direction is None:
        if not np.isfinite(values).all():
            return replace(run, reason="failed")
        steps, dtype = _differences(run).astype(float), run.x.dtype
        low = values[1] if _is_central(run) else run.f
        slope = (values[0] - low) / (2.0 * steps if _is_central(run) else steps)
        if run.curvature is None:
            bend = np.abs(((values[0] - run.f) + (values[1] - run.f)) / np.square(steps))
            bend = np.maximum(bend, _FLATTEST * bend.max()) if bend.any() else np.ones_like(bend)
            run = replace(run, curvature=bend.astype(dtype))
        return _aimed(_remembered(run, slope.astype(dtype)))
    return _searched(run, float(values[0, 0]))


def _is_central(run: Descent) -> bool:
    """Whether differences are central: at first, for the curvature."""
    return run.central or run.curvature is None


# -- slopes --------------------------------------------------------------------------------------


def _differences(run: Descent) -> Array:
    """Steps along the axes, such that rounding and curvature cost about as much."""
    x = run.x
    power = 0.25 if run.curvature is None else 1.0 / 3.0 if run.central else 0.5
    share = 2.0 ** round(math.log2(float(np.finfo(x.dtype).eps)) * power)
    steps = np.maximum(np.abs(x), run.scale).astype(x.dtype) * x.dtype.type(share)
    return np.asarray((x + steps) - x)  # as they are after rounding


def _remembered(run: Descent, slope: Array) -> Descent:
    """The run with the slope at x, and the step to x in its memory if f curves up along it."""
    if run.last_x is None or run.last_slope is None:
        return replace(run, slope=slope)
    step, change = run.x - run.last_x, slope - run.last_slope
    curvature, a, b = _dot(step, change), _dot(step, step), _dot(change, change)
    if not curvature > 1e-10 * math.sqrt(a) * math.sqrt(b):
        return replace(run, slope=slope)
    steps = np.concatenate([run.steps[1 - _MEMORY :], step[None]])
    changes = np.concatenate([run.changes[1 - _MEMORY :], change[None]])
    bent = _bent(run.curvature, step, change, curvature)
    return replace(run, slope=slope, steps=steps, changes=changes, curvature=bent)


def _bent(curvature: Any, step: Array, change: Array, along: float) -> Array:
    """The diagonal of the update of a diagonal curvature, scaled to fit the change before it."""
    scaled = curvature * (_dot(change, change / curvature) / along)
    part = scaled * step
    bent = scaled - np.square(part) / _dot(part, step) + np.square(change) / along
    return np.asarray(np.maximum(bent, _FLATTEST * bent.max()))


def _aimed(run: Descent) -> Descent:
    """The run with a ray to search, from the slope at x."""
    slope: Any = run.slope
    if not slope.any():
        return replace(run, reason="flat")
    direction = _newton(run)
    if not _dot(slope, direction) < 0.0:
        run = _forgotten(run)
        direction = _newton(run)
    first = len(run.steps) == 0
    t = min(1.0, _LONGER * run.scale / float(np.abs(direction).max())) if first else 1.0
    return replace(
        run, direction=direction, t=t, best_t=0.0, best_f=math.inf, tries=0, extending=first
    )


def _newton(run: Descent) -> Array:
    """``-H slope``, by the two loops of the limited-memory update of the inverse curvature."""
    slope: Any = run.slope
    curvature: Any = run.curvature
    steps, changes = run.steps, run.changes
    q = slope.astype(float)
    shares = []
    for s, y in zip(steps[::-1], changes[::-1], strict=True):
        shares.append(_dot(s, q) / _dot(s, y))
        q -= shares[-1] * y
    q /= curvature
    for s, y in zip(steps, changes, strict=True):
        q += s * (shares.pop() - _dot(y, q) / _dot(s, y))
    return np.asarray(-q, slope.dtype)


def _forgotten(run: Descent) -> Descent:
    return replace(run, steps=run.steps[:0], changes=run.changes[:0])


def _dot(a: Array, b: Array) -> float:
    """In a fixed order: that of BLAS depends on its threads."""
    return float((a * b).sum(dtype=float))


# -- rays ----------------------------------------------------------------------------------------


def _searched(run: Descent, f: float) -> Descent:
    """The run after the value at ``x + t direction``."""
    before: Any = run.f
    if run.best_t > 0.0:  # extending
        if f < run.best_f:
            return replace(run, best_t=run.t, best_f=f, t=run.t * _LONGER)
        return _moved(run)
    expected = _dot(run.slope, run.direction) * run.t  # type: ignore[arg-type]
    if f <= before + _ARMIJO * expected:
        accepted = replace(run, best_t=run.t, best_f=f)
        return replace(accepted, t=run.t * _LONGER) if run.extending else _moved(accepted)
    if run.tries + 1 == _TRIES:
        return _failed(run)
    shorter, bend = 0.1, f - before - expected
    if math.isfinite(f):
        shorter = min(max(-expected / (2.0 * bend), 0.1), 0.5) if bend > 0.0 else 0.5
    return replace(run, t=run.t * shorter, tries=run.tries + 1, extending=False)


def _moved(run: Descent) -> Descent:
    """The run at the best point of its ray."""
    before: Any = run.f
    gain = before - run.best_f
    coarse = gain <= 1e-13 * max(1e-3, abs(run.best_f))
    x = run.x + run.x.dtype.type(run.best_t) * run.direction
    return replace(
        run,
        x=x,
        f=run.best_f,
        slope=None,
        direction=None,
        last_x=run.x,
        last_slope=run.slope,
        n_failed=0,
        central=run.central or coarse,
        reason="tol" if coarse and run.central else None,
    )


def _failed(run: Descent) -> Descent:
    """The run after a ray on which no value was lower."""
    remembered = len(run.steps) > 0
    run = replace(_forgotten(run), n_failed=run.n_failed + 1)
    if not run.central:
        return replace(run, central=True, slope=None, direction=None, last_x=None, n_failed=0)
    if not remembered or run.n_failed > 1:
        return replace(run, reason="stalled")
    return _aimed(run)
