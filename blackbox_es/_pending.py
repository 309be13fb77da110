"""The pending generation: its points, and the values told so far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_value
from blackbox_es.generation import Generation
from blackbox_es.steps import State

Array = npt.NDArray[Any]


class Trial(NamedTuple):
    """One point to evaluate; tell its value with its id."""

    id: int
    x: Array


class Pending:
    """A generation whose values are not all known yet.

    Parameters
    ----------
    generation : Generation
    before : State
        The state that was asked.
    told : dict of int to float
        Values by row. It only ever grows, by one operation that cannot be interrupted.
    first : int
        The id of the first trial: evaluations before this generation.
    """

    def __init__(
        self, generation: Generation, before: State, told: dict[int, float], first: int
    ) -> None:
        self.generation, self.before, self.told, self.first = generation, before, told, first
        self._points: Array | None = None

    def points(self) -> Array:
        """All points, made once, read-only: what is told is what was asked."""
        if self._points is None:
            points = self.generation.points()
            points.setflags(write=False)
            self._points = points
        return self._points

    def trials(self) -> Iterator[Trial]:
        """The points without a value, made one at a time."""
        for row in range(self.generation.n_points):
            if row not in self.told:
                yield Trial(self.first + row, self.generation.point(row))

    def row_of(self, id: Any) -> int:
        """The row of a trial.

        Raises
        ------
        TypeError, ValueError
            For what is no id of this generation.
        """
        if not isinstance(id, Integral):
            raise TypeError(f"trial id {id!r} is not an integer: tell trial.id")
        n, first = self.generation.n_points, self.first
        if not first <= int(id) < first + n:
            raise ValueError(
                f"trial id {id} is unknown or of a past generation: those pending are {first} to "
                f"{first + n - 1}"
            )
        return int(id) - first

    def check_points(self, X: Any) -> None:
        """Raise ValueError unless X holds the points asked, row by row."""
        asked = self.points()
        if X is asked:
            return
        X = np.asarray(X)
        if X.shape != asked.shape:
            raise ValueError(f"X has shape {X.shape}: expected {asked.shape}, the points asked")
        wrong = np.flatnonzero((asked != X).any(axis=1))
        if wrong.size:
            raise ValueError(
                f"row {wrong[0]} of X is not the point asked: it was modified, reordered, or is of "
                "a past generation. Tell X as it was asked; repair points inside the objective; "
                "for another order tell pairs, tell([(x, value), ...])"
            )

    def rows_of(self, pairs: Any) -> list[tuple[int, Any]]:
        """Rows and values of pairs of point and value; of equal rows those not told come first.

        Raises
        ------
        ValueError
            For what is no pair, and for a point that was not asked.
        """
        try:
            pairs = [(x, value) for x, value in pairs]
        except (TypeError, ValueError):
            raise ValueError(
                "tell(X) without values expects pairs (x, value): did you mean tell(X, values)?"
            ) from None
        asked = self.points()
        where: dict[bytes, list[int]] = {}
        for row in range(len(asked)):
            where.setdefault(asked[row].tobytes(), []).append(row)
        for rows in where.values():
            rows.sort(key=self.told.__contains__)
        found = []
        for i, (x, value) in enumerate(pairs):
            rows = where.get(np.asarray(x, asked.dtype).tobytes(), [])
            if not rows:
                raise ValueError(f"point {i} is not one of those asked in this generation")
            found.append((rows.pop(0) if len(rows) > 1 else rows[0], value))
        return found

    def add(self, rows: list[tuple[int, Any]]) -> None:
        """Remember the values of some rows, or change nothing and raise."""
        new: dict[int, float] = {}
        for row, given in rows:
            value = as_value(given, f"the value of row {row}")
            before = self.told.get(row, new.get(row, value))
            if before != value and not (math.isnan(before) and math.isnan(value)):
                raise ValueError(f"row {row} was told {before} before and now {value}")
            new[row] = value
        self.told.update(new)

    def values(self) -> Array | None:
        """All values, shape (halves, n_pairs), or None if some are missing."""
        if len(self.told) < self.generation.n_points:
            return None
        ordered = [self.told[row] for row in range(len(self.told))]
        return np.array(ordered).reshape(self.generation.halves, -1)
