"""Guided evolution strategies: search elongated along surrogate gradients."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._validation import check_count
from blackbox_es._value import Count, Vector, value
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import AntitheticStrategy, GradientState
from blackbox_es.samplers import Guided, Sampler, orthonormal_rows, unit_guide
from blackbox_es.schedules import Schedule
from blackbox_es.theory import SurrogateQuality, optimal_beta

Array = npt.NDArray[Any]

_MEMORY = 200.0  # pairs over which the quality of the surrogate is averaged


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
    """

    guides: tuple[Vector | None, ...] = ()
    quality: SurrogateQuality = SurrogateQuality()
    n_rejected: Count = 0
    rank: Count = 0


@config
class GuidedES(AntitheticStrategy):
    """Search with ``d ~ N(0, n sigma^2 (alpha/n I + (1-alpha)/k U U^T))``, U of surrogates.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` with ``E[g] = beta Sigma grad
    f`` for linear and quadratic objectives: a direction of descent whatever the surrogates are
    worth (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided evolutionary
    strategies: augmenting random search with surrogate gradients", whose sigma is a total length,
    ``sqrt(n)`` times this one).

    U is an orthonormal basis of the span of the last ``n_guides`` surrogate gradients, or of the
    (n, k) ones given at once. Only the span matters: a surrogate that is missing, zero, not finite
    or dependent on the others adds no axis, and without any the search is isotropic.

    Parameters
    ----------
    sigma : float or schedule
        Standard deviation of a coordinate, root mean squared over the coordinates: directions have
        mean squared length ``n sigma^2``, whatever k and alpha are.
    alpha : float in [0, 1]
        Share of the variance in the full space; 1 is isotropic search, 0 never leaves the guides.
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error for the alpha given, with
        an online estimate of how well the surrogates align with the gradient (see
        `blackbox_es.theory.optimal_beta`).
    n_guides : int
        How many of the last surrogate gradients span the subspace.

    Attributes
    ----------
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
    """

    sigma: float | Schedule = 0.1
    alpha: float = 0.5
    beta: float | str = "auto"
    n_guides: int = 1

    takes_surrogate: ClassVar[bool] = True

    def _memory(self, x: Array) -> GuidedMemory:
        return GuidedMemory()

    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[GuidedMemory, Sampler]:
        memory, x = state.memory, state.x
        given = _guides(surrogate, x.size)
        units = [unit_guide(guide, x.dtype) for guide in given] or [None]
        given_at_once = len(units) > 1  # these are all of them: nothing is kept for the next one
        guides = tuple(units) if given_at_once else (*memory.guides, *units)[-self.n_guides :]
        rejected = memory.n_rejected + (len(_known(units)) < len(units))
        known = _known(guides)
        base = self._base(state)
        sampler: Sampler = base
        rank = 0
        if known:
            rows = orthonormal_rows(known, x.dtype)
            sampler, rank = Guided(base, rows, float(self.alpha)), len(rows)
        kept = () if given_at_once else guides
        return GuidedMemory(kept, memory.quality, rejected, rank), sampler

    def _auto_beta(self, state: GradientState, told: Told) -> float:
        n, sampler = state.x.size, told.generation.sampler
        alpha, r, k = 1.0, 0.0, 0
        if isinstance(sampler, Guided):
            alpha, k = sampler.alpha, len(sampler.rows)
            r = state.memory.quality.r(alpha, n=n, k=k)
        return optimal_beta(alpha, r, n=n, k=k, n_pairs=told.n_valid)

    def _learn(self, memory: GuidedMemory, told: Told) -> GuidedMemory:
        generation = told.generation
        if not isinstance(generation.sampler, Guided):
            return memory
        latent = generation.sampler.latent(generation.key, (0, generation.n_pairs))
        quality = memory.quality.update(told.odd, latent, _MEMORY)
        return GuidedMemory(memory.guides, quality, memory.n_rejected, memory.rank)

    def _note(self, before: Any, after: Any) -> str | None:
        # At first there may be no estimate yet to guide by.
        if after.t == 0 or after.memory.n_rejected == before.memory.n_rejected:
            return None
        return (
            "a surrogate gradient is missing, zero or not finite: the search goes on without it "
            "(see n_surrogate_rejected_)"
        )

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_count("n_guides", self.n_guides)
        if not (isinstance(self.alpha, Real) and 0.0 <= self.alpha <= 1.0):
            raise ValueError(f"alpha={self.alpha!r}: expected a number between 0 and 1")

    @property
    def surrogate_quality_(self) -> float:
        """Of the subspace that was searched last; 0 before there was one."""
        memory, n = self._learnt, self.x_.size
        if memory.quality.weight == 0.0:
            return 0.0
        return memory.quality.r(float(self.alpha), n=n, k=memory.rank)

    @property
    def n_surrogate_rejected_(self) -> int:
        return self._learnt.n_rejected

    @property
    def _learnt(self) -> GuidedMemory:
        state = self.state_
        assert isinstance(state, GradientState)
        return state.memory  # type: ignore[no-any-return]


def _known(guides: Sequence[Array | None]) -> list[Array]:
    return [guide for guide in guides if guide is not None]


def _guides(surrogate: Any, n: int) -> list[Array]:
    """The guides of a surrogate, if there is one."""
    if surrogate is None:
        return []
    array = np.asarray(surrogate)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the surrogate gradient is of dtype {array.dtype}: expected real")
    if array.ndim not in (1, 2) or len(array) != n or array.size == 0:
        raise ValueError(
            f"the surrogate gradient has shape {array.shape}: expected ({n},) or ({n}, k)"
        )
    return [array] if array.ndim == 1 else list(array.T)
