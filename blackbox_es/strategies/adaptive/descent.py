"""One run of a quasi-Newton descent, along differences of values or surrogates: pure functions.

    value at x -> slopes -> a ray -> .. -> x', slopes -> a ray -> ..

Each arrow is a generation: one point; twice as many points as there are coordinates, where
curvature or precision is wanted, or as many; one point of a line search. Slopes may also be
surrogates, which need no values (see `guide`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Count, Positive, Rows, Vector, replace, value
from blackbox_es.generation import Told
from blackbox_es.samplers import Axes, Chosen
from blackbox_es.steps import Plan
from blackbox_es.strategies.adaptive import guide as guides
from blackbox_es.strategies.adaptive import ray as rays
from blackbox_es.strategies.adaptive.guide import Guide
from blackbox_es.strategies.adaptive.quasi_newton import bent, dot, newton, positive, squared_cosine
from blackbox_es.strategies.adaptive.ray import Ray

Array = npt.NDArray[Any]

_MEMORY = 100  # steps remembered


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
    ray : Ray or None
        What is searched; None as long as the slope is not known.
    central : bool
        Whether differences are central.
    last_x, last_slope : ndarray of shape (n,) or None
        Where the slope before was, and what.
    steps, changes : ndarray of shape (k, n)
        What is remembered of steps and of the changes of the slope along them.
    n_failed : int
        Rays in a row on which no value was lower, or by no more than rounding.
    guide : Guide
    shown : ndarray of shape (n,) or None
        A surrogate of the slope at x that is not followed yet.
    share, guided : float, bool
        How much of the slope at x it shows at the least; whether the slope is a surrogate.
    reach : float
        The last step along a surrogate, without a memory.
    """

    x: Vector
    scale: Positive
    steps: Rows
    changes: Rows
    f: float | None = None
    curvature: Vector | None = None
    slope: Vector | None = None
    ray: Ray | None = None
    central: bool = False
    last_x: Vector | None = None
    last_slope: Vector | None = None
    n_failed: Count = 0
    guide: Guide = Guide()
    shown: Vector | None = None
    share: float = 0.0
    guided: bool = False
    reach: float = 0.0
    reason: str | None = None


def begin(x: Array, scale: float) -> Descent:
    """A run from x."""
    nothing = np.empty((0, x.size), x.dtype)
    return Descent(x, scale, nothing, nothing)


def begun(run: Descent, f: float) -> Descent:
    """The run with the value at its first point."""
    return replace(run, f=f, reason=None if math.isfinite(f) else "failed")


def wants_surrogate(run: Descent) -> bool:
    """Whether the next ray may follow one."""
    return run.f is not None and run.ray is None


def shown(run: Descent, surrogate: Any) -> Descent:
    """The run with a surrogate of the slope at x."""
    slope = guides.as_slope(surrogate, run.x.size)
    if not wants_surrogate(run) or slope is None:
        return replace(run, guide=guides.left_off(run.guide), shown=None)
    guide = run.guide
    if guide.left > 0.0:
        guide = guides.met(guide, slope, run.f)  # type: ignore[arg-type]
        # After a time alone, what is remembered is of surrogates.
        if not guide.left > 0.0 and run.guide.alone:
            run = replace(_forgotten(run), last_x=None)
    run = replace(run, guide=guide, shown=slope.astype(run.x.dtype))
    return _followed(run) if guide.left > 0.0 else run


def plan(run: Descent) -> Plan:
    """The points whose values a run needs next."""
    x = run.x
    if run.f is None:
        return Plan(Chosen(np.zeros_like(x)[None]), 1, mirrored=False)
    if _is_gauge(run):
        rows = guides.directions(run.shown, 0, _small(run))  # type: ignore[arg-type]
        return Plan(Chosen(rows.astype(x.dtype)), len(rows))
    if run.ray is None:
        return Plan(Axes(_differences(run)), x.size, mirrored=_is_central(run))
    return Plan(Chosen(x.dtype.type(run.ray.t) * run.ray.direction[None]), 1, mirrored=False)


def n_points(run: Descent) -> int:
    """How many they are."""
    if run.f is None or run.ray is not None:
        return 1
    return run.x.size * (2 if _is_central(run) else 1)


def learn(run: Descent, told: Told) -> Descent:
    """The run after their values."""
    values = told.values
    if run.f is None:
        return begun(run, float(values[0, 0]))
    if _is_gauge(run):
        slopes = (values[0] - values[1]) / (2.0 * _small(run))
        run = replace(run, guide=guides.gauged(run.guide, slopes, run.shown))  # type: ignore
        return _followed(run) if run.guide.left > 0.0 else run
    if run.ray is None:
        if not np.isfinite(values).all():
            return replace(run, reason="failed")
        steps, dtype = _differences(run).astype(float), run.x.dtype
        low = values[1] if _is_central(run) else run.f
        slope = (values[0] - low) / (2.0 * steps if _is_central(run) else steps)
        if run.curvature is None:
            bend = ((values[0] - run.f) + (values[1] - run.f)) / np.square(steps)
            run = replace(run, curvature=positive(bend).astype(dtype))
        return _aimed(_compared(_remembered(run, slope.astype(dtype))))
    f, before = float(values[0, 0]), float(run.f)  # type: ignore[arg-type]
    ray = rays.told(run.ray, f, before, dot(run.slope, run.ray.direction))  # type: ignore[arg-type]
    run = replace(run, ray=ray)
    if run.guided:
        lowest = min(f, ray.best_f, before)
        run = replace(run, guide=guides.spent(run.guide, lowest, run.x.size))
    if ray.end is None:
        return run
    return _moved(run) if ray.end == "moved" else _failed(run)


def _is_gauge(run: Descent) -> bool:
    """Whether a surrogate is looked at before the first differences."""
    n = run.x.size
    new = run.curvature is None and run.ray is None and not run.guide.gauged
    return new and run.shown is not None and n >= guides.MANY


def _small(run: Descent) -> float:
    return run.scale * float(np.finfo(run.x.dtype).eps ** (1.0 / 3.0))


def _followed(run: Descent) -> Descent:
    """The run with a ray along the surrogate that was shown."""
    slope = run.x.dtype.type(run.guide.factor) * run.shown
    run = replace(run, guided=True, shown=None)
    return _aimed(_remembered(run, slope) if run.guide.alone else replace(run, slope=slope))


def _compared(run: Descent) -> Descent:
    """The run with what the surrogate is worth beside the slope."""
    if run.shown is None:
        return replace(run, share=0.0)
    slope: Any = run.slope
    along = newton(run.shown, run.steps, run.changes, run.curvature)
    best = newton(slope, run.steps, run.changes, run.curvature)
    a, b, c = -dot(slope, along), -dot(run.shown, along), -dot(slope, best)
    if not (b > 0.0 and c > 0.0):
        return replace(run, share=0.0, shown=None)
    guide = replace(run.guide, factor=a / b)
    share = min(a * a / (b * c), squared_cosine(slope, run.shown))
    return replace(run, share=share, guide=guide, shown=None)


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
    along, a, b = dot(step, change), dot(step, step), dot(change, change)
    noisy = run.guided and not run.guide.exact  # changes of such slopes tell little
    least = 0.5 if noisy else 1e-10
    if not along > least * math.sqrt(a) * math.sqrt(b):
        return replace(run, slope=slope)
    steps = np.concatenate([run.steps[1 - _MEMORY :], step[None]])
    changes = np.concatenate([run.changes[1 - _MEMORY :], change[None]])
    curvature = None if run.curvature is None else bent(run.curvature, step, change)
    return replace(run, slope=slope, steps=steps, changes=changes, curvature=curvature)


def _aimed(run: Descent) -> Descent:
    """The run with a ray to search, from the slope at x."""
    slope: Any = run.slope
    if not slope.any():
        return replace(run, reason="flat")
    direction = newton(slope, run.steps, run.changes, run.curvature)
    if not dot(slope, direction) < 0.0:
        run = _forgotten(run)
        direction = newton(slope, run.steps, run.changes, run.curvature)
    longest, t, kind = float(np.abs(direction).max()), 1.0, "plain"
    if run.guided and run.reach > 0.0 and (len(run.steps) == 0 or not run.guide.alone):
        t, kind = run.reach, "refined"
    elif len(run.steps) == 0:
        t, kind = min(1.0, rays.LONGER * run.scale / longest), "extended"
        t = run.scale / longest if run.curvature is None else t
    return replace(run, ray=Ray(direction, t, kind))


def _forgotten(run: Descent) -> Descent:
    return replace(run, steps=run.steps[:0], changes=run.changes[:0])


def _moved(run: Descent) -> Descent:
    """The run at the best point of its ray."""
    ray: Any = run.ray
    gain = run.f - ray.best_f
    coarse = gain <= 1e-13 * max(1e-3, abs(ray.best_f))
    x = run.x + run.x.dtype.type(ray.best_t) * ray.direction
    n_failed = run.n_failed + 1 if coarse else 0
    moved = replace(run, x=x, f=ray.best_f, slope=None, ray=None, guided=False)
    if run.guided:
        guide = guides.left_off(run.guide) if coarse else run.guide
        moved = replace(moved, guide=guide, reach=ray.best_t)
        if not run.guide.alone:
            return moved  # its memory is of differences
        return replace(moved, last_x=run.x, last_slope=run.slope)
    guide = guides.compared(run.guide, run.share, gain, run.x.size)
    moved = replace(moved, guide=guide, reach=0.0, last_x=run.x, last_slope=run.slope)
    if coarse and not run.central:
        return _sharpened(moved)
    return replace(moved, n_failed=n_failed, reason="tol" if n_failed > 1 else None)


def _sharpened(run: Descent) -> Descent:
    """The run with central differences from here on, and nothing remembered of coarser ones."""
    run = replace(_forgotten(run), slope=None, ray=None, last_x=None, curvature=None)
    return replace(run, central=True, n_failed=0)


def _failed(run: Descent) -> Descent:
    """The run after a ray on which no value was lower."""
    remembered, guided = len(run.steps) > 0, run.guided
    if guided:
        run = replace(run, guide=guides.left_off(run.guide), guided=False, slope=None)
        if run.curvature is None:  # what is remembered is of surrogates
            run = replace(_forgotten(run), last_x=None)
        return replace(run, ray=None, reach=0.0)
    run = replace(_forgotten(run), n_failed=run.n_failed + 1)
    if not run.central:
        return _sharpened(run)
    if not remembered or run.n_failed > 1:
        return replace(run, reason="stalled")
    return _aimed(run)
