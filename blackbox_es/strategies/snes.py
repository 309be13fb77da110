"""Separable natural evolution strategies: a scale for each coordinate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blackbox_es._config import config
from blackbox_es._value import Vector, value
from blackbox_es.generation import Told
from blackbox_es.natural_strategy import NaturalStrategy
from blackbox_es.samplers import Diagonal
from blackbox_es.steps import Plan, State


@value
class SNESState(State):
    """A center, and the standard deviation of each coordinate."""

    sigmas: Vector


@config
class SNES(NaturalStrategy):
    """Search with ``d_i ~ N(0, sigma_i^2)``, every sigma_i learnt: memory and time O(n).

    With utilities u, less being better, and d = sigma z (Schaul, Glasmachers, Schmidhuber 2011,
    "High dimensions and heavy tails for natural evolution strategies"):

        x <- x - sum_i u_i d_i,    sigma <- sigma exp(-eta / 2 sum_i u_i (z_i^2 - 1))

    Parameters
    ----------
    learning_rate : float or None
        eta; None is ``(3 + ln n) / (5 sqrt(n))``.

    Examples
    --------
    >>> es = SNES(max_iter=300, random_state=0).fit(lambda x: x[0]**2 + 100 * x[1]**2, [1.0, 1.0])
    >>> bool(es.fun_ < 1e-12)
    True
    """

    def _init(self, x: Any) -> SNESState:
        return SNESState(x, 0, np.full_like(x, self.sigma))

    def _ask(self, state: Any, surrogate: Any) -> tuple[State, Plan]:
        return state, Plan(Diagonal(state.sigmas), self.pairs(state.x.size))

    def _tell(self, state: Any, told: Told) -> SNESState:
        n, even = state.x.size, told.even
        eta = self.learning_rate or (3.0 + math.log(n)) / (5.0 * math.sqrt(n))
        slope = told.squares(even) - even.sum()
        sigmas = state.sigmas * np.exp(-eta / 2.0 * slope).astype(state.x.dtype)
        return SNESState(state.x - told.combine(told.odd), state.t + 1, sigmas)
