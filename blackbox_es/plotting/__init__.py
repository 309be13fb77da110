"""Plots in scikit-learn's manner: a Display holds data, ``plot`` draws it. Needs matplotlib."""

from blackbox_es.plotting.convergence import ConvergenceDisplay
from blackbox_es.plotting.live import LiveDisplay

__all__ = ["ConvergenceDisplay", "LiveDisplay"]
