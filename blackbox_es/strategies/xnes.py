"""Exponential natural evolution strategies: a full covariance matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blackbox_es._config import config
from blackbox_es._value import Matrix, value
from blackbox_es.generation import Told
from blackbox_es.natural_strategy import NaturalStrategy
from blackbox_es.samplers import Affine
from blackbox_es.steps import Plan, State


@value
class XNESState(State):
    """A center, and a root A of the covariance matrix."""

    matrix: Matrix


@config
class XNES(NaturalStrategy):
    """Search with ``d ~ N(0, A A^T)``, all of A learnt: for up to some hundred dimensions.

    With utilities u, less being better, and d = A z (Glasmachers, Schaul, Sun, Wierstra,
    Schmidhuber 2010, "Exponential natural evolution strategies"):

        x <- x - sum_i u_i d_i,    A <- A exp(-eta / 2 sum_i u_i (z_i z_i^T - I))

    Parameters
    ----------
    learning_rate : float or None
        eta; None is ``(9 + 3 ln n) / (5 n sqrt(n))``.

    Examples
    --------
    >>> es = XNES(max_iter=300, random_state=0).fit(lambda x: x[0]**2 + 100 * x[1]**2, [1.0, 1.0])
    >>> bool(es.fun_ < 1e-12)
    True
    """

    def _init(self, x: Any) -> XNESState:
        return XNESState(x, 0, np.eye(x.size, dtype=x.dtype) * x.dtype.type(self.sigma))

    def _ask(self, state: Any, surrogate: Any) -> tuple[State, Plan]:
        return state, Plan(Affine(state.matrix), self.pairs(state.x.size))

    def _tell(self, state: Any, told: Told) -> XNESState:
        n, even = state.x.size, told.even
        eta = self.learning_rate or (9.0 + 3.0 * math.log(n)) / (5.0 * n * math.sqrt(n))
        slope = told.products(even) - even.sum() * np.eye(n)
        values, vectors = np.linalg.eigh(-eta / 2.0 * slope)
        factor = (vectors * np.exp(values)) @ vectors.T
        matrix = (state.matrix @ factor).astype(state.x.dtype)
        return XNESState(state.x - told.combine(told.odd), state.t + 1, matrix)
