"""Guided evolution strategies: search elongated along surrogate gradients."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import check_count, check_flag
from blackbox_es._value import Count, Fraction, Vector, value
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.samplers import Guided, Sampler, orthonormal_rows
from blackbox_es.scaled_strategy import ScaledStrategy
from blackbox_es.strategies.guides import known, seen
from blackbox_es.theory import (
    SurrogateQuality,
    n_axes,
    optimal_alpha,
    optimal_beta,
    unbiased_variance,
)

Array = npt.NDArray[Any]

_MEMORY = 200.0  # pairs over which the quality of the surrogate is averaged
_JUDGED = _MEMORY / 2.0  # pairs after which it is said if that is no more than chance
_EVEN = 0.5  # alpha, where odds are 1; and that of "auto" before anything is known
_LEAST, _MOST = 0.1, 0.9  # of alpha="auto": what is not searched cannot be measured
_REJECTED = (
    "a surrogate gradient is missing, zero or not finite: the search goes on without it "
    "(see n_surrogate_rejected_)"
)
_WORTHLESS = (
    "the surrogate gradient has been no better than a random direction: the search is next to "
    "isotropic for as long as that is so (see surrogate_quality_ and alpha_)"
)


@value
class GuidedMemory:
    """The guides, how good they have been, and how often there was none.

    Parameters
    ----------
    guides : tuple of ndarray or None
        Unit vectors; None in place of a surrogate that was rejected.
    quality : SurrogateQuality
    n_rejected : int
    rank : int
        Of the guides.
    alpha : float
        With which they are searched; 1 without any.
    """

    guides: tuple[Vector | None, ...] = ()
    quality: SurrogateQuality = SurrogateQuality()
    n_rejected: Count = 0
    rank: Count = 0
    alpha: Fraction = 1.0


@config
class GuidedES(ScaledStrategy):
    """Search with ``d ~ N(0, n sigma^2 (alpha/n I + (1-alpha)/k U U^T))``, U of surrogates.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` with ``E[g] = beta Sigma grad
    f`` for linear and quadratic objectives: a direction of descent whatever the surrogates are
    worth (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided evolutionary
    strategies: augmenting random search with surrogate gradients", whose sigma is a total length,
    ``sqrt(n)`` times this one).

    U is an orthonormal basis of the span of the last ``n_guides`` surrogate gradients, or of the
    (n, k) ones given at once. Only the span matters: a surrogate that is missing, zero, not finite
    or dependent on the others adds no axis, and without any the search is isotropic.

    With nothing to tune: ``GuidedES(alpha="auto", sigma="auto", learning_rate="auto")``.

    Parameters
    ----------
    alpha : float in [0, 1] or "auto"
        Share of the variance in the full space; 1 is isotropic search, 0 never leaves the guides.
        "auto" has the least mean squared error for what the surrogates have been worth so far (see
        `blackbox_es.theory.optimal_alpha`), between 0.1, so that there is something to be found
        beside them, and 0.9, so that it is seen when they become better.
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error for the alpha given, with
        an online estimate of how well the surrogates align with the gradient (see
        `blackbox_es.theory.optimal_beta`).
    unbiased : bool
        Multiply the estimate by ``Sigma^-1``: ``E[g] = grad f`` for linear and quadratic
        objectives. There is no beta to choose then. What this costs is
        `blackbox_es.theory.unbiased_variance`: a good surrogate does not make it less.
    n_guides : int
        How many of the last surrogate gradients span the subspace.

    Attributes
    ----------
    alpha_ : float
        The alpha used last; 1 without a surrogate.
    surrogate_quality_ : float
        The estimate of ``r = |U^T grad|^2 / |grad|^2`` so far.
    n_surrogate_rejected_ : int
        Generations whose surrogate was missing, zero or not finite.

    Examples
    --------
    >>> es = GuidedES(max_iter=300, random_state=0)
    >>> es = es.fit(lambda x: (x**2).sum(), [1.0, -1.0], surrogate_fn=lambda x: x + 0.1)
    >>> bool(es.fun_ < 1e-2)
    True

    An objective of any scale, with nothing to tune:

    >>> es = GuidedES(alpha="auto", sigma="auto", learning_rate="auto", max_iter=15, random_state=0)
    >>> es = es.fit(lambda x: (x**2).sum(), [1e6] * 50, surrogate_fn=lambda x: x + 1e-3)
    >>> bool(es.fun_ < 1.0), es.alpha_
    (True, 0.1)
    """

    alpha: float | str = 0.5
    beta: float | str = "auto"
    n_guides: int = 1
    unbiased: bool = False

    takes_surrogate: ClassVar[bool] = True

    def _memory(self, x: Array) -> GuidedMemory:
        return GuidedMemory()

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[GuidedMemory, Sampler]:
        memory, x = state.memory, state.x
        guides, kept, rejected = seen(memory.guides, surrogate, x, self.n_guides)
        base = self._base(state)
        sampler: Sampler = base
        rank, alpha = 0, 1.0
        if known(guides):
            rows = orthonormal_rows(known(guides), x.dtype)
            rank = len(rows)
            alpha = self._alpha_for(memory.quality, x.size, rank)
            sampler = Guided(base, rows, alpha)
        n_rejected = memory.n_rejected + rejected
        return GuidedMemory(kept, memory.quality, n_rejected, rank, alpha), sampler

    def _alpha_for(self, quality: SurrogateQuality, n: int, k: int) -> float:
        if not isinstance(self.alpha, str):
            return float(self.alpha)
        if quality.weight == 0.0:
            return _EVEN
        alpha = optimal_alpha(quality.r(_EVEN, n=n, k=k), n=n, k=k, n_pairs=self.pairs(n))
        return min(max(alpha, _LEAST), _MOST)

    def estimate(self, state: GradientState, told: Told) -> Array:
        if not self.unbiased:
            return super().estimate(state, told)
        if isinstance(told.generation.sampler, Guided):
            return told.gradient(1.0, unbiased=True)
        return told.gradient(float(state.x.size))

    def _errors(self, state: GradientState, told: Told, r: float) -> tuple[float, float] | None:
        sampler = told.generation.sampler
        errors = super()._errors(state, told, r)
        if not self.unbiased or errors is None:
            return errors
        alpha, k = (sampler.alpha, len(sampler.rows)) if isinstance(sampler, Guided) else (1.0, 0)
        return 0.0, unbiased_variance(alpha, r, n=sampler.n, k=k, n_pairs=told.n_valid)

    def _axes(self, sampler: Sampler) -> float:
        if not isinstance(sampler, Guided):
            return float(sampler.n)
        return n_axes(sampler.alpha, n=sampler.n, k=len(sampler.rows))

    def _auto_beta(self, state: GradientState, told: Told) -> float:
        n, sampler = state.x.size, told.generation.sampler
        alpha, r, k = 1.0, 0.0, 0
        if isinstance(sampler, Guided):
            alpha, k = sampler.alpha, len(sampler.rows)
            r = state.memory.quality.r(_EVEN, n=n, k=k)
        return optimal_beta(alpha, r, n=n, k=k, n_pairs=told.n_valid)

    def _learn(self, memory: GuidedMemory, told: Told) -> GuidedMemory:
        generation = told.generation
        if not isinstance(generation.sampler, Guided):
            return memory
        alpha = generation.sampler.alpha
        if alpha in (0.0, 1.0):  # all of a difference is due to the guides, or none
            return memory
        latent = generation.sampler.latent(generation.key, (0, generation.n_pairs))
        quality = memory.quality.update(told.odd, latent, _MEMORY, alpha / (1.0 - alpha))
        return replace(memory, quality=quality)

    def note(self, before: Any, after: Any) -> str | None:
        # At first there may be no estimate yet to guide by.
        if after.t > 0 and after.memory.n_rejected > before.memory.n_rejected:
            return _REJECTED
        # Judged once: that a surrogate is worth nothing near the minimum is no news.
        quality, n, k = after.memory.quality, after.x.size, after.memory.rank
        now = before.memory.quality.weight <= _JUDGED < quality.weight
        poor = now and isinstance(self.alpha, str) and quality.r(_EVEN, n=n, k=k) <= k / n < 1.0
        return _WORTHLESS if poor else None

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_guides", self.n_guides)
        automatic = isinstance(self.alpha, str) and self.alpha == "auto"
        if not automatic and not (isinstance(self.alpha, Real) and 0.0 <= self.alpha <= 1.0):
            raise ValueError(f'alpha={self.alpha!r}: expected a number between 0 and 1, or "auto"')
        check_flag("unbiased", self.unbiased)
        if self.unbiased:
            self._check_unbiased()

    def _check_unbiased(self) -> None:
        reasons = {
            "alpha": (self.alpha in (0.0, "auto"), "take one above 0; the variance is least at 1"),
            "beta": (self.beta != "auto", 'the estimate has its length; leave beta="auto"'),
            "learning_rate": (self.learning_rate == "auto", "that of a biased one; give a rate"),
        }
        for name, (wrong, why) in reasons.items():
            if wrong:
                raise ValueError(f"{name}={getattr(self, name)!r} with unbiased=True: {why}")

    @property
    def alpha_(self) -> float:
        return self._learnt.alpha

    @property
    def surrogate_quality_(self) -> float:
        """Of the subspace that was searched last; 0 before there was one."""
        memory, n = self._learnt, self.state_.x.size
        if memory.quality.weight == 0.0 and memory.rank == 0:
            return 0.0
        return memory.quality.r(_EVEN, n=n, k=memory.rank)

    @property
    def n_surrogate_rejected_(self) -> int:
        return self._learnt.n_rejected

    @property
    def _learnt(self) -> GuidedMemory:
        state = self.state_
        assert isinstance(state, GradientState)
        return state.memory  # type: ignore[no-any-return]
