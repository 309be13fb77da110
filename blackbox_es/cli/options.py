"""What several commands share: types of arguments, and the figure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return integer


def seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def threads(text: str) -> int:
    if int(text) == 0:
        raise argparse.ArgumentTypeError("0 threads: take 1 or more, or -1 for all cores")
    return int(text)


def figure(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def draw(path: Path, curves: dict[str, Any], title: str, xlabel: str, ylabel: str) -> None:
    from blackbox_es.plotting import ConvergenceDisplay

    try:
        display = ConvergenceDisplay(curves, xlabel=xlabel, ylabel=ylabel).plot()
    except ImportError as error:
        print(f"\nno figure: {error}")
        return
    display.ax_.set_title(title)
    display.figure_.savefig(path)
    print(f"\nfigure: {path}")
