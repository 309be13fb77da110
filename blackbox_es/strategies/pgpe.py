"""Policy gradients with parameter-based exploration, by symmetric sampling."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from blackbox_es._config import config
from blackbox_es._validation import check_positive
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import GradientStrategy
from blackbox_es.samplers import Diagonal
from blackbox_es.shaping import Shaping

_MAX_CHANGE = 0.2  # of a standard deviation in a generation, as a share of it


@config
class PGPE(GradientStrategy):
    """Search with ``d_i ~ N(0, sigma_i^2)``; an optimizer moves x, slopes of utilities the sigmas.

        g = 1 / (2 P) sum_p d_p (u_p^+ - u_p^-),                    E[g_i] = sigma_i^2 df/dx_i
        sigma_i <- sigma_i - rate / P sum_p ((u_p^+ + u_p^-) / 2 - b) (d_pi^2 - sigma_i^2) / sigma_i

    with b the mean utility; no sigma changes by more than a fifth in a generation (Sehnke,
    Osendorfer, Rueckstiess, Graves, Peters, Schmidhuber 2010, "Parameter-exploring policy
    gradients").

    Parameters
    ----------
    sigma : float
        Standard deviation of each coordinate at the start.
    sigma_learning_rate : float
        Of the standard deviations, for utilities between -1/2 and 1/2.

    Examples
    --------
    >>> es = PGPE(max_iter=300, learning_rate=0.05, random_state=0)
    >>> bool(es.fit(lambda x: (x**2).sum(), [1.0, -1.0]).fun_ < 1e-2)
    True
    """

    sigma: float = 0.1
    sigma_learning_rate: float = 0.1
    shaping: str | Shaping = "centered_ranks"

    at_start: ClassVar[tuple[str, ...]] = ("random_state", "sigma")

    def _memory(self, x: Any) -> Diagonal:
        return Diagonal(np.full_like(x, self.sigma))

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Diagonal, Diagonal]:
        return state.memory, state.memory

    def estimate(self, state: GradientState, told: Told) -> Any:
        return told.combine(told.odd / (2.0 * told.n_valid))

    def _learn(self, memory: Diagonal, told: Told) -> Diagonal:
        even = told.even if told.valid is None else told.even[told.valid]
        weights = (told.even - even.mean()) / (2.0 * told.n_valid)
        if told.valid is not None:
            weights[~told.valid] = 0.0
        change = self.sigma_learning_rate * (told.squares(weights) - weights.sum())
        change = np.clip(change, -_MAX_CHANGE, _MAX_CHANGE)
        return Diagonal(memory.sigmas * (1.0 - change).astype(memory.sigmas.dtype))

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_positive("sigma", self.sigma)
        check_positive("sigma_learning_rate", self.sigma_learning_rate)
