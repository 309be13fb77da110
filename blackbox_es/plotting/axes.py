"""What all figures share: axes, colours, names at the ends of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Told apart by those who do not see red or green (Okabe, Ito 2008), and by style in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


def new_axes(n_columns: int = 1, n_rows: int = 1) -> Any:
    """Axes on a new figure, an array of them if there are several, in the look of all figures."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: python -m pip install matplotlib") from error
    width = {1: 7.6, 2: 10.5}.get(n_columns, 13.0)
    dpi = {1: 140, 2: 115}.get(n_columns, 92)  # about as many pixels as a page is wide
    figure = Figure(figsize=(width, 4.3 * n_rows), dpi=dpi, layout="constrained")
    axes = figure.subplots(n_rows, n_columns)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return axes


def plain_ticks(axis: Any) -> None:
    """Few ticks in plain numbers on a logarithmic axis, for less than a few decades."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def label_ends(ax: Any, lines: Sequence[Any]) -> list[Any]:
    """Write the name of each line to the right of the axes, at the height of its end.

    Call it last: limits and scales are taken as they are. Names that would overlap are moved apart.
    """
    points = []
    for line in lines:
        xy = np.asarray(line.get_xydata(), float)
        known = xy[np.isfinite(xy).all(axis=1)]
        points.append(known[-1] if len(known) else (np.nan, np.nan))
    ax.get_xlim(), ax.get_ylim()  # which is when limits follow the data
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = np.array([to_axes.transform(point)[1] for point in points])
    seen = (heights >= 0.0) & (heights <= 1.0)
    heights = np.where(np.isfinite(heights), np.clip(heights, 0.0, 1.0), 0.0)
    gap = 13.0 / 72.0 * ax.figure.dpi / ax.bbox.height
    labels = []
    placed = spread(heights, gap)
    for line, point, height, leads in zip(lines, points, placed, seen, strict=True):
        leader = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6, "alpha": 0.6}
        labels.append(
            ax.annotate(
                line.get_label(),
                xy=point,
                xytext=(1.03, height),
                textcoords="axes fraction",
                color=line.get_color(),
                fontsize=9,
                va="center",
                arrowprops=leader if leads else None,
                annotation_clip=False,
            )
        )
    return labels


def spread(heights: npt.ArrayLike, gap: float) -> Array:
    """The heights, moved as little as need be for neighbours to be ``gap`` apart, from 0 to 1.

    Least squares: of ``heights - gap i`` in increasing order the nearest that does not decrease,
    and that is then cut at its bounds. What does not fit begins at 0.

    Examples
    --------
    >>> spread([0.5, 0.5, 0.9], 0.2).round(2).tolist()
    [0.4, 0.6, 0.9]
    """
    given = np.asarray(heights, float)
    order = np.argsort(given, kind="stable")
    blocks: list[list[float]] = []  # sums and sizes of what is pooled
    for i, height in enumerate(given[order]):
        blocks.append([height - gap * i, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, size = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += size
    moved = np.concatenate([np.full(int(size), total / size) for total, size in blocks])
    moved = np.clip(moved, 0.0, max(0.0, 1.0 - gap * (given.size - 1)))
    placed = np.empty_like(given)
    placed[order] = moved + gap * np.arange(given.size)
    return placed
