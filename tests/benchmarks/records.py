"""Rows of runs in the CSV files of a folder, so that what has been run is not run again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class Spent(BaseException):
    """Ends a run, whatever the solver does; no solver catches it as an error of the objective."""


def rows(folder: Path) -> Iterator[dict[str, str]]:
    """All complete rows of all files."""
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield from (row for row in csv.DictReader(file) if None not in row.values())


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row in one write, under a header if the file is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def split_solver(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of ``name#mark:{"option": value}``, mark and options optional.

    A mark makes it another solver: that of an edited source, say.
    """
    name, _, options = text.partition(":")
    return name.partition("#")[0], json.loads(options or "{}")


def slug(text: str) -> str:
    """For names of files."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def numbers(text: str) -> list[int]:
    """``"1-3,7"`` is [1, 2, 3, 7]."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def table(header: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    """Markdown, columns aligned."""
    cells = [[str(cell) for cell in line] for line in (header, *lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    )
