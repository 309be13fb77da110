"""The pending generation: its points, and the values told so far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._trial import Trial
from blackbox_es._validation import as_value
from blackbox_es.generation import Generation
from blackbox_es.noise import user_seed
from blackbox_es.steps import State
from blackbox_es.tree import Tree, flat, shown

Array = npt.NDArray[Any]


class Pending:
    """A generation whose values are not all known yet.

    Its points have places: first the rows of `Generation.points`, then those of further pairs of
    the same center, pair by pair. So a place stays the same while the generation grows.

    Parameters
    ----------
    generation : Generation
        Without further pairs.
    before : State
        The state that was asked.
    first : int
        The id of the trial at place 0.
    least : int
        Pairs to wait for.
    told : dict of int to float
        Values by place. It only ever grows, by one operation that cannot be interrupted.
    lost : dict of int to int
        By place, how often an evaluation was lost.
    n_further : int
        Further pairs.
    """

    def __init__(
        self,
        generation: Generation,
        before: State,
        first: int,
        least: int,
        told: dict[int, float] | None = None,
        lost: dict[int, int] | None = None,
        n_further: int = 0,
    ) -> None:
        self.generation, self.before, self.first = generation, before, first
        self.least, self.n_further = least, n_further
        self.told: dict[int, float] = {} if told is None else told
        self.lost: dict[int, int] = {} if lost is None else lost
        self.n_out = 0  # places below this have been given out, by whatever process
        self._n_given = 0  # by `take`, in this process
        self._back: list[int] = []  # those of them that came back without a value
        self._enough = 0  # values: with fewer too few pairs are whole
        self._points: Array | None = None

    def copy(self) -> Pending:
        """The same, sharing nothing that is written; nothing is given out there."""
        told, lost = dict(self.told), dict(self.lost)
        copied = Pending(
            self.generation, self.before, self.first, self.least, told, lost, self.n_further
        )
        copied.n_out = copied.n_places
        return copied

    @property
    def whole(self) -> Generation:
        """The generation with its further pairs."""
        generation = self.generation
        if not self.n_further:
            return generation
        return replace(generation, n_pairs=generation.n_pairs + self.n_further)

    @property
    def n_places(self) -> int:
        """How many points there are."""
        return self.generation.n_points + self.generation.halves * self.n_further

    def points(self) -> Array:
        """The points without those of further pairs, made once, read-only."""
        if self._points is None:
            points = self.generation.points()
            points.setflags(write=False)
            self._points = points
        return self._points

    def asked(self) -> Any:
        """The points as the user knows them: rows of an array, or a list of trees."""
        points, into = self.points(), self.generation.box
        return [into.show(x) for x in points] if isinstance(into, Tree) else points

    def pair_of(self, place: int) -> tuple[int, int]:
        """Which half of which pair is at a place."""
        generation = self.generation
        if place < generation.n_points:
            half, pair = divmod(place, generation.n_pairs)
            return half, pair
        further, half = divmod(place - generation.n_points, generation.halves)
        return half, generation.n_pairs + further

    def trial(self, place: int, seeds: str | None) -> Trial:
        """The point at a place, given out; ``seeds`` says which points share a seed."""
        self.n_out = max(self.n_out, place + 1)
        half, pair = self.pair_of(place)
        key = self.generation.key
        index = 0 if seeds == "generation" else pair if seeds == "pair" else place
        x = shown(self.generation.box, self.generation.pairs(pair, pair + 1)[half, 0])
        return Trial(self.first + place, x, user_seed(key, index), self.generation.index)

    def untold(self) -> Iterator[int]:
        """The places without a value; when all have one, but too many failed, those that did."""
        told, places = self.told, range(self.n_places)
        if len(told) == len(places):
            return (place for place in places if math.isnan(told[place]))
        return (place for place in places if place not in told)

    def take(self, most: int) -> int | None:
        """A place that nobody is at, which may make one of at most so many further pairs."""
        while True:
            while self._back:
                place = self._back.pop()
                if place not in self.told:
                    return place
            while self._n_given < self.n_places:
                self._n_given += 1
                if self._n_given - 1 not in self.told:
                    return self._n_given - 1
            if self.n_further >= most:
                return None
            self.n_further += 1

    def lose(self, place: int, most: int) -> bool:
        """An evaluation is lost; whether it is to be done again, else its value is NaN."""
        if place in self.told:
            return False
        self.lost[place] = self.lost.get(place, 0) + 1
        if self.lost[place] > most:
            self.told[place] = math.nan
            return False
        if place < self._n_given and place not in self._back:  # else its turn comes
            self._back.append(place)
        return True

    def place_of(self, id: Any) -> int:
        """The place of a trial.

        Raises
        ------
        TypeError, ValueError
            For what is no id of this generation.
        """
        place = as_id(id) - self.first
        if not 0 <= place < self.n_places:
            raise ValueError(
                f"trial id {id} is unknown or of a past generation: those pending are {self.first} "
                f"to {self.first + self.n_places - 1}"
            )
        return place

    def add(self, rows: list[tuple[int, Any]]) -> None:
        """Remember the values of some rows, or change nothing and raise."""
        new: dict[int, float] = {}
        for row, given in rows:
            value = as_value(given, f"the value of row {row}")
            before = self.told.get(row, new.get(row, value))
            if before != value:
                if not math.isnan(before):
                    raise ValueError(f"row {row} was told {before} before and now {value}")
                self._enough = 0  # a failure may be mended
            new[row] = value
        self.told.update(new)

    def values(self) -> tuple[Array, Array | None] | None:
        """All values, shape (halves, n_pairs), and which pairs are known, or None to wait.

        It waits for ``least`` whole pairs, which have not failed, and if more have failed for as
        many as those; or for all values. None for the pairs is all of them. Values that are missing
        are NaN.
        """
        told, n = self.told, self.n_places
        if len(told) == n:
            return self._by_pair(np.array([told[place] for place in range(n)])), None
        if len(told) < max(self.generation.halves * self.least, self._enough):
            return None
        places = np.fromiter(told, np.int64, len(told))
        flat, there = np.full(n, math.nan), np.zeros(n, bool)
        flat[places], there[places] = np.fromiter(told.values(), float, len(told)), True
        values, known = self._by_pair(flat), np.asarray(self._by_pair(there).all(axis=0))
        n_whole = int((~np.isnan(values)).all(axis=0).sum())
        n_needed = max(self.least, int(known.sum()) - n_whole)
        if n_whole >= n_needed:
            return values, known
        self._enough = len(told) + n_needed - n_whole  # a value makes one more whole, at the most
        return None

    def _by_pair(self, places: Array) -> Array:
        """What is at the places, in shape (halves, n_pairs)."""
        generation = self.generation
        first = places[: generation.n_points].reshape(generation.halves, -1)
        further = places[generation.n_points :].reshape(-1, generation.halves)
        return np.concatenate([first, further.T], axis=1) if self.n_further else first

    def missing(self) -> tuple[int, ...]:
        """The ids of trials whose values may still come, when the generation is over."""
        if len(self.told) == self.n_places:
            return ()
        return tuple(self.first + place for place in self.untold() if place < self.n_out)


def as_id(id: Any) -> int:
    """The id of a trial, as it is or as a key of JSON has it."""
    if isinstance(id, str) and id.isdecimal():
        return int(id)
    if not isinstance(id, Integral):
        raise TypeError(f"trial id {id!r} is not an integer: tell trial.id")
    return int(id)


def rows_of(pending: Pending, pairs: Any) -> list[tuple[int, Any]]:
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
    asked = pending.points()
    where: dict[bytes, list[int]] = {}
    for row in range(len(asked)):
        where.setdefault(asked[row].tobytes(), []).append(row)
    for rows in where.values():
        rows.sort(key=pending.told.__contains__)
    found = []
    for i, (x, value) in enumerate(pairs):
        x = np.asarray(flat(pending.generation.box, x), asked.dtype)
        rows = where.get(x.tobytes(), [])
        if not rows:
            raise ValueError(f"point {i} is not one of those asked in this generation")
        found.append((rows.pop(0) if len(rows) > 1 else rows[0], value))
    return found


def check_points(pending: Pending, X: Any) -> None:
    """Raise ValueError unless X holds the points asked, row by row."""
    asked = pending.points()
    if X is asked:
        return
    into = pending.generation.box
    X = np.asarray([into.flatten(x, "X") for x in X] if isinstance(into, Tree) else X)
    if X.shape != asked.shape:
        raise ValueError(f"X has shape {X.shape}: expected {asked.shape}, the points asked")
    wrong = np.flatnonzero((asked != X).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"row {wrong[0]} of X is not the point asked: it was modified, reordered, or is of "
            "a past generation. Tell X as it was asked; repair points inside the objective; "
            "for another order tell pairs, tell([(x, value), ...])"
        )
