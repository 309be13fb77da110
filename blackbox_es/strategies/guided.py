"""Guided evolution strategies: search elongated along surrogate gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from blackbox_es._validation import check_count
from blackbox_es.diagnostics import SurrogateQuality, optimal_beta
from blackbox_es.generation import Generation
from blackbox_es.optimizers import Optimizer
from blackbox_es.samplers import Base, Guided, Sampler, orthonormal_rows, unit_guide
from blackbox_es.schedules import Schedule
from blackbox_es.strategy import Array, EvolutionStrategy

_MEMORY = 200.0  # pairs over which the quality of the surrogate is averaged


class GuidedES(EvolutionStrategy):
    """Search with ``d ~ N(0, sigma^2 (alpha/n I + (1-alpha)/k U U^T))``, U spanned by surrogates.

    ``g = beta / (2 sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` with ``E[g] = beta Sigma grad
    f`` for linear and quadratic objectives: a direction of descent whatever the surrogates are
    worth (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided evolutionary
    strategies: augmenting random search with surrogate gradients").

    U is an orthonormal basis of the span of the last ``n_guides`` surrogate gradients, or of the
    (n, k) ones given at once. Only the span matters: a surrogate that is missing, zero, not finite
    or dependent on the others adds no axis, and without any the search is isotropic.

    Parameters
    ----------
    sigma : float or schedule
        Root mean squared length of a direction, whatever n, k and alpha are.
    alpha : float in [0, 1]
        Share of the variance in the full space; 1 is isotropic search, 0 never leaves the guides.
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error for the alpha given, with
        an online estimate of how well the surrogates align with the gradient (see
        `blackbox_es.diagnostics.optimal_beta`).
    n_pairs : int
        P, antithetic pairs per generation: 2 P evaluations.
    n_guides : int
        How many of the last surrogate gradients span the subspace.
    optimizer : {"adam", "sgd", "clipup"} or Optimizer
    learning_rate : float or schedule
        For an optimizer that has none of its own.
    shaping : {"raw", "standardized", "centered_ranks", "nes"} or callable
    sampler : Isotropic, LowRank or None
        The distribution in the full space; its sigma is replaced. None is isotropic.
    max_iter : int
    max_evals : int or None
        The evaluation of the final center included.
    max_time : float or None
        Seconds.
    n_jobs : int or None
        Of joblib; results do not depend on it.
    vectorized : bool
        The objective takes rows of points.
    common_random_numbers : {"generation", "pair"} or None
        Who shares the integer given to an objective with a parameter ``seed``.
    catch : tuple of exception types
        Raised by the objective, they count as a failed evaluation.
    random_state : None, int, Generator or RandomState
    verbose : int
        1 shows a progress bar on a terminal.

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

    n_surrogate_rejected_: int
    surrogate_quality_: float

    _takes_surrogate = True
    _quality: SurrogateQuality
    _guides: deque[Array | None]

    def __init__(
        self,
        *,
        sigma: float | Schedule = 0.1,
        alpha: float = 0.5,
        beta: float | str = "auto",
        n_pairs: int = 8,
        n_guides: int = 1,
        optimizer: str | Optimizer = "adam",
        learning_rate: float | Schedule = 0.01,
        shaping: str | Callable[[Any], Any] = "raw",
        sampler: Base | None = None,
        max_iter: int = 1000,
        max_evals: int | None = None,
        max_time: float | None = None,
        n_jobs: int | None = None,
        vectorized: bool = False,
        common_random_numbers: str | None = "generation",
        catch: tuple[type[BaseException], ...] = (),
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.sigma = sigma
        self.alpha = alpha
        self.beta = beta
        self.n_pairs = n_pairs
        self.n_guides = n_guides
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.shaping = shaping
        self.sampler = sampler
        self.max_iter = max_iter
        self.max_evals = max_evals
        self.max_time = max_time
        self.n_jobs = n_jobs
        self.vectorized = vectorized
        self.common_random_numbers = common_random_numbers
        self.catch = catch
        self.random_state = random_state
        self.verbose = verbose

    def _start(self, n: int) -> None:
        check_count("n_guides", self.n_guides)
        if not (isinstance(self.alpha, Real) and 0.0 <= self.alpha <= 1.0):
            raise ValueError(f"alpha={self.alpha!r}: expected a number between 0 and 1")
        self.n_surrogate_rejected_ = 0
        self.surrogate_quality_ = 0.0
        self._quality = SurrogateQuality()
        self._guides = deque(maxlen=self.n_guides)

    def _sampler(self, base: Base, surrogate: Any) -> Sampler:
        columns = self._columns(surrogate, base.n)
        units = [unit_guide(column, self.x_.dtype) for column in columns.T] or [None]
        rejected = any(unit is None for unit in units)
        if rejected and self.n_iter_ > 0:  # at first there may be no estimate yet to guide by
            self._warn_once(
                "surrogate",
                "a surrogate gradient is missing, zero or not finite: the search goes on without "
                "it (see n_surrogate_rejected_)",
            )
        self.n_surrogate_rejected_ += rejected
        if len(units) > 1:
            self._guides.clear()  # given at once: these are all of them
            guides = units
        else:
            self._guides.extend(units)
            guides = list(self._guides)
        known = [guide for guide in guides if guide is not None]
        if not known:
            return base
        return Guided(base, orthonormal_rows(known, self.x_.dtype), float(self.alpha))

    def _columns(self, surrogate: Any, n: int) -> Array:
        if surrogate is None:
            return np.empty((n, 0))
        array = np.asarray(surrogate)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"the surrogate gradient is of dtype {array.dtype}: expected real")
        if array.ndim not in (1, 2) or len(array) != n or array.size == 0:
            raise ValueError(
                f"the surrogate gradient has shape {array.shape}: expected ({n},) or ({n}, k)"
            )
        return array.reshape(n, -1).astype(np.float64, copy=False)

    def _auto_beta(self, sampler: Sampler, n_pairs: int) -> float:
        if not isinstance(sampler, Guided):
            return optimal_beta(1.0, 0.0, n=sampler.n, k=0, n_pairs=n_pairs)
        k = len(sampler.rows)
        r = self._quality.r(sampler.alpha, n=sampler.n, k=k)
        return optimal_beta(sampler.alpha, r, n=sampler.n, k=k, n_pairs=n_pairs)

    def _learn(self, generation: Generation, weights: Array) -> None:
        sampler = generation.sampler
        if isinstance(sampler, Guided):
            latent = sampler.latent(generation.key, (0, generation.n_pairs))
            self._quality = self._quality.update(weights, latent, _MEMORY)
            k = len(sampler.rows)
            self.surrogate_quality_ = self._quality.r(sampler.alpha, n=sampler.n, k=k)
