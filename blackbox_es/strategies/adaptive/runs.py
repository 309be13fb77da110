"""What runs begin with, what they cost, and how they have ended."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from blackbox_es._value import Count, value
from blackbox_es.strategies.adaptive.evolution import Scales, Tolerance


class Settings(NamedTuple):
    """What runs begin with.

    Attributes
    ----------
    scales : ndarray of shape (n,), or float
        Standard deviations at the start.
    n_pairs : int
    full : bool
        Whether the metric is a full matrix.
    tolerance : Tolerance
    n_restarts : int or None
        Of evolutions; None is any number.
    small : bool
        Whether some of them have small populations and scales.
    """

    scales: Scales
    n_pairs: int
    full: bool
    tolerance: Tolerance
    n_restarts: int | None
    small: bool

    @property
    def largest(self) -> float:
        """The largest of the standard deviations."""
        return float(np.max(self.scales))


@value
class Ended:
    """A run that has ended: of what kind, why, after how many evaluations, at what value."""

    kind: str
    reason: str
    n_evaluations: Count
    fun: float


@value
class Effort:
    """Evaluations, and what they have led to.

    Parameters
    ----------
    total, run : int
        Of all runs of a kind, and of the one of now.
    best : float
        The best value seen by evolutions, and that which ended descents have reached.
    """

    total: Count = 0
    run: Count = 0
    best: float = math.inf
