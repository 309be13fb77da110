"""What `coco.py` makes of its rows: shares of targets reached, tables and a figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import records
from scipy.optimize import isotonic_regression

KEY = ("solver", "suite", "function", "dimension", "instance", "seed")
TARGETS = 10.0 ** np.linspace(2.0, -8.0, 51)
BUDGETS = (100, 300, 1000)  # evaluations / dimension
GROUPS = {
    "bbob": {
        "separable": range(1, 6),
        "moderate": range(6, 10),
        "ill-conditioned": range(10, 15),
        "multimodal": range(15, 20),
        "weak structure": range(20, 25),
    },
    "bbob-noisy": {
        "moderate noise": range(101, 107),
        "severe noise": range(107, 122),
        "multimodal, severe": range(122, 131),
    },
}
GROUPS["bbob-largescale"] = GROUPS["bbob"]
Array = npt.NDArray[Any]
Case = tuple[int, int, int, int]  # function, dimension, instance, seed


def first_hits(counts: Iterable[int], values: Iterable[float]) -> Array:
    """The evaluations until each target was first reached; inf, if never.

    ``counts`` ascend, ``values`` are above the minimum.
    """
    counts = np.array([*counts, np.inf], float)
    values = np.array([*values, -np.inf], float)
    best = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values))
    # The last of the values, which ascend from the back, that is not above the target.
    return counts[best.size - np.searchsorted(best[::-1], TARGETS, side="right")]


class Runs:
    """Of one solver: cases, and evaluations to each target over the dimension."""

    def __init__(self, hits: dict[Case, Array], per_dimension: float) -> None:
        self.cases = np.array(list(hits))
        self.hits = np.array(list(hits.values()))
        self.per_dimension = per_dimension  # what all runs may have spent

    def chosen(self, which: Array) -> Array:
        return self.hits[which].ravel()


def budgets(folder: Path) -> dict[tuple[Any, ...], int]:
    """The largest budget of each run that is there."""
    found: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in records.rows(folder):
        key = (row["solver"], row["suite"], *case_of(row))
        found[key] = max(found[key], int(row["budget"]))
    return found


def case_of(row: dict[str, str]) -> Case:
    function, dimension, instance, seed = (int(row[name]) for name in KEY[2:])
    return function, dimension, instance, seed


def load(
    folder: Path, suite: str, solvers: list[str] | None, cases: Collection[Case]
) -> dict[str, Runs]:
    """By solver, the runs that all solvers have, so that shares may be compared."""
    found: dict[str, dict[Case, Any]] = defaultdict(dict)
    for row in records.rows(folder):
        case, solver, budget = case_of(row), row["solver"], int(row["budget"])
        wanted = row["suite"] == suite and case in cases and (not solvers or solver in solvers)
        if wanted and budget >= found[solver].get(case, (0,))[0]:
            hits = [float(row[f"t{i}"] or "inf") for i in range(TARGETS.size)]
            found[solver][case] = budget, np.array(hits) / case[1]
    if not found:
        raise SystemExit(f"no runs of {suite} for these solvers and cases in {folder}")
    common = sorted(set.intersection(*(set(runs) for runs in found.values())))
    for solver, runs in found.items():
        if len(runs) > len(common):
            print(f"{solver}: {len(common)} of {len(runs)} runs, those that all solvers have\n")
    if not common:
        raise SystemExit("no runs that all of these solvers have")
    return {
        solver: Runs(
            {case: found[solver][case][1] for case in common},
            min(found[solver][case][0] / case[1] for case in common),
        )
        for solver in solvers or sorted(found, key=lambda name: (not name.startswith("ours"), name))
        if solver in found
    }


def share(hits: Array, budget: float) -> float:
    """Of the targets, those reached within a budget."""
    return float(np.mean(hits <= budget))


def report(found: dict[str, Runs], suite: str) -> str:
    """Shares in per cent: in all, by dimension and by group of functions."""
    cases = next(iter(found.values())).cases
    parts = {"all": np.full(len(cases), True)}
    parts |= {f"n = {n}": cases[:, 1] == n for n in np.unique(cases[:, 1])}
    for name, functions in GROUPS[suite].items():
        if np.isin(cases[:, 0], functions).any():
            parts[name] = np.isin(cases[:, 0], functions)
    text = [f"{suite}: targets reached, per cent, in {len(cases)} runs of each solver"]
    for budget in BUDGETS:
        lines = [
            [
                solver,
                *(f"{100 * share(runs.chosen(which), budget):.1f}" for which in parts.values()),
            ]
            for solver, runs in found.items()
            if runs.per_dimension >= budget
        ]
        if lines:
            text.append(records.table([f"{budget} n evaluations", *parts], lines))
    if len(found) > 1:
        text.append(differences(found))
    return "\n\n".join(text)


def differences(found: dict[str, Runs]) -> str:
    """How much more than the first solver each of the others has reached, by paired runs."""
    (name, first), *others = found.items()
    lines = []
    for solver, runs in others:
        cells = []
        for budget in BUDGETS:
            if min(first.per_dimension, runs.per_dimension) < budget:
                cells.append("")
                continue
            more = (runs.hits <= budget).mean(axis=1) - (first.hits <= budget).mean(axis=1)
            error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else np.nan
            cells.append(f"{100 * more.mean():+.1f} ± {100 * error:.1f}")
        lines.append([solver, *cells])
    return records.table([f"more than {name}", *(f"{b} n" for b in BUDGETS)], lines)


# -- figure --------------------------------------------------------------------------------------

# Okabe and Ito: distinct to the colour-blind; line styles tell what colours do not.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def draw(found: dict[str, Runs], suite: str, path: Path) -> None:
    """Shares of targets over evaluations / n, a panel for each dimension."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    dimensions, counts = np.unique(next(iter(found.values())).cases[:, 1], return_counts=True)
    columns = min(2, len(dimensions))
    rows = -(-len(dimensions) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.4 * columns, 3.7 * rows), squeeze=False, layout="constrained"
    )
    last = max(runs.per_dimension for runs in found.values())
    for axis, n, count in zip(axes.flat, dimensions, counts, strict=False):
        panel(axis, found, n, last)
        axis.set_title(f"n = {n}   ({count} runs of each)", loc="left", fontsize=10)
    for axis in axes.flat[len(dimensions) :]:
        axis.remove()
    figure.supxlabel("evaluations / n", fontsize=10)
    figure.supylabel("targets reached, %", fontsize=10)
    figure.suptitle(f"{suite}: {TARGETS.size} targets from 1e2 to 1e-8 above the minimum")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def panel(axis: Any, found: dict[str, Runs], n: int, last: float) -> None:
    """The curves of one dimension, each with its name at its end."""
    ends = []
    styles = [
        {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i % len(STYLES)], "linewidth": 1.6}
        for i in range(len(found))
    ]
    for runs, style in zip(found.values(), styles, strict=True):
        hits = np.sort(runs.chosen(runs.cases[:, 1] == n))
        hits, total = hits[hits <= runs.per_dimension], hits.size
        x = np.concatenate([hits, [runs.per_dimension]])
        y = 100.0 * np.concatenate([np.arange(1, hits.size + 1), [hits.size]]) / total
        axis.step(x, y, where="post", **style)
        ends.append(float(y[-1]))
    for solver, end, place, style in zip(found, ends, apart(ends, 6.0), styles, strict=True):
        end, place = end / 100.0, place / 100.0
        outside = {"transform": axis.transAxes, "clip_on": False}
        axis.plot((1.01, 1.035), (end, place), color="#999999", linewidth=0.7, **outside)
        axis.plot((1.04, 1.10), (place, place), **style, **outside)
        axis.text(1.11, place, solver, va="center", fontsize=8.5, color=style["color"], **outside)
    axis.set_xscale("log")
    axis.set_xlim(1.0, last)
    axis.set_ylim(0.0, 100.0)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def apart(heights: list[float], least: float) -> list[float]:
    """Heights of labels between 0 and 100, moved as little as it takes for none to overlap."""
    order = np.argsort(heights, kind="stable")
    steps = least * np.arange(order.size)
    # What ascends by at least a step is what ascends when the steps are taken off.
    moved = isotonic_regression(np.array(heights, float)[order] - steps).x if order.size else steps
    moved = np.minimum(np.maximum(moved, 0.0), 100.0 - steps[-1:]) + steps
    placed = np.empty(order.size)
    placed[order] = moved
    return placed.tolist()
