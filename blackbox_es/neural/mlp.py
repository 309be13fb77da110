"""A multilayer perceptron as scikit-learn knows it, however it is trained.

Parameters and predictions of all estimators; `given` is what they are given, `fitted` what a fit
leaves, and `training` fits them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from blackbox_es._validation import (
    check_between,
    check_choice,
    check_count,
    check_flag,
    check_positive,
)
from blackbox_es.neural.data import Data
from blackbox_es.neural.goals import each_of, goal_of
from blackbox_es.neural.losses import FAMILIES, LOSSES, PREDICTIONS, Loss, losses_of
from blackbox_es.neural.network import FlatNetwork
from blackbox_es.neural.quantisers import WEIGHTS
from blackbox_es.neural.scoring import Answers
from blackbox_es.neural.units import Units
from blackbox_es.optimizers import Optimizer
from blackbox_es.schedules import Schedule

Array = npt.NDArray[Any]


class Usual(NamedTuple):
    """Defaults."""

    sigma: float
    n_pairs: int
    batch_size: int  # a block of the kernel, or two


QUANTISED_SIGMA = 0.1  # moves enough weights past where they are rounded differently
_RATE, _FAR = 0.01, 0.2  # the learning rate at most, and ``rate sqrt(max_iter)``
USUAL = {"weights": Usual(0.03, 128, 64), "activations": Usual(0.1, 128, 128)}


@dataclass(eq=False, repr=False)
class MLP(BaseEstimator, ABC):  # type: ignore[misc]
    """What the classifier and the regressor take and say; parameters are documented there."""

    _targets: ClassVar[str]  # of the losses that the estimator knows by name
    _network_parameter: ClassVar[str]  # which says what network it is
    _usual: ClassVar[dict[str, Usual]] = USUAL
    _network: FlatNetwork = field(init=False)
    _approaches = False  # until a stage of a fit says otherwise

    _: KW_ONLY
    loss: Any = None
    vectorized: bool = False
    perturb: str = "auto"
    weights: str = "float"
    sigma: float | Schedule | None = None
    n_pairs: int | None = None
    batch_size: int | str | None = "auto"
    guide: str | Callable[..., Any] | None = "auto"
    guide_alpha: float | str = "auto"
    n_guides: int = 1
    optimizer: str | Optimizer = "adam"
    alpha: float = 1.0
    learning_rate: str = "linear"
    learning_rate_init: float | None = None
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
    def _answers(self, units: Units) -> Answers:
        """What functions and scorers of the user's are given for raw outputs."""

    @abstractmethod
    def _score(self, raw: Array, data: Data) -> float:
        """The score of raw outputs, as `score` has it."""

    def _weight(self, data: Data) -> Array | None:
        """How much each example counts."""
        return data.weight

    @abstractmethod
    def _check_network(self) -> None:
        """Raise for what is wrong with the network, whatever the data."""

    @abstractmethod
    def _make_network(self, n_inputs: int) -> FlatNetwork:
        """The network for so many inputs, with ``n_outputs_`` outputs."""

    # -- what is taken -----------------------------------------------------------------------------

    def _goal(self) -> Any:
        """What is minimised: a metric only once it has been approached."""
        return goal_of(None if self._approaches else self.loss, self._targets)

    def _is_approached(self) -> bool:
        """Whether a metric is approached by way of a loss of each example."""
        automatic = self.perturb == "auto" and self.guide == "auto"
        return automatic and not self._goal_is_of_each()

    def _goal_is_of_each(self) -> bool:
        """Whether the loss is one of each example by itself."""
        goal = self._goal()
        return isinstance(goal, str) and goal in LOSSES

    def _moves(self) -> str:
        """What is perturbed."""
        if self.perturb != "auto":
            return self.perturb
        unguided = self.guide is None or self.guide == "auto"
        return "activations" if unguided and self._goal_is_of_each() else "weights"

    def _guides(self) -> str | Callable[..., Any] | None:
        """What guides a search among weights."""
        if self.guide == "auto":
            return None if self._moves() == "activations" else "backprop"
        return self.guide

    def _rate(self, max_iter: int) -> float:
        """The learning rate of the first of so many generations."""
        if self.learning_rate_init is not None:
            return float(self.learning_rate_init)
        return min(_RATE, _FAR / math.sqrt(max_iter)) if self._moves() == "activations" else _RATE

    def _loss_row(self, unit: float = 1.0) -> Loss:
        """The loss, or what metrics and functions are like, for targets in this unit."""
        name = each_of(self._goal(), self._targets)
        if name not in FAMILIES:
            return LOSSES[name]
        option, row, degree = FAMILIES[name]
        return row(getattr(self, option) / unit**degree)

    def _check_parameters(self) -> None:
        """Raise for what the strategy does not check; it checks the rest before it starts."""
        self._check_network()
        check_flag("vectorized", self.vectorized)
        self._loss_row()  # checks the loss, and what it depends on
        check_choice("perturb", self.perturb, ("auto", *USUAL))
        check_choice("weights", self.weights, WEIGHTS)
        if self.sigma is not None and not callable(self.sigma):
            check_positive("sigma", self.sigma, also=", a schedule or None")
        check_count("n_pairs", self.n_pairs, optional=True)
        if not callable(self.guide):
            check_choice("guide", self.guide, ("auto", None, "backprop", "previous"))
        if self._moves() == "activations" and self._guides() is not None:
            raise ValueError(
                f"guide={self.guide!r} guides a search among weights: set perturb='weights', or "
                "guide=None"
            )
        if self._moves() == "activations" and not self._goal_is_of_each():
            raise ValueError(
                "perturb='activations' needs the loss of each example by itself, which functions "
                f"and metrics do not tell: take one of {', '.join(losses_of(self._targets))}, or "
                "perturb='weights'"
            )
        check_choice("learning_rate", self.learning_rate, ("linear", "constant"))
        if self.learning_rate_init is not None:
            check_positive("learning_rate_init", self.learning_rate_init, also=" or None")
        check_count("max_iter", self.max_iter)
        check_count("n_iter_no_change", self.n_iter_no_change)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size, optional=True)
        check_between("alpha", self.alpha, 0.0, math.inf)
        check_between("tol", self.tol, 0.0, math.inf)
        if self.guide_alpha != "auto":
            check_between("guide_alpha", self.guide_alpha, 0.0, 1.0)
        if self.max_time is not None:
            check_positive("max_time", self.max_time)
        if self.early_stopping:
            check_between("validation_fraction", self.validation_fraction, 0.0, 1.0)

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
