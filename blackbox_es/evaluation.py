"""Evaluation: the only place where the user's functions are called.

An objective is called in one of three ways: ``f(x)`` with one point, ``f(X)`` with rows of points
(``vectorized=True``), or, if it has that method, ``objective.evaluate_generation(generation)``,
which returns the values of a whole generation and is how a network evaluates a population without
making its points. The values are the same, bit for bit, for any ``n_jobs`` and chunk size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_value, as_values, parameters
from blackbox_es.generation import Generation
from blackbox_es.noise import OBJECTIVE, Key, integer

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Objective = Callable[..., Any]

_POINTS_AT_ONCE = (
    2**20
)  # bytes of points made at once for an objective of one point: they stay in cache


class EvaluationError(RuntimeError):
    """More than half of a generation's pairs failed: nothing can be learnt from it."""


class Evaluator:
    """Calls an objective for whole generations; a context manager that keeps its workers.

    Parameters
    ----------
    objective : callable, or an object with ``evaluate_generation``
    vectorized : bool
        The objective takes rows of points, shape (m, n), and returns m values.
    n_jobs : int or None
        Of joblib; ``None`` is 1 unless a `joblib.parallel_config` says otherwise.
    catch : tuple of exception types
        Raised by the objective, they make the value of that point NaN.
    common_random_numbers : {"generation", "pair"} or None
        Which points get the same seed if the objective has a parameter ``seed``; ``None`` gives
        each point its own.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        vectorized: bool = False,
        n_jobs: int | None = None,
        catch: tuple[type[BaseException], ...] = (),
        common_random_numbers: str | None = "generation",
    ) -> None:
        self._whole = getattr(objective, "evaluate_generation", None)
        if not callable(objective):
            raise TypeError(f"objective={objective!r} is not callable: expected f(x)")
        if not isinstance(catch, tuple) or not all(map(_is_exception, catch)):
            raise TypeError(f"catch={catch!r}: expected a tuple of exception types")
        seeds = common_random_numbers or "point"
        if not _takes_seed(objective):
            seeds = "none"
        elif vectorized and seeds != "generation":
            raise ValueError(
                f"common_random_numbers={common_random_numbers!r} needs an objective of one point: "
                "a vectorized one gets one seed for the generation"
            )
        self._call = _Call(objective, vectorized, catch, seeds)
        self._parallel: Any = None
        self._n_workers = 1
        # If nobody has imported joblib, no parallel_config can be in force: spare its import.
        if self._whole is None and (n_jobs is not None or "joblib" in sys.modules):
            import joblib

            self._parallel = joblib.Parallel(n_jobs=n_jobs)
            self._n_workers = joblib.effective_n_jobs(self._parallel.n_jobs)

    def __enter__(self) -> Self:
        if self._n_workers > 1:
            self._parallel.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._n_workers > 1:
            self._parallel.__exit__(*exception)

    def __call__(self, generation: Generation) -> Values:
        """The values of a generation: shape (2, n_pairs), NaN where an evaluation failed."""
        if self._whole is not None:
            try:
                values = self._whole(generation)
            except Exception as error:
                error.add_note(f"raised by evaluate_generation in generation {generation.index}")
                raise
            return as_values(values, (2, generation.n_pairs), "what evaluate_generation returned")
        if self._n_workers == 1:
            return self._call.values(generation, 0, generation.n_pairs)
        from joblib import delayed

        size = -(-generation.n_pairs // self._n_workers)  # one task a worker: tasks are dear
        tasks = (
            delayed(self._call.values)(generation, start, min(start + size, generation.n_pairs))
            for start in range(0, generation.n_pairs, size)
        )
        return np.concatenate(self._parallel(tasks), axis=1)

    def at(self, x: Array, key: Key) -> float:
        """The objective at one point, with the seed of the generation if it takes one."""
        if self._call.vectorized:
            return float(self._call.rows(x.copy()[None], key, "at the center")[0])
        return self._call.point(x.copy(), key, 0, "at the center")


@dataclass(frozen=True, slots=True)
class _Call:
    """How the objective is called: what a worker needs beside the generation."""

    objective: Objective
    vectorized: bool
    catch: tuple[type[BaseException], ...]
    seeds: str  # "none", "generation", "pair" or "point": who shares a seed

    def values(self, generation: Generation, start: int, stop: int) -> Values:
        """The values of some pairs: shape (2, stop - start)."""
        values = np.empty((2, stop - start))
        evaluate = self._together if self.vectorized else self._one_by_one
        n_bytes = _working_memory() if self.vectorized else _POINTS_AT_ONCE
        for first, last in generation.chunks(start, stop, n_bytes):
            values[:, first - start : last - start] = evaluate(generation, first, last)
        return values

    # Each chunk has its own call: its points are gone before the next ones are made in their place.

    def _together(self, generation: Generation, first: int, last: int) -> Values:
        points = generation.pairs(first, last)
        rows = points.reshape(-1, points.shape[2])
        return self.rows(rows, generation.key, f"for pairs {first} to {last - 1}").reshape(2, -1)

    def _one_by_one(self, generation: Generation, first: int, last: int) -> Values:
        points = generation.pairs(first, last)
        values = np.empty(points.shape[:2])
        for pair in range(first, last):
            for half in (0, 1):
                row = half * generation.n_pairs + pair
                seed_of = pair if self.seeds == "pair" else row
                x = points[half, pair - first]
                values[half, pair - first] = self.point(
                    x, generation.key, seed_of, f"of candidate {row}"
                )
        return values

    def point(self, x: Array, key: Key, seed_of: int, place: str) -> float:
        """The value at one point."""
        return as_value(self._guarded(x, key, seed_of, place), f"the objective's value {place}")

    def rows(self, points: Array, key: Key, place: str) -> Values:
        """The values at rows of points."""
        values = self._guarded(points, key, 0, place)
        if values is math.nan and len(points) > 1:  # one row may have failed: which one?
            return np.array([self.rows(row[None], key, place)[0] for row in points])
        if values is math.nan:
            return np.full(1, math.nan)
        return as_values(values, (len(points),), f"what the vectorized objective returned {place}")

    def _guarded(self, points: Array, key: Key, seed_of: int, place: str) -> Any:
        try:
            if self.seeds == "none":
                return self.objective(points)
            pair = 0 if self.seeds == "generation" else seed_of
            return self.objective(points, seed=integer(key, pair, OBJECTIVE))
        except self.catch:
            return math.nan
        except Exception as error:
            error.add_note(f"raised by the objective in generation {key[1]}, {place}")
            raise


def call_surrogate(surrogate_fn: Callable[[Array], Any], x: Array, index: int) -> Any:
    """``surrogate_fn(x)`` with a copy of x; an exception says which generation it was."""
    try:
        return surrogate_fn(x.copy())
    except Exception as error:
        error.add_note(f"raised by surrogate_fn in generation {index}")
        raise


def call_callback(callback: Callable[..., Any], result: Callable[[], Any]) -> bool:
    """Call back as scipy does; True if the callback raised StopIteration.

    A callback whose only parameter is named ``intermediate_result`` gets an OptimizeResult,
    any other one a copy of x.
    """
    intermediate = result()
    by_name = list(parameters(callback)) == ["intermediate_result"]
    try:
        if by_name:
            callback(intermediate_result=intermediate)
        else:
            callback(intermediate.x)
    except StopIteration:
        return True
    return False


def _takes_seed(objective: Any) -> bool:
    return "seed" in parameters(objective)


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _working_memory() -> int:
    """Bytes of scikit-learn's ``working_memory``; its default if scikit-learn is not imported."""
    sklearn = sys.modules.get("sklearn")
    return int((sklearn.get_config()["working_memory"] if sklearn else 1024) * 2**20)
