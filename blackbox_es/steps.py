"""The pure steps of a search: what the shell, networks and `estimate_gradient` have in common.

    x, surrogate -> ask -> Generation -> values -> tell -> x'

`init`, `ask` and `tell` take a configuration (the strategy) and a frozen state and return a new
state. They change nothing, so a step that raises or is interrupted has not happened.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import box, shaping
from blackbox_es._config import config
from blackbox_es._run import Run
from blackbox_es._validation import check_count
from blackbox_es._value import Vector, Word, value
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Sampler
from blackbox_es.shaping import Shaping
from blackbox_es.tree import Into

Array = npt.NDArray[Any]

FLAT_GENERATIONS = 20  # in a row; a plateau seen once may be left by the next directions


@value
class State:
    """What the next generation needs; a strategy adds fields of its own.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The center.
    t : int
        Generations told: the index of the next one.
    """

    x: Vector
    t: Word


class Plan(NamedTuple):
    """Where a strategy searches next: sampler, number of directions, whether both ways of each."""

    sampler: Sampler
    n_pairs: int
    mirrored: bool = True


class Info(NamedTuple):
    """What a generation was like: for the record, and for the reasons to stop.

    Attributes
    ----------
    n_failed : int
        Evaluations that failed.
    stop : str or None
        "unbounded" if a value was minus infinity, "non_finite" if the next center would not have
        been finite; x has not moved then. Else the strategy's, if it has one.
    flat : bool
        No utility told one direction from its opposite or, searched one way, from another.
    mean : float
        Of the values that are finite.
    """

    n_failed: int
    stop: str | None
    flat: bool
    mean: float


@config
class Configuration(Run, ABC):
    """A strategy as its parameters and three functions of states, which write nothing.

    Parameters
    ----------
    n_pairs : int
        P, mirrored pairs per generation: 2 P evaluations, the population size.
    shaping : {"raw", "standardized", "centered_ranks", "nes"} or callable
        What is learnt from: the values themselves, in units of their standard deviation, or ranks.
    bounds : sequence of (low, high), scipy.optimize.Bounds, Box, Space or None
        No point outside is evaluated, and an optimum on a bound is found: see `Box`. None or
        infinity in a pair is no bound; coordinates with ``low == high`` are fixed. ``state_`` and
        ``gradient_`` are those of the search space, which `Box.fold` maps into the bounds.
    """

    n_pairs: int = 8
    shaping: str | Shaping = "raw"
    bounds: Any = None

    takes_surrogate: ClassVar[bool] = False
    may_grow: ClassVar[bool] = True  # whether a generation may have further pairs
    minds_plateaus: ClassVar[bool] = False  # says itself when to stop where all values are equal
    at_start: ClassVar[tuple[str, ...]] = ("random_state",)  # parameters of no effect later

    def given(self) -> dict[str, Any]:
        """The parameters that hold from the start of a search only."""
        return {name: getattr(self, name) for name in self.at_start}

    # -- what a concrete strategy says; nothing here writes anything ----------------------------

    @abstractmethod
    def _init(self, x: Array) -> State:
        """The state at the center ``x``."""

    @abstractmethod
    def _ask(self, state: State, surrogate: Any) -> tuple[State, Plan]:
        """The search distribution of the next generation, and the state that goes with it."""

    @abstractmethod
    def _tell(self, state: State, told: Told) -> State:
        """The state after a generation."""

    def note(self, before: State, after: State) -> str | None:
        """What to warn of, once in a search, now that the state has changed."""
        return None

    def _stop(self, state: State) -> str | None:
        """A reason to stop, if the state gives one: "tol" or "diverged"."""
        return None

    def _center(self, state: State) -> Array:
        """Where the next generation is centred."""
        return state.x

    def _wants_surrogate(self, state: State) -> bool:
        """Whether a surrogate gradient at the center would be made use of now."""
        return self.takes_surrogate

    def _takes_values(self, state: State) -> bool:
        """Whether values are taken as they are, and some may be missing, for points chosen."""
        return False

    def _n_points(self, state: State) -> int:
        """How many points the next generation has."""
        return 2 * self.pairs(state.x.size)

    def _check_state(self, state: State) -> None:
        """Raise ValueError unless a state fits the parameters."""

    def pairs(self, n: int) -> int:
        """The pairs of a generation in n dimensions."""
        return int(self.n_pairs)

    def check_parameters(self, n: int) -> None:
        """Raise TypeError or ValueError unless all parameters are valid in n dimensions."""
        by_dimension = self._defaults["n_pairs"] is None
        check_count("n_pairs", self.n_pairs, high=2**32 - 1, optional=by_dimension)
        shaping.resolve(self.shaping)
        box.resolve(self.bounds)
        self._check_run()


def init(es: Configuration, x: Array) -> State:
    """The state before the first generation.

    Parameters
    ----------
    es : Configuration
    x : ndarray of shape (n,), float32 or float64
        Not copied: do not write to it later.

    Raises
    ------
    TypeError, ValueError
        For invalid parameters.
    """
    es.check_parameters(x.size)
    return es._init(x)


def ask(
    es: Configuration, state: State, seed: int, surrogate: Any = None, into: Into | None = None
) -> tuple[State, Generation]:
    """The next generation, and the state that has taken account of the surrogate gradient.

    With a box the points are folded into it, and the surrogate is that of a point folded; of a tree
    it is one.
    """
    if surrogate is not None and not es.takes_surrogate:
        raise ValueError(f"{type(es).__name__} uses no surrogate gradient: take GuidedES")
    if into is not None and surrogate is not None:
        surrogate = into.pull_back(es._center(state), surrogate)
    state, plan = es._ask(state, surrogate)
    center, (sampler, n_pairs, mirrored) = es._center(state), plan
    return state, Generation(center, sampler, seed, state.t, n_pairs, mirrored, into)


def tell(
    es: Configuration,
    state: State,
    generation: Generation,
    values: Array,
    known: npt.NDArray[np.bool_] | None = None,
) -> tuple[State, Info]:
    """The state after a generation, from its values of shape (halves, n_pairs), float64.

    Of the pairs only those that are ``known`` count; None is all of them.

    To be called with overflow and invalid operations ignored: a step that overflows is not taken.

    Raises
    ------
    EvaluationError
        If more than half of the pairs failed.
    ValueError
        For a shaping of the user's that returns another shape.
    """
    if es._takes_values(state):
        shaped = shaping.as_they_are(values)
    else:
        shaped = shaping.shaped(shaping.resolve(es.shaping), values, generation.index, known)
    utilities, n_valid, valid, n_failed, mean = shaped
    if n_valid == 0:
        return replace(state, t=state.t + 1), Info(n_failed, "unbounded", True, mean)
    told = Told(generation, utilities, n_valid, valid, values)
    after = es._tell(state, told)
    flat = not es.minds_plateaus and _is_flat(told)
    if not is_finite(after.x):
        return replace(state, t=state.t + 1), Info(n_failed, "non_finite", flat, mean)
    after.x.setflags(write=False)
    return after, Info(n_failed, es._stop(after), flat, mean)


def _is_flat(told: Told) -> bool:
    u = told.utilities
    if len(u) == 2:  # most often the first pair says that it is not flat
        return bool(u[0, 0] == u[1, 0] and not told.odd.any())
    known = u[0] if told.valid is None else u[0, told.valid]
    return known.size > 1 and bool((known == known[0]).all())


def is_finite(x: Array) -> bool:
    """Whether all entries of a vector are finite numbers."""
    # One pass and no temporary; only an overflow of the square needs the second look.
    return math.isfinite(x.dot(x)) or bool(np.isfinite(x).all())
