"""Checks at the boundary. An error names the argument, the value and the fix."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]


def as_value(value: Any, where: str) -> float:
    """The float of what an objective returned: a number, or an array with one element.

    Raises
    ------
    TypeError
        For None, strings, complex numbers and anything else that is not a real number.
    ValueError
        For arrays with several elements.
    """
    if isinstance(value, (float, int)):
        return float(value)
    if value is None:
        raise TypeError(f"{where} is None: did the objective forget `return`?")
    array = _as_real(value, where)
    if array.size != 1:
        raise ValueError(f"{where} has shape {array.shape}: expected one number")
    return float(array.item())


def as_values(values: Any, shape: tuple[int, ...], where: str) -> Values:
    """A float64 array of this shape from an array or, for one dimension, any sequence of values.

    Raises
    ------
    TypeError
        For values that are not real numbers.
    ValueError
        For any other shape.
    """
    if values is None:
        raise TypeError(f"{where} is None: did the objective forget `return`?")
    if len(shape) == 1 and isinstance(values, Iterable) and not hasattr(values, "__array__"):
        numbers = [as_value(value, f"{where}[{i}]") for i, value in enumerate(values)]
        if len(numbers) != shape[0]:
            raise ValueError(f"{where} has {len(numbers)} values: expected {shape[0]}, one a point")
        return np.array(numbers, np.float64)
    array = _as_real(values, where)
    if array.shape != shape:
        flat = len(shape) == 1 and array.size == shape[0] > 1
        hint = "; flatten it with .ravel()" if flat else ""
        raise ValueError(f"{where} has shape {array.shape}: expected {shape}{hint}")
    return array.astype(np.float64)


def as_center(x0: Any) -> Array:
    """A read-only copy of a finite vector: float32 stays float32, else float64.

    Raises
    ------
    TypeError
        If it is not of real numbers.
    ValueError
        If it is empty, has more than one dimension, or is not finite.
    """
    array = _as_real(x0, "x0")
    if array.ndim > 1:
        raise ValueError(f"x0 has shape {array.shape}: expected one dimension; pass x0.ravel()")
    if array.size == 0:
        raise ValueError("x0 is empty: expected at least one coordinate")
    dtype = np.float32 if array.dtype == np.float32 else np.float64
    x = np.array(array, dtype, order="C").reshape(-1)
    finite = np.isfinite(x)
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"x0[{i}] is {x[i]}: expected finite numbers")
    x.flags.writeable = False
    return x


def as_seed(random_state: Any) -> int:
    """The 64-bit seed of a ``random_state``; an integer is its own seed, None is fresh entropy.

    Raises
    ------
    ValueError
        For anything else than None, an integer in [0, 2**64), a RandomState or a Generator.
    """
    if random_state is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**64:
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**64, dtype=np.uint64))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**64, dtype=np.uint64))
    raise ValueError(
        f"random_state={random_state!r}: take None, an integer in [0, 2**64), a "
        "numpy.random.Generator or a numpy.random.RandomState"
    )


def check_count(name: str, value: Any, *, optional: bool = False) -> None:
    """Raise unless ``value`` is an integer of at least 1, or None if that is allowed."""
    if optional and value is None:
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}: expected an integer of at least 1")


def check_positive(name: str, value: Any, *, also: str = "") -> None:
    """Raise unless ``value`` is a finite positive number."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0.0 < float(value) < math.inf:
        raise ValueError(f"{name}={value!r}: expected a positive number{also}")


def check_function(name: str, value: Any) -> None:
    """Raise unless ``value`` is callable or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={value!r} is not callable: expected a function")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise unless ``value`` is one of the choices."""
    choices = list(choices)
    if not any(
        value is choice or (isinstance(value, str) and value == choice) for choice in choices
    ):
        raise ValueError(f"{name}={value!r}: take {', '.join(map(repr, choices))}")


def check_between(name: str, value: Any, low: float, high: float) -> None:
    """Raise unless ``value`` is a number in [low, high]."""
    if not isinstance(value, Real) or not low <= float(value) <= high:
        raise ValueError(f"{name}={value!r}: expected a number from {low:g} to {high:g}")


def check_fraction(name: str, value: Any) -> None:
    """Raise unless ``value`` is a number in [0, 1)."""
    if not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
        raise ValueError(f"{name}={value!r}: expected a number of at least 0 and below 1")


def _as_real(value: Any, where: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged
        raise ValueError(f"{where} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        what = f"of dtype {array.dtype}" if isinstance(value, np.ndarray) else repr(value)
        raise TypeError(f"{where} is {what}, a {type(value).__name__}: expected real numbers")
    return array


def parameters(function: Any) -> Iterable[str]:
    """The names of a function's parameters, as far as they can be known."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return ()
