"""A fit while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

from blackbox_es.plotting.convergence import ConvergenceDisplay


class LiveDisplay:
    """A callback that keeps the history of a fit with its seconds, and draws it in a notebook.

    For strategies and for the estimators: ``fit(..., callback=LiveDisplay())``. Elsewhere nothing
    is drawn, but what was kept is a run for `ConvergenceDisplay.from_results`.

    Parameters
    ----------
    every : float
        Seconds between two drawings.

    Attributes
    ----------
    history_ : dict of lists
        One entry per generation: n_evaluations, mean (the value that the fit reports), seconds.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> live = LiveDisplay()
    >>> es = VanillaES(max_iter=50, random_state=0).fit(lambda x: x @ x, [1.0], callback=live)
    >>> display = ConvergenceDisplay.from_results({"vanilla": live}, x="seconds")
    >>> len(live.history_["seconds"])
    50
    """

    def __init__(self, every: float = 1.0) -> None:
        self.every = every
        self.history_: dict[str, list[float]] = {"n_evaluations": [], "mean": [], "seconds": []}
        self._begun = self._drawn = time.perf_counter()
        self._handle: Any = None

    def __call__(self, intermediate_result: Any) -> None:
        """Keep a generation; draw all of them if there is a notebook and it is time."""
        now = time.perf_counter()
        row = intermediate_result.nfev, intermediate_result.fun, now - self._begun
        for column, value in zip(self.history_.values(), row, strict=True):
            column.append(value)
        if now - self._drawn >= self.every and _in_notebook():
            self.draw()
            self._drawn = time.perf_counter()

    def draw(self) -> None:
        """Draw in the output of the notebook's cell, in place of what was drawn before."""
        from IPython.display import display

        shown = ConvergenceDisplay.from_results({"fit": self})
        last, seconds = (self.history_[name][-1] for name in ("mean", "seconds"))
        shown.title = f"{last:.4g} after {seconds:.0f} s"
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")  # a terminal has none
