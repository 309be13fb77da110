"""Parameters on scales of their own: a box for the search, keyword arguments for the user."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._dimensions import Choice, Dimension, Int, Log, Real
from blackbox_es._validation import as_values, parameters
from blackbox_es._value import value

Array = npt.NDArray[Any]

__all__ = ["Choice", "Int", "Log", "Real", "Space"]


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
        if dimensions is not None and not isinstance(dimensions, Mapping):
            dimensions = {"dimensions": dimensions}
        found = {**(dimensions or {}), **named}
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
