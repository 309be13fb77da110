"""Scales of single parameters: real, logarithmic, of integers, of options."""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Integral
from numbers import Real as Number
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_value, check_flag
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
    >>> from blackbox_es import Space
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
    >>> from blackbox_es import Space
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
    >>> from blackbox_es import Space
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
    >>> from blackbox_es import Space
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
        return len(self.options) == 2 or (
            all(isinstance(o, Number) and not isinstance(o, bool) for o in self.options)
            and all(a < b for a, b in pairwise(self.options))
        )

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


# -- scales --------------------------------------------------------------------------------------


def _number(u: float, low: float, high: float, log: bool) -> float:
    if log:
        number = math.pow(10.0, (1.0 - u) * math.log10(low) + u * math.log10(high))  # 0.1 is 0.1
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
        if kind is int and not (isinstance(given, Integral) and abs(number) <= _LARGEST):
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
