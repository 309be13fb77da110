"""Parameters on scales of their own: a box for the search, keyword arguments for the user."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_value, as_values, check_flag, parameters
from blackbox_es._value import same, value

Array = npt.NDArray[Any]

_LARGEST = 2**40  # of integers: on a log scale neighbours are still apart in a float


@value
class Real:
    """A real number from low to high, both included.

    Parameters
    ----------
    low, high : float

    Raises
    ------
    ValueError
        If they are not finite, or low is not below high.

    Examples
    --------
    >>> Space(dropout=Real(0, 0.5)).params([0.5])
    {'dropout': 0.25}
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self, float)

    def _sizes(self) -> tuple[float, ...]:
        return (0.0,)

    def _encode(self, given: Any, name: str) -> list[float]:
        return [_position(_inside(self, as_value(given, name), name), self.low, self.high, False)]

    def _decode(self, u: Array) -> float:
        return _number(float(u[0]), self.low, self.high, False)


@value
class Log:
    """A positive number from low to high, both included, on a log scale.

    Parameters
    ----------
    low, high : float

    Raises
    ------
    ValueError
        If they are not finite, low is not positive, or not below high.

    Examples
    --------
    >>> Space(learning_rate=Log(0.01, 1)).params([0.5])
    {'learning_rate': 0.1}
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self, float)
        _check_log(self)

    def _sizes(self) -> tuple[float, ...]:
        return (0.0,)

    def _encode(self, given: Any, name: str) -> list[float]:
        return [_position(_inside(self, as_value(given, name), name), self.low, self.high, True)]

    def _decode(self, u: Array) -> float:
        return _number(float(u[0]), self.low, self.high, True)


@value
class Int:
    """An integer from low to high, both included.

    A number on the scale is rounded, so that low is 0 and high is 1 in the unit interval: where the
    search is reflected at its ends, all cells of a linear scale are equally wide.

    Parameters
    ----------
    low, high : int
    log : bool
        On a log scale.

    Raises
    ------
    ValueError
        If they are no integers below 2^40, low is not below high, or not positive with ``log``.

    Examples
    --------
    >>> Space(depth=Int(1, 12), leaves=Int(2, 200, log=True)).params([0.5, 0.5])
    {'depth': 7, 'leaves': 20}
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        check_flag("log", self.log)
        _check_ends(self, int)
        if self.log:
            _check_log(self)

    def _sizes(self) -> tuple[float, ...]:
        # Of the widest cell; on a log scale that is the first, half of it beyond the end.
        return (_position(self.low + 0.5, self.low, self.high, self.log),)

    def _encode(self, given: Any, name: str) -> list[float]:
        number = as_value(given, name)
        if number != int(_inside(self, number, name)):
            raise ValueError(f"{name}={given!r}: expected an integer")
        return [_position(number, self.low, self.high, self.log)]

    def _decode(self, u: Array) -> int:
        number = math.floor(_number(float(u[0]), self.low, self.high, self.log) + 0.5)
        return min(number, self.high)


@value
class Choice:
    """One of some options.

    Two options, and numbers in increasing order, share one coordinate: they are neighbours, as
    integers are. Others have nothing between them: each has a coordinate, and the largest wins, so
    that any option is one step away from any other.

    Parameters
    ----------
    options : sequence
        Two or more, all different; anything that the user's function takes.

    Raises
    ------
    ValueError
        If there are less than two, or two that are the same.

    Examples
    --------
    >>> Space(act=Choice(["relu", "tanh", "step"])).params([0.1, 0.9, 0.3])
    {'act': 'tanh'}
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if isinstance(self.options, (str, bytes)) or not hasattr(self.options, "__iter__"):
            raise ValueError(f"options={self.options!r}: expected a sequence, ['a', 'b']")
        options = tuple(self.options)
        if len(options) < 2:
            raise ValueError(
                f"options={options!r}: take two or more; what is fixed needs no choice"
            )
        for i, option in enumerate(options):
            if any(same(option, other) for other in options[:i]):
                raise ValueError(f"options={options!r}: {option!r} occurs twice, remove one")
        object.__setattr__(self, "options", options)

    def _in_order(self) -> bool:
        numbers = all(type(option) in (int, float) for option in self.options)
        return len(self.options) == 2 or (numbers and list(self.options) == sorted(self.options))

    def _sizes(self) -> tuple[float, ...]:
        if self._in_order():
            return (0.5 / (len(self.options) - 1),)
        # Two coordinates are 1/2 apart, and their difference varies sqrt(2) times as much.
        return (0.5 / math.sqrt(2.0),) * len(self.options)

    def _encode(self, given: Any, name: str) -> list[float]:
        for i, option in enumerate(self.options):
            if option is given or same(option, given):
                if self._in_order():
                    return [i / (len(self.options) - 1)]
                return [0.75 if j == i else 0.25 for j in range(len(self.options))]
        raise ValueError(f"{name}={given!r}: take {', '.join(map(repr, self.options))}")

    def _decode(self, u: Array) -> Any:
        if self._in_order():
            return self.options[math.floor(float(u[0]) * (len(self.options) - 1) + 0.5)]
        return self.options[int(np.argmax(u))]


Dimension = Real | Log | Int | Choice


@value
class Space:
    """Named parameters on a box: a vector u in ``[0, 1]^n`` is a dict of keyword arguments.

    ::

        Real    low + u (high - low)
        Log     low (high / low)^u
        Int     one of these, rounded
        Choice  options[round(u (q - 1))] if they have an order, else options[argmax(u_1 .. u_q)]

    Parameters
    ----------
    dimensions : dict of str to Real, Log, Int or Choice, optional
        For names that are no identifiers of Python.
    **named : Real, Log, Int or Choice

    Raises
    ------
    TypeError
        For a dimension that is none of these.
    ValueError
        If there is none.

    Examples
    --------
    >>> space = Space(lr=Log(1e-4, 1), depth=Int(1, 9), act=Choice(["relu", "tanh"]))
    >>> space.n
    3
    >>> space.params(space.middle)
    {'lr': 0.01, 'depth': 5, 'act': 'tanh'}
    >>> space.encode({"lr": 1.0, "depth": 1, "act": "relu"})
    array([1., 0., 0.])

    A search calls the function with the parameters by name:

    >>> from blackbox_es import AdaptiveES
    >>> cost = space.objective(lambda lr, depth, act: abs(depth - 3) + lr)
    >>> cost([0.5, 0.25, 0.0])
    0.01
    """

    dimensions: dict[str, Dimension]

    def __init__(
        self, dimensions: Mapping[str, Dimension] | Dimension | None = None, **named: Dimension
    ) -> None:
        # A parameter of the user's may be called "dimensions", too.
        given = {"dimensions": dimensions} if isinstance(dimensions, Dimension) else dimensions
        found = {**(given or {}), **named}
        for name, dimension in found.items():
            if not isinstance(dimension, Dimension):
                raise TypeError(
                    f"{name}={dimension!r:.99}: expected Real, Log, Int or Choice; "
                    "what is fixed is no part of the space"
                )
        if not found:
            raise ValueError("the space has no dimension: Space(name=Real(0, 1))")
        object.__setattr__(self, "dimensions", found)

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={d!r}' for name, d in self.dimensions.items())})"

    @property
    def n(self) -> int:
        """The number of coordinates."""
        return sum(len(d._sizes()) for d in self.dimensions.values())

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """The box, as strategies and SciPy take it."""
        return [(0.0, 1.0)] * self.n

    @property
    def middle(self) -> Array:
        """The middle of the box, to start from."""
        return np.full(self.n, 0.5)

    @property
    def min_sigma(self) -> Array:
        """The least standard deviations with which no integer and no choice freezes.

        ``s = h / z`` with ``P(|N(0, 1)| > z) = 1 / (n lambda)`` and ``lambda = 4 + 3 ln n``, the
        population of `AdaptiveES`. h is half of the widest cell, so that in a box that reflects
        normal steps from anywhere leave an integer with at least this probability: it is
        ``Phi(-a / s) + Phi((a - 2 h) / s)`` at a distance a from one end of the cell, which is
        convex and least in the middle. For options without an order the center is the point that
        `encode` gives, and the probability at least half of it for each other option (after
        Hamano et al. 2022, "CMA-ES with margin"). Zero for real numbers.
        """
        halves = np.array([h for d in self.dimensions.values() for h in d._sizes()])
        leaving = 1.0 / (self.n * (4.0 + 3.0 * math.log(self.n)))
        return halves / NormalDist().inv_cdf(1.0 - leaving / 2.0)

    def params(self, u: npt.ArrayLike) -> dict[str, Any]:
        """The parameters at a point of the box, by name: Python's floats, integers and options.

        Parameters
        ----------
        u : array-like of shape (n,)

        Raises
        ------
        ValueError
            For another shape, and for a point that is not in the box.
        """
        u = as_values(u, (self.n,), "u")
        outside = np.flatnonzero(~((u >= 0.0) & (u <= 1.0)))
        if outside.size:
            i = outside[0]
            raise ValueError(f"u[{i}] is {u[i]}: expected 0 to 1; search with bounds=space.bounds")
        found, start = {}, 0
        for name, dimension in self.dimensions.items():
            stop = start + len(dimension._sizes())
            found[name] = dimension._decode(u[start:stop])
            start = stop
        return found

    def encode(self, params: Mapping[str, Any]) -> Array:
        """A point of the box that has these parameters: `params` gives them back.

        Raises
        ------
        ValueError
            For names that are missing or unknown, and for a value outside its dimension.
        """
        missing = self.dimensions.keys() - params.keys()
        unknown = params.keys() - self.dimensions.keys()
        if missing or unknown:
            wrong = (
                f"{sorted(missing)[0]!r} is missing" if missing else f"no {sorted(unknown)[0]!r}"
            )
            raise ValueError(f"params: {wrong}; the space has {', '.join(self.dimensions)}")
        places = [d._encode(params[name], name) for name, d in self.dimensions.items()]
        return np.array([u for place in places for u in place])

    def objective(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of a point that calls ``function(**params)``.

        It has a parameter ``seed`` if the function has one that is not of this space.
        """
        if not callable(function):
            raise TypeError(f"function={function!r} is not callable: expected f(**params)")
        seeded = "seed" in parameters(function) and "seed" not in self.dimensions
        return functools.partial(_call_seeded if seeded else _call, function, self)


# Functions of the module, so that workers can be sent them.
def _call(function: Callable[..., Any], space: Space, u: npt.ArrayLike) -> Any:
    return function(**space.params(u))


def _call_seeded(function: Callable[..., Any], space: Space, u: npt.ArrayLike, seed: int) -> Any:
    return function(**space.params(u), seed=seed)


# -- scales --------------------------------------------------------------------------------------


def _number(u: float, low: float, high: float, log: bool) -> float:
    if log:
        number = 10.0 ** ((1.0 - u) * math.log10(low) + u * math.log10(high))  # 0.1 is 0.1
    else:
        number = (1.0 - u) * low + u * high  # no overflow where high - low has one
    return min(max(number, float(low)), float(high))


def _position(number: float, low: float, high: float, log: bool) -> float:
    if log:
        u = (math.log10(number) - math.log10(low)) / (math.log10(high) - math.log10(low))
    else:
        u = (number / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    return min(max(u, 0.0), 1.0)


# -- checks --------------------------------------------------------------------------------------


def _check_ends(dimension: Any, kind: type) -> None:
    for name in ("low", "high"):
        given = getattr(dimension, name)
        number = as_value(given, name)
        if not math.isfinite(number):
            raise ValueError(f"{name}={given!r}: expected a finite number")
        if kind is int and not (isinstance(given, Integral) and abs(given) <= _LARGEST):
            raise ValueError(f"{name}={given!r}: expected an integer of at most 2**40; take Real")
        object.__setattr__(dimension, name, kind(given))
    if not dimension.low < dimension.high:
        raise ValueError(
            f"low={dimension.low} is not below high={dimension.high}: exchange them, or leave out "
            "what is fixed"
        )


def _check_log(dimension: Any) -> None:
    if dimension.low <= 0:
        raise ValueError(f"low={dimension.low}: a log scale needs a positive number")


def _inside(dimension: Any, number: float, name: str) -> float:
    if not dimension.low <= number <= dimension.high:
        raise ValueError(f"{name}={number!r}: expected {dimension.low} to {dimension.high}")
    return number
