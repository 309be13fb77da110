"""Exponential natural evolution strategies: a full covariance matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blackbox_es._config import config
from blackbox_es._products import gram, mix
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

    Memory is O(n^2), and the time of a generation O(n^2 P), evaluations apart. With utilities u,
    less being better, and d = A z (Glasmachers, Schaul, Sun, Wierstra, Schmidhuber 2010,
    "Exponential natural evolution strategies"):

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
        n, a = state.x.size, state.matrix
        eta = self.learning_rate or (9.0 + 3.0 * math.log(n)) / (5.0 * n * math.sqrt(n))
        weights = -eta / 2.0 * told.even
        left: Any = np.eye(n)
        if weights.size <= n:  # most often there are few pairs: O(n^2 P), not O(n^3)
            left = np.concatenate([z for _, z in told.latents()]).astype(np.float64)
            less_one = _exponential(np.diag(weights), gram(left))
        else:
            less_one = _exponential(told.products(weights), left)
        moves = mix(mix(less_one, mix(left, a.T)).T, left)  # A L^T S L, S being symmetric
        matrix = ((a + moves) * np.exp(-weights.sum())).astype(a.dtype)
        return XNESState(state.x - told.combine(told.odd), state.t + 1, matrix)


_TERMS = 18  # the rest of Taylor's series is below 1 / 19!, a rounding error


def _exponential(core: Any, inner: Any) -> Any:
    """S with ``exp(L^T C L) = I + L^T S L``, C symmetric; ``inner = L L^T``. In a fixed order.

    LAPACK's eigenvectors depend on the number of its threads.
    """
    step = mix(core, inner)
    halvings = max(0, math.frexp(np.abs(step).sum(axis=1).max())[1])
    core, step = np.ldexp(core, -halvings), np.ldexp(step, -halvings)
    s = np.zeros_like(core)
    for j in range(_TERMS, 0, -1):  # S = C + (C L L^T) C / 2! + (C L L^T)^2 C / 3! + ...
        s = (core + mix(step, s)) / j
    for _ in range(halvings):  # (I + L^T S L)^2
        s = 2.0 * s + mix(s, mix(inner, s))
    return s
