"""Evaluation: the only place where the user's functions are called.

An objective is called in one of three ways: ``f(x)`` with one point, ``f(X)`` with rows of points
(``vectorized=True``), or, if it has that method, ``objective.evaluate_generation(generation)``,
which returns the values of a whole generation and is how a network evaluates a population without
making its points. The values are the same, bit for bit, for any ``n_jobs`` and chunk size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import (
    as_value,
    as_values,
    check_exceptions,
    check_n_jobs,
    parameters,
)
from blackbox_es.generation import Generation
from blackbox_es.noise import Key, user_seed
from blackbox_es.tree import Into, own, shown

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Objective = Callable[..., Any]

# Bytes of points made at once for an objective of one point: they stay in cache.
_POINTS_AT_ONCE = 2**20


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
        Which points get the same seed, an integer below 2**31, if the objective has a parameter
        ``seed``; ``None`` gives each point its own.
    timeout, max_retries : float or None, int
        Of a task in a worker; each worker gets one task a generation.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        vectorized: bool = False,
        n_jobs: int | None = None,
        catch: tuple[type[BaseException], ...] = (),
        common_random_numbers: str | None = "generation",
        timeout: float | None = None,
        max_retries: int = 2,
    ) -> None:
        self._whole = getattr(objective, "evaluate_generation", None)
        if not callable(objective):
            raise TypeError(f"objective={objective!r} is not callable: expected f(x)")
        check_exceptions("catch", catch)
        check_n_jobs(n_jobs)
        seeds = common_random_numbers or "point"
        if "seed" not in parameters(objective):
            seeds = "none"
        elif vectorized and seeds != "generation":
            raise ValueError(
                f"common_random_numbers={common_random_numbers!r} needs an objective of one point: "
                "a vectorized one gets one seed for the generation"
            )
        if timeout is not None and self._whole is not None:
            raise ValueError(
                f"timeout={timeout}: an objective with evaluate_generation is called here, and "
                "cannot be ended: take timeout=None, or a function of points with n_jobs"
            )
        self._call = _Call(objective, vectorized, catch, seeds)
        self._workers: Any = None
        # If nobody has imported joblib, no parallel_config can be in force: spare its import.
        maybe = n_jobs != 1 and (n_jobs is not None or "joblib" in sys.modules)
        if self._whole is None and (maybe or timeout is not None):
            from blackbox_es._workers import Workers

            workers = Workers(self._call, n_jobs, timeout, max_retries)
            self._workers = workers if workers.carries else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._workers is not None:
            self._workers.close()

    def __call__(self, generation: Generation) -> Values:
        """The values of a generation, NaN where an evaluation failed.

        Their shape is (2, n_pairs), or (1, n_pairs) if the generation is not mirrored.
        """
        if self._whole is not None:
            try:
                values = self._whole(generation)
            except Exception as error:
                error.add_note(f"raised by evaluate_generation in generation {generation.index}")
                raise
            shape = (generation.halves, generation.n_pairs)
            return as_values(values, shape, "what evaluate_generation returned")
        n_pairs = generation.n_pairs
        if self._workers is None:
            return self._call.values(generation, 0, n_pairs)

        def place(first: int, last: int) -> str:
            starts = range(0, generation.n_points, n_pairs)
            until = " to {}" if last - first > 1 else ""
            rows = (f"{start + first}{until.format(start + last - 1)}" for start in starts)
            return f"generation {generation.index}, candidates {' and '.join(rows)}"

        return np.concatenate(self._workers("values", generation, n_pairs, place), axis=1)

    def rest(self, generation: Generation, told: Mapping[int, float]) -> Values:
        """The values of a generation some of which are known, by row: these are kept.

        Only the others are evaluated, unless the objective evaluates whole generations.
        """
        missing = [row for row in range(generation.n_points) if row not in told]
        if self._whole is not None:
            values = self(generation).ravel()
            new = [values[row] for row in missing]
        elif self._workers is None:
            new = self._call.some((generation, missing), 0, len(missing))
        else:

            def place(first: int, last: int) -> str:
                return f"generation {generation.index}, candidates {missing[first:last]}"

            parts = self._workers("some", (generation, missing), len(missing), place)
            new = [value for part in parts for value in part]
        known = {**told, **dict(zip(missing, new, strict=True))}
        ordered = [known[row] for row in range(generation.n_points)]
        return np.array(ordered).reshape(generation.halves, -1)

    def at(self, x: Array, key: Key, count: int = 1, into: Into | None = None) -> list[float]:
        """The objective at one point, some times, each with its own seed if it takes one.

        The first seed is that of the generation.
        """
        where = x, key, into
        if self._workers is None:
            return self._call.center(where, 0, count)
        parts = self._workers("center", where, count, lambda first, last: "the final center")
        return [value for part in parts for value in part]


@dataclass(frozen=True, slots=True)
class _Call:
    """How the objective is called: what a worker needs beside the generation."""

    objective: Objective
    vectorized: bool
    catch: tuple[type[BaseException], ...]
    seeds: str  # "none", "generation", "pair" or "point": who shares a seed
    into: Into | None = None  # what shows it the points

    def values(self, generation: Generation, start: int, stop: int) -> Values:
        """The values of some pairs: shape (2 or 1, stop - start)."""
        values = np.empty((generation.halves, stop - start))
        call = self if generation.box is None else replace(self, into=generation.box)
        evaluate = call._together if self.vectorized else call._one_by_one
        n_bytes = _working_memory() if self.vectorized else _POINTS_AT_ONCE
        for first, last in generation.chunks(start, stop, n_bytes):
            values[:, first - start : last - start] = evaluate(generation, first, last)
        return values

    # Each chunk has its own call: its points are gone before the next ones are made in their place.

    def _together(self, generation: Generation, first: int, last: int) -> Values:
        points = generation.pairs(first, last)
        rows = points.reshape(-1, points.shape[2])
        values = self.rows(rows, generation.key, f"for pairs {first} to {last - 1}")
        return values.reshape(points.shape[:2])

    def _one_by_one(self, generation: Generation, first: int, last: int) -> Values:
        key, by_pair, values = generation.key, self.seeds == "pair", []
        for pair, both in enumerate(zip(*generation.pairs(first, last), strict=True), first):
            for half, x in enumerate(both):
                row = half * generation.n_pairs + pair
                value = self._guarded(x, key, pair if by_pair else row, row)
                if not isinstance(value, float):  # else a call and a text, for nothing
                    value = as_value(value, f"the objective's value of candidate {row}")
                values.append(value)
        return np.array(values, np.float64).reshape(-1, generation.halves).T

    def value(self, generation: Generation, row: int) -> float:
        """The value of one point of a generation."""
        x, key, place = generation.point(row), generation.key, f"of candidate {row}"
        if self.vectorized:
            return float(self.rows(x[None], key, place)[0])
        return self.point(x, key, row % generation.n_pairs if self.seeds == "pair" else row, place)

    def some(self, where: tuple[Generation, list[int]], first: int, last: int) -> list[float]:
        """The values of some rows of a generation, ``rows[first:last]``."""
        generation, rows = where
        call = self if generation.box is None else replace(self, into=generation.box)
        return [call.value(generation, row) for row in rows[first:last]]

    def center(self, where: tuple[Array, Key, Into | None], first: int, last: int) -> list[float]:
        """Values at one point, with the seeds of ``first`` to ``last``."""
        (x, key, into), place = where, "at the center"
        call = replace(self, seeds="none" if self.seeds == "none" else "point", into=into)
        if self.vectorized:
            calls = range(first, last)
            return [float(call.rows(x.copy()[None], key, place, i)[0]) for i in calls]
        return [call.point(x.copy(), key, i, place) for i in range(first, last)]

    def point(self, x: Array, key: Key, seed_of: int, place: str) -> float:
        """The value at one point."""
        return as_value(self._guarded(x, key, seed_of, place), f"the objective's value {place}")

    def rows(self, points: Array, key: Key, place: str, seed_of: int = 0) -> Values:
        """The values at rows of points."""
        values = self._guarded(points, key, seed_of, place)
        if values is math.nan and len(points) > 1:  # one row may have failed: which one?
            return np.array([self.rows(row[None], key, place)[0] for row in points])
        if values is math.nan:
            return np.full(1, math.nan)
        return as_values(values, (len(points),), f"what the vectorized objective returned {place}")

    def _guarded(self, points: Array, key: Key, seed_of: int, place: str | int) -> Any:
        x = shown(self.into, points)
        try:
            if self.seeds == "none":
                return self.objective(x)
            pair = 0 if self.seeds == "generation" else seed_of
            return self.objective(x, seed=user_seed(key, pair))
        except self.catch:
            return math.nan
        except Exception as error:
            place = f"of candidate {place}" if isinstance(place, int) else place
            error.add_note(f"raised by the objective in generation {key[1]}, {place}")
            raise


class SurrogateCall:
    """``surrogate_fn(x)`` with a copy of x; an exception says which generation it was.

    If it has a parameter ``seed`` it is given the integer that the objective is given for the
    whole generation, so that it can be the gradient on the same noise.
    """

    def __init__(self, surrogate_fn: Callable[..., Any]) -> None:
        self._surrogate_fn, self._seeded = surrogate_fn, "seed" in parameters(surrogate_fn)

    def __call__(self, x: Any, key: Key) -> Any:
        """The surrogate gradient at the center of a generation."""
        try:
            seed = {"seed": user_seed(key, 0)} if self._seeded else {}
            return self._surrogate_fn(own(x), **seed)
        except Exception as error:
            error.add_note(f"raised by surrogate_fn in generation {key[1]}")
            raise


class Callback:
    """Calls back as SciPy does.

    A function whose only parameter is named ``intermediate_result`` gets an OptimizeResult, any
    other one a copy of x.
    """

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self._by_name = list(parameters(callback)) == ["intermediate_result"]

    def __call__(self, result: Any) -> bool:
        """Whether it raised StopIteration."""
        try:
            if self._by_name:
                self._callback(intermediate_result=result)
            else:
                self._callback(result.x)
        except StopIteration:
            return True
        return False


def _working_memory() -> int:
    """Bytes of scikit-learn's ``working_memory``; its default if scikit-learn is not imported."""
    sklearn = sys.modules.get("sklearn")
    return int((sklearn.get_config()["working_memory"] if sklearn else 1024) * 2**20)
