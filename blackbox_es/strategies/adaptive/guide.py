"""How far a surrogate gradient is followed: measured, not believed. Pure functions.

In many dimensions a *gauge* comes before the first differences: slopes along four random directions
and along the surrogate s say how much of the gradient it shows, ``cos^2 = (g^T s)^2 / (|g|^2
|s|^2)``. If that is enough, rays follow surrogates alone, as long as these become smaller. Where
differences have been taken, g itself says what s is worth, and rays follow surrogates for some
evaluations between two of them: twice as many, up to n, each time that gains four times as much per
evaluation as the differences did, none for a while if it gains less than they.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._validation import as_surrogate
from blackbox_es._value import Count, replace, value

Array = npt.NDArray[Any]

MANY = 40  # dimensions from which on a gauge is cheap beside differences
_DRAWN = 4  # random directions of a gauge
_WORTH = 40.0  # over n: the cos^2 that beats differences on a sphere
_GAIN = math.exp(-2.0)  # what |s|^2 falls to in n / 10 evaluations if rays follow surrogates alone
_PAYS = 50.0  # over n: the share of the slope that pays beside differences
_EXACT = 0.99  # the share of a slope that is right but for rounding and curvature
_FAR = 4.0  # times the gain of differences: their next ones wait for twice as long


@value
class Guide:
    """What is known of surrogate gradients.

    Parameters
    ----------
    factor : float
        What multiplies them: the slope along them over their squared length.
    gauged : bool
        Whether there has been a gauge.
    alone : bool
        Whether they are followed without differences.
    exact : bool
        Whether they are as good as differences.
    left : float
        Evaluations for which they are followed from here.
    used : int
        Evaluations for which they have been followed since ``since``.
    since, square : float
        The value where that began, and the squared length of the surrogate.
    budget : float
        Evaluations after the next differences.
    rate : float
        What the last differences have gained, by evaluation.
    pause, n_lost : int
        Differences until they are tried again; how often they have been worse.
    """

    factor: float = 1.0
    gauged: bool = False
    alone: bool = False
    exact: bool = False
    left: float = 0.0
    used: Count = 0
    since: float = math.inf
    square: float = math.inf
    budget: float = 0.0
    rate: float = 0.0
    pause: Count = 0
    n_lost: Count = 0


def as_slope(surrogate: Any, n: int) -> Array | None:
    """The surrogate as a slope: the sum of its columns, if there are several; None if it is none.

    Raises
    ------
    TypeError, ValueError
        For what is no real array of shape (n,) or (n, k).
    """
    array = as_surrogate(surrogate, n)
    slope = array.astype(float) if array.ndim == 1 else array.sum(axis=1, dtype=float)
    return slope if np.isfinite(slope).all() and slope.any() else None


def directions(surrogate: Array, index: int, step: float) -> Array:
    """Those of a gauge, of length about ``step sqrt(n)``."""
    n = surrogate.size
    drawn = noise.normals((0, index), (0, _DRAWN), (0, n))
    along = surrogate * (math.sqrt(n) / math.sqrt(float(np.square(surrogate).sum())))
    return step * np.concatenate([drawn, along[None]])


def gauged(guide: Guide, slopes: Array, surrogate: Array) -> Guide:
    """After the slopes along these directions."""
    n, mean = surrogate.size, float(np.square(slopes[:-1]).mean())  # of (g^T z)^2: |g|^2
    along = float(slopes[-1])
    if not (math.isfinite(along) and 0.0 < mean < math.inf) or along == 0.0:
        return replace(guide, gauged=True)
    alone = along * along / (n * mean) >= _WORTH / n
    factor = along / math.sqrt(n * float(np.square(surrogate, dtype=float).sum()))
    return replace(guide, gauged=True, alone=alone, left=math.inf if alone else 0.0, factor=factor)


def met(guide: Guide, surrogate: Array, f: float) -> Guide:
    """With one more surrogate that may be followed, at a point of value f."""
    square, n = float(np.square(surrogate).sum()), surrogate.size
    if guide.since == math.inf:
        return replace(guide, since=f, square=square, used=0)
    if guide.exact or not guide.alone or guide.used < max(10, n // 10):
        return guide
    if square > _GAIN * guide.square:
        return left_off(guide)
    return replace(guide, since=f, square=square, used=0)


def left_off(guide: Guide) -> Guide:
    """No longer followed: differences come next."""
    return replace(guide, alone=False, exact=False, left=0.0, since=math.inf)


def spent(guide: Guide, f: float, n: int) -> Guide:
    """With one more evaluation; f is the best value so far."""
    if guide.since == math.inf:  # the rest of a ray
        return guide
    guide = replace(guide, used=guide.used + 1, left=guide.left - 1.0)
    if guide.alone or guide.left > 0.0:
        return guide
    gain = (guide.since - f) / guide.used
    if gain > guide.rate:
        more = 2.0 if gain > _FAR * guide.rate else 1.0
        return replace(guide, budget=min(more * guide.budget, n), n_lost=0, since=math.inf)
    lost = guide.n_lost + 1
    return replace(guide, budget=0.0, n_lost=lost, pause=2**lost, since=math.inf)


def compared(guide: Guide, share: float, gain: float, n: int) -> Guide:
    """After differences and their ray: the surrogate's share of the slope, and their gain."""
    guide = replace(guide, rate=gain / (n + 2))
    if share >= _EXACT:
        return replace(guide, alone=True, exact=True, left=math.inf, since=math.inf)
    if guide.pause > 0:
        return replace(guide, pause=guide.pause - 1)
    if n < MANY or share < min(0.9, _PAYS / n):
        return guide
    budget = max(guide.budget, 3.0, n / 10.0)
    return replace(guide, budget=budget, left=budget, since=math.inf)
