"""Augmented random search: the best directions, in units of their values' deviation."""

from __future__ import annotations

from typing import Any

import numpy as np

from blackbox_es._config import config
from blackbox_es._validation import check_count
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import GradientStrategy
from blackbox_es.optimizers import Optimizer
from blackbox_es.samplers import Isotropic
from blackbox_es.schedules import Schedule


@config
class ARS(GradientStrategy):
    """Search with ``d ~ N(0, sigma^2 I)``; only the ``n_top`` pairs with the best value count.

    ``g = 1 / (b s) sum_p (f_p^+ - f_p^-) d_p / sigma`` over the b pairs p whose better value is
    least, s being the standard deviation of their 2 b values (Mania, Guy, Recht 2018, "Simple
    random search provides a competitive approach to reinforcement learning", V1-t).

    Parameters
    ----------
    n_top : int or None
        b; None is half of the pairs, rounded up.

    Examples
    --------
    >>> es = ARS(max_iter=500, random_state=0).fit(lambda x: (x**2).sum(), [1.0, -1.0])
    >>> bool(es.fun_ < 1e-2)
    True
    """

    n_top: int | None = None
    optimizer: str | Optimizer = "sgd"
    learning_rate: float | Schedule = 0.02

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[None, Isotropic]:
        return None, Isotropic(state.x.size, self._sigma_at(state.t))

    def estimate(self, state: GradientState, told: Told) -> Any:
        better = told.utilities.min(axis=0)
        if told.valid is not None:
            better[~told.valid] = np.inf
        n_top = min(self.n_top or -(-better.size // 2), told.n_valid)
        top = np.argsort(better, kind="stable")[:n_top]
        weights, deviation = np.zeros(better.size), told.utilities[:, top].std()
        if deviation > 0.0:
            weights[top] = told.odd[top] / deviation / (n_top * told.generation.sampler.sigma)
        return told.combine(weights)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_top", self.n_top, optional=True, high=self.pairs(n))
