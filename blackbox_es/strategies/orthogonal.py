"""Orthogonal search: exact along surrogate gradients, random across them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import check_count, check_flag
from blackbox_es._value import Count, Vector, value
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import GradientStrategy
from blackbox_es.samplers import Orthogonal, Sampler, orthonormal_rows
from blackbox_es.strategies.guides import known, seen
from blackbox_es.theory import orthogonal_errors

Array = npt.NDArray[Any]


@value
class OrthogonalMemory:
    """The guides, their number when they were searched last, and how often there was none."""

    guides: tuple[Vector | None, ...] = ()
    past: tuple[Vector | None, ...] = ()
    rank: Count = 0
    n_rejected: Count = 0


@config
class OrthogonalES(GradientStrategy):
    """Measure the slope along each guide, and along random directions orthogonal to all of them.

    ``g = sum_p q_p (q_p^T grad f)`` with orthonormal q, from differences over ``2 sigma sqrt(n)``:
    the projection of the gradient on what was searched, for linear and quadratic objectives. Of all
    vectors there it has the largest cosine with the gradient, ``E cos^2 = r + (1 - r) (P - k) / (n
    - k)`` with ``r = |U^T grad f|^2 / |grad f|^2``, whatever r is: there is no alpha, no beta, and
    no guide whose estimate is worse than the guide (Meier, Mujika, Gauy, Steger 2019, "Improving
    gradient estimation in evolutionary strategies with past descent directions"). A guide takes a
    pair of its own, lost where it is worth less than a random direction, ``r < k / n``.

    Parameters
    ----------
    n_guides : int
        How many of the last surrogate gradients are searched.
    n_past : int
        How many of the last estimates are searched, too. They help as long as gradients change
        little from one generation to the next.
    unbiased : bool
        What was found across the guides times ``(n - k) / (P - k)``: ``E[g] = grad f``. The guides
        are a control variate then: the variance is that of the rest of the gradient.

    Attributes
    ----------
    n_surrogate_rejected_ : int
        Generations whose surrogate was missing, zero or not finite.

    Examples
    --------
    >>> es = OrthogonalES(max_iter=300, n_past=1, random_state=0)
    >>> bool(es.fit(lambda x: (x**2).sum(), [1.0, -1.0]).fun_ < 1e-2)
    True
    """

    n_guides: int = 1
    n_past: int = 0
    unbiased: bool = False

    takes_surrogate: ClassVar[bool] = True

    def _memory(self, x: Array) -> OrthogonalMemory:
        return OrthogonalMemory()

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Any, Sampler]:
        memory, x = state.memory, state.x
        guides, kept, rejected = seen(memory.guides, surrogate, x, self.n_guides)
        past = memory.past
        if self.n_past and state.t > 0:
            past = seen(past, state.gradient, x, self.n_past)[1]
        units, rows = known((*guides, *past)), np.empty((0, x.size), x.dtype)
        if units:
            rows = orthonormal_rows(units, x.dtype)[: self.pairs(x.size)]
        counted = memory.n_rejected + (rejected and not past)
        return OrthogonalMemory(kept, past, len(rows), counted), Orthogonal(
            rows, self._sigma_at(state.t)
        )

    def estimate(self, state: GradientState, told: Told) -> Array:
        sampler: Any = told.generation.sampler
        n, k, n_valid = sampler.n, len(sampler.rows), told.n_valid
        if not self.unbiased:
            return told.gradient(float(min(n_valid, n)))
        weights = told.odd / (2.0 * n * sampler.sigma) / sampler.sigma
        weights[k:] *= (n - k) / max(1, n_valid - k)
        return told.combine(weights)

    def _errors(self, state: GradientState, told: Told, r: float) -> tuple[float, float] | None:
        sampler: Any = told.generation.sampler
        n, k, n_pairs = sampler.n, len(sampler.rows), told.n_valid
        if n_pairs > n:
            return None
        bias, variance = orthogonal_errors(r, n=n, k=k, n_pairs=n_pairs)
        if self.unbiased and n_pairs > k:
            return 0.0, variance * ((n - k) / (n_pairs - k)) ** 2
        return bias, variance

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_guides", self.n_guides)
        check_count("n_past", self.n_past, low=0)
        check_flag("unbiased", self.unbiased)

    @property
    def n_surrogate_rejected_(self) -> int:
        state: Any = self.state_
        return state.memory.n_rejected  # type: ignore[no-any-return]
