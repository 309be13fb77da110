"""The fitted attributes of an estimator: what each generation of a fit leaves, as a whole.

Whatever is interrupted, and wherever, they are all those of the last finished generation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult
from sklearn.utils.validation import check_is_fitted

from blackbox_es._tables import generations_frame
from blackbox_es._threads import Threads
from blackbox_es._validation import as_seed
from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import Descent, Step
from blackbox_es.neural.given import GivenMLP
from blackbox_es.neural.goals import goal_of, metric_of
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.objective import NetworkObjective, PooledLoss
from blackbox_es.neural.standins import mean_slope
from blackbox_es.neural.thresholds import best_shifts
from blackbox_es.neural.units import Units

Array = npt.NDArray[Any]

_SHIFTED = 4096  # examples by which the line between classes is drawn


class FittedMLP(GivenMLP):
    """What a fit knows of itself."""

    _descent: Descent
    _units: Units

    def history_frame(self) -> Any:
        """The loss of each generation as a pandas DataFrame, 1 for the first.

        Raises
        ------
        ImportError
            Without pandas.
        """
        check_is_fitted(self, "loss_curve_")
        return generations_frame({"loss": self.loss_curve_})

    def _reset(self, begins: bool) -> None:
        """Nothing has been done yet, or nothing of another stage."""
        if not begins:
            return
        self.best_loss_ = math.inf
        self.n_iter_ = self.t_ = self.n_evaluations_ = self.n_example_forwards_ = 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_: Any = -math.inf if self.early_stopping else None

    def _count(self, descent: Descent, step: Step, objective: PooledLoss) -> None:
        """All that a generation changes, in one operation: an interrupt finds it done or not."""
        loss = step.loss
        if self._goal_is_of_each():
            loss = loss * self._units.loss_scale + self._units.loss_zero
        self.loss_curve_.append(loss)  # counted by n_iter_
        after = {
            "_descent": descent,
            "loss_": loss,
            "n_iter_": self.n_iter_ + 1,
            "t_": self.t_ + objective.examples.pool_size,
            "n_evaluations_": self.n_evaluations_ + step.n_losses,
            "n_example_forwards_": self.n_example_forwards_
            + step.n_losses * objective.examples_per_loss,
        }
        if descent.state.t <= 1:  # a stage begins, whose losses may be others
            after["best_loss_"] = math.inf
        if self.best_validation_score_ in (None, -math.inf):  # else those of the best score stay
            after |= self._weights(descent.x)
        self.__dict__.update(after)

    def _judge(self, epoch: int, validation: Data | None) -> bool:
        """Whether the last epoch was better than all before it by more than ``tol``."""
        loss = float(np.mean(self.loss_curve_[-epoch:]))
        unit = self._units.loss_unit if self._goal_is_of_each() else 1.0
        improved = loss < self.best_loss_ - self.tol * unit
        after: dict[str, Any] = {"best_loss_": min(self.best_loss_, loss)}  # which skips NaN
        if validation and self.validation_scores_ is not None:
            weights = self._weights(self._descent.x)
            theta = self._network.pack(weights["coefs_"], weights["intercepts_"])
            if self._goal_is_of_each() and not self._approaches:
                score = self._score(self._network.forward(theta, validation.X), validation)
            else:  # what is to be improved
                raw = self._network.forward(self._descent.x, self._units.inputs(validation.X))
                score = -self._metric()(validation.y, raw, validation.weight)
            improved = score > self.best_validation_score_ + self.tol
            after["validation_scores_"] = [*self.validation_scores_, score]
            if score >= self.best_validation_score_:  # of equal ones the last has learnt most
                after |= {"best_validation_score_": score, **weights}
        self.__dict__.update(after)
        return improved

    def _metric(self) -> Metric:
        """A loss of many examples, of targets in units of the user's and outputs of the network."""
        row, units = self._loss_row(), self._units

        def slope(y: Array, raw: Array, weight: Array | None) -> Array:
            targets = units.targets(y, row) if row.targets == "numbers" else y
            return mean_slope(targets, raw, weight, row)

        goal = goal_of(self.loss, self._targets)
        return metric_of(goal, self._answers(units), self.vectorized, slope)

    def _objective(self, data: Data, threads: Threads) -> PooledLoss:
        """What is minimised, in the units of the network."""
        units, row = self._units, self._loss_row(self._units.out_scale)
        goal = row if self._goal_is_of_each() else self._metric()
        own = isinstance(goal, Metric) or row.targets == "labels"
        y = data.y if own else units.targets(data.y, row)
        data = Data(units.inputs(data.X), y, data.weight)
        batch_size = self._batch_size(data)
        return self._descent.objective(
            self._network, goal, data, batch_size=batch_size, threads=threads
        )

    def _shifts(self, data: Data) -> Any:
        """What the metric would have added to the outputs of the weights that are kept."""
        if data.y.ndim > 1:
            return 0.0
        rng = np.random.default_rng(as_seed(self.random_state))
        part = data.take(rng.permutation(len(data))[:_SHIFTED])
        theta = self._network.pack(self.coefs_, self.intercepts_)
        raw = self._network.forward(theta, part.X)  # outputs of classes have no other units
        return best_shifts(self._metric(), part.y, raw, part.weight)

    def _surrogate(self, objective: PooledLoss) -> Array | None:
        """The guide: the gradient of a loss that has one, a function's, or the last estimate."""
        descent = self._descent
        guide = self._guides() if isinstance(objective, NetworkObjective) else None
        if callable(guide):
            data = objective.pool(descent.key)
            given = guide(self._network, descent.x, data.X, data.y, data.weight)
            return np.asarray(given)
        if guide == "backprop":
            assert isinstance(objective, NetworkObjective)
            return objective.gradient(descent.x, descent.key)
        return descent.state.gradient if guide == "previous" else None

    def _settle(self, first: int, epoch: int) -> None:
        """What was cut short leaves the attributes of the last finished generation."""
        del self.loss_curve_[self.n_iter_ :]
        if self.n_iter_ > first:
            rest = (self.n_iter_ - first) % epoch or epoch
            self.best_loss_ = min(self.best_loss_, float(np.mean(self.loss_curve_[-rest:])))

    def _intermediate_result(self) -> OptimizeResult:
        return OptimizeResult(
            x=self._network.pack(*self._units.outer(self._network, self._descent.x)),
            fun=self.loss_,
            nit=self.n_iter_,
            nfev=self.n_evaluations_,
        )

    def _weights(self, theta: Array) -> dict[str, Any]:
        """The attributes that predict."""
        theta = self._network.effective(theta)
        coefs, intercepts = self._units.outer(self._network, theta)
        return {"coefs_": coefs, "intercepts_": intercepts, "n_layers_": len(coefs) + 1}
