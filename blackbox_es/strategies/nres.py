"""Noise-reuse evolution strategies: gradients of unrolled computations, window by window."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import check_count
from blackbox_es._value import Word, value
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import AntitheticStrategy
from blackbox_es.noise import Key, Range
from blackbox_es.samplers import Sampler
from blackbox_es.theory import optimal_beta


@value
class Held:
    """The directions that a sampler has in one generation, in all of them.

    Parameters
    ----------
    base : Sampler
    index : int
        The generation.
    """

    base: Sampler
    index: Word

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.base.n

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate, root mean squared over the coordinates."""
        return self.base.sigma

    def perturb(self, center: Any, key: Key, pairs: Range) -> Any:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        return self.base.perturb(center, (key[0], self.index), pairs)

    def combine(self, weights: Any, key: Key, dtype: npt.DTypeLike) -> Any:
        """``sum_p weights[p] d_p``."""
        return self.base.combine(weights, (key[0], self.index), dtype)


@config
class NRES(AntitheticStrategy):
    """Search with ``d ~ N(0, sigma^2 I)``, drawn again only when an episode of windows begins.

    A long computation is unrolled one window a generation: the objective keeps the inner state of
    each row of points and returns the loss of the next window. Row p keeps its direction for all
    ``n_windows`` of an episode, so that the estimates of its windows add up to the antithetic
    estimate for the whole, unbiased where fresh noise in each window is not (Li, Harrison,
    Sohl-Dickstein, Smith, Metz 2023, "Variance-reduced gradient estimation via noise-reuse in
    online evolution strategies").

    Parameters
    ----------
    n_windows : int
        Generations in an episode; 1 is `VanillaES`.

    Examples
    --------
    >>> es = NRES(n_windows=5, max_iter=10, random_state=0).start([1.0, 2.0])
    >>> while not es.stop_reason_:
    ...     X = es.ask()  # if es.n_iter_ % 5 == 0, reset the inner states of all rows
    ...     es.tell(X, (X**2).sum(axis=1))
    """

    n_windows: int = 1

    may_grow: ClassVar[bool] = False  # a further pair would have no inner state

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[None, Held]:
        return None, Held(self._base(state), state.t - state.t % self.n_windows)

    def _auto_beta(self, state: GradientState, told: Told) -> float:
        return optimal_beta(1.0, 0.0, n=state.x.size, k=0, n_pairs=told.n_valid)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_windows", self.n_windows)
