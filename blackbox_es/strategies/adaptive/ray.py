"""A line search, one value at a time: pure functions."""

from __future__ import annotations

import math

from blackbox_es._value import Count, Vector, replace, value

LONGER = 4.0
_ARMIJO = 1e-4
_TRIES = 12  # by then a ray is shorter by 2^-12 at the least


@value
class Ray:
    """What is known along a direction.

    Parameters
    ----------
    direction : ndarray of shape (n,)
    t : float
        The step whose value is awaited.
    kind : {"plain", "refined", "extended", "last"}
        Whether the minimum of a parabola is tried after a step that is accepted, or longer steps
        as long as values fall; "last" is the last value.
    best_t, best_f : float
        The best step accepted (0 is none), and its value.
    tries : int
        Steps refused.
    end : {"moved", "failed"} or None
    """

    direction: Vector
    t: float
    kind: str
    best_t: float = 0.0
    best_f: float = math.inf
    tries: Count = 0
    end: str | None = None


def told(ray: Ray, f: float, before: float, slope: float) -> Ray:
    """After the value at t; ``before`` is that at 0, and slope the one expected there.

    A step is accepted when the value falls by 1e-4 of what the slope promises (Armijo 1966,
    "Minimization of functions having Lipschitz continuous first partial derivatives"), else it is
    shortened to where a parabola through what is known is lowest.
    """
    if ray.best_t > 0.0:
        better = replace(ray, best_t=ray.t, best_f=f) if f < ray.best_f else ray
        if ray.kind == "last":
            return replace(better, end="moved")
        if f < ray.best_f:
            return replace(better, t=ray.t * LONGER)
        lowest = _lowest(ray.best_t, ray.best_f - before, ray.t, f - before)
        return _refined(ray, lowest)
    bend = f - before - slope * ray.t  # of the parabola, times t^2
    if f <= before + _ARMIJO * slope * ray.t:
        accepted = replace(ray, best_t=ray.t, best_f=f)
        if ray.kind == "extended":
            return replace(accepted, t=ray.t * LONGER)
        if ray.kind == "plain" or not bend > 0.0:
            return replace(accepted, end="moved")
        return _refined(accepted, ray.t * min(-slope * ray.t / (2.0 * bend), LONGER))
    if ray.tries + 1 == _TRIES:
        return replace(ray, end="failed")
    shorter = 0.1
    if math.isfinite(f):
        shorter = min(max(-slope * ray.t / (2.0 * bend), 0.1), 0.5) if bend > 0.0 else 0.5
    kind = "plain" if ray.kind == "extended" else ray.kind
    return replace(ray, t=ray.t * shorter, tries=ray.tries + 1, kind=kind)


def _lowest(s: float, f: float, t: float, g: float) -> float:
    """Where the parabola through (0, 0), (s, f) and (t, g) is lowest; 0 if nowhere."""
    bend = g / t - f / s
    if not (math.isfinite(g) and bend > 0.0):
        return 0.0
    return (g / t * s - f / s * t) / (2.0 * bend)


def _refined(ray: Ray, t: float) -> Ray:
    """With one more step to try, if it is another one."""
    if abs(t - ray.best_t) <= 0.01 * ray.best_t or not t > 0.0:
        return replace(ray, end="moved")
    return replace(ray, t=t, kind="last")
