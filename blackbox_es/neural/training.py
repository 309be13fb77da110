"""Training a network by an evolution strategy: what the two estimators share."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from blackbox_es._progress import ProgressBar
from blackbox_es._threads import Threads
from blackbox_es._validation import (
    as_seed,
    check_between,
    check_choice,
    check_count,
    check_positive,
)
from blackbox_es.neural.network import ACTIVATIONS, Network
from blackbox_es.neural.nodes import ActivationES, ActivationObjective
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.penalty import Penalized
from blackbox_es.optimizers import Optimizer
from blackbox_es.samplers import LowRank
from blackbox_es.schedules import Linear, Schedule
from blackbox_es.strategies import GuidedES, VanillaES
from blackbox_es.strategy import EvolutionStrategy

Array = npt.NDArray[Any]

_FULL_BATCH = 256  # with no more examples than this, every pair sees all of them
_GENERATIONS_PER_EPOCH = 10  # at least: one pass over few examples says little about progress


class Usual(NamedTuple):
    """Defaults."""

    sigma: float
    n_pairs: int
    batch_size: int  # a block of the kernel, or two


_PERTURBED = {"weights": Usual(0.03, 128, 64), "activations": Usual(0.1, 64, 128)}


class ESMLP(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share; parameters are documented there."""

    _network: Network
    _es: EvolutionStrategy
    _losses: tuple[str, ...]  # by name, the default first; the surrogate is that of the default

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64,),
        activation: str = "relu",
        *,
        loss: str | Callable[..., Any] | None = None,
        perturb: str = "weights",
        sigma: float | Schedule | None = None,
        n_pairs: int | None = None,
        batch_size: int | str | None = "auto",
        guide: str | None = None,
        guide_alpha: float = 0.9,
        n_guides: int = 1,
        optimizer: str | Optimizer = "adam",
        alpha: float = 0.0001,
        learning_rate: str = "linear",
        learning_rate_init: float = 0.01,
        shaping: str | Callable[..., Any] = "raw",
        max_iter: int = 1000,
        max_time: float | None = None,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.perturb = perturb
        self.sigma = sigma
        self.n_pairs = n_pairs
        self.batch_size = batch_size
        self.guide = guide
        self.guide_alpha = guide_alpha
        self.n_guides = n_guides
        self.optimizer = optimizer
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.shaping = shaping
        self.max_iter = max_iter
        self.max_time = max_time
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- what the classifier and the regressor say ---------------------------------------------

    @abstractmethod
    def _encode(self, y: Array, classes: Any, reset: bool) -> Array:
        """The targets as the losses take them; sets ``classes_`` and ``n_outputs_``."""

    @abstractmethod
    def _user_loss(self, y: Array, raw: Array, weight: Array | None) -> Any:
        """The value of a loss of the user's, given targets and predictions as he knows them."""

    @abstractmethod
    def _score(self, raw: Array, y: Array, weight: Array | None) -> float:
        """The score of raw outputs, as `score` has it."""

    # -- fitting -------------------------------------------------------------------------------

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
        """
        resume = self.warm_start and hasattr(self, "coefs_")
        X, y, weight = self._check_data(X, y, sample_weight, None, reset=not resume)
        validation = None
        if self.early_stopping:
            X, y, weight, *validation = self._split(X, y, weight)
        theta = self._network.pack(self.coefs_, self.intercepts_) if resume else None
        self._start(X, weight, theta, self.max_iter)
        self._train(X, y, weight, self.max_iter, validation)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: use fit")
        first = not hasattr(self, "coefs_")
        X, y, weight = self._check_data(X, y, sample_weight, classes, reset=first)
        if first or not self._incremental:
            theta = None if first else self._network.pack(self.coefs_, self.intercepts_)
            self._start(X, weight, theta, None)
        self._es.stop_reason_ = None
        self._train(X, y, weight, None, None)
        return self

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, *, reset: bool
    ) -> tuple[Array, Array, Array | None]:
        self._check_parameters()
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            order="C",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=reset,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
            used = sample_weight > 0
            if not used.any():
                raise ValueError("sample_weight is zero for all samples: nothing to learn from")
            X, y, sample_weight = X[used], y[used], sample_weight[used]
        return X, self._encode(y, classes, reset), sample_weight

    def _check_parameters(self) -> None:
        """Raise for what the strategy does not check; it checks the rest before it starts."""
        for size in self._hidden():
            check_count("hidden_layer_sizes", size)
        check_choice("activation", self.activation, ACTIVATIONS)
        if not callable(self.loss):
            check_choice("loss", self.loss, (None, *self._losses))
        check_choice("perturb", self.perturb, tuple(_PERTURBED))
        if self.sigma is not None and not callable(self.sigma):
            check_positive("sigma", self.sigma, also=", a schedule or None")
        check_count("n_pairs", self.n_pairs, optional=True)
        check_choice("guide", self.guide, (None, "backprop", "previous"))
        if self.perturb == "activations" and self.guide is not None:
            raise ValueError(
                f"guide={self.guide!r} guides a search among weights: set perturb='weights', or "
                "guide=None"
            )
        if self.perturb == "activations" and callable(self.loss):
            raise ValueError(
                "perturb='activations' needs the loss of each example by itself, which a function "
                f"does not tell: take one of {', '.join(self._losses)}, or perturb='weights'"
            )
        check_choice("learning_rate", self.learning_rate, ("linear", "constant"))
        check_positive("learning_rate_init", self.learning_rate_init)
        check_count("max_iter", self.max_iter)
        check_count("n_iter_no_change", self.n_iter_no_change)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size, optional=True)
        check_between("alpha", self.alpha, 0.0, math.inf)
        check_between("tol", self.tol, 0.0, math.inf)
        check_between("guide_alpha", self.guide_alpha, 0.0, 1.0)
        if self.max_time is not None:
            check_positive("max_time", self.max_time)
        if self.early_stopping:
            check_between("validation_fraction", self.validation_fraction, 0.0, 1.0)

    def _hidden(self) -> tuple[Any, ...]:
        sizes = self.hidden_layer_sizes
        return tuple(sizes) if np.iterable(sizes) else (sizes,)

    def _split(self, X: Array, y: Array, weight: Array | None) -> tuple[Any, ...]:
        """Training and validation parts: X, y, weight of each."""
        rows = np.arange(len(X))
        train, test = train_test_split(
            rows,
            test_size=self.validation_fraction,
            random_state=as_seed(self.random_state) % 2**32,
            stratify=y if hasattr(self, "classes_") else None,
        )
        if hasattr(self, "classes_") and len(np.unique(y[train])) < len(self.classes_):
            raise ValueError("a class has no training sample left: lower validation_fraction")
        parts = [X[train], y[train], None if weight is None else weight[train]]
        return *parts, X[test], y[test], None if weight is None else weight[test]

    def _start(
        self, X: Array, weight: Array | None, theta: Array | None, max_iter: int | None
    ) -> None:
        """The network, and the strategy that trains it."""
        seed = as_seed(self.random_state)
        network = Network((X.shape[1], *self._hidden(), self.n_outputs_), self.activation)
        if theta is not None and network.layer_sizes != self._network.layer_sizes:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} is not what was fitted: a fit can "
                "only be continued with the same network; set warm_start=False to begin anew"
            )
        n = network.n_parameters
        if theta is None:
            theta = network.initial(np.random.default_rng(seed))
        penalty = self.alpha / (len(X) if weight is None else float(weight.sum()))
        rate = float(self.learning_rate_init)
        usual = _PERTURBED[self.perturb]
        sigma = usual.sigma if self.sigma is None else self.sigma
        common: dict[str, Any] = {
            "n_pairs": usual.n_pairs if self.n_pairs is None else self.n_pairs,
            "optimizer": Penalized(self.optimizer, network.is_weight() * penalty),
            "learning_rate": Linear(rate, 0.0, max_iter)
            if max_iter and self.learning_rate == "linear"
            else rate,
            "shaping": self.shaping,
            "max_iter": 2**62,  # the estimator counts
            "random_state": seed,
        }
        es: EvolutionStrategy
        if self.perturb == "activations":
            es = ActivationES(beta=1.0, sigma=sigma, **common)
            es.pairs_per_example = int(es.n_pairs)
        else:
            common |= {"sigma": _total(sigma, n), "sampler": LowRank(network.shapes)}
            if self.guide is None:
                es = VanillaES(beta=float(n), **common)
            else:
                es = GuidedES(alpha=self.guide_alpha, n_guides=self.n_guides, **common)
        es.start(theta.astype(X.dtype))
        self._network, self._es = network, es  # nothing has changed if a parameter was bad
        self._es._warned.add("surrogate")  # the guide is ours, and it may be zero on a plateau
        self._incremental = max_iter is None
        self.n_iter_ = self.t_ = self.n_evaluations_ = self.n_example_forwards_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = math.inf
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_: Any = -math.inf if self.early_stopping else None

    def _train(
        self,
        X: Array,
        y: Array,
        weight: Array | None,
        max_iter: int | None,
        validation: list[Array] | None,
    ) -> None:
        """Run generations: ``max_iter`` of them at most, or one pass over the data if None."""
        es = self._es
        begun = time.perf_counter()
        with ExitStack() as stack:
            stack.callback(_forget, es)
            # Small products only: threads of the kernels are ours, those of BLAS would fight them.
            stack.enter_context(threadpool_limits(1, user_api="blas"))
            threads = stack.enter_context(Threads(effective_n_jobs(self.n_jobs)))
            objective = self._objective(X, y, weight, threads)
            evaluator = stack.enter_context(es._evaluator(objective))
            bar = stack.enter_context(ProgressBar(self.verbose, max_iter))
            epoch = max(_GENERATIONS_PER_EPOCH, objective.examples.pools_per_epoch)
            n_stale = 0
            self._best = es.x_
            for i in range(1, (max_iter or objective.examples.pools_per_epoch) + 1):
                es._advance(evaluator, self._surrogate(objective))
                self._count(objective)
                bar.update(self.loss_)
                if max_iter and i % epoch == 0:
                    n_stale = 0 if self._judge(epoch, validation) else n_stale + 1
                out_of_time = self.max_time is not None and (
                    time.perf_counter() - begun >= self.max_time
                )
                last = i == max_iter
                if es.stop_reason_ or last or n_stale >= self.n_iter_no_change or out_of_time:
                    if i % epoch:  # judge what came after the last whole epoch
                        self._judge(i % epoch, validation)
                    break
        self._adopt(self._best if self.validation_scores_ else es.x_)

    def _objective(
        self, X: Array, y: Array, weight: Array | None, threads: Threads
    ) -> NetworkObjective:
        """What the strategy minimises; the strategy is told where to find its noise."""
        es, loss = self._es, self._user_loss if callable(self.loss) else self.loss
        data = self._network, loss or self._losses[0], X, y, weight
        options: dict[str, Any] = {
            "batch_size": self._batch_size(len(X)),
            "first": es.n_iter_,
            "threads": threads,
        }
        if not isinstance(es, ActivationES):
            es._base = LowRank(self._network.shapes, threads=threads)
            return NetworkObjective(*data, n_pairs=int(es.n_pairs), **options)
        objective = ActivationObjective(*data, n_pairs=es.pairs_per_example, **options)
        es.noise, es.n_pairs = objective.noise, objective.n_pairs * objective.batch_size
        return objective

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return n_samples if n_samples <= _FULL_BATCH else _PERTURBED[self.perturb].batch_size
        return n_samples if self.batch_size is None else min(int(self.batch_size), n_samples)

    def _surrogate(self, objective: NetworkObjective) -> Array | None:
        """The guide: the gradient of the smooth loss, or the last estimate."""
        es = self._es
        if self.guide == "backprop":
            return objective.gradient(es.x_, (es._seed, es.n_iter_), self._losses[0])
        return es.gradient_ if self.guide == "previous" else None

    def _count(self, objective: NetworkObjective) -> None:
        self.loss_ = self._es.fun_
        self.loss_curve_.append(self.loss_)
        self.n_iter_ += 1
        self.t_ += objective.examples.pool_size
        self.n_evaluations_ += 2 * self._es.n_pairs
        self.n_example_forwards_ += 2 * self._es.n_pairs * objective.examples_per_loss

    def _judge(self, epoch: int, validation: list[Array] | None) -> bool:
        """Whether the last epoch was better than all before it by more than ``tol``."""
        loss = float(np.mean(self.loss_curve_[-epoch:]))
        improved = loss < self.best_loss_ - self.tol
        self.best_loss_ = min(loss, self.best_loss_)
        if validation and self.validation_scores_ is not None:
            X, y, weight = validation
            score = self._score(self._network.forward(self._es.x_, X), y, weight)
            improved = score > self.best_validation_score_ + self.tol
            self.validation_scores_.append(score)
            if score > self.best_validation_score_:
                self.best_validation_score_, self._best = score, self._es.x_
        return improved

    def _adopt(self, theta: Array) -> None:
        """Make these the weights that predict."""
        coefs, intercepts = self._network.unpack(theta.copy())
        self.coefs_, self.intercepts_ = list(coefs), list(intercepts)
        self.n_layers_ = len(self.coefs_) + 1

    # -- predicting ----------------------------------------------------------------------------

    def _raw(self, X: Any) -> Array:
        """Outputs before the output activation, in float64."""
        check_is_fitted(self, "coefs_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        theta = self._network.pack(self.coefs_, self.intercepts_)
        return self._network.forward(theta.astype(np.float64), X.astype(np.float64))


def _forget(es: EvolutionStrategy) -> None:
    """Let go of the examples, also when interrupted: they would be kept, and pickled."""
    es._best = None
    vars(es).pop("noise", None)


def _total(sigma: float | Schedule, n: int) -> float | Schedule:
    """The strategy's sigma, a length, of the standard deviation of each weight."""
    if callable(sigma):
        return _Scaled(sigma, math.sqrt(n))
    check_positive("sigma", sigma, also=" or a schedule")
    return sigma * math.sqrt(n)


@dataclass(frozen=True)
class _Scaled:
    schedule: Schedule
    factor: float

    def __call__(self, t: int) -> float:
        return self.schedule(t) * self.factor
