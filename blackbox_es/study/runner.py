"""Cells are run in parallel, kept as they are finished, and not run again."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from blackbox_es.study.base import Cell, Row, Study


def run_cells(
    study: Study,
    folder: Path,
    *,
    n_seeds: int | None = None,
    n_jobs: int = 1,
    tell: Callable[[str], Any] = print,
) -> list[Row]:
    """Run what is not in the folder yet; ``folder/NAME.csv`` has all rows then.

    Each finished cell is a file in ``folder/cells``, which appears as a whole: what was killed is
    run again. Rows do not depend on ``n_jobs``; each cell has one thread.

    Parameters
    ----------
    study : Study
    folder : Path
        Made if need be. Another one is for another study, and for a quick one.
    n_seeds : int or None
        None is the study's own.
    n_jobs : int
        Processes; -1 is one for each core.
    tell : callable
        Given a line whenever a cell is finished.

    Returns
    -------
    list of dict
    """
    cells = study.cells(study.n_seeds if n_seeds is None else n_seeds)
    parts = folder / "cells"
    parts.mkdir(parents=True, exist_ok=True)
    left = [cell for cell in cells if not _path(parts, cell).exists()]
    if len(left) < len(cells):
        tell(f"{len(cells) - len(left)} of {len(cells)} cells were finished before")
    run = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    finished = run(delayed(run_cell)(study, cell, parts) for cell in left)
    for i, (cell, seconds) in enumerate(finished, len(cells) - len(left) + 1):
        tell(f"{i:4} of {len(cells)}  {cell.method}, seed {cell.seed}: {seconds:.1f} s")
    rows = [row for cell in cells for row in read_rows(_path(parts, cell))]
    write_rows(folder / f"{study.name}.csv", rows)
    return rows


def run_cell(study: Study, cell: Cell, parts: Path) -> tuple[Cell, float]:
    """Run a cell, write its rows, and say how many seconds it took."""
    begun = time.perf_counter()
    try:
        with threadpool_limits(1):  # the others have the other cores
            rows = study.run(cell)
    except Exception as error:
        error.add_note(f"in the study {study.name}: {cell.method}, seed {cell.seed}")
        raise
    named = [{"method": cell.method, "seed": cell.seed, **row} for row in rows]
    write_rows(_path(parts, cell), named)
    return cell, time.perf_counter() - begun


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """A CSV file with a line of names, all at once: there is never a part of one by that name."""
    rows = list(rows)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file; what reads as a number is one."""
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _path(parts: Path, cell: Cell) -> Path:
    return parts / f"{cell.method}-{cell.seed}.csv"


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
