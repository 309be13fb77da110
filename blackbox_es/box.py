"""Bounds on the coordinates, as a fold of the whole space into a box."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_surrogate
from blackbox_es._value import freeze, value

Array = npt.NDArray[Any]
Law = tuple[Array, Array, Array]  # l, h and a of the free coordinates

_ZONE = 0.1  # of the width
_LEAST_SLOPE = 1e-3  # at the start


@value
class Box:
    """A map of the whole space onto a box: once continuously differentiable, and never outside.

    A search runs in the whole space, and its points are folded before they are evaluated. With
    the bounds l and h of a coordinate, and ``a = (h - l) / 10``,

        fold(z) = l + (z - (l - a))^2 / (4 a)      for z within a of l
        fold(z) = z                                for l + a <= z <= h - a
        fold(z) = h - (z - (h + a))^2 / (4 a)      for z within a of h

    mirrored at ``l - a`` and ``h + a``, and so of period ``2 (h - l + 2 a)``. The slope at the
    mirrors is zero, so that an optimum on a bound is a smooth one of the search. A bound b without
    an opposite has no width, and ``1 + |b|`` in its place: give the other one, too, if that is far
    from the scale of the coordinate. Scaling two bounds scales the map. A coordinate without bounds
    is left as it is; one with ``l = h`` is fixed, and no coordinate of the search.

    It is the boundary transform of pycma, but for its scale.

    Parameters
    ----------
    low, high : array-like of shape (n,), or a number for all coordinates
        Bounds, which belong to the box; infinite where there is none. Copied.

    Attributes
    ----------
    n, n_free : int
        Coordinates, and those that are not fixed.

    Raises
    ------
    TypeError, ValueError
        For bounds that are no numbers, out of order, or leave nothing to search.

    Examples
    --------
    >>> box = Box([0.0, 0.0, 5.0], [1.0, np.inf, 5.0])
    >>> box.fold(np.array([1.2, -3.0]))
    array([0.975, 2.8  , 5.   ])
    >>> box.unfold(np.array([0.5, 2.8, 5.0]))
    array([0.5, 2.8])
    """

    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    _free: Any = field(init=False, compare=False, repr=False)  # (n,), bool
    _law: Any = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        low, high = _as_bounds(self.low, self.high)
        free = low < high
        if not free.any():
            raise ValueError("bounds fix all coordinates: there is nothing to search")
        law = low[free], high[free], _zones(low, high)[free]
        freeze((low, high, free, law))
        for name, item in (("low", low), ("high", high), ("_free", free), ("_law", law)):
            object.__setattr__(self, name, item)

    @property
    def n(self) -> int:
        return self.low.size

    @property
    def n_free(self) -> int:
        return self._law[0].size  # type: ignore[no-any-return]

    def fold(self, z: Array) -> Array:
        """The points of the box that belong to points of the search.

        Parameters
        ----------
        z : ndarray of shape (..., n_free), float32 or float64

        Returns
        -------
        ndarray of shape (..., n), dtype of z
            Inside after rounding, too; a fixed coordinate is the nearest number.
        """
        x, where = z.copy(), _curved(self._law, z)
        if where[-1].size:
            low, high = _inside(self._law, z.dtype)
            folded, _ = _folded(self._law, z[where], where[-1])
            with np.errstate(over="ignore"):
                x[where] = folded.clip(low[where[-1]], high[where[-1]])
        if self.n_free == self.n:
            return x
        whole = np.empty((*z.shape[:-1], self.n), z.dtype)
        whole[..., self._free] = x
        whole[..., ~self._free] = self.low[~self._free]
        return whole

    def unfold(self, x: Array) -> Array:
        """The point of the search, between the mirrors, that is folded to ``x``, to rounding.

        Parameters
        ----------
        x : ndarray of shape (n,), float32 or float64

        Raises
        ------
        ValueError
            If a coordinate is outside its bounds.
        """
        if x.shape != self.low.shape:
            raise ValueError(f"bounds are for {self.n} coordinates, but x0 has {x.size}")
        with np.errstate(over="ignore"):  # as rounded as x is
            inside = (self.low.astype(x.dtype) <= x) & (x <= self.high.astype(x.dtype))
        if not inside.all():
            i = np.argmin(inside)
            where = f"its bounds {self.low[i]} and {self.high[i]}"
            raise ValueError(f"x0[{i}] is {x[i]}, outside {where}: start inside")
        least, most = _inside(self._law, x.dtype)
        if (least > most).any():
            i = np.flatnonzero(self._free)[np.argmax(least > most)]
            raise ValueError(f"bounds of coordinate {i} have no {x.dtype} between them: fix it")
        low, high, a = self._law
        z = x[self._free].astype(np.float64)
        with np.errstate(invalid="ignore"):  # where there is no bound
            above, below = np.maximum(z - low, 0.0), np.maximum(high - z, 0.0)
            z = np.where(above < a, low - a + np.sqrt(4.0 * a * above), z)
            z = np.where(below < a, high + a - np.sqrt(4.0 * a * below), z)
        return np.asarray(z, x.dtype)

    def start(self, x: Array) -> Array:
        """Where a search from ``x`` begins: ``unfold(x)``, but at least ``a / 10^6`` inside.

        On a mirror the points of a pair would be the same and tell nothing; there the slope is
        1/1000.
        """
        z, (low, high, a) = self.unfold(x), self._law
        least = a - 2.0 * a * _LEAST_SLOPE
        return np.asarray(z.clip(low - least, high + least), x.dtype)

    def pull_back(self, z: Array, gradient: Any) -> Array:
        """The gradient of ``f(fold(z))`` from that of f at ``fold(z)``, by the chain rule.

        Parameters
        ----------
        z : ndarray of shape (n_free,)
        gradient : array-like of shape (n,) or (n, k)
            What is returned has n_free rows.

        Raises
        ------
        TypeError, ValueError
            For a gradient of another shape or not of real numbers.
        """
        array = as_surrogate(gradient, self.n)
        slope, (where,) = np.ones(z.size), _curved(self._law, z)
        _, slope[where] = _folded(self._law, z[where], where)
        with np.errstate(invalid="ignore"):  # infinity on a bound is NaN
            return np.asarray((array[self._free].T * slope).T)

    def middle(self) -> Array:
        """The point in the middle of all bounds.

        Raises
        ------
        ValueError
            If a coordinate has no two bounds.
        """
        finite = np.isfinite(self.low) & np.isfinite(self.high)
        if not finite.all():
            i = np.argmin(finite)
            raise ValueError(
                f"x0=None is the middle of the bounds, but those of coordinate {i} are "
                f"{self.low[i]} and {self.high[i]}: give x0"
            )
        return np.asarray(self.low + (self.high - self.low) / 2.0)


def resolve(bounds: Any, n: int | None = None) -> Box | None:
    """The box of a parameter ``bounds``; None is no bounds.

    Parameters
    ----------
    bounds : None, Box, Space, scipy.optimize.Bounds or sequence of (low, high)
        None or infinity in a pair is no bound.
    n : int, optional
        Coordinates, for numbers that hold for all of them.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for invalid bounds.
    """
    if bounds is None or isinstance(bounds, Box):
        return bounds
    bounds = getattr(bounds, "bounds", bounds)  # those of a Space
    low, high = getattr(bounds, "lb", None), getattr(bounds, "ub", None)
    if low is None or high is None:
        try:
            pairs = [(low, high) for low, high in bounds]
        except (TypeError, ValueError):
            known = "pairs (low, high), scipy.optimize.Bounds, Box, Space, tree_bounds(x0, ..)"
            raise TypeError(f"bounds={bounds!r:.99}: expected {known}") from None
        low = [-np.inf if bound is None else bound for bound, _ in pairs]
        high = [np.inf if bound is None else bound for _, bound in pairs]
    elif n is not None and np.size(low) == np.size(high) == 1:
        low, high = np.full(n, np.squeeze(low)), np.full(n, np.squeeze(high))
    return Box(np.asarray(low), np.asarray(high))


def _as_bounds(low: Any, high: Any) -> tuple[Array, Array]:
    """Float64 copies of bounds, of one shape."""
    for name, bound in (("low", low), ("high", high)):
        if np.asarray(bound).dtype.kind not in "fiub":
            raise TypeError(f"bounds: {name}={bound!r:.99} is not of real numbers")
    shapes = np.shape(low), np.shape(high)
    if len({shape for shape in shapes if shape}) != 1 or 1 not in map(len, shapes):
        raise ValueError(f"bounds have shapes {shapes[0]} and {shapes[1]}: expected one dimension")
    both = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
    low, high = (np.array(bound) for bound in both)
    right = (low <= high) & (low < np.inf) & (high > -np.inf)
    if not right.all():
        i = np.argmin(right)
        raise ValueError(
            f"bounds of coordinate {i} are {low[i]} and {high[i]}: expected low <= high, and "
            "infinity only for no bound"
        )
    return low, high


def _zones(low: Array, high: Array) -> Array:
    """How far from a bound the fold is curved, by coordinate."""
    one = np.minimum(np.abs(low), np.abs(high))  # of a bound without an opposite
    with np.errstate(over="ignore"):
        width = np.where(np.isfinite(low) & np.isfinite(high), high - low, 1.0 + one)
        width[np.isinf(one)] = 1.0  # no bound, and no zone
        right = (low >= high) | ((width * _ZONE > 0.0) & np.isfinite(3.0 * width))
    if not right.all():
        i = np.argmin(right)
        raise ValueError(
            f"bounds of coordinate {i} are {low[i]} and {high[i]}: no float is their width"
        )
    return np.asarray(_ZONE * width)


# -- one formula for the map and its slope -------------------------------------------------------


def _curved(law: Law, z: Array) -> tuple[Any, ...]:
    """The indices of what the fold changes."""
    low, high, a = law
    return np.nonzero(~((z >= low + a) & (z <= high - a)))


def _folded(law: Law, z: Array, i: Array) -> tuple[Array, Array]:
    """The image of some coordinates and the slope there, float64; i says which they are."""
    low, high, a = (part[i] for part in law)
    up = np.isfinite(low)  # else seen from above, with the coordinate turned round
    base, sign = np.where(up, low, high), np.where(up, 1.0, -1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        half = high - low + 2.0 * a
        beyond = sign * (z.astype(np.float64) - base) + a  # from the mirror
        t = np.fmod(np.abs(beyond), 2.0 * half)
        t[~np.isfinite(t)] = 0.0  # a step out of the floats: anywhere inside will do
        slope = np.where(t > half, -np.sign(beyond), np.sign(beyond))
        t = np.where(t > half, 2.0 * half - t, t)
        x = base + sign * np.where(t < 2.0 * a, t * t / (4.0 * a), t - a)
        slope = np.where(t < 2.0 * a, slope * t / (2.0 * a), slope)
        rest = half - t  # from the other mirror
        x = np.where(rest < 2.0 * a, high - rest * rest / (4.0 * a), x)
        return x, np.where(rest < 2.0 * a, slope * rest / (2.0 * a), slope)


def _inside(law: Law, dtype: Any) -> tuple[Array, Array]:
    """The least and the largest number of a dtype in each free interval."""
    low, high, _ = law
    with np.errstate(over="ignore"):
        least, most = low.astype(dtype), high.astype(dtype)
    return (
        np.where(least < low, np.nextafter(least, np.inf, dtype=dtype), least),
        np.where(most > high, np.nextafter(most, -np.inf, dtype=dtype), most),
    )
