"""Vanilla evolution strategies: isotropic search."""

from __future__ import annotations

from typing import Any, ClassVar

from blackbox_es._config import config
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.samplers import Diagonal, Sampler
from blackbox_es.scaled_strategy import ScaledStrategy
from blackbox_es.theory import optimal_beta


@config
class VanillaES(ScaledStrategy):
    """Search with ``d ~ N(0, sigma^2 I)``: a gradient estimate from values alone.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]``, whose expectation is
    ``beta / n grad f`` for linear and quadratic objectives; ``beta = n`` makes it the unbiased
    gradient of the smoothed objective ``E f(x + d)`` (Salimans, Ho, Chen, Sidor, Sutskever 2017).

    Parameters
    ----------
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error, ``P n / (P + 1 + n)``, and
        for scales that differ that on average over gradients, ``P / ((P + 1) tr Sigma^2 + 1)``.
    sampler : Isotropic, LowRank, Diagonal or None
        The distribution; its sigma is replaced. `Diagonal` keeps the ratios of its scales, such as
        those of `safe_sigmas`. None is isotropic.

    Examples
    --------
    >>> es = VanillaES(max_iter=300, random_state=0)
    >>> bool(es.fit(lambda x: (x**2).sum(), [1.0, -1.0]).fun_ < 1e-2)
    True

    An objective of any scale, with nothing to tune:

    >>> es = VanillaES(sigma="auto", learning_rate="auto", max_iter=100, random_state=0)
    >>> bool(es.fit(lambda x: ((x / 1e6 - 1) ** 2).sum(), [0.0, 0.0]).fun_ < 1e-12)
    True
    """

    beta: float | str = "auto"

    takes_scales: ClassVar[bool] = True

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Any, Sampler]:
        return None, self._base(state)

    def _auto_beta(self, state: GradientState, told: Told) -> float:
        n_axes = self._axes(told.generation.sampler)
        return optimal_beta(1.0, 0.0, n=n_axes, k=0, n_pairs=told.n_valid)

    def _axes(self, sampler: Sampler) -> float:
        return sampler.n_axes if isinstance(sampler, Diagonal) else float(sampler.n)
