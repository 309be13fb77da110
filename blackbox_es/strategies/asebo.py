"""Adaptive sampling from the active subspace: the directions that past estimates have in common."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._products import gram, mix
from blackbox_es._validation import check_between, check_count
from blackbox_es._value import Count, Fraction, Rows, value
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import AntitheticStrategy
from blackbox_es.samplers import Guided, Sampler, orthonormal_rows, unit_guide
from blackbox_es.steps import Plan, State
from blackbox_es.theory import SurrogateQuality, optimal_beta

Array = npt.NDArray[Any]

_EVEN = 0.5  # alpha, before anything is known
_LEAST, _MOST = 0.1, 0.9  # of alpha: what is not searched cannot be measured
_MEMORY = 200.0  # pairs over which the quality of the subspace is averaged
_MORE = 2  # pairs than the subspace has dimensions: the slope across it is measured, too
_NULL = 1e-7  # of the largest eigenvalue: what float32 cannot tell from zero


@value
class ActiveMemory:
    """The decayed covariance of past estimates, and what its subspace has been worth.

    Parameters
    ----------
    factor : ndarray of shape (m, n)
        Orthogonal rows, the longest first: the covariance is ``factor^T factor``.
    rank : int
        The rows that span the active subspace.
    quality : SurrogateQuality
    alpha : float
        The share of the variance in the full space; 1 as long as there is no subspace.
    """

    factor: Rows
    rank: Count = 0
    quality: SurrogateQuality = SurrogateQuality()
    alpha: Fraction = 1.0


@config
class ASEBO(AntitheticStrategy):
    """Search with ``d ~ N(0, n sigma^2 (alpha/n I + (1-alpha)/k U U^T))``, U of past estimates.

    U are the first eigenvectors of ``C <- decay C + (1-decay) g g^T / |g|^2``: the fewest whose
    eigenvalues are ``threshold`` of the trace. With their number k falls that of the pairs, to
    ``k + 2``: few evaluations where few directions count. ``alpha = |grad across U| / |grad inside
    U|``, between 0.1 and 0.9 (Choromanski, Pacchiano, Parker-Holder, Tang 2019, "From complexity to
    simplicity: adaptive ES-active subspaces for blackbox optimization").

    That ratio is estimated from differences, as `GuidedES` does it: in the estimate itself what is
    across U is a multiple of alpha, and noise. C is kept as its leading rows, in time and memory
    O(n_past n).

    Parameters
    ----------
    n_pairs : int
        P in the first generations, and the most later on.
    min_pairs : int
        The least later on, if not more than ``n_pairs``.
    n_past : int
        The most dimensions that C and U have.
    decay, threshold : float in [0, 1]
    warm_up : int
        Generations of isotropic search at the start.

    Attributes
    ----------
    alpha_ : float
        The alpha used last.
    n_active_ : int
        k, the dimension used last; 0 in isotropic search.

    Examples
    --------
    >>> es = ASEBO(warm_up=5, threshold=0.5, max_iter=200, random_state=0)
    >>> es = es.fit(lambda x: (x[:2] ** 2).sum(), np.ones(50))
    >>> bool(es.fun_ < 1e-2), es.n_evaluations_ < 200 * 100 / 2
    (True, True)
    """

    n_pairs: int = 50
    min_pairs: int = 10
    n_past: int = 50
    decay: float = 0.995
    threshold: float = 0.995
    warm_up: int = 70

    def _memory(self, x: Array) -> ActiveMemory:
        return ActiveMemory(np.empty((0, x.size), x.dtype))

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[ActiveMemory, Sampler]:
        memory, x, base = state.memory, state.x, self._base(state)
        unit = unit_guide(state.gradient, x.dtype)
        if unit is not None:
            memory = self._with(memory, unit)
        if state.t < self.warm_up or not memory.rank:
            return replace(memory, alpha=1.0), base
        n, k, quality = x.size, memory.rank, memory.quality
        alpha = _EVEN
        if quality.weight:
            r = quality.r(_EVEN, n=n, k=k)
            alpha = min(max(math.sqrt((1.0 - r) / max(r, 1e-9)), _LEAST), _MOST)
        rows = memory.factor[:k]
        rows = orthonormal_rows(rows / np.linalg.norm(rows, axis=1)[:, None], x.dtype)
        return replace(memory, alpha=alpha), Guided(base, rows, alpha)

    def _with(self, memory: ActiveMemory, unit: Array) -> ActiveMemory:
        """The leading rows of the covariance after one more estimate."""
        rows = np.concatenate([
            math.sqrt(self.decay) * memory.factor, math.sqrt(1.0 - self.decay) * unit[None]
        ]).astype(unit.dtype)  # fmt: skip
        values, vectors = np.linalg.eigh(gram(rows))
        # LAPACK's signs are those of rounding: each row is to point where the estimate does.
        vectors *= np.where(vectors[-1] < 0.0, -1.0, 1.0)
        kept = np.flatnonzero(values > _NULL * values[-1])[::-1][: self.n_past]
        shares = values[kept].cumsum() / values[kept].sum()
        rank = int(np.searchsorted(shares, self.threshold - 1e-12)) + 1
        factor = mix(vectors[:, kept].T.astype(unit.dtype), rows)
        return replace(memory, factor=factor, rank=min(rank, len(kept)))

    def _plan(self, sampler: Sampler) -> Plan:
        n_pairs = self.pairs(sampler.n)
        if isinstance(sampler, Guided):
            n_pairs = min(n_pairs, max(self.min_pairs, len(sampler.rows) + _MORE))
        return Plan(sampler, n_pairs)

    def _n_points(self, state: State) -> int:
        assert isinstance(state, GradientState)
        return 2 * self._plan(self._search_at(state, None)[1]).n_pairs

    def _auto_beta(self, state: GradientState, told: Told) -> float:
        n, sampler, r = state.x.size, told.generation.sampler, 0.0
        if not isinstance(sampler, Guided):
            return optimal_beta(1.0, 0.0, n=n, k=0, n_pairs=told.n_valid)
        k = len(sampler.rows)
        r = state.memory.quality.r(_EVEN, n=n, k=k)
        return optimal_beta(sampler.alpha, r, n=n, k=k, n_pairs=told.n_valid)

    def _learn(self, memory: ActiveMemory, told: Told) -> ActiveMemory:
        generation = told.generation
        sampler = generation.sampler
        if not isinstance(sampler, Guided):
            return memory
        latent = sampler.latent(generation.key, (0, generation.n_pairs))
        odds = sampler.alpha / (1.0 - sampler.alpha)
        quality = memory.quality.update(told.odd, latent, _MEMORY, odds)
        return replace(memory, quality=quality)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("min_pairs", self.min_pairs)
        check_count("n_past", self.n_past)
        check_count("warm_up", self.warm_up)
        check_between("decay", self.decay, 0.0, 1.0)
        check_between("threshold", self.threshold, 0.0, 1.0)

    @property
    def alpha_(self) -> float:
        state: Any = self.state_
        return state.memory.alpha  # type: ignore[no-any-return]

    @property
    def n_active_(self) -> int:
        state: Any = self.state_
        return state.memory.rank if state.memory.alpha < 1.0 else 0
