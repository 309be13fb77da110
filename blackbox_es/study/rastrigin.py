"""Smoothing that is withdrawn, on a rough surface where descent stops at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es.plotting import ConvergenceDisplay
from blackbox_es.plotting.axes import label_ends, new_axes
from blackbox_es.schedules import Exponential
from blackbox_es.strategies import VanillaES
from blackbox_es.study.base import Cell, Row, Study, column, crossed, curves, ends

Array = npt.NDArray[Any]

_START = (1.0, 1.0)
_STEPS, _PAIRS, _RATE = 1000, 10, 0.004
_ANNEALED = Exponential(1.0, 0.9985)  # to 0.22 after 1,000 steps

_LEAST = 1e-10  # value that is drawn: there may be zeros

# Method: its name, sigma (None is descent along the gradient), the look of its line
METHODS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "descent": ("gradient descent", None, {"color": "#707070", "linestyle": "--"}),
    "small": ("sigma 0.1", 0.1, {"color": "#E69F00", "linestyle": "-."}),
    "large": ("sigma 1", 1.0, {"color": "#0072B2", "linestyle": ":"}),
    "annealed": ("sigma from 1 to 0.22", _ANNEALED, {"color": "#D55E00", "linestyle": "-"}),
}
NAMES = {method: name for method, (name, _, _) in METHODS.items()}


def rastrigin(x: Array) -> Any:
    """``10 n + sum z^2 - 10 cos(2 pi z)``, z = x - 10, of each row."""
    z = x - 10.0
    return (10.0 + z**2 - 10.0 * np.cos(2.0 * np.pi * z)).sum(axis=-1)


def smoothed(x: Array, sigma: float) -> Array:
    """``E rastrigin(x + sigma e)``, e standard normal: waves lose ``exp(-2 pi^2 sigma^2)``."""
    z = x - 10.0
    left = np.exp(-2.0 * (np.pi * sigma) ** 2)
    return np.asarray((10.0 + z**2 + sigma**2 - 10.0 * left * np.cos(2.0 * np.pi * z)).sum(axis=-1))


class Rastrigin(Study):
    """Descent, small, large and annealed sigma on Rastrigin's function of two variables.

    All take the same 1,000 steps of the same rate, from (1, 1) towards the minimum at (10, 10); a
    step of the strategies is of 10 pairs. `VanillaES` with ``beta = n`` follows the gradient of the
    smoothed function.
    """

    name: ClassVar[str] = "rastrigin"
    summary: ClassVar[str] = "a rough surface: descent, smoothing, and smoothing that is withdrawn"

    def cells(self, n_seeds: int) -> list[Cell]:
        return crossed(METHODS, range(1, n_seeds + 1))

    def run(self, cell: Cell) -> list[Row]:
        sigma, n_steps = METHODS[cell.method][1], 20 if self.quick else _STEPS
        path = _descent(n_steps) if sigma is None else _search(sigma, n_steps, cell.seed)
        return [
            {"step": i, "x": float(x[0]), "y": float(x[1]), "value": float(rastrigin(x))}
            for i, x in enumerate(path)
            if i % max(1, n_steps // 250) == 0 or i == n_steps
        ]

    def figure(self, rows: Sequence[Row]) -> Any:
        cut, surface, right = new_axes(3)
        _draw_cut(cut)
        _draw_paths(surface, rows)
        seen = [{**row, "value": max(row["value"], _LEAST)} for row in rows]
        display = ConvergenceDisplay.from_curves(
            curves(seen, "step", "value", NAMES),
            xlabel="step",
            ylabel="value at the center, 1e-10 if less",
        )
        display.title = f"Large noise finds the basin, small noise its ground\n{display.title}"
        right.set_box_aspect(1)
        return display.plot(right, looks={name: look for name, _, look in METHODS.values()}).figure_

    def report(self, rows: Sequence[Row]) -> str:
        return "\n".join(
            f"{name:22} f at the end {np.median(ends(rows, 'value', method)):9.3g}"
            for method, name in NAMES.items()
        )


def _descent(n_steps: int) -> list[Array]:
    path = [np.array(_START)]
    for _ in range(n_steps):
        z = path[-1] - 10.0
        path.append(path[-1] - _RATE * (2.0 * z + 20.0 * np.pi * np.sin(2.0 * np.pi * z)))
    return path


def _search(sigma: Any, n_steps: int, seed: int) -> list[Array]:
    path = [np.array(_START)]
    es = VanillaES(
        sigma=sigma, beta=2.0, n_pairs=_PAIRS, optimizer="sgd", learning_rate=_RATE,
        max_iter=n_steps, vectorized=True, random_state=seed,
    )  # fmt: skip
    es.fit(rastrigin, _START, callback=path.append)
    return path


def _draw_cut(ax: Any) -> None:
    x = np.linspace(0.0, 14.0, 1400)
    greys = {0.0: "#bbbbbb", 0.1: "#E69F00", 0.3: "#56B4E9", 1.0: "#0072B2"}
    lines = []
    for sigma, color in greys.items():
        width = 0.9 if sigma == 0.0 else 1.8
        label = f"sigma {sigma:g}" if sigma else "as it is"
        lines += ax.plot(x, smoothed(x[:, None], sigma), color=color, linewidth=width, label=label)
    ax.set(xlabel="x", ylabel="value", ylim=(0, None), xlim=(0, 14))
    ax.set_title(
        "Smoothing by sigma fills the pits:\na cut in one dimension", loc="left", fontsize=10
    )
    ax.set_box_aspect(1)
    label_ends(ax, lines)


def _draw_paths(ax: Any, rows: Sequence[Row]) -> None:
    side = np.linspace(-1.0, 14.0, 200)
    values = rastrigin(np.stack(np.meshgrid(side, side), axis=-1))
    ax.pcolormesh(side, side, values, cmap="Greys", vmax=250, rasterized=True)
    for method, (_, _, look) in METHODS.items():
        first = min(column(rows, "seed", method=method))
        x, y = (column(rows, name, method=method, seed=first) for name in ("x", "y"))
        ax.plot(x, y, **(look | {"linestyle": "-"}), linewidth=2.0)
        ax.plot(x[-1], y[-1], "o", color=look["color"], markeredgecolor="white", markersize=8)
    ax.plot(10, 10, marker="*", color="white", markeredgecolor="black", markersize=14, zorder=2)
    ax.set(xlabel="x", ylabel="y", aspect="equal")
    ax.grid(visible=False)
    ax.set_title(
        "Paths from (1, 1); the star is the minimum,\ndots are where they end",
        loc="left",
        fontsize=10,
    )
