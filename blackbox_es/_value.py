"""Values: frozen dataclasses that compare bit for bit, can be saved, and say what they hold.

`value` is the one decorator. A field's annotation says what it may hold: `check` compares a
value with it, so that nothing read from a file is trusted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NamedTuple,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

REGISTRY: dict[str, type] = {}  # the classes whose values can be saved, by name


class Shape(NamedTuple):
    """The shape of an array field: ``n`` is the dimension, other letters are alike in a value."""

    dims: tuple[str, ...]


class Range(NamedTuple):
    """The least and the largest value of a number."""

    low: float
    high: float


Vector = Annotated[npt.NDArray[Any], Shape(("n",))]  # of the dtype of x, as all arrays with a shape
Rows = Annotated[npt.NDArray[Any], Shape(("k", "n"))]
Matrix = Annotated[npt.NDArray[Any], Shape(("n", "n"))]
Count = Annotated[int, Range(0, 2**63 - 1)]
Word = Annotated[int, Range(0, 2**32 - 1)]
Positive = Annotated[float, Range(5e-324, sys.float_info.max)]
Fraction = Annotated[float, Range(0.0, 1.0)]


@dataclass_transform(frozen_default=True, eq_default=False)
def value(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose values compare bit for bit and can be saved.

    Values of the package are saved under the name of their class, those of others with their module
    before it: to load them, import that module first. A field that has been added since a value was
    saved takes its default. `Shape`, `Range` and the aliases made of them say what a field may
    hold; fields with ``compare=False`` are neither compared nor saved.

    Examples
    --------
    >>> @value
    ... class Momentum:
    ...     velocity: Vector
    ...     decay: Fraction = 0.9
    >>> Momentum(np.zeros(2)) == Momentum(np.zeros(2))
    True
    >>> check(Momentum(np.zeros(3), 1.5), n=3, dtype=float)
    Traceback (most recent call last):
    ValueError: Momentum.decay is 1.5: expected 0.0 to 1.0
    """
    made: Any = dataclass(frozen=True, slots=True, eq=False)(cls)
    made.__eq__ = lambda self, other: same(self, other)
    made.__hash__ = lambda self: hash(cls.__name__)  # arrays have none; equal values have the same
    REGISTRY[name_of(made)] = made
    return made  # type: ignore[no-any-return]


def name_of(cls: type) -> str:
    """The name under which values of a class are saved."""
    ours = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
    return cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def is_value(candidate: Any) -> bool:
    """Whether it is an instance of a class made by `value`."""
    return REGISTRY.get(name_of(type(candidate))) is type(candidate)


def parts(instance: Any) -> dict[str, Any]:
    """The fields of a value, or of a named tuple, that are compared and saved, by name."""
    if isinstance(instance, tuple):
        return dict(zip(instance._fields, instance, strict=True))  # type: ignore[attr-defined]
    return {f.name: getattr(instance, f.name) for f in fields(instance) if f.compare}


def same(a: Any, b: Any) -> bool:
    """Whether two values, arrays or containers of them are the same bit for bit."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, a.dtype.kind == "f")
        )
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if is_dataclass(a):
        return all(same(one, parts(b)[name]) for name, one in parts(a).items())
    return bool(a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def replace(instance: T, **changes: Any) -> T:
    """The value with other fields, as `dataclasses.replace` gives it, several times sooner.

    For classes whose fields are made by no code of their own.
    """
    made = object.__new__(type(instance))
    for name, get, set_to in _slots(type(instance)):  # type: ignore[arg-type]
        set_to(made, changes.pop(name) if name in changes else get(instance))
    if changes:
        raise TypeError(f"{type(instance).__name__} has no field {', '.join(changes)}")
    return made


@cache
def _slots(cls: type) -> tuple[tuple[str, Any, Any], ...]:
    """For each field of a value its name, and what reads it and writes it."""
    members = [(f.name, getattr(cls, f.name)) for f in fields(cls)]
    return tuple((name, member.__get__, member.__set__) for name, member in members)


def freeze(anything: T) -> T:
    """Make all arrays in a value or container read-only; returns it."""
    if isinstance(anything, np.ndarray):
        anything.flags.writeable = False
    elif isinstance(anything, (tuple, list)):
        for item in anything:
            freeze(item)
    elif is_value(anything):
        for item in parts(anything).values():
            freeze(item)
    return anything


def check(instance: Any, n: int, dtype: npt.DTypeLike) -> None:
    """Raise ValueError unless a value and all values in it hold what their classes declare.

    Parameters
    ----------
    instance : value
    n : int
        The dimension.
    dtype : float32 or float64
        Of all arrays with a declared shape.
    """
    sizes = {"n": n}
    for name, held in parts(instance).items():
        hint = _hints(type(instance)).get(name, Any)
        _check(held, hint, sizes, np.dtype(dtype), f"{type(instance).__name__}.{name}")


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:  # a class made inside a function of the user's
        return {}


def _check(held: Any, hint: Any, sizes: dict[str, int], dtype: np.dtype[Any], where: str) -> None:
    kind, args = get_origin(hint), get_args(hint)
    if kind is Annotated:
        _check(held, args[0], sizes, dtype, where)
        for rule in args[1:]:
            if isinstance(rule, Shape):
                _check_shape(held, rule, sizes, dtype, where)
            if isinstance(rule, Range) and not rule.low <= held <= rule.high:
                raise ValueError(f"{where} is {held!r:.99}: expected {rule.low} to {rule.high}")
    elif kind in (Union, UnionType):
        _check_any(held, args, sizes, dtype, where)
    elif kind is tuple:
        expected = args[:1] * len(held) if args[-1:] == (...,) and type(held) is tuple else args
        if type(held) is not tuple or len(held) != len(expected):
            raise ValueError(f"{where} is {held!r:.99}: expected a tuple of {len(expected)}")
        for i, (item, part) in enumerate(zip(held, expected, strict=True)):
            _check(item, part, sizes, dtype, f"{where}[{i}]")
    elif not _is_a(held, kind or hint):
        raise ValueError(f"{where} is {held!r:.99}: expected {getattr(hint, '__name__', hint)}")
    if is_value(held) and kind not in (Annotated, Union, UnionType):
        check(held, sizes["n"], dtype)


def _is_a(held: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind in (int, float, bool, str, NoneType):  # exactly: True is no count, 1 no float
        return type(held) is kind
    if kind is Callable:
        return callable(held)
    return isinstance(held, kind)


def _check_any(
    held: Any, kinds: tuple[Any, ...], sizes: dict[str, int], dtype: np.dtype[Any], where: str
) -> None:
    errors = []
    for kind in kinds:
        try:
            return _check(held, kind, sizes, dtype, where)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _check_shape(
    held: npt.NDArray[Any], rule: Shape, sizes: dict[str, int], dtype: np.dtype[Any], where: str
) -> None:
    expected = tuple(
        sizes.setdefault(dim, size) for dim, size in zip(rule.dims, held.shape, strict=False)
    )
    if held.ndim != len(rule.dims) or held.shape != expected or held.dtype != dtype:
        shape = ", ".join(f"{dim}={sizes[dim]}" if dim in sizes else dim for dim in rule.dims)
        raise ValueError(
            f"{where} has shape {held.shape} and dtype {held.dtype}: expected ({shape}) of {dtype}"
        )
    if not held.flags.c_contiguous:
        raise ValueError(f"{where} is not stored row by row")
