"""A multilayer perceptron as scikit-learn knows it, however it is trained.

Parameters, data and predictions of both estimators; `training` fits them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from blackbox_es._validation import (
    as_seed,
    check_between,
    check_choice,
    check_count,
    check_positive,
)
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import FAMILIES, LOSSES, PREDICTIONS, Loss, losses_of
from blackbox_es.neural.metrics import METRICS
from blackbox_es.neural.network import FlatNetwork
from blackbox_es.neural.quantisers import WEIGHTS
from blackbox_es.optimizers import Optimizer
from blackbox_es.schedules import Schedule

Array = npt.NDArray[Any]

_FULL_BATCH = 256  # with no more examples than this, every pair sees all of them


class Usual(NamedTuple):
    """Defaults."""

    sigma: float
    n_pairs: int
    batch_size: int  # a block of the kernel, or two


QUANTISED_SIGMA = 0.1  # moves enough weights past where they are rounded differently
USUAL = {"weights": Usual(0.03, 128, 64), "activations": Usual(0.1, 64, 128)}


@dataclass(eq=False, repr=False)
class MLP(BaseEstimator, ABC):  # type: ignore[misc]
    """What the classifier and the regressor take and say; parameters are documented there."""

    _targets: ClassVar[str]  # of the losses that the estimator knows by name
    _network_parameter: ClassVar[str]  # which says what network it is
    _usual: ClassVar[dict[str, Usual]] = USUAL
    _network: FlatNetwork = field(init=False)

    _: KW_ONLY
    loss: str | Callable[..., Any] | None = None
    perturb: str = "weights"
    weights: str = "float"
    sigma: float | Schedule | None = None
    n_pairs: int | None = None
    batch_size: int | str | None = "auto"
    guide: str | None = None
    guide_alpha: float = 0.9
    n_guides: int = 1
    optimizer: str | Optimizer = "adam"
    alpha: float = 0.0001
    learning_rate: str = "linear"
    learning_rate_init: float = 0.01
    shaping: str | Callable[..., Any] = "raw"
    max_iter: int = 1000
    max_time: float | None = None
    tol: float = 1e-4
    n_iter_no_change: int = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    n_jobs: int | None = None
    random_state: Any = None
    verbose: int = 0

    @abstractmethod
    def _encode(self, y: Array, classes: Any, reset: bool) -> Array:
        """The targets as the losses take them; sets ``classes_`` and ``n_outputs_``."""

    @abstractmethod
    def _decoded(self, y: Array, predictions: Array) -> tuple[Array, Array]:
        """Targets and predictions as the user knows them."""

    @abstractmethod
    def _score(self, raw: Array, data: Data) -> float:
        """The score of raw outputs, as `score` has it."""

    @abstractmethod
    def _check_network(self) -> None:
        """Raise for what is wrong with the network, whatever the data."""

    @abstractmethod
    def _make_network(self, n_inputs: int) -> FlatNetwork:
        """The network for so many inputs, with ``n_outputs_`` outputs."""

    # -- what is taken -----------------------------------------------------------------------------

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return n_samples if n_samples <= _FULL_BATCH else self._usual[self.perturb].batch_size
        return n_samples if self.batch_size is None else min(int(self.batch_size), n_samples)

    def _loss_name(self) -> str:
        """The loss, or the one by default, which metrics and functions are like."""
        named = isinstance(self.loss, str) and self.loss in LOSSES
        return str(self.loss) if named else losses_of(self._targets)[0]

    def _is_metric(self) -> bool:
        return isinstance(self.loss, str) and self.loss in METRICS

    def _loss_row(self) -> Loss:
        name = self._loss_name()
        if name not in FAMILIES:
            return LOSSES[name]
        option, row = FAMILIES[name]
        return row(getattr(self, option))

    def _check_parameters(self) -> None:
        """Raise for what the strategy does not check; it checks the rest before it starts."""
        names = losses_of(self._targets)
        self._check_network()
        if not callable(self.loss):
            metrics = METRICS if self._targets == "labels" else ()
            check_choice("loss", self.loss, (None, *names, *metrics))
        self._loss_row()  # checks what the loss depends on
        check_choice("perturb", self.perturb, tuple(USUAL))
        check_choice("weights", self.weights, WEIGHTS)
        if self.sigma is not None and not callable(self.sigma):
            check_positive("sigma", self.sigma, also=", a schedule or None")
        check_count("n_pairs", self.n_pairs, optional=True)
        check_choice("guide", self.guide, (None, "backprop", "previous"))
        if self.perturb == "activations" and self.guide is not None:
            raise ValueError(
                f"guide={self.guide!r} guides a search among weights: set perturb='weights', or "
                "guide=None"
            )
        if self.perturb == "activations" and (callable(self.loss) or self._is_metric()):
            raise ValueError(
                "perturb='activations' needs the loss of each example by itself, which functions "
                f"and metrics do not tell: take one of {', '.join(names)}, or perturb='weights'"
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

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, *, reset: bool, dtype: Any = None
    ) -> Data:
        """The examples that count, targets as the losses take them; None is the dtype of X."""
        self._check_parameters()
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32) if dtype is None else dtype,
            order="C",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=reset,
        )
        data = Data(X, y)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
            if not weight.any():
                raise ValueError("sample_weight is zero for all samples: nothing to learn from")
            data = Data(X, y, weight).take(weight > 0)
        data = replace(data, y=self._encode(data.y, classes, reset))
        if data.y.min() < self._loss_row().least:
            raise ValueError(
                f"y is as low as {data.y.min():g}: loss={self.loss!r} needs numbers of at least "
                f"{self._loss_row().least:g}"
            )
        if self._is_metric():
            self._check_ranking(data)
        self.out_activation_ = self._loss_row().out_activation(self.n_outputs_)
        return data

    def _check_ranking(self, data: Data) -> None:
        """Raise unless each slice holds both of two classes."""
        if self.n_outputs_ > 1:
            raise ValueError(f"loss={self.loss!r} is of two classes: y has {self.n_outputs_}")
        batch_size, counts = self._batch_size(len(data)), np.bincount(data.y, minlength=2)
        least = math.ceil(2 * len(data) / max(1, counts.min()))
        if counts.min() == 0 or batch_size < min(least, len(data)):
            raise ValueError(
                f"batch_size={batch_size} may leave a slice with one class, of which there is no "
                f"{self.loss}: set batch_size={least} or more, or None for all samples"
            )

    def _minimised(self) -> Loss | Callable[..., Any]:
        """The loss as objectives take it."""
        if callable(self.loss):
            return self._user_loss
        return METRICS[str(self.loss)] if self._is_metric() else self._loss_row()

    def _split(self, data: Data) -> tuple[Data, Data]:
        """Training and validation parts."""
        train, test = train_test_split(
            np.arange(len(data)),
            test_size=self.validation_fraction,
            random_state=as_seed(self.random_state) % 2**32,
            stratify=data.y if hasattr(self, "classes_") else None,
        )
        if hasattr(self, "classes_") and len(np.unique(data.y[train])) < len(self.classes_):
            raise ValueError("a class has no training sample left: lower validation_fraction")
        if isinstance(self, RegressorMixin) and len(test) < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} holds out one of {len(data)} "
                "samples, of which there is no R^2: raise it, or set early_stopping=False"
            )
        return data.take(train), data.take(test)

    # -- what is said ------------------------------------------------------------------------------

    def _raw(self, X: Any) -> Array:
        """Outputs before the output activation, in float64."""
        check_is_fitted(self, "coefs_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        theta = self._network.pack(self.coefs_, self.intercepts_)
        return self._network.forward(theta.astype(np.float64), X.astype(np.float64))

    def _predictions(self, raw: Array) -> Array:
        """Probabilities of the classes, or expected targets."""
        return PREDICTIONS[self.out_activation_](raw)

    def _user_loss(self, y: Array, raw: Array, weight: Array | None) -> Any:
        """The value of a loss of the user's."""
        weights = {} if weight is None else {"sample_weight": weight}
        loss: Any = self.loss
        return loss(*self._decoded(y, self._predictions(raw)), **weights)
