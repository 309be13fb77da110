"""What a study is: cells that are run, rows that they give, a figure and a table of the rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._config import Configurable, config

Array = npt.NDArray[Any]
Row = dict[str, Any]  # of words and numbers, by column


class Cell(NamedTuple):
    """One seed of one method: what is run at once, and kept.

    Attributes
    ----------
    method : str
        Of letters, digits, dots and hyphens: it names a file.
    seed : int
    """

    method: str
    seed: int


@config
class Study(Configurable, ABC):
    """A comparison that can be run again.

    Parameters
    ----------
    quick : bool
        Small enough for a test; its numbers say nothing.
    """

    quick: bool = False

    name: ClassVar[str]
    summary: ClassVar[str]
    n_seeds: ClassVar[int] = 5

    @abstractmethod
    def cells(self, n_seeds: int) -> list[Cell]:
        """All that is to be run, in the order of the rows."""

    @abstractmethod
    def run(self, cell: Cell) -> list[Row]:
        """The rows of a cell, which depend on it alone."""

    @abstractmethod
    def figure(self, rows: Sequence[Row]) -> Any:
        """A figure of all rows, which have the columns ``method`` and ``seed``, too."""

    @abstractmethod
    def report(self, rows: Sequence[Row]) -> str:
        """What is seen, as text."""


def crossed(methods: Iterable[str], seeds: Iterable[int]) -> list[Cell]:
    """A cell for each method and each seed."""
    seeds = list(seeds)
    return [Cell(method, seed) for method in methods for seed in seeds]


def column(rows: Iterable[Row], name: str, **where: Any) -> Array:
    """A column of the rows whose other columns have these values."""
    chosen = (row for row in rows if all(row[key] == value for key, value in where.items()))
    return np.array([row[name] for row in chosen])


def ends(rows: Sequence[Row], name: str, method: str) -> Array:
    """The last entry in a column of each seed of a method."""
    found = {row["seed"]: row[name] for row in rows if row["method"] == method}
    return np.array(list(found.values()))


def curves(
    rows: Sequence[Row], x: str, y: str, names: Mapping[str, str]
) -> dict[str, list[tuple[Array, Array]]]:
    """For each method that there are rows of its name, and (x, y) of each seed."""
    found: dict[str, list[tuple[Array, Array]]] = {}
    for method, name in names.items():
        for seed in np.unique(column(rows, "seed", method=method)):
            of = {"method": method, "seed": seed}
            found.setdefault(name, []).append((column(rows, x, **of), column(rows, y, **of)))
    return found


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Text in columns: the first is left-aligned, the others are right-aligned."""
    body = [list(head), *map(list, lines)]
    widths = [max(len(line[i]) for line in body) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for line in body
    )
