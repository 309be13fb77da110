"""Curves of several methods, with bands over their runs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from blackbox_es.plotting.axes import COLORS, STYLES, label_ends, new_axes
from blackbox_es.strategy import EvolutionStrategy

Array = npt.NDArray[Any]
# x and y, or x, y and the lower and the upper end of a band
Curve = tuple[npt.ArrayLike, ...]

_COLUMNS = {"evaluations": "n_evaluations", "generations": "", "seconds": "seconds"}
_QUARTILES = 5  # runs, from which on quartiles are more than a guess at them


class ConvergenceDisplay:
    """Curves of a loss, one for each method, with a band over its runs.

    Lines have their names at their ends. The axis is logarithmic if all values are positive.

    Parameters
    ----------
    curves : dict of name to (x, y), or to (x, y, low, high)
    xlabel, ylabel, title : str

    Attributes
    ----------
    ax_, figure_, lines_, bands_, labels_
        Set by `plot`.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> runs = {
    ...     f"sigma {sigma}": [
    ...         VanillaES(sigma=sigma, max_iter=50, random_state=seed).fit(lambda x: x @ x, [1.0])
    ...         for seed in range(5)
    ...     ]
    ...     for sigma in (0.1, 1.0)
    ... }
    >>> display = ConvergenceDisplay.from_results(runs).plot()
    >>> len(display.lines_), display.title
    (2, 'medians of 5 runs, bands between their quartiles')
    """

    def __init__(
        self, curves: Mapping[str, Curve], *, xlabel: str, ylabel: str, title: str = ""
    ) -> None:
        self.curves = curves
        self.xlabel = xlabel
        self.ylabel = ylabel
        self.title = title

    @classmethod
    def from_results(
        cls, results: Mapping[str, Any], *, x: str = "evaluations", minimum: float = 0.0
    ) -> Self:
        """Mean value of each generation less ``minimum``: the median over runs, and a band.

        The band is between the quartiles, or, of less than five runs, between the least and the
        greatest value. A run that has ended counts with its last value.

        Parameters
        ----------
        results : dict of name to run, or to runs
            A run is a search, an OptimizeResult of one, or the `LiveDisplay` that followed it. Runs
            in a sequence differ by their seeds.
        x : {"evaluations", "generations", "seconds"}
            Seconds are known of runs that a `LiveDisplay` has followed.
        minimum : float

        Raises
        ------
        ValueError
            If x is none of these, a name has no run, or a run does not know its x.
        """
        if x not in _COLUMNS:
            raise ValueError(f"x={x!r}: take {', '.join(map(repr, _COLUMNS))}")
        runs = {}
        for name, given in results.items():
            several = given if isinstance(given, (list, tuple)) else [given]
            if not several:
                raise ValueError(f"results[{name!r}] is empty: give it a run, or leave it out")
            runs[name] = [_curve(run, x, minimum) for run in several]
        ylabel = "mean value of a generation" + (" less the minimum" if minimum else "")
        return cls.from_curves(runs, xlabel=x, ylabel=ylabel)

    @classmethod
    def from_curves(
        cls, runs: Mapping[str, Sequence[tuple[Array, Array]]], *, xlabel: str, ylabel: str
    ) -> Self:
        """Medians and bands, as in `from_results`, of curves that are given.

        Parameters
        ----------
        runs : dict of name to sequence of (x, y)
        xlabel, ylabel : str
        """
        sizes = {len(curves) for curves in runs.values()} - {1}
        quartiles = min(sizes, default=0) >= _QUARTILES
        curves = {
            name: band(given, quartiles) if len(given) > 1 else given[0]
            for name, given in runs.items()
        }
        title = ""
        if sizes:
            n = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
            ends = "between their quartiles" if quartiles else "from the least to the greatest"
            title = f"medians of {n} runs, bands {ends}"
        return cls(curves, xlabel=xlabel, ylabel=ylabel, title=title)

    @classmethod
    def from_strategies(
        cls, strategies: Mapping[str, EvolutionStrategy], *, minimum: float = 0.0
    ) -> Self:
        """`from_results` of one search each, over evaluations."""
        return cls.from_results(strategies, minimum=minimum)

    def plot(
        self,
        ax: Any = None,
        *,
        looks: Mapping[str, Mapping[str, Any]] | None = None,
        **line_kw: Any,
    ) -> Self:
        """Draw on ``ax``, or on a new figure; keywords go to ``Axes.plot``, ``looks`` by name."""
        if ax is None:
            ax = new_axes()
        self.lines_, self.bands_ = [], []
        for i, (name, (x, y, *ends)) in enumerate(self.curves.items()):
            color, style = COLORS[i % len(COLORS)], STYLES[i % len(STYLES)]
            look = {"linewidth": 1.8, "color": color, "linestyle": style} | line_kw
            look |= (looks or {}).get(name, {})
            (line,) = ax.plot(x, y, label=name, **look)
            self.lines_.append(line)
            if ends:
                of_band = {"color": line.get_color(), "alpha": 0.18, "linewidth": 0}
                self.bands_.append(ax.fill_between(x, *ends, **of_band))
        values = np.concatenate([np.ravel(y) for _, *ys in self.curves.values() for y in ys])
        known = values[np.isfinite(values)]
        log = known.size > 0 and known.min() > 0.0
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel, yscale="log" if log else "linear")
        if self.title:
            ax.set_title(self.title, loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
        self.labels_ = label_ends(ax, self.lines_) if len(self.curves) > 1 else []
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _repr_png_(self) -> bytes:
        """What a notebook shows of it."""
        figure = self.figure_ if hasattr(self, "figure_") else self.plot().figure_
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()


def _curve(run: Any, x: str, minimum: float) -> tuple[Array, Array]:
    """What is drawn of a run."""
    history = run.get("history") if isinstance(run, dict) else getattr(run, "history_", None)
    if history is None:
        raise TypeError(f"{run!r:.99} is no run: give searches, or OptimizeResults of searches")
    y = np.asarray(history["mean"], float) - minimum
    if x == "generations":
        return np.arange(1, y.size + 1), y
    if _COLUMNS[x] not in history:
        raise ValueError(
            f"x={x!r} is not known of {run!r:.99}: fit(..., callback=live) with "
            "live = LiveDisplay(), and give that as the run"
        )
    return np.asarray(history[_COLUMNS[x]], float), y


def band(
    curves: Sequence[tuple[Array, Array]], quartiles: bool
) -> tuple[Array, Array, Array, Array]:
    """x, median, and quartiles or extremes of several curves, wherever one of them has a point.

    Between their points curves are straight, after the last they go on as they were.

    Examples
    --------
    >>> curves = [([0, 2], [1.0, 3.0]), ([0, 1], [5.0, 5.0])]
    >>> x, middle, low, high = band([(np.array(x), np.array(y)) for x, y in curves], False)
    >>> x.tolist(), middle.tolist(), low.tolist(), high.tolist()
    ([0, 1, 2], [3.0, 3.5, 4.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    """
    x = np.unique(np.concatenate([x for x, _ in curves]))
    x = x[x >= max(x[0] for x, _ in curves)]
    y = np.stack([np.interp(x, *curve) for curve in curves])
    low, middle, high = np.quantile(y, (0.25, 0.5, 0.75) if quartiles else (0, 0.5, 1), axis=0)
    return x, middle, low, high
