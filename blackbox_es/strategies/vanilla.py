"""Vanilla evolution strategies: isotropic search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blackbox_es.diagnostics import optimal_beta
from blackbox_es.generation import Generation
from blackbox_es.optimizers import Optimizer
from blackbox_es.samplers import Base, Sampler
from blackbox_es.schedules import Schedule
from blackbox_es.strategy import Array, EvolutionStrategy


class VanillaES(EvolutionStrategy):
    """Search with ``d ~ N(0, sigma^2 I / n)``: a gradient estimate from values alone.

    ``g = beta / (2 sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]``, whose expectation is
    ``beta / n grad f`` for linear and quadratic objectives; ``beta = n`` makes it the unbiased
    gradient of the smoothed objective ``E f(x + d)`` (Salimans, Ho, Chen, Sidor, Sutskever 2017).

    Parameters
    ----------
    sigma : float or schedule
        Root mean squared length of a direction; ``sigma / sqrt(n)`` along each coordinate.
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error, ``P n / (P + 1 + n)``.
    n_pairs : int
        P, antithetic pairs per generation: 2 P evaluations.
    optimizer : {"adam", "sgd", "clipup"} or Optimizer
    learning_rate : float or schedule
        For an optimizer that has none of its own.
    shaping : {"raw", "standardized", "centered_ranks", "nes"} or callable
    sampler : Isotropic, LowRank or None
        The distribution of the directions; its sigma is replaced. None is isotropic.
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

    Examples
    --------
    >>> es = VanillaES(max_iter=300, random_state=0)
    >>> bool(es.fit(lambda x: (x**2).sum(), [1.0, -1.0]).fun_ < 1e-2)
    True
    """

    _takes_surrogate = False

    def __init__(
        self,
        *,
        sigma: float | Schedule = 0.1,
        beta: float | str = "auto",
        n_pairs: int = 8,
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
        self.beta = beta
        self.n_pairs = n_pairs
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
        pass

    def _sampler(self, base: Base, surrogate: Any) -> Sampler:
        if surrogate is not None:
            raise ValueError("VanillaES uses no surrogate gradient: take GuidedES")
        return base

    def _auto_beta(self, sampler: Sampler, n_pairs: int) -> float:
        return optimal_beta(1.0, 0.0, n=sampler.n, k=0, n_pairs=n_pairs)

    def _learn(self, generation: Generation, weights: Array) -> None:
        pass
