"""Evolution strategies: the loop from a center to the next one.

A strategy is a configuration (its parameters), a state (what the next generation needs) and a
history (what people look at; the algorithm never reads it). `fit`, `ask` and `tell`, and trials
are three ways through the same two steps: `_begin` makes the generation, `_finish` consumes its
values.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from blackbox_es import optimizers, shaping
from blackbox_es._codec import load, save
from blackbox_es._config import Configurable
from blackbox_es._points import check_points, rows_of
from blackbox_es._progress import ProgressBar
from blackbox_es._validation import (
    as_center,
    as_seed,
    as_value,
    as_values,
    check_count,
    check_function,
    check_positive,
)
from blackbox_es.evaluation import EvaluationError, Evaluator, call_callback, call_surrogate
from blackbox_es.generation import Generation
from blackbox_es.samplers import Base, Isotropic, Sampler
from blackbox_es.schedules import Schedule, value_at

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]

STOP_REASONS = {
    "max_iter": (0, "max_iter generations were done"),
    "max_evals": (1, "one more generation would exceed max_evals"),
    "max_time": (2, "max_time seconds have passed"),
    "flat": (3, "the objective was the same at all points for many generations"),
    "sigma_underflow": (4, "sigma is below the float resolution of x: x + d equals x"),
    "unbounded": (5, "the objective reached minus infinity"),
    "non_finite": (6, "the update was not finite; x is the last finite center"),
    "callback": (99, "`callback` raised `StopIteration`"),
}
_BUDGETS = ("max_iter", "max_evals", "max_time")  # the normal ways to end

_HISTORY = ("n_evaluations", "mean", "best", "sigma")
_FLAT_GENERATIONS = 20  # in a row; a plateau seen once may be left by the next directions


class Trial(NamedTuple):
    """One point to evaluate; tell its value with its id."""

    id: int
    x: Array


class EvolutionStrategy(Configurable, ABC):
    """What all evolution strategies share: start, ask, tell, fit, trials, results.

    A concrete strategy has an ``__init__`` that lists the parameters and only assigns them, and
    says by `_sampler`, `_auto_beta` and `_learn` where it searches, how long its gradient estimate
    is, and what it learns from the values. Always minimises.

    Attributes
    ----------
    x_ : ndarray of shape (n,)
        The center reached, read-only: what to return under noise. float32 if x0 is, else float64.
    fun_ : float
        The objective at ``x_`` after `fit`; until then the mean of the last generation's values.
    x_best_, fun_best_ : ndarray of shape (n,), float
        The best point evaluated and its value.
    gradient_ : ndarray of shape (n,)
        The last estimate; with raw shaping ``E[gradient_] = beta Sigma grad f``.
    n_iter_, n_evaluations_, n_surrogate_calls_, n_failed_ : int
        Generations done, evaluations, calls of surrogate_fn, evaluations that failed.
    stop_reason_ : str or None
        None while running, then a key of ``STOP_REASONS``.
    history_ : dict of lists
        One entry a generation: n_evaluations, mean and best value, sigma.
    """

    sigma: float | Schedule
    beta: float | str
    n_pairs: int
    sampler: Base | None
    optimizer: str | optimizers.Optimizer
    learning_rate: float | Schedule
    shaping: str | shaping.Shaping
    max_iter: int
    max_evals: int | None
    max_time: float | None
    n_jobs: int | None
    vectorized: bool
    common_random_numbers: str | None
    catch: tuple[type[BaseException], ...]
    random_state: Any
    verbose: int

    _takes_surrogate: bool

    # -- what a concrete strategy says ---------------------------------------------------------

    @abstractmethod
    def _start(self, n: int) -> None:
        """Set the strategy's own state; raise for parameters that are no good."""

    @abstractmethod
    def _sampler(self, base: Base, surrogate: Any) -> Sampler:
        """The search distribution of the next generation; change nothing if it raises."""

    @abstractmethod
    def _auto_beta(self, sampler: Sampler, n_pairs: int) -> float:
        """The value of ``beta="auto"``."""

    @abstractmethod
    def _learn(self, generation: Generation, weights: Array) -> None:
        """Learn from the weights of the pairs, whose gradient is ``gradient_``."""

    # -- ask and tell --------------------------------------------------------------------------

    def start(self, x0: npt.ArrayLike) -> Self:
        """Begin at ``x0``: check all parameters and reset all state.

        Parameters
        ----------
        x0 : array-like of shape (n,)
            Copied. float32 stays float32, anything else becomes float64.

        Raises
        ------
        TypeError, ValueError
            For parameters or an ``x0`` that are no good; nothing has changed then.
        """
        x = as_center(x0)
        self._check_parameters(x.size)
        shape, optimizer = shaping.resolve(self.shaping), optimizers.resolve(self.optimizer)
        optimizer.check()
        seed = as_seed(self.random_state)
        self._start(x.size)
        self.x_ = x
        self.fun_ = self.fun_best_ = math.inf
        self.gradient_ = np.zeros_like(x)
        self.n_iter_ = self.n_evaluations_ = self.n_surrogate_calls_ = self.n_failed_ = 0
        self.history_: dict[str, list[float]] = {name: [] for name in _HISTORY}
        self.stop_reason_: str | None = None
        self._seed, self._shape, self._optimizer = seed, shape, optimizer
        self._base = Isotropic(x.size) if self.sampler is None else self.sampler
        self._state = optimizer.init(x)
        self._best: tuple[Generation, int] | None = None
        self._generation: Generation | None = None
        self._points: Array | None = None
        self._told: dict[int, float] = {}
        self._n_flat = 0
        self._warned: set[str] = set()
        self._begun = time.perf_counter()
        self._stop_if_spent()
        return self

    def ask(self, surrogate_grad: npt.ArrayLike | None = None) -> Array:
        """The points of the current generation; asked twice, the same points.

        Parameters
        ----------
        surrogate_grad : array-like of shape (n,) or (n, k), optional
            For strategies that are guided. Not used if a generation is already pending.

        Returns
        -------
        ndarray of shape (2 n_pairs, n), read-only
            Rows ``x + d_1 .. x + d_P``, then ``x - d_1 .. x - d_P``.
        """
        generation = self._begin(surrogate_grad)
        if self._points is None:
            self._points = generation.points()
            self._points.flags.writeable = False  # so that what is told is what was asked
        return self._points

    def tell(self, X: Any, values: Any = None) -> None:
        """Consume the values of the points, or change nothing and raise.

        Parameters
        ----------
        X : array-like of shape (2 n_pairs, n), or iterable of (x, value)
            The points as they were asked, in the same order; or, without ``values``, pairs of
            point and value in any order, some now and the others later.
        values : array-like of shape (2 n_pairs,)

        Raises
        ------
        TypeError, ValueError
            For values that are not real numbers, a wrong number of them, and points that are not
            those of the current generation.
        EvaluationError
            If more than half of the pairs failed.
        """
        generation = self._pending()
        if values is None:
            try:
                pairs = [(x, value) for x, value in X]
            except (TypeError, ValueError):
                raise ValueError(
                    "tell(X) without values expects pairs (x, value): did you mean tell(X, values)?"
                ) from None
            rows = rows_of([x for x, _ in pairs], self.ask(), self._told)
            self._tell_rows([(row, value) for row, (_, value) in zip(rows, pairs, strict=True)])
            return
        if X is not self._points or self._points.flags.writeable:
            check_points(X, self.ask())
        told = as_values(values, (2 * generation.n_pairs,), "values")
        if self._told:
            self._tell_rows(list(enumerate(told.tolist())))
        else:
            self._finish(generation, told.reshape(2, -1))

    def ask_trials(self, surrogate_grad: npt.ArrayLike | None = None) -> Iterator[Trial]:
        """The points of the current generation that have no value yet, made one at a time.

        Yields
        ------
        Trial
            ``trial.id`` and ``trial.x``; see `tell_trial`.
        """
        generation = self._begin(surrogate_grad)
        n = 2 * generation.n_pairs
        for row in range(n):
            if self._generation is generation and row not in self._told:
                yield Trial(generation.index * n + row, generation.point(row))

    def tell_trial(self, id: int, value: Any) -> None:
        """Tell the value of one trial, in any order; the last one completes the generation.

        Telling the same value again does nothing.

        Raises
        ------
        ValueError
            For an id that is unknown or of a past generation, or told before with another value.
        TypeError
            For a value that is not a real number.
        """
        generation = self._pending()
        n = 2 * generation.n_pairs
        if not isinstance(id, Integral):
            raise TypeError(f"trial id {id!r} is not an integer: tell trial.id")
        row = int(id) - generation.index * n
        if not 0 <= row < n:
            raise ValueError(
                f"trial id {id} is unknown or of a past generation: "
                f"those pending are {generation.index * n} to {generation.index * n + n - 1}"
            )
        self._tell_rows([(row, value)])

    # -- one call ------------------------------------------------------------------------------

    def fit(
        self,
        objective: Callable[..., Any],
        x0: npt.ArrayLike,
        surrogate_fn: Callable[[Array], Any] | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> Self:
        """Minimise ``objective`` from ``x0`` until there is a reason to stop.

        Parameters
        ----------
        objective : callable
            ``f(x) -> float``, or ``f(X) -> (m,)`` with ``vectorized=True``, or an object with
            ``evaluate_generation(generation) -> (2, n_pairs)``. With a parameter ``seed`` it is
            given an integer, the same for points that are to be compared on the same noise.
        x0 : array-like of shape (n,)
        surrogate_fn : callable, optional
            ``surrogate_fn(x) -> (n,) or (n, k)``, called once a generation at the center.
        callback : callable, optional
            ``callback(intermediate_result=OptimizeResult)`` or ``callback(x)`` after each
            generation; StopIteration ends the search cleanly.

        Returns
        -------
        self

        Raises
        ------
        Exception
            Whatever the objective raises, with a note that says at which candidate; the state is
            then that of the last finished generation.
        EvaluationError
            If more than half of the pairs of a generation failed.
        """
        check_function("surrogate_fn", surrogate_fn)
        check_function("callback", callback)
        if surrogate_fn is not None and not self._takes_surrogate:
            raise ValueError(f"{type(self).__name__} uses no surrogate_fn: take GuidedES")
        evaluator = self._evaluator(objective)
        self.start(x0)
        with evaluator, ProgressBar(self.verbose, self.max_iter) as bar:
            while not self.stop_reason_:
                surrogate = None
                if surrogate_fn is not None:
                    self.n_surrogate_calls_ += 1
                    surrogate = call_surrogate(surrogate_fn, self.x_, self.n_iter_)
                self._advance(evaluator, surrogate)
                bar.update(self.fun_)
                if callback is not None and call_callback(callback, self._result):
                    self.stop_reason_ = "callback"
            self.n_evaluations_ += 1
            self.fun_ = evaluator.at(self.x_, (self._seed, self.n_iter_))
            self.n_failed_ += math.isnan(self.fun_)
            if self.fun_ < self.fun_best_:
                self.fun_best_, self._best = self.fun_, None
        return self

    def _evaluator(self, objective: Callable[..., Any]) -> Evaluator:
        return Evaluator(
            objective,
            vectorized=self.vectorized,
            n_jobs=self.n_jobs,
            catch=self.catch,
            common_random_numbers=self.common_random_numbers,
        )

    def _advance(self, evaluator: Evaluator, surrogate: Any) -> None:
        """One generation."""
        generation = self._begin(surrogate)
        self._finish(generation, evaluator(generation))

    # -- checkpoints ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue exactly, in mid-generation too.

        One ``.npz`` file without pickle, replaced in one step; the one before is kept as
        ``path.prev``. Parameters that are functions of the user's are not written: `load` asks
        for them.
        """
        self._check_started()
        save(self, path, self.__getstate__())

    @classmethod
    def load(cls, path: str | os.PathLike[str], **params: Any) -> Self:
        """A strategy that continues where `save` left off, bit for bit.

        Parameters
        ----------
        path : path-like
        **params
            Parameters that could not be written, such as a shaping function, and those to change:
            a search that has spent its budget goes on with a larger ``max_iter``.

        Raises
        ------
        CheckpointError
            If the file is no intact checkpoint of this strategy.
        ValueError
            If a parameter that could not be written is not given.
        """
        es: Self
        es, state = load(cls, path, params)
        es.__setstate__(state)
        if es.stop_reason_ in _BUDGETS:  # which may be larger now
            es.stop_reason_ = None
            es._stop_if_spent()
        return es

    # -- results -------------------------------------------------------------------------------

    @property
    def x_best_(self) -> Array:
        """The best point evaluated, made again from its generation; the center if that is best."""
        if self._best is None:
            return self.x_
        generation, row = self._best
        return generation.point(row)

    @property
    def result_(self) -> Any:
        """The result as a `scipy.optimize.OptimizeResult`."""
        return self._result()

    def _result(self) -> Any:
        from scipy.optimize import OptimizeResult

        status, message = STOP_REASONS.get(self.stop_reason_ or "", (-1, "running"))
        return OptimizeResult(
            x=self.x_.copy(),
            fun=self.fun_,
            success=self.stop_reason_ in _BUDGETS and not math.isnan(self.fun_),
            status=status,
            message=message,
            nit=self.n_iter_,
            nfev=self.n_evaluations_,
            njev=self.n_surrogate_calls_,
            x_best=self.x_best_,
            fun_best=self.fun_best_,
            n_failed=self.n_failed_,
            gradient=self.gradient_.copy(),
        )

    # -- a generation --------------------------------------------------------------------------

    def _begin(self, surrogate: Any) -> Generation:
        """The pending generation, made if there is none."""
        self._check_started()
        if self._generation is None:
            if self.stop_reason_:
                raise RuntimeError(f"the search has ended ({self.stop_reason_}): call start(x0)")
            sigma = float(value_at(self.sigma, self.n_iter_))
            if not 0.0 < sigma < math.inf:
                raise ValueError(f"sigma={sigma} in generation {self.n_iter_}: it must be positive")
            sampler = self._sampler(self._base.with_sigma(sigma), surrogate)
            self._generation = Generation(
                self.x_, sampler, self._seed, self.n_iter_, int(self.n_pairs)
            )
        return self._generation

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is not taken
    def _finish(self, generation: Generation, values: Values) -> None:
        """Move the center by the values of a generation, shape (2, n_pairs)."""
        weights, n_valid, n_failed = self._weigh(values)
        stop = "unbounded" if n_valid == 0 else None
        x, gradient = self.x_, self.gradient_
        if not stop:
            beta = self.beta
            if isinstance(beta, str):
                beta = self._auto_beta(generation.sampler, n_valid)
            gradient = generation.gradient(weights, beta, n_valid)
            x, stop = self._step(gradient)
        # From here on nothing raises: the generation is consumed.
        self.gradient_, self.x_ = gradient, x
        x.flags.writeable = gradient.flags.writeable = False
        self._learn(generation, weights)
        self._record(generation, values, n_failed)
        self._generation, self._points, self._told = None, None, {}
        self.stop_reason_ = stop or self._stalled(generation, weights)
        self._stop_if_spent()
        if n_failed:  # last, since a warning may have been made an error
            self._warn_once("failed", "evaluations failed; pairs with NaN or inf are left out")

    def _weigh(self, values: Values) -> tuple[Array, int, int]:
        """One weight per pair, the number of pairs that count, and of evaluations that failed."""
        n_pairs = values.shape[1]
        finite = np.isfinite(values)
        if finite.all():
            return shaping.weights(self._shape, values), n_pairs, 0
        if (values == -np.inf).any():
            return np.zeros(n_pairs), 0, int((~finite & (values != -np.inf)).sum())
        if self._shape in shaping.RANK_BASED:
            finite |= values == np.inf  # simply the worst
        valid = finite.all(axis=0)
        n_valid = int(valid.sum())
        if 2 * n_valid < n_pairs or n_valid == 0:
            raise EvaluationError(
                f"{n_pairs - n_valid} of {n_pairs} pairs of generation {self.n_iter_} failed (NaN, "
                "inf or a caught exception): look at the objective near x_, or lower sigma"
            )
        weights = np.zeros(n_pairs)
        weights[valid] = shaping.weights(self._shape, values[:, valid])
        return weights, n_valid, int((~finite).sum())

    def _step(self, gradient: Array) -> tuple[Array, str | None]:
        """The next center, or this one and a reason if the next would not be finite."""
        rate = self._optimizer.learning_rate
        rate = float(value_at(self.learning_rate if rate is None else rate, self.n_iter_))
        if not 0.0 <= rate < math.inf:
            raise ValueError(f"learning_rate={rate} in generation {self.n_iter_}: expected >= 0")
        if _is_finite(gradient):
            x, self._state = self._optimizer.step(self.x_, gradient, self._state, rate)
            if _is_finite(x):
                return x, None
        return self.x_, "non_finite"

    def _record(self, generation: Generation, values: Values, n_failed: int) -> None:
        """Count, remember the best point, and write the history."""
        self.n_iter_ += 1
        self.n_evaluations_ += values.size
        self.n_failed_ += n_failed
        flat = values.ravel()
        valid = flat[np.isfinite(flat)] if n_failed else flat
        self.fun_ = float(valid.sum() / valid.size) if valid.size else math.nan
        row = int(flat.argmin() if not n_failed else np.nanargmin(flat))
        best = float(flat[row])
        if best < self.fun_best_:
            self.fun_best_, self._best = best, (generation, row)
        entry = (self.n_evaluations_, self.fun_, best, generation.sampler.sigma)
        for name, value in zip(_HISTORY, entry, strict=True):
            self.history_[name].append(value)

    def _stalled(self, generation: Generation, weights: Array) -> str | None:
        """The reason to stop if the objective stays the same at all points."""
        self._n_flat = 0 if weights.any() else self._n_flat + 1
        if self._n_flat == 0:
            return None
        if np.array_equal(generation.point(0), generation.center):
            return "sigma_underflow"
        return "flat" if self._n_flat >= _FLAT_GENERATIONS else None

    def _stop_if_spent(self) -> None:
        if self.stop_reason_ is not None:
            return
        if self.n_iter_ >= self.max_iter:
            self.stop_reason_ = "max_iter"
        elif self.max_evals is not None and (
            self.n_evaluations_ + 2 * self.n_pairs + 1 > self.max_evals  # 1: the final center
        ):
            self.stop_reason_ = "max_evals"
        elif self.max_time is not None and time.perf_counter() - self._begun >= self.max_time:
            self.stop_reason_ = "max_time"

    # -- ask and tell, checked -----------------------------------------------------------------

    def _check_started(self) -> None:
        if not hasattr(self, "_generation"):
            raise RuntimeError("there is no search: call start(x0) first")

    def _pending(self) -> Generation:
        self._check_started()
        if self._generation is None:
            raise ValueError("no generation is pending: call ask before tell, and tell once")
        return self._generation

    def _tell_rows(self, pairs: list[tuple[int, Any]]) -> None:
        generation = self._pending()
        n = 2 * generation.n_pairs
        told = dict(self._told)
        for row, given in pairs:
            value = as_value(given, f"the value of row {row}")
            before = told.setdefault(row, value)
            if before != value and not (math.isnan(before) and math.isnan(value)):
                raise ValueError(f"row {row} was told {before} before and now {value}")
        if len(told) == n:
            self._finish(generation, np.array([told[row] for row in range(n)]).reshape(2, -1))
        else:
            self._told = told

    # -- the rest ------------------------------------------------------------------------------

    def _warn_once(self, subject: str, message: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _check_parameters(self, n: int) -> None:
        check_count("n_pairs", self.n_pairs)
        check_count("max_iter", self.max_iter)
        check_count("max_evals", self.max_evals, optional=True)
        for name in ("sigma", "learning_rate"):
            if not callable(getattr(self, name)):
                check_positive(name, getattr(self, name), also=" or a schedule")
        if self.max_time is not None:
            check_positive("max_time", self.max_time, also=" of seconds or None")
        if self.beta != "auto":
            check_positive("beta", self.beta, also=' or "auto"')
        if self.common_random_numbers not in ("generation", "pair", None):
            raise ValueError(
                f"common_random_numbers={self.common_random_numbers!r}: take 'generation', 'pair' "
                "or None"
            )
        if self.sampler is not None and not hasattr(self.sampler, "with_sigma"):
            raise TypeError(f"sampler={self.sampler!r}: take Isotropic, LowRank or None")
        if self.sampler is not None and self.sampler.n != n:
            raise ValueError(f"sampler is for {self.sampler.n} coordinates, but x0 has {n}")

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_points": None}  # made again from the generation
        if "_begun" in state:  # clocks differ between processes: elapsed seconds do not
            state["_begun"] = time.perf_counter() - self._begun
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_begun" in state:
            self._begun = time.perf_counter() - state["_begun"]
            self.x_.flags.writeable = self.gradient_.flags.writeable = False


def _is_finite(x: Array) -> bool:
    # One pass and no temporary; only an overflow of the square needs the second look.
    return math.isfinite(x.dot(x)) or bool(np.isfinite(x).all())
