"""Points that are trees: dicts, lists and tuples of arrays, tensors and floats.

    x0 -> flattened -> search of a vector -> points, folded into bounds -> trees -> objective

A tree is known at the edge only, as bounds are: a search is one of vectors.
"""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._leaves import Leaf, built, is_tree, outline_of, together
from blackbox_es._validation import as_center, as_real, as_surrogate
from blackbox_es._value import freeze, value
from blackbox_es.box import Box

Array = npt.NDArray[Any]


@value
class Tree:
    """A structure, and the map from the vectors of a search to trees of it.

    The vector has the leaves one after another, each row by row, in the order of the tree that the
    search began with. It is float32 if all leaves are, else float64; a leaf of another dtype is the
    nearest number of its own.

    Parameters
    ----------
    outline : dict, list, tuple or Leaf
        A tree with a `Leaf` in the place of each leaf.
    box : Box or None
        What vectors are folded into first.

    Attributes
    ----------
    n, n_free : int
        Coordinates, and those that are not fixed by the box.
    dtype : dtype
        Of the vectors.

    Raises
    ------
    ValueError
        If there is no coordinate, and for a box with leaves that are not of one dtype.
    """

    outline: Any
    box: Box | None = None
    _leaves: Any = field(init=False, compare=False, repr=False)  # (Leaf, slice) ...

    def __post_init__(self) -> None:
        leaves, start = [], 0
        for leaf, _ in together(self.outline, self.outline, ""):
            leaves.append((leaf, slice(start, start + leaf.size)))
            start += leaf.size
        object.__setattr__(self, "_leaves", tuple(leaves))
        if self.n == 0:
            raise ValueError("x0 is empty: expected at least one coordinate")
        if self.box is not None and any(leaf.dtype != self.dtype for leaf, _ in leaves):
            raise ValueError(
                f"bounds need leaves of one dtype, float32 or float64, and x0 has {self}: a number "
                "rounded to another dtype may be outside"
            )

    def __str__(self) -> str:
        text = ", ".join(f"{leaf.path} {leaf.dtype}{[*leaf.shape]}" for leaf, _ in self._leaves)
        return f"{text:.300}"

    @property
    def n(self) -> int:
        return self._leaves[-1][1].stop if self._leaves else 0

    @property
    def n_free(self) -> int:
        return self.n if self.box is None else self.box.n_free

    @property
    def dtype(self) -> np.dtype[Any]:
        single = all(leaf.dtype == "float32" for leaf, _ in self._leaves)
        return np.dtype(np.float32 if single else np.float64)

    def flatten(self, tree: Any, name: str) -> Array:
        """The vector of a tree; of one whose leaves have one more axis k, shape (n, k).

        Raises
        ------
        TypeError, ValueError
            If it has another structure, or a leaf another shape.
        """
        parts = []
        for leaf, item in together(self.outline, tree, name):
            where = f"{name} at {leaf.path}" if leaf.path else name
            array, n = as_real(item, where), len(leaf.shape)
            if array.shape[:n] != leaf.shape or array.ndim > n + 1:
                raise ValueError(f"{where} has shape {array.shape}: expected {leaf.shape}")
            parts.append(array.astype(self.dtype).reshape(leaf.size, *array.shape[n:]))
        if len({part.shape[1:] for part in parts}) > 1:
            raise ValueError(f"{name} has leaves of different kinds of shapes: expected {self}")
        return np.concatenate(parts)

    def show(self, x: Array) -> Any:
        """The tree of a vector, new and writable; of rows (m, n) one whose leaves have m rows."""
        return built(self.outline, (leaf.show(x[..., part]) for leaf, part in self._leaves))

    # -- what a box does -------------------------------------------------------------------------

    def fold(self, z: Array) -> Array:
        """The vectors, as the leaves hold them, that belong to points of the search."""
        if self.box is not None:
            return self.box.fold(z)
        narrow = [(leaf, part) for leaf, part in self._leaves if leaf.dtype != self.dtype]
        x = z.copy() if narrow else z
        with np.errstate(over="ignore"):  # infinity is no number of the leaf's either
            for leaf, part in narrow:
                x[..., part] = z[..., part].astype(leaf.dtype)
        return x

    def pull_back(self, z: Array, gradient: Any) -> Array:
        """The gradient by the coordinates of the search, from a tree or an array (n,) or (n, k)."""
        bare = isinstance(self.outline, Leaf)
        if bare or isinstance(gradient, (dict, list, tuple)):
            gradient = self.flatten(gradient, "the surrogate gradient")
        if self.box is not None:
            return self.box.pull_back(z, gradient)
        return as_surrogate(gradient, self.n)


Into = Box | Tree  # what the points of a search are mapped into


def planted(x0: Any) -> tuple[Array, Tree | None]:
    """The vector of ``x0``, read-only, and the tree that it is of; None if it is a vector itself.

    A dict is a tree, a list or tuple that holds an array of one dimension or more, or another tree,
    and a tensor.

    Raises
    ------
    TypeError
        For integers and what is not of real numbers.
    ValueError
        If it is empty, or an element is not finite.
    """
    if not is_tree(x0):
        return as_center(x0), None
    tree = Tree(outline_of(x0, ""))
    x = tree.flatten(x0, "x0")
    wrong = ~np.isfinite(x)
    if wrong.any():
        i = int(np.argmax(wrong))
        leaf, part = next(held for held in tree._leaves if i < held[1].stop)
        at = [int(k) for k in np.unravel_index(i - part.start, leaf.shape)]
        where = f"x0 at {leaf.path}" if leaf.path else "x0"
        raise ValueError(f"{where}{at or ''} is {x[i]}: expected finite numbers")
    return freeze(x), tree


def within(tree: Tree | None, box: Box | None) -> Into | None:
    """What points are mapped into that are folded into a box and shown as trees."""
    return box if tree is None else replace(tree, box=box)


def box_of(into: Into | None) -> Box | None:
    """The box alone."""
    return into.box if isinstance(into, Tree) else into


def shown(into: Into | None, x: Array) -> Any:
    """The point, or rows of points, as the user knows them: an array as it is, or a new tree."""
    return into.show(x) if isinstance(into, Tree) else x


def own(x: Any) -> Any:
    """A point that its owner may write to: an array is copied, a tree has just been made."""
    return x.copy() if isinstance(x, np.ndarray) else x


def flat(into: Into | None, x: Any) -> Any:
    """The vector of a point that the user returns."""
    return into.flatten(x, "x") if isinstance(into, Tree) else x


def check_points_made(objective: Any, x0: Any) -> None:
    """Raise ValueError for an objective that makes points of its own, which are no trees."""
    if hasattr(objective, "evaluate_generation") and is_tree(x0):
        raise ValueError(
            "x0 is a tree, and an objective with evaluate_generation makes its own points, which "
            "are vectors: take a function of points, or x0 as a vector"
        )


def tree_bounds(x0: Any, bounds: Any) -> Box:
    """Bounds of the coordinates of a tree, from a tree of pairs.

    Parameters
    ----------
    x0 : tree of arrays
        Where the search begins.
    bounds : tree
        As ``x0``, with a pair (low, high) in the place of each leaf: numbers, arrays of its shape,
        or None for no bound. None in the place of a pair is none either.

    Returns
    -------
    Box

    Raises
    ------
    TypeError, ValueError
        For another structure, and for invalid bounds.

    Examples
    --------
    >>> x0 = {"weights": np.ones((2, 2)), "rate": 0.5}
    >>> tree_bounds(x0, {"weights": None, "rate": (0, 1)}).high
    array([inf, inf, inf, inf,  1.])
    """
    _, tree = planted(x0)
    if tree is None:
        raise TypeError("x0 is no tree: give bounds as pairs (low, high)")
    low: list[Array] = []
    high: list[Array] = []
    for leaf, pair in together(tree.outline, bounds, "bounds"):
        where = f"bounds at {leaf.path}" if leaf.path else "bounds"
        pair = (None, None) if pair is None else pair
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise TypeError(f"{where} is {pair!r:.99}: expected a pair (low, high) or None")
        for found, bound, none in zip((low, high), pair, (-math.inf, math.inf), strict=True):
            array = as_real(none if bound is None else bound, where)
            if array.shape not in ((), leaf.shape):
                raise ValueError(f"{where} has shape {array.shape}: expected {leaf.shape}")
            found.append(np.broadcast_to(array, leaf.shape).ravel())
    return Box(np.concatenate(low), np.concatenate(high))


def bounds_for(x0: Any, bounds: Any) -> Any:
    """The parameter ``bounds`` from what may be a tree like ``x0``."""
    alike = is_tree(x0) and type(bounds) is type(x0) and len(bounds) == len(x0)
    return tree_bounds(x0, bounds) if alike else bounds
