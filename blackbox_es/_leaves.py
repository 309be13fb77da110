"""Structures of dicts, lists and tuples, and what is at their leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_real
from blackbox_es._value import value

Array = npt.NDArray[Any]

_DTYPES = ("float16", "float32", "float64")


def _torch(array: Array) -> Any:
    import torch

    return torch.from_numpy(array)


def _jax(array: Array) -> Any:
    import jax

    return jax.numpy.asarray(array)


# An array of a leaf as what the leaf was.
_SHOWN: dict[str, Callable[[Array], Any]] = {
    "numpy": np.asarray,
    "scalar": lambda array: array[()],
    "float": lambda array: array if array.ndim else array.item(),
    "torch": _torch,
    "jax": _jax,
}


@value
class Leaf:
    """What is at one place of a tree.

    Parameters
    ----------
    path : str
        Keys and indices that lead there, such as "layer.0.weight".
    shape : tuple of int
    dtype : {"float16", "float32", "float64"}
    kind : {"numpy", "scalar", "float", "torch", "jax"}
        An array, one number of NumPy or of Python, or an array of another library.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    kind: str

    def __post_init__(self) -> None:
        held = (type(self.path), self.dtype in _DTYPES, self.kind in _SHOWN, type(self.shape))
        if held != (str, True, True, tuple) or not all(
            type(size) is int and size >= 0 for size in self.shape
        ):
            raise ValueError(f"{self!r:.99} is no leaf")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def show(self, rows: Array) -> Any:
        """The leaf, made anew, from its coordinates; further axes come first."""
        array = np.array(rows, self.dtype).reshape(rows.shape[:-1] + self.shape)
        return _SHOWN[self.kind](array)


def _kind(item: Any) -> str:
    if hasattr(item, "detach"):
        return "torch"
    if type(item).__module__.partition(".")[0] in ("jax", "jaxlib"):
        return "jax"
    return "float" if type(item) is float else "scalar" if isinstance(item, np.generic) else "numpy"


def is_tree(x0: Any) -> bool:
    if isinstance(x0, (list, tuple)):
        return any(getattr(item, "ndim", 0) > 0 or is_tree(item) for item in x0)
    return isinstance(x0, dict) or _kind(x0) in ("torch", "jax")


def outline_of(tree: Any, path: str) -> Any:
    """The tree with a `Leaf` in the place of each leaf."""
    start = path + "." if path else ""
    if isinstance(tree, dict):
        return {key: outline_of(item, f"{start}{key}") for key, item in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(outline_of(item, f"{start}{i}") for i, item in enumerate(tree))
    where = f"x0 at {path}" if path else "x0"
    if isinstance(tree, (list, tuple)):
        raise TypeError(f"{where} is a {type(tree).__name__}: expected a dict, a list or a tuple")
    kind = _kind(tree)
    if kind == "torch" and str(tree.device) != "cpu":
        raise ValueError(f"{where} is on {tree.device}: pass it .cpu(); move points where needed")
    array = as_real(tree, where)
    dtype = str(tree.dtype).removeprefix("torch.") if kind == "torch" else array.dtype.name
    if dtype not in _DTYPES:
        raise TypeError(f"{where} is of {dtype}: expected one of {', '.join(_DTYPES)}")
    return Leaf(path, array.shape, dtype, kind)


def together(outline: Any, tree: Any, name: str) -> Iterator[tuple[Leaf, Any]]:
    """The leaves of an outline, and what is in their places in another tree."""
    if isinstance(outline, Leaf):
        yield outline, tree
        return
    if isinstance(outline, dict):
        if not isinstance(tree, dict) or tree.keys() != outline.keys():
            found: Any = [*tree] if isinstance(tree, dict) else type(tree).__name__
            raise ValueError(f"{name} has {found!s:.200}: expected a dict of {[*outline]!s:.200}")
        places: list[Any] = [*outline]
    else:
        if not isinstance(outline, (list, tuple)):
            raise ValueError(f"{outline!r:.99} is no outline of a tree")
        if not isinstance(tree, (list, tuple)) or len(tree) != len(outline):
            found = len(tree) if isinstance(tree, (list, tuple)) else type(tree).__name__
            raise ValueError(f"{name} has {found}: expected a list of {len(outline)}")
        places = [*range(len(outline))]
    for place in places:
        yield from together(outline[place], tree[place], f"{name}.{place}")


def built(outline: Any, leaves: Iterator[Any]) -> Any:
    """The tree that has these leaves."""
    if isinstance(outline, Leaf):
        return next(leaves)
    if isinstance(outline, dict):
        return {key: built(part, leaves) for key, part in outline.items()}
    return type(outline)(built(part, leaves) for part in outline)
