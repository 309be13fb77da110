"""What all estimators for unrolled problems share: parameters, fit, files, results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from blackbox_es import optimizers
from blackbox_es._config import config
from blackbox_es._validation import (
    as_center,
    as_seed,
    check_between,
    check_count,
    check_flag,
    check_function,
    check_positive,
)
from blackbox_es.evaluation import Callback
from blackbox_es.schedules import Schedule, value_at
from blackbox_es.unrolled import engine
from blackbox_es.unrolled.engine import Pairs, UnrolledState
from blackbox_es.unrolled.problem import UnrolledProblem
from blackbox_es.unrolled.results import Results, Search

Array = npt.NDArray[Any]


@config
class UnrolledES(Results):
    """Estimators of the gradient of an unrolled problem, and their search.

    In each iteration every pair does one window of its episode, and the estimate

        ``g = 1 / (2 P) sum_p (L+_p - L-_p) s_p``

    moves theta, where ``L`` is the mean loss of the window. The estimators differ in the score
    ``s``: whose noise it is, ``e / sigma^2`` of this window or of all windows of the episode, and
    when noise is drawn. With ``e ~ N(0, n sigma^2 Sigma)`` those without a truncation's bias have
    ``E[g] = n Sigma grad f``, f being the objective smoothed by e: exactly so if theta stood still,
    and nearly so while it moves little in an episode.

    With ``alpha < 1`` directions are elongated along truncated gradients, as those of `GuidedES`
    are along surrogates: ``Sigma = alpha/n I + (1 - alpha)/k U U^T``. A particle without noise is
    unrolled beside the pairs; U spans the means of its truncated gradients, one for each of
    ``n_guides`` parts of an episode. A pair keeps the U that it has begun its episode with. If it
    changed on the way, each window's part of the gradient would be multiplied by another Sigma, and
    parts that nearly cancel would add up to a step uphill. So the bias of the truncated gradient
    costs evaluations only: ``n Sigma`` has no negative eigenvalue.

    Parameters
    ----------
    truncation : int
        K, inner steps of a window; it divides the horizon.
    n_pairs : int
        P, pairs of particles: 2 P K inner steps an iteration.
    sigma : float or schedule
        Standard deviation of each coordinate of a direction.
    alpha : float in (0, 1]
        Share of the variance in the full space; 1 needs no truncated gradient. Along one guide the
        standard deviation is ``sigma sqrt(alpha + n (1 - alpha))``.
    n_guides : int
        Parts of an episode whose truncated gradients are told apart, at most its windows. One is
        their mean, which has the least noise; with more the search finds weights for early and late
        windows.
    optimizer : {"adam", "sgd", "clipup"} or Optimizer
    learning_rate : float or schedule
        For an optimizer that has none of its own.
    max_iter : int
        Iterations.
    max_evals : int or None
        Inner steps; one that is differentiated counts as three.
    random_state : None, int, Generator or RandomState

    Attributes
    ----------
    x_, gradient_ : ndarray of shape (n,)
        The parameters reached, and the last estimate.
    n_iter_, n_evaluations_ : int
        Iterations and inner steps done.
    stop_reason_ : str or None
        None while running, then "max_iter", "max_evals", "callback" or "non_finite".
    history_ : dict of ndarrays
        One entry per iteration: n_evaluations, mean loss of the windows, n_failed.
    """

    truncation: int = 10
    n_pairs: int = 8
    sigma: float | Schedule = 0.1
    alpha: float = 1.0
    n_guides: int = 1
    optimizer: str | optimizers.Optimizer = "adam"
    learning_rate: float | Schedule = 0.01
    max_iter: int = 1000
    max_evals: int | None = None
    random_state: Any = None

    holds: ClassVar[bool] = False  # the noise of an episode is drawn once, when it begins
    sums: ClassVar[bool] = False  # the score is that of all noise of the episode
    whole: ClassVar[bool] = False  # a window is a whole episode

    # -- what the engine asks for ----------------------------------------------------------------

    def window(self, problem: UnrolledProblem) -> int:
        """Inner steps of an iteration."""
        return problem.horizon if self.whole else int(self.truncation)

    def perturbed(self, pairs: Pairs, t: int, seed: int) -> tuple[Array, Pairs]:
        """The directions of an iteration, and the pairs with their scores."""
        index = pairs.born if self.holds else np.full(len(pairs.born), t)
        sigmas = [float(value_at(self.sigma, int(i))) for i in index]
        for sigma in sigmas:
            if not 0.0 < sigma < math.inf:
                raise ValueError(f"sigma={sigma} in iteration {t}: it must be positive")
        noise = engine.drawn(pairs, index, np.array(sigmas), self.alpha, seed)
        score = noise / np.square(sigmas)[:, None]
        return noise, replace(pairs, score=pairs.score + score if self.sums else score)

    # -- the shell -------------------------------------------------------------------------------

    def fit(
        self,
        problem: UnrolledProblem,
        theta0: npt.ArrayLike | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        resume: bool = False,
    ) -> Self:
        """Minimise the mean loss of an episode from ``theta0``.

        Parameters
        ----------
        problem : UnrolledProblem
        theta0 : array-like of shape (n,)
            float32 stays float32, else float64.
        callback : callable, optional
            As in SciPy, after each iteration; StopIteration ends the search.
        resume : bool
            Go on with the search of this object, which was cut short, or loaded: the result is, bit
            for bit, that of one that never stopped.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For invalid arguments; nothing has changed then.
        EvaluationError
            If more than half of the pairs of an iteration have a loss that is not finite.
        """
        check_function("callback", callback)
        check_flag("resume", resume)
        if resume == (theta0 is not None):
            raise ValueError("give theta0 to begin, or resume=True to go on: one of them")
        self.check_parameters(problem)
        wants_stop = None if callback is None else Callback(callback)
        search = self._resumed() if resume else self._begun(problem, theta0)
        self._search = search._replace(stop_reason=self._spent(problem, search.state))
        while not self._search.stop_reason:
            self._search = self._after_step(problem, self._search)
            if wants_stop is not None and wants_stop(self.result_):
                self._search = self._search._replace(stop_reason="callback")
        return self

    def _begun(self, problem: UnrolledProblem, theta0: Any) -> Search:
        state = engine.init(self, problem, as_center(theta0, "theta0"))
        return Search(as_seed(self.random_state), state, [], self._fixed())

    def _resumed(self) -> Search:
        search, now = self._started(), self._fixed()
        for name, then in search.fixed.items():
            if now[name] != then:
                raise ValueError(
                    f"{name}={now[name]:.99} was {then:.99} when the search began: set it back, or "
                    "begin again with theta0"
                )
        return search

    def _after_step(self, problem: UnrolledProblem, search: Search) -> Search:
        with np.errstate(all="ignore"):  # a loss that is not finite is no error
            state, info = engine.step(self, problem, search.state, search.seed)
        row = (state.n_evaluations, info.mean, info.n_failed)
        reason = self._spent(problem, state) if info.finite else "non_finite"
        del search.rows[search.state.t :]  # of a step that was interrupted here
        search.rows.append(row)
        return search._replace(state=state, stop_reason=reason)

    def _spent(self, problem: UnrolledProblem, state: UnrolledState) -> str | None:
        if state.t >= self.max_iter:
            return "max_iter"
        after = state.n_evaluations + engine.cost(self, problem)
        return "max_evals" if self.max_evals is not None and after > self.max_evals else None

    def check_parameters(self, problem: UnrolledProblem) -> None:
        """Raise TypeError or ValueError unless parameters are valid, and fit the problem."""
        if not isinstance(problem, UnrolledProblem):
            raise TypeError(f"problem={problem!r:.99}: expected an UnrolledProblem")
        check_count("problem.horizon", problem.horizon)
        check_count("truncation", self.truncation)
        if problem.horizon % self.truncation:
            raise ValueError(
                f"truncation={self.truncation}: expected a divisor of the horizon {problem.horizon}"
            )
        check_count("n_pairs", self.n_pairs, high=2**32 - 2)
        for name in ("sigma", "learning_rate"):
            if not callable(getattr(self, name)):
                check_positive(name, getattr(self, name), also=" or a schedule")
        check_between("alpha", self.alpha, 0.0, 1.0)
        check_positive("alpha", self.alpha)
        check_count("n_guides", self.n_guides, high=problem.horizon // self.truncation)
        check_count("max_iter", self.max_iter, high=2**32 - 1)
        check_count("max_evals", self.max_evals, optional=True)
        optimizers.resolve(self.optimizer).check()
