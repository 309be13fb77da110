"""Training a network by an evolution strategy: how the two estimators fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from blackbox_es._progress import ProgressBar
from blackbox_es._threads import Threads
from blackbox_es._validation import as_seed
from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import ActivationDescent, Descent, Step, WeightDescent
from blackbox_es.neural.mlp import MLP, USUAL
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective, PooledLoss
from blackbox_es.neural.penalty import penalized
from blackbox_es.schedules import Linear
from blackbox_es.shaping import resolve
from blackbox_es.strategies import GuidedES, VanillaES

Array = npt.NDArray[Any]

_GENERATIONS_PER_EPOCH = 10  # at least: one pass over few examples says little about progress


class ESMLP(MLP):
    """What the classifier and the regressor share: fitting."""

    _descent: Descent

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is trained in float32, anything else in float64.
        y : array-like of shape (n_samples,), or (n_samples, n_outputs) for the regressor
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        Exception
            Whatever a loss of the user's raises. The model is then, as after an interrupt, that of
            the last finished generation, or if there is none, what it was before.
        EvaluationError
            If more than half of the pairs of a generation failed.
        """
        resume = self.warm_start and hasattr(self, "coefs_")
        with self._unchanged_until_it_moves():
            data, validation = self._check_data(X, y, sample_weight, None, reset=not resume), None
            if self.early_stopping:
                data, validation = self._split(data)
            theta = self._network.pack(self.coefs_, self.intercepts_) if resume else None
            self._start(data, theta, self.max_iter)
            n_failed = self._train(data, self.max_iter, validation)
        _warn_of(n_failed, stacklevel=3)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: use fit")
        first = not hasattr(self, "coefs_")
        with self._unchanged_until_it_moves():
            data = self._check_data(X, y, sample_weight, classes, reset=first)
            if first or not self._incremental:
                theta = None if first else self._network.pack(self.coefs_, self.intercepts_)
                self._start(data, theta, None)
            n_failed = self._train(data, None, None)
        _warn_of(n_failed, stacklevel=4)
        return self

    @contextmanager
    def _unchanged_until_it_moves(self) -> Iterator[None]:
        """What raises before there are new weights has changed nothing."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            if vars(self).get("coefs_") is before.get("coefs_"):
                self.__dict__ = before
            raise

    def _start(self, data: Data, theta: Array | None, max_iter: int | None) -> None:
        """The network, and the strategy that trains it."""
        seed = as_seed(self.random_state)
        network = Network((data.X.shape[1], *self._hidden(), self.n_outputs_), self.activation)
        if theta is not None and network.layer_sizes != self._network.layer_sizes:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} is not what was fitted: a fit can "
                "only be continued with the same network; set warm_start=False to begin anew"
            )
        if theta is None:
            theta = network.initial(np.random.default_rng(seed))
        rate = float(self.learning_rate_init)
        falling = max_iter is not None and self.learning_rate == "linear"
        penalty = network.is_weight() * (self.alpha / data.total_weight)
        descent = self._descent_from(
            seed,
            theta.astype(data.X.dtype),
            optimizer=penalized(self.optimizer, penalty),
            learning_rate=Linear(rate, 0.0, max_iter) if falling else rate,  # type: ignore[arg-type]
        )
        self._network, self._descent = network, descent  # only now: a parameter may be invalid
        self._incremental = max_iter is None
        self.n_iter_ = self.t_ = self.n_evaluations_ = self.n_example_forwards_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = math.inf
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_: Any = -math.inf if self.early_stopping else None

    def _descent_from(self, seed: int, theta: Array, **how: Any) -> Descent:
        """What moves the weights from ``theta`` on."""
        usual = USUAL[self.perturb]
        how["sigma"] = usual.sigma if self.sigma is None else self.sigma
        how["n_pairs"] = int(usual.n_pairs if self.n_pairs is None else self.n_pairs)
        if self.perturb == "activations":
            return ActivationDescent(seed, theta, shape=resolve(self.shaping), **how)
        how["shaping"] = self.shaping
        es = (
            VanillaES(beta=float(theta.size), **how)
            if self.guide is None
            else GuidedES(alpha=self.guide_alpha, n_guides=self.n_guides, **how)
        )
        return WeightDescent(es, seed, theta)

    def _train(self, data: Data, max_iter: int | None, validation: Data | None) -> int:
        """Run generations: ``max_iter`` of them at most, or one pass over the data if None.

        Returns the number of losses that failed.
        """
        descent, begun, first = self._descent, time.perf_counter(), self._descent.state.t
        n_stale = n_failed = 0
        with ExitStack() as stack:
            # Small products only: threads of the kernels are ours, those of BLAS would fight them.
            stack.enter_context(threadpool_limits(1, user_api="blas"))
            threads = stack.enter_context(Threads(effective_n_jobs(self.n_jobs)))
            objective = descent.objective(
                self._network,
                self._user_loss if callable(self.loss) else self._loss_name(),
                data,
                batch_size=self._batch_size(len(data)),
                threads=threads,
            )
            bar = stack.enter_context(ProgressBar(self.verbose, max_iter))
            stack.callback(self._adopt_last, first)
            epoch = max(_GENERATIONS_PER_EPOCH, objective.examples.pools_per_epoch)
            for i in range(1, (max_iter or objective.examples.pools_per_epoch) + 1):
                step = descent.step(objective, self._surrogate(objective))
                self._count(step, objective)
                n_failed += step.n_failed
                bar.update(self.loss_)
                if max_iter and i % epoch == 0:
                    n_stale = 0 if self._judge(epoch, validation) else n_stale + 1
                out_of_time = self.max_time is not None and (
                    time.perf_counter() - begun >= self.max_time
                )
                last = i == max_iter
                if step.stop or last or n_stale >= self.n_iter_no_change or out_of_time:
                    if i % epoch:  # judge what came after the last whole epoch
                        self._judge(i % epoch, validation)
                    break
        return n_failed

    def _surrogate(self, objective: PooledLoss) -> Array | None:
        """The guide: the gradient of a loss that has one, or the last estimate."""
        descent = self._descent
        if self.guide == "backprop":
            assert isinstance(objective, NetworkObjective)
            return objective.gradient(descent.x, descent.key, self._loss_row().guide)
        return descent.state.gradient if self.guide == "previous" else None

    def _count(self, step: Step, objective: PooledLoss) -> None:
        self.loss_ = step.loss
        self.loss_curve_.append(self.loss_)
        self.n_iter_ += 1
        self.t_ += objective.examples.pool_size
        self.n_evaluations_ += step.n_losses
        self.n_example_forwards_ += step.n_losses * objective.examples_per_loss

    def _judge(self, epoch: int, validation: Data | None) -> bool:
        """Whether the last epoch was better than all before it by more than ``tol``."""
        loss = float(np.mean(self.loss_curve_[-epoch:]))
        improved = loss < self.best_loss_ - self.tol
        self.best_loss_ = min(self.best_loss_, loss)  # which it stays if the loss is NaN
        if validation and self.validation_scores_ is not None:
            score = self._score(self._network.forward(self._descent.x, validation.X), validation)
            improved = score > self.best_validation_score_ + self.tol
            self.validation_scores_.append(score)
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                self._adopt(self._descent.x)
        return improved

    def _adopt_last(self, first: int) -> None:
        """Adopt the last weights, unless there are none or those of the best score are kept."""
        if self._descent.state.t > first and self.best_validation_score_ in (None, -math.inf):
            self._adopt(self._descent.x)

    def _adopt(self, theta: Array) -> None:
        """Make these the weights that predict."""
        coefs, intercepts = self._network.unpack(theta.copy())
        self.coefs_, self.intercepts_ = list(coefs), list(intercepts)
        self.n_layers_ = len(self.coefs_) + 1


def _warn_of(n_failed: int, stacklevel: int) -> None:
    if n_failed:
        message = f"{n_failed} losses were NaN or infinite: their pairs were left out"
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
