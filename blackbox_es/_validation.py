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

    What is masked is missing: NaN.

    Raises
    ------
    TypeError
        For None, strings, complex numbers, ``pandas.NA`` and anything else that is not a real
        number.
    ValueError
        For arrays with several elements, and integers too large for a float.
    """
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise _too_large(value, where) from None
    if value is None:
        raise TypeError(f"{where} is None: did the objective forget `return`?")
    array = as_real(value, where)
    if array.size != 1:
        raise ValueError(f"{where} has shape {array.shape}: expected one number")
    return float(array.item())


def as_values(values: Any, shape: tuple[int, ...], where: str) -> Values:
    """A float64 array of this shape from an array or, for one dimension, any sequence of values.

    Masked elements are missing: NaN.

    Raises
    ------
    TypeError
        For values that are not real numbers.
    ValueError
        For any other shape, and for integers too large for a float.
    """
    if type(values) is np.ndarray and values.dtype == np.float64 and values.shape == shape:
        return values.copy()
    if values is None:
        raise TypeError(f"{where} is None: did the objective forget `return`?")
    if len(shape) == 1 and isinstance(values, Iterable) and not hasattr(values, "__array__"):
        numbers = [as_value(value, f"{where}[{i}]") for i, value in enumerate(values)]
        if len(numbers) != shape[0]:
            raise ValueError(f"{where} has {len(numbers)} values: expected {shape[0]}, one a point")
        return np.array(numbers, np.float64)
    array = as_real(values, where)
    if array.shape != shape:
        flat = len(shape) == 1 and array.size == shape[0] > 1
        hint = "; flatten it with .ravel()" if flat else ""
        raise ValueError(f"{where} has shape {array.shape}: expected {shape}{hint}")
    return array.astype(np.float64)


def as_center(x0: Any, name: str = "x0") -> Array:
    """A read-only copy of a finite vector: float32 stays float32, else float64.

    Raises
    ------
    TypeError
        If it is not of real numbers.
    ValueError
        If it is empty, has more than one dimension, or an element that is masked or not finite.
    """
    array = as_real(x0, name)
    if array.ndim > 1:
        raise ValueError(
            f"{name} has shape {array.shape}: expected one dimension; pass {name}.ravel()"
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: expected at least one coordinate")
    dtype = np.float32 if array.dtype == np.float32 else np.float64
    x = np.array(array, dtype, order="C").reshape(-1)
    finite = np.isfinite(x)
    if not finite.all():
        i = int(np.argmin(finite))
        masked = np.ma.is_masked(x0) and np.ma.getmaskarray(x0).flat[i]
        raise ValueError(f"{name}[{i}] is {'masked' if masked else x[i]}: expected finite numbers")
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
        f"random_state={_shown(random_state)}: take None, an integer in [0, 2**64), a "
        "numpy.random.Generator or a numpy.random.RandomState"
    )


def as_surrogate(surrogate: Any, n: int) -> npt.NDArray[Any]:
    """A surrogate gradient as a real array of shape (n,) or (n, k), k at least 1; or raise."""
    array = np.asarray(plain(surrogate))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the surrogate gradient is of dtype {array.dtype}: expected real")
    if array.ndim not in (1, 2) or len(array) != n or array.size == 0:
        raise ValueError(
            f"the surrogate gradient has shape {array.shape}: expected ({n},) or ({n}, k)"
        )
    return array


def check_count(
    name: str, value: Any, *, low: int = 1, high: int | None = None, optional: bool = False
) -> None:
    """Raise unless ``value`` is an integer from low to high, or None if that is allowed."""
    if optional and value is None:
        return
    if _is_integer(value) and low <= value and (high is None or value <= high):
        return
    expected = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise ValueError(f"{name}={_shown(value)}: expected an integer {expected}")


def check_n_jobs(value: Any) -> None:
    """Raise unless ``value`` is a number of workers as joblib counts them, or None."""
    if value is not None and not (_is_integer(value) and value != 0):
        raise ValueError(f"n_jobs={_shown(value)}: expected None or an integer that is not 0")


def check_flag(name: str, value: Any) -> None:
    """Raise unless ``value`` is True or False, of Python or of NumPy."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={_shown(value)}: expected True or False")


def check_exceptions(name: str, value: Any) -> None:
    """Raise unless ``value`` is a tuple of exception types."""
    if not isinstance(value, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
    ):
        raise TypeError(f"{name}={_shown(value)}: expected a tuple of exception types")


def check_positive(name: str, value: Any, *, also: str = "") -> None:
    """Raise unless ``value`` is a finite positive number."""
    if not 0.0 < _number(value) < math.inf:
        raise ValueError(f"{name}={_shown(value)}: expected a positive number{also}")


def check_function(name: str, value: Any) -> None:
    """Raise unless ``value`` is callable or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={_shown(value)} is not callable: expected a function")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise unless ``value`` is one of the choices."""
    choices = list(choices)
    if not any(
        value is choice or (isinstance(value, str) and value == choice) for choice in choices
    ):
        raise ValueError(f"{name}={_shown(value)}: take {', '.join(map(repr, choices))}")


def check_between(name: str, value: Any, low: float, high: float) -> None:
    """Raise unless ``value`` is a number in [low, high]."""
    if not low <= _number(value) <= high:
        raise ValueError(f"{name}={_shown(value)}: expected a number from {low:g} to {high:g}")


def check_fraction(name: str, value: Any) -> None:
    """Raise unless ``value`` is a number in [0, 1)."""
    if not 0.0 <= _number(value) < 1.0:
        raise ValueError(f"{name}={_shown(value)}: expected a number of at least 0 and below 1")


def parameters(function: Any) -> Iterable[str]:
    """The names of a function's parameters, as far as they can be known."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return ()


def plain(value: Any) -> Any:
    """A tensor as an array, without its graph; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def as_real(value: Any, where: str) -> Array:
    """An array of real numbers, what is masked NaN; or raise TypeError or ValueError."""
    held = plain(value)
    if isinstance(value, (list, tuple)):
        held = [math.nan if item is np.ma.masked else plain(item) for item in value]
    try:
        array = np.asarray(held)
        if array.dtype == object and all(isinstance(item, (int, float)) for item in array.flat):
            array = array.astype(np.float64)  # integers beyond 64 bits
    except OverflowError:
        raise _too_large(value, where) from None
    except ValueError as error:  # ragged
        raise ValueError(f"{where} is not an array: {error}") from None
    if array.dtype.kind not in "fiub":
        what = f"of dtype {array.dtype}" if isinstance(value, np.ndarray) else _shown(value)
        raise TypeError(f"{where} is {what}, a {type(value).__name__}: expected real numbers")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        # What is under the mask means nothing.
        array = np.where(np.ma.getmaskarray(value), np.nan, array)
    return array


def _too_large(value: Any, where: str) -> ValueError:
    return ValueError(f"{where} is {_shown(value)}: too large for a float")


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value: Any) -> float:
    """The float of a real number; NaN of anything else, a bool or an integer too large too."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _shown(value: Any) -> str:
    """The repr, shortened; an integer may even be too long for one."""
    try:
        text = repr(value)
    except ValueError:
        text = f"<{type(value).__name__} of thousands of digits>"
    return text if len(text) <= 100 else f"{text[:80]}..."
