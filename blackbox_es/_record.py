"""What people look at: counts, the best point and the history. No step of a search reads it."""

from __future__ import annotations

import math
from statistics import mean  # the rounded exact one: equal values have that mean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Count
from blackbox_es.generation import Generation
from blackbox_es.steps import Info

Array = npt.NDArray[Any]

# One row a generation.
HISTORY = np.dtype([("n_evaluations", "i8"), ("mean", "f8"), ("best", "f8"), ("sigma", "f8")])


class Record(NamedTuple):
    """The record of a search.

    Attributes
    ----------
    rows : ndarray of dtype HISTORY
        The history: the first ``n_rows``; what follows is room to grow. A row is written before
        the record that counts it is kept, so an interruption leaves no trace.
    n_rows, n_evaluations, n_surrogate_calls, n_failed, n_late : int
    fun, fun_best : float
        The mean value of the last generation, and the best value.
    best : (Generation, row) or None
        The point with the best value; None is the center.
    n_flat : int
        Generations in a row that told nothing.
    warned : tuple of str
        What has been warned of.
    concluded : bool
        Whether the last center has been evaluated, which is what `fit` ends with.
    """

    rows: npt.NDArray[Any]
    n_rows: Count = 0
    n_evaluations: Count = 0
    n_surrogate_calls: Count = 0
    n_failed: Count = 0
    fun: float = math.inf
    fun_best: float = math.inf
    best: tuple[Generation, Count] | None = None
    n_flat: Count = 0
    warned: tuple[str, ...] = ()
    concluded: bool = False
    n_late: Count = 0

    def after(self, generation: Generation, values: Array, info: Info, n_told: int) -> Record:
        """The record with one more generation, of whose points ``n_told`` have been evaluated."""
        flat = values.ravel()
        missing = info.n_failed > 0 or n_told < flat.size
        row = int(np.where(np.isnan(flat), np.inf, flat).argmin() if missing else flat.argmin())
        lowest = float(flat[row])
        best, fun_best = self.best, self.fun_best
        if lowest < fun_best:
            best, fun_best = (generation, row), lowest
        n_evaluations, n, rows = self.n_evaluations + n_told, self.n_rows, self.rows
        if n == len(rows):
            rows = np.concatenate([rows, np.empty(n + 64, HISTORY)])
        rows[n] = n_evaluations, info.mean, lowest, generation.sampler.sigma
        return Record(
            rows,
            n + 1,
            n_evaluations,
            self.n_surrogate_calls,
            self.n_failed + info.n_failed,
            info.mean,
            fun_best,
            best,
            self.n_flat + 1 if info.flat else 0,
            self.warned,
            False,
            self.n_late,
        )

    def late(self) -> Record:
        """The record with an evaluation that came too late."""
        return self._replace(n_evaluations=self.n_evaluations + 1, n_late=self.n_late + 1)

    def with_center(self, values: list[float]) -> Record:
        """The record with the values of the center, evaluated at the end."""
        known = [value for value in values if not math.isnan(value)]
        fun = mean(known) if known else math.nan
        best = fun < self.fun_best
        return self._replace(
            n_evaluations=self.n_evaluations + len(values),
            n_failed=self.n_failed + len(values) - len(known),
            fun=fun,
            fun_best=fun if best else self.fun_best,
            best=None if best else self.best,
            concluded=True,
        )

    def history(self) -> dict[str, Array]:
        """The columns of the history, read-only."""
        columns = {name: self.rows[name][: self.n_rows] for name in HISTORY.names or ()}
        for column in columns.values():
            column.flags.writeable = False
        return columns

    def compact(self) -> Record:
        """The same with rows of its own: two records that share rows would overwrite each other."""
        return self._replace(rows=self.rows[: self.n_rows].copy())


def empty() -> Record:
    """The record of a search that begins."""
    return Record(np.empty(0, HISTORY))
