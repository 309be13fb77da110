"""Descent along the surrogate gradient alone: the baseline that guides are to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import as_surrogate
from blackbox_es._value import Count, Vector, value
from blackbox_es.descent_strategy import DescentStrategy, GradientState
from blackbox_es.generation import Told
from blackbox_es.samplers import Sampler, Still
from blackbox_es.steps import Plan, State

Array = npt.NDArray[Any]

_REJECTED = (
    "a surrogate gradient is missing or not finite: SurrogateDescent stands still without one "
    "(see n_surrogate_rejected_)"
)


@value
class Followed:
    """The surrogate gradient of a generation, and how often there was none."""

    surrogate: Vector
    n_rejected: Count = 0


@config
class SurrogateDescent(DescentStrategy):
    """Follow the surrogate gradient s, whatever it is worth: ``x <- x - rate s``, by an optimizer.

    It ends where s is zero, not where the gradient is: descent along a surrogate with bias b, ``s =
    grad f + b``, stalls where ``grad f = -b``. That is backpropagation through what is only nearly
    the objective, which `GuidedES` is to beat (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein
    2019, "Guided evolutionary strategies", figure 1). Values move nothing: the center is evaluated
    once in a generation, for the record and for ``f_target``.

    Parameters
    ----------
    n_pairs : int or None
        None evaluates the center once in a generation; P does it 2 P times, to see through noise.

    Attributes
    ----------
    gradient_ : ndarray of shape (n,)
        The surrogate followed last: of (n, k) ones their mean, zero if there was none.
    n_surrogate_rejected_ : int
        Generations whose surrogate was missing or not finite: x has not moved.

    Examples
    --------
    >>> es = SurrogateDescent(optimizer="sgd", learning_rate=0.1, max_iter=99)
    >>> es = es.fit(lambda x: (x**2).sum(), [1.0, -1.0], surrogate_fn=lambda x: 2 * x + 0.1)
    >>> es.x_.round(3).tolist(), es.n_surrogate_calls_, es.n_evaluations_
    ([-0.05, -0.05], 99, 100)
    """

    n_pairs: int | None = None  # type: ignore[assignment]

    takes_surrogate: ClassVar[bool] = True
    minds_plateaus: ClassVar[bool] = True  # all values are those of one point

    def _memory(self, x: Array) -> Followed:
        return Followed(np.zeros_like(x))

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Followed, Sampler]:
        x, found, rejected = state.x, np.zeros_like(state.x), True
        if surrogate is not None:
            given = as_surrogate(surrogate, x.size)
            mean = given if given.ndim == 1 else given.mean(axis=1)
            if np.isfinite(mean).all():
                found, rejected = mean.astype(x.dtype), False
        return Followed(found, state.memory.n_rejected + rejected), Still(x.size)

    def _plan(self, sampler: Sampler) -> Plan:
        return Plan(sampler, self.pairs(sampler.n), mirrored=self.n_pairs is not None)

    def estimate(self, state: GradientState, told: Told) -> Array:
        return state.memory.surrogate.copy()  # type: ignore[no-any-return]

    def _n_points(self, state: State) -> int:
        return 2 * self.n_pairs if self.n_pairs else 1

    def pairs(self, n: int) -> int:
        return self.n_pairs or 1

    def note(self, before: Any, after: Any) -> str | None:
        rejected = after.memory.n_rejected > before.memory.n_rejected
        return _REJECTED if rejected else None

    @property
    def n_surrogate_rejected_(self) -> int:
        state: Any = self.state_
        return state.memory.n_rejected  # type: ignore[no-any-return]
