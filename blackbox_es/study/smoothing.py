"""The loss of an inner training by its schedule of rates: rough, and smooth from afar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es.plotting.axes import label_ends, new_axes
from blackbox_es.study.base import Cell, Row, Study, column
from blackbox_es.unrolled import unroll
from blackbox_es.unrolled.tasks import ToySchedule

Array = npt.NDArray[Any]

_LOW, _HIGH = -4.0, 4.0  # of what is shown
_MARGIN = 2.0  # beyond it, for what is smoothed
_SIGMA = 0.5
_CUT = 0.5  # theta_1 of the cut
_AT_ONCE = 20_000  # particles


class Smoothing(Study):
    """The mean loss of `unrolled.tasks.ToySchedule` before and after Gaussian smoothing.

    As in Metz, Maheswaranathan, Nixon, Freeman, Sohl-Dickstein 2019, "Understanding and correcting
    pathologies in the training of learned optimizers": what an evolution strategy descends is the
    loss smoothed by its sigma.
    """

    name: ClassVar[str] = "smoothing"
    summary: ClassVar[str] = "the loss of an inner training by its learning rates, smoothed"
    n_seeds: ClassVar[int] = 1

    def cells(self, n_seeds: int) -> list[Cell]:
        return [Cell("cut", 0), Cell("plane", 0)]  # nothing is random

    def run(self, cell: Cell) -> list[Row]:
        fine = 0.2 if self.quick else (0.004 if cell.method == "cut" else 0.05)
        side = np.arange(_LOW - _MARGIN, _HIGH + _MARGIN + fine / 2, fine)
        others = np.array([_CUT]) if cell.method == "cut" else side
        theta = np.stack(np.meshgrid(side, others), axis=-1).reshape(-1, 2)
        problem = ToySchedule()
        loss = np.concatenate(
            [
                unroll(problem, part, np.zeros(len(part), np.int64))
                for part in np.array_split(theta, -(-len(theta) // _AT_ONCE))
            ]
        )
        return [
            {"theta_0": float(a), "theta_1": float(b), "loss": float(value)}
            for (a, b), value in zip(theta.round(6), loss, strict=True)
        ]

    def figure(self, rows: Sequence[Row]) -> Any:
        cut, before, after = new_axes(3)
        x, loss = column(rows, "theta_0", method="cut"), column(rows, "loss", method="cut")
        shown = (x >= _LOW) & (x <= _HIGH)
        lines = cut.plot(x[shown], loss[shown], color="#bbbbbb", linewidth=0.8, label="as it is")
        for sigma, color in ((0.1, "#E69F00"), (_SIGMA, "#D55E00"), (1.0, "#0072B2")):
            smooth = gaussian(loss, sigma / (x[1] - x[0]))
            lines += cut.plot(
                x[shown], smooth[shown], color=color, linewidth=1.8, label=f"sigma {sigma:g}"
            )
        cut.set(xlabel="theta_0, log of the first rate", ylabel="mean loss of the inner training")
        cut.set_title(
            f"The loss of an inner training, as it is\nand smoothed, along theta_1 = {_CUT}",
            loc="left",
            fontsize=10,
        )
        cut.set_box_aspect(1)
        label_ends(cut, lines)
        side = np.unique(column(rows, "theta_0", method="plane"))
        plane = column(rows, "loss", method="plane").reshape(len(side), len(side))
        smooth = gaussian(plane, _SIGMA / (side[1] - side[0]))
        keep = (side >= _LOW) & (side <= _HIGH)
        side, plane, smooth = side[keep], plane[np.ix_(keep, keep)], smooth[np.ix_(keep, keep)]
        scale = {"cmap": "cividis", "vmin": plane.min(), "vmax": np.quantile(plane, 0.98)}
        for ax, values, title in (
            (before, plane, "In two dimensions: rough where it matters"),
            (after, smooth, f"Smoothed by sigma {_SIGMA}: one basin"),
        ):
            image = ax.pcolormesh(side, side, values, rasterized=True, **scale)
            i, j = np.unravel_index(np.argmin(values), values.shape)
            ax.plot(side[j], side[i], "*", color="white", markeredgecolor="black", markersize=14)
            ax.axhline(_CUT, color="white", linewidth=0.7, linestyle=":")
            ax.set(
                xlabel="theta_0, log of the first rate",
                ylabel="theta_1, log of the last rate",
                aspect="equal",
            )
            ax.grid(visible=False)
            ax.set_title(f"{title}\nthe star is the least loss", loc="left", fontsize=10)
        cut.figure.colorbar(image, ax=after, label="mean loss", shrink=0.75)
        return cut.figure

    def report(self, rows: Sequence[Row]) -> str:
        x, loss = column(rows, "theta_0", method="cut"), column(rows, "loss", method="cut")
        lines = []
        for sigma in (0.0, 0.1, _SIGMA, 1.0):
            values = gaussian(loss, sigma / (x[1] - x[0])) if sigma else loss
            values = values[(x >= _LOW) & (x <= _HIGH)]
            pits = int(((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])).sum())
            least = f"the least {values.min():.2f}"
            lines.append(f"sigma {sigma:<4g} {pits:4} local minima along the cut, {least}")
        return "\n".join(lines)


def gaussian(values: Array, sigma: float) -> Array:
    """Smoothed by a normal distribution, sigma in steps of the grid."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, sigma, mode="nearest", truncate=_MARGIN / 0.5))
