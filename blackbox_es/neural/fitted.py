"""The fitted attributes of an estimator: what each generation of a fit leaves, as a whole.

Whatever is interrupted, and wherever, they are all those of the last finished generation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from blackbox_es.neural.data import Data
from blackbox_es.neural.descent import Descent, Step
from blackbox_es.neural.mlp import MLP
from blackbox_es.neural.objective import PooledLoss

Array = npt.NDArray[Any]


class FittedMLP(MLP):
    """What a fit knows of itself."""

    _descent: Descent

    def _reset(self) -> None:
        """Nothing has been done yet."""
        self.n_iter_ = self.t_ = self.n_evaluations_ = self.n_example_forwards_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = math.inf
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_: Any = -math.inf if self.early_stopping else None

    def _count(self, descent: Descent, step: Step, objective: PooledLoss) -> None:
        """All that a generation changes, in one operation: an interrupt finds it done or not."""
        self.loss_curve_.append(step.loss)  # counted by n_iter_
        after = {
            "_descent": descent,
            "loss_": step.loss,
            "n_iter_": self.n_iter_ + 1,
            "t_": self.t_ + objective.examples.pool_size,
            "n_evaluations_": self.n_evaluations_ + step.n_losses,
            "n_example_forwards_": self.n_example_forwards_
            + step.n_losses * objective.examples_per_loss,
        }
        if self.best_validation_score_ in (None, -math.inf):  # else those of the best score stay
            after |= self._weights(descent.x)
        self.__dict__.update(after)

    def _judge(self, epoch: int, validation: Data | None) -> bool:
        """Whether the last epoch was better than all before it by more than ``tol``."""
        loss = float(np.mean(self.loss_curve_[-epoch:]))
        improved = loss < self.best_loss_ - self.tol
        after: dict[str, Any] = {"best_loss_": min(self.best_loss_, loss)}  # which skips NaN
        if validation and self.validation_scores_ is not None:
            x = self._descent.x
            score = self._score(self._network.forward(x, validation.X), validation)
            improved = score > self.best_validation_score_ + self.tol
            after["validation_scores_"] = [*self.validation_scores_, score]
            if score >= self.best_validation_score_:  # of equal ones the last has learnt most
                after |= {"best_validation_score_": score, **self._weights(x)}
        self.__dict__.update(after)
        return improved

    def _settle(self, first: int, epoch: int) -> None:
        """What was cut short leaves the attributes of the last finished generation."""
        del self.loss_curve_[self.n_iter_ :]
        if self.n_iter_ > first:
            rest = (self.n_iter_ - first) % epoch or epoch
            self.best_loss_ = min(self.best_loss_, float(np.mean(self.loss_curve_[-rest:])))

    def _intermediate_result(self) -> OptimizeResult:
        return OptimizeResult(
            x=self._descent.x.copy(), fun=self.loss_, nit=self.n_iter_, nfev=self.n_evaluations_
        )

    def _weights(self, theta: Array) -> dict[str, Any]:
        """The attributes that predict."""
        theta = self._network.effective(theta).copy()
        coefs, intercepts = map(list, self._network.unpack(theta))
        return {"coefs_": coefs, "intercepts_": intercepts, "n_layers_": len(coefs) + 1}
