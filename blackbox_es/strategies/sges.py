"""Self-guided evolution strategies: past estimates are the guides."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import check_count, check_positive
from blackbox_es._value import Fraction, Vector, value
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import GradientStrategy
from blackbox_es.samplers import Isotropic, Sampler, Split, orthonormal_rows
from blackbox_es.strategies.guides import known, seen
from blackbox_es.theory import optimal_beta

Array = npt.NDArray[Any]

_FACTOR = 1.1  # of alpha, from one generation to the next
_LEAST, _MOST = 0.1, 0.9  # of alpha: both parts are searched, always
_MEMORY = 200.0  # pairs over which r is averaged


@value
class SelfGuidedMemory:
    """The last estimates, the share of directions along them, and what they have been worth."""

    past: tuple[Vector | None, ...] = ()
    alpha: Fraction = 0.5
    r: Fraction = 0.0


@config
class SGES(GradientStrategy):
    """Search inside the span U of the last estimates with probability alpha, and else across it.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` with ``E[g] = beta Sigma grad
    f`` for linear and quadratic objectives, ``Sigma = alpha/k U U^T + (1-alpha)/(n-k) (I-U U^T)``.
    Where the better of the two points of a pair is better inside than across, on average, alpha
    grows by a tenth, and else it shrinks, between 0.1 and 0.9 (Liu, Li, Qian 2020, "Self-guided
    evolution strategies with historical estimated gradients"). The span begins with the first
    estimate, not after a number of generations.

    Parameters
    ----------
    n_past : int
        k, how many of the last estimates span U; of n coordinates n - 1 at most.
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error for what U has been worth.

    Attributes
    ----------
    alpha_ : float
        The share of directions inside U, in the generation to come.

    Examples
    --------
    >>> es = SGES(max_iter=300, random_state=0).fit(lambda x: (x**2).sum(), [1.0, -1.0])
    >>> bool(es.fun_ < 1e-2)
    True
    """

    n_past: int = 10
    beta: float | str = "auto"

    def _memory(self, x: Array) -> SelfGuidedMemory:
        return SelfGuidedMemory()

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Any, Sampler]:
        memory, x, sigma = state.memory, state.x, self._sigma_at(state.t)
        if state.t == 0:
            return memory, Isotropic(x.size, sigma)
        past = seen(memory.past, state.gradient, x, self.n_past)[1]
        units, memory = known(past), replace(memory, past=past)
        if not units or x.size == 1:
            return memory, Isotropic(x.size, sigma)
        rows = orthonormal_rows(units, x.dtype)[: x.size - 1]
        return memory, Split(rows, memory.alpha, sigma)

    def estimate(self, state: GradientState, told: Told) -> Array:
        return told.gradient(self._beta(state, told))

    def _beta(self, state: GradientState, told: Told) -> float:
        if not isinstance(self.beta, str):
            return self.beta
        sampler, n, n_pairs = told.generation.sampler, state.x.size, told.n_valid
        if not isinstance(sampler, Split):
            return optimal_beta(1.0, 0.0, n=n, k=0, n_pairs=n_pairs)
        k, memory = len(sampler.rows), state.memory
        r = max(memory.r, k / n)  # that of chance, before there is more
        m1, m2, v = _moments(memory.alpha, r, n=n, k=k, n_pairs=n_pairs)
        return m1 / (m2 + v)

    def _learn(self, memory: SelfGuidedMemory, told: Told) -> SelfGuidedMemory:
        generation = told.generation
        sampler, n_pairs = generation.sampler, generation.n_pairs
        if not isinstance(sampler, Split):
            return memory
        inside = sampler.inside(generation.key, (0, n_pairs))
        valid = np.ones(n_pairs, bool) if told.valid is None else told.valid
        parts = inside & valid, ~inside & valid
        if not all(part.any() for part in parts):
            return memory
        better = told.utilities.min(axis=0)
        along, across = (float(better[part].mean()) for part in parts)
        alpha = memory.alpha
        if along < across:
            alpha = min(alpha * _FACTOR, _MOST)
        elif along > across:
            alpha = max(alpha / _FACTOR, _LEAST)
        n, k = sampler.n, len(sampler.rows)
        odd = told.odd / max(np.abs(told.odd).max(), 5e-324)  # its square is in range
        slopes = [float(np.square(odd[part]).mean()) for part in parts]
        found = k * slopes[0], (n - k) * slopes[1]  # E odd^2 is r / k and (1 - r) / (n - k) of it
        rate = 1.0 - math.exp(-told.n_valid / _MEMORY)
        r = found[0] / sum(found) if sum(found) > 0.0 else memory.r
        return replace(memory, alpha=alpha, r=memory.r + rate * (r - memory.r))

    def _errors(self, state: GradientState, told: Told, r: float) -> tuple[float, float] | None:
        sampler, n, beta = told.generation.sampler, state.x.size, self._beta(state, told)
        alpha, k = (sampler.alpha, len(sampler.rows)) if isinstance(sampler, Split) else (1.0, n)
        m1, m2, v = _moments(alpha, r, n=n, k=k, n_pairs=told.n_valid)
        return 1.0 - 2.0 * beta * m1 + beta**2 * m2, beta**2 * v

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_past", self.n_past)
        if self.beta != "auto":
            check_positive("beta", self.beta, also=' or "auto"')

    @property
    def alpha_(self) -> float:
        state: Any = self.state_
        return state.memory.alpha  # type: ignore[no-any-return]


def _moments(alpha: float, r: float, *, n: int, k: int, n_pairs: int) -> tuple[float, float, float]:
    """Of `Split`: ``g^T Sigma g``, ``g^T Sigma^2 g`` and the variance at beta 1, over ``|g|^2``.

    With ``a = alpha/k``, ``b = (1-alpha)/(n-k)`` and F, the fraction of ``alpha P``, since the
    number of directions inside is one or the next integer,

        m1 = a r + b (1-r),   m2 = a^2 r + b^2 (1-r)
        v = [a r (k+1)/k + b (1-r) (n-k+1)/(n-k)] / P + F (1-F) [r/k^2 + (1-r)/(n-k)^2] / P^2
    """
    if k == n:
        return 1.0 / n, 1.0 / n**2, (n + 1.0) / n**2 / n_pairs
    inside, across = 1.0 / k, 1.0 / (n - k)
    a, b, part = alpha * inside, (1.0 - alpha) * across, alpha * n_pairs % 1.0
    within = a * r * (1.0 + inside) + b * (1.0 - r) * (1.0 + across)
    between = part * (1.0 - part) * (inside**2 * r + across**2 * (1.0 - r))
    v = within / n_pairs + between / n_pairs**2
    return a * r + b * (1.0 - r), a**2 * r + b**2 * (1.0 - r), v
