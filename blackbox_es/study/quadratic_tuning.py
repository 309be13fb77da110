"""The grid that the tuned methods of the study `quadratic` are the best of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from blackbox_es.plotting.axes import COLORS, STYLES, label_ends, new_axes
from blackbox_es.strategies import GuidedES, VanillaES
from blackbox_es.study.base import Cell, Row, Study, column, crossed, table
from blackbox_es.study.quadratic import Method, descent, gradient, search

_RATES = (0.5, 0.7, 1.0, 1.4, 2.0)
_PAIRS = (1, 4, 16)
_ALPHAS = (0.5, 0.9, "auto")
_SLOW = "descent, rate / 200"


def _pairs(n_pairs: int) -> str:
    return f"{n_pairs} pair{'s' if n_pairs > 1 else ''}"


def _grid() -> dict[str, tuple[str, float, Method]]:
    """Method: its family, the rate, how it searches."""
    grid: dict[str, tuple[str, float, Method]] = {}
    for rate in _RATES:
        for n_pairs in _PAIRS:
            params = {"n_pairs": n_pairs, "learning_rate": rate}
            vanilla = gradient(VanillaES, False, **params)
            grid[f"vanilla-{n_pairs}-{rate}"] = f"vanilla, {_pairs(n_pairs)}", rate, vanilla
            for alpha in _ALPHAS:
                guided = gradient(GuidedES, True, alpha=alpha, **params)
                family = f"guided, alpha {alpha}, {_pairs(n_pairs)}"
                grid[f"guided-{alpha}-{n_pairs}-{rate}"] = family, rate, guided
        slow = f"{_SLOW}, {_pairs(1)}"  # beside the others, whose estimates are shorter
        grid[f"descent-{rate}"] = slow, rate, descent(rate / 200)
    return grid


GRID = _grid()


class QuadraticTuning(Study):
    """Rates, alpha and pairs for the perturbed quadratic, on problems that nobody reports.

    Seeds from 101 on.
    """

    name: ClassVar[str] = "quadratic-tuning"
    summary: ClassVar[str] = "the grid behind `quadratic`: rates, alpha, pairs, on other problems"
    n_seeds: ClassVar[int] = 1

    def cells(self, n_seeds: int) -> list[Cell]:
        return crossed(GRID, range(101, 101 + n_seeds))

    def run(self, cell: Cell) -> list[Row]:
        return search(GRID[cell.method][2], cell.seed, self.quick)[-1:]

    def figure(self, rows: Sequence[Row]) -> Any:
        axes = new_axes(len(_PAIRS))
        for ax, n_pairs in zip(axes, _PAIRS, strict=True):
            families = {
                family.rpartition(", ")[0]: gaps
                for family, gaps in self._gaps(rows).items()
                if family.endswith(_pairs(n_pairs))
            }
            for i, (family, gaps) in enumerate(families.items()):
                look = {"color": COLORS[i], "linestyle": STYLES[i], "marker": "o", "markersize": 4}
                ax.plot(list(gaps), list(gaps.values()), label=family, **look)
            ax.set(xscale="log", yscale="log", xlabel="learning rate", ylim=(5e-4, 1.0))
            ax.set_xticks(_RATES, [str(rate) for rate in _RATES])
            ax.minorticks_off()
            ax.set_title(f"{_pairs(n_pairs)} a generation", loc="left", fontsize=10)
            label_ends(ax, ax.get_lines())
        axes[0].set(ylabel="f - f* at the end")
        return axes[0].figure

    def report(self, rows: Sequence[Row]) -> str:
        lines = [
            [family, *(f"{gaps.get(rate, np.nan):.2g}" for rate in _RATES)]
            for family, gaps in self._gaps(rows).items()
        ]
        return table(["f - f*, rate", *map(str, _RATES)], lines)

    def _gaps(self, rows: Sequence[Row]) -> dict[str, dict[float, float]]:
        """By family and rate, medians over seeds."""
        gaps: dict[str, dict[float, float]] = {}
        for method, (family, rate, _) in GRID.items():
            gap = float(np.median(column(rows, "gap", method=method)))
            gaps.setdefault(family, {})[rate] = gap
        return gaps
