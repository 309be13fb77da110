"""Training a network by an evolution strategy: how the estimators fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from joblib import effective_n_jobs
from sklearn.exceptions import UndefinedMetricWarning
from threadpoolctl import threadpool_limits

from blackbox_es._progress import ProgressBar
from blackbox_es._threads import Threads
from blackbox_es._validation import as_seed, check_function
from blackbox_es.evaluation import Callback
from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import ActivationDescent, Descent, Step, WeightDescent
from blackbox_es.neural.fitted import FittedMLP
from blackbox_es.neural.mlp import QUANTISED_SIGMA
from blackbox_es.neural.penalty import penalized
from blackbox_es.neural.units import Units
from blackbox_es.schedules import Linear
from blackbox_es.shaping import resolve
from blackbox_es.strategies import GuidedES, VanillaES

Array = npt.NDArray[Any]

_GENERATIONS_PER_EPOCH = 10  # at least: one pass over few examples says little about progress
_REFINES = 0.1  # of the learning rate, where a loss of each example has been learnt before
_NOTHING_LEARNT = (
    "in no generation did the loss tell one direction from its opposite: the weights are those the "
    "fit began with, but for the penalty; take a larger sigma, or a loss that changes with them"
)


class Trained(NamedTuple):
    """What has been done so far.

    Attributes
    ----------
    n_generations : int
    n_failed : int
        Losses that failed.
    n_telling : int
        Generations that told a direction.
    stopped : bool
        By the clock, or by the user.
    """

    n_generations: int = 0
    n_failed: int = 0
    n_telling: int = 0
    stopped: bool = False

    def plus(self, step: Step) -> Trained:
        """A generation more."""
        done, failed = self.n_generations + 1, self.n_failed + step.n_failed
        return Trained(done, failed, self.n_telling + step.tells)


class ESMLP(FittedMLP):
    """What the classifier and the regressor share: fitting."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callback: Callable[..., Any] | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is trained in float32, anything else in float64.
        y : array-like of shape (n_samples,), or (n_samples, n_outputs) for the regressor
        sample_weight : array-like of shape (n_samples,), optional
        callback : callable, optional
            ``callback(intermediate_result=OptimizeResult)`` or ``callback(x)`` after each
            generation, of the weights ``x`` in one array, the mean loss ``fun``, and ``nit`` and
            ``nfev``. The model has that generation's attributes and predicts by then.
            StopIteration ends the fit cleanly.

        Returns
        -------
        self

        Raises
        ------
        Exception
            Whatever a loss or a callback of the user's raises. The model is then, as after an
            interrupt, that of the last finished generation, or if there is none, what it was
            before; partial_fit and ``warm_start`` go on from there.
        EvaluationError
            If more than half of the pairs of a generation failed.
        """
        check_function("callback", callback)
        wants_stop = None if callback is None else Callback(callback)
        resume = self.warm_start and hasattr(self, "coefs_")
        with self._unchanged_until_it_moves():
            data, validation = self._check_data(X, y, sample_weight, None, reset=not resume), None
            if self.early_stopping:
                data, validation = self._split(data)
            done = self._fit(data, resume, validation, wants_stop)
        _warn_of(done.n_failed, stacklevel=3)
        if done.n_telling == 0:
            warnings.warn(_NOTHING_LEARNT, RuntimeWarning, stacklevel=2)
        return self

    def _fit(
        self, data: Data, resume: bool, validation: Data | None, wants_stop: Callback | None
    ) -> Trained:
        """Train in one stage, or in two.

        A metric may be flat where nothing has been learnt. It is approached from what stands for
        it, a loss of each example, which takes half of the generations; then the line between
        classes is drawn where the metric is best.
        """
        until = math.inf if self.max_time is None else time.perf_counter() + self.max_time
        first = 0 if resume or not self._is_approached() else self.max_iter // 2
        total, shifts, self._approaches = Trained(), 0.0, first > 0
        if first:
            self._start(data, resume, first)
            total = self._train(data, first, total, until, validation, wants_stop)
            if total.stopped:
                return total
            self._approaches = False
            resume, shifts = True, self._shifts(data)
        self._start(data, resume, self.max_iter - first, total, shifts)
        return self._train(data, self.max_iter - first, total, until, validation, wants_stop)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: use fit")
        first = not hasattr(self, "coefs_")
        with self._unchanged_until_it_moves():
            dtype = None if first else self.coefs_[0].dtype  # that of the first call
            data = self._check_data(X, y, sample_weight, classes, reset=first, dtype=dtype)
            if first or not self._incremental:
                self._start(data, not first, None)
            elif not self._goal_is_of_each():
                _check_goes_on(self._descent, self.loss)
            n_failed = self._train(data, None).n_failed
        _warn_of(n_failed, stacklevel=4)
        return self

    @contextmanager
    def _unchanged_until_it_moves(self) -> Iterator[None]:
        """What raises before there are new weights has changed nothing."""
        before, self._approaches = dict(vars(self)), False
        try:
            yield
        except BaseException:
            if vars(self).get("coefs_") is before.get("coefs_"):
                self.__dict__ = before
            raise
        finally:
            self.__dict__.pop("_approaches", None)  # there is one stage, but in a fit

    def _start(
        self,
        data: Data,
        resume: bool,
        max_iter: int | None,
        done: Trained | None = None,
        shifts: Any = 0.0,
    ) -> None:
        """The network, and the strategy that trains it; a stage begins where the last one ended."""
        seed = as_seed(self.random_state)
        network = self._make_network(data.X.shape[1])
        if resume and network.shapes != self._network.shapes:
            name = self._network_parameter
            raise ValueError(
                f"{name}={getattr(self, name)!r} is not what was fitted: a fit can "
                "only be continued with the same network; set warm_start=False to begin anew"
            )
        units = Units.of(data, self._loss_row(), network)
        if resume:
            intercepts = [*self.intercepts_[:-1], self.intercepts_[-1] + shifts]
            theta = units.inner(network, self.coefs_, intercepts)
        else:
            theta = network.initial(np.random.default_rng(seed))
        begins = done is None or done.n_generations == 0
        rate = self._rate(max_iter or self.max_iter) * (1.0 if begins else _REFINES)
        falling = max_iter is not None and self.learning_rate == "linear"
        penalty = network.is_weight() * data.X.dtype.type(self.alpha / data.total_weight)
        descent = self._descent_from(
            seed,
            theta.astype(data.X.dtype),
            optimizer=penalized(self.optimizer, penalty),
            learning_rate=Linear(rate, 0.0, max_iter) if falling else rate,  # type: ignore[arg-type]
        )
        # Only now: a parameter may be invalid.
        self._network, self._units, self._descent = network, units, descent
        self._incremental = max_iter is None
        self._reset(begins)

    def _descent_from(self, seed: int, theta: Array, **how: Any) -> Descent:
        """What moves the weights from ``theta`` on."""
        usual = self._usual[self._moves()]
        moves_quantised = self._moves() == "weights" and self.weights != "float"
        sigma = QUANTISED_SIGMA if moves_quantised else usual.sigma
        how["sigma"] = sigma if self.sigma is None else self.sigma
        how["n_pairs"] = int(usual.n_pairs if self.n_pairs is None else self.n_pairs)
        if self._moves() == "activations":
            return ActivationDescent(seed, theta, shape=resolve(self.shaping), **how)
        how["shaping"] = self.shaping
        es = (
            VanillaES(beta=float(theta.size), **how)
            if self._guides() is None
            else GuidedES(alpha=self.guide_alpha, n_guides=self.n_guides, **how)
        )
        return WeightDescent(es, seed, theta)

    def _train(
        self,
        data: Data,
        max_iter: int | None,
        done: Trained | None = None,
        until: float = math.inf,
        validation: Data | None = None,
        wants_stop: Callback | None = None,
    ) -> Trained:
        """Run generations: ``max_iter`` of them at most, or one pass over the data if None."""
        first, n_stale = self.n_iter_, 0
        total = Trained() if done is None else done
        with ExitStack() as stack:
            # Small products only: threads of the kernels are ours, those of BLAS would fight them.
            stack.enter_context(threadpool_limits(1, user_api="blas"))
            # Of some network or other a metric of scikit-learn's is not defined: it has a value.
            stack.enter_context(
                warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning)
            )
            threads = stack.enter_context(Threads(effective_n_jobs(self.n_jobs)))
            objective = self._objective(data, threads)
            bar = stack.enter_context(ProgressBar(self.verbose, max_iter))
            epoch = max(_GENERATIONS_PER_EPOCH, objective.examples.pools_per_epoch)
            stack.callback(self._settle, first, epoch)
            for i in range(1, (max_iter or objective.examples.pools_per_epoch) + 1):
                descent = copy(self._descent)
                step = descent.step(objective, self._surrogate(objective))
                self._count(descent, step, objective)
                if step.note and self.guide != "auto":  # of what the user has chosen
                    warnings.warn(step.note, RuntimeWarning, stacklevel=4)
                total = total.plus(step)
                bar.update(self.loss_)
                if max_iter and i % epoch == 0:
                    n_stale = 0 if self._judge(epoch, validation) else n_stale + 1
                ended = step.stop or i == max_iter or n_stale >= self.n_iter_no_change
                # Last, and always: a callback that saves the model is to see the last generation.
                stopped = wants_stop is not None and wants_stop(self._intermediate_result())
                stopped = stopped or time.perf_counter() >= until
                if ended or stopped:
                    if i % epoch:  # judge what came after the last whole epoch
                        self._judge(i % epoch, validation)
                    return total._replace(stopped=stopped)
        return total  # a pass over the data


def _check_goes_on(descent: Descent, loss: Any) -> None:
    """Raise ValueError if a descent cannot take a loss of many examples."""
    if isinstance(descent, ActivationDescent):
        raise ValueError(
            f"loss={loss!r} has no value for each example, and activations have been moved so far: "
            "call fit, with warm_start=True to go on from these weights"
        )


def _warn_of(n_failed: int, stacklevel: int) -> None:
    if n_failed:
        message = f"{n_failed} losses were NaN or infinite: their pairs were left out"
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
