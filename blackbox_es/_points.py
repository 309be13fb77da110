"""Which of the points asked are these?"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def check_points(X: Any, asked: Array) -> None:
    """Raise ValueError unless X holds the points asked, row by row."""
    X = np.asarray(X)
    if X.shape != asked.shape:
        raise ValueError(f"X has shape {X.shape}: expected {asked.shape}, the points asked")
    wrong = np.flatnonzero((asked != X).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"row {wrong[0]} of X is not the point asked: it was modified, reordered, or is of a "
            "past generation. Tell X as it was asked; repair points inside the objective; for "
            "another order tell pairs, tell([(x, value), ...])"
        )


def rows_of(points: Sequence[Any], asked: Array, told: Container[int]) -> list[int]:
    """The row of each point; among rows that are equal, those not told yet come first.

    Raises
    ------
    ValueError
        For a point that was not asked.
    """
    where: dict[bytes, list[int]] = {}
    for row in range(len(asked)):
        where.setdefault(asked[row].tobytes(), []).append(row)
    for rows in where.values():
        rows.sort(key=told.__contains__)
    found = []
    for i, x in enumerate(points):
        rows = where.get(np.asarray(x, asked.dtype).tobytes(), [])
        if not rows:
            raise ValueError(f"point {i} is not one of those asked in this generation")
        found.append(rows.pop(0) if len(rows) > 1 else rows[0])
    return found
