"""Plots in scikit-learn's manner: a Display holds data, ``plot`` draws it. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from blackbox_es.strategy import EvolutionStrategy

Curve = tuple[npt.ArrayLike, npt.ArrayLike]


class ConvergenceDisplay:
    """Curves of a loss on a logarithmic axis, one for each run.

    Parameters
    ----------
    curves : dict of name to (x, y)
    xlabel, ylabel : str

    Attributes
    ----------
    ax_, figure_, lines_
        Set by `plot`.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> runs = {f"sigma {sigma}": VanillaES(sigma=sigma, max_iter=50, random_state=0)
    ...         .fit(lambda x: x @ x, [1.0, 2.0]) for sigma in (0.1, 1.0)}
    >>> display = ConvergenceDisplay.from_strategies(runs).plot()
    >>> len(display.lines_)
    2
    """

    def __init__(self, curves: Mapping[str, Curve], *, xlabel: str, ylabel: str) -> None:
        self.curves = curves
        self.xlabel = xlabel
        self.ylabel = ylabel

    @classmethod
    def from_strategies(
        cls, strategies: Mapping[str, EvolutionStrategy], *, minimum: float = 0.0
    ) -> Self:
        """Mean value of each generation less ``minimum``, over the number of evaluations."""
        curves = {
            name: (es.history_["n_evaluations"], np.subtract(es.history_["mean"], minimum))
            for name, es in strategies.items()
        }
        ylabel = "mean value of a generation" + (" less the minimum" if minimum else "")
        return cls(curves, xlabel="evaluations", ylabel=ylabel)

    def plot(self, ax: Any = None, **line_kw: Any) -> Self:
        """Draw on ``ax``, or on a new figure; keywords go to ``Axes.plot``."""
        if ax is None:
            ax = _new_axes()
        self.lines_ = []
        for name, (x, y) in self.curves.items():
            self.lines_ += ax.plot(x, y, label=name, **({"linewidth": 1.6} | line_kw))
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel, yscale="log")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
        if len(self.curves) > 1:
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _new_axes() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: python -m pip install matplotlib") from error
    return Figure(figsize=(7, 4.3), dpi=150, layout="constrained").subplots()
