"""The learning rate's schedule of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner
from blackbox_es.unrolled.tasks.network import taught

Array = npt.NDArray[Any]


class NetworkSchedule(DifferentiableProblem):
    """A network trained with momentum at rates from ``exp(theta_0)`` to ``exp(theta_1)``.

    The rate of step t is ``exp((1 - t/T) theta_0 + t/T theta_1)``. The loss is the cross-entropy of
    the batch before the step: the objective is the mean of the training curve.

    Parameters
    ----------
    x, y : array-like of shape (n_examples, n_inputs), (n_examples,)
    n_hidden, batch_size, horizon : int
    momentum : float
    seed : int
        Of the order of the examples.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        n_hidden: int = 32,
        batch_size: int = 32,
        horizon: int = 200,
        momentum: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.horizon = horizon
        self._network, self._batches = taught(x, y, n_hidden, batch_size, seed)
        self._momentum = momentum

    def init(self, seeds: Array) -> Inner:
        w = self._network.starts(seeds)
        return w, np.zeros_like(w)

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        w, before = state
        losses, slope, taped = self._network.gradient(w, *self._batches.at(t, seeds))
        ramp = np.stack([1.0 - t / self.horizon, t / self.horizon], axis=1)
        rate = np.exp((ramp * theta).sum(axis=1, keepdims=True))
        velocity = self._momentum * before + slope
        return (w - rate * velocity, velocity), losses, (w, slope, taped, ramp, rate, velocity)

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        w, slope, inside, ramp, rate, velocity = taped
        by_w, by_velocity = slopes
        by_slope = by_velocity - rate * by_w
        by_theta = -(by_w * velocity).sum(axis=1, keepdims=True) * rate * ramp
        by_w = by_w + weight * slope + self._network.product(w, inside, by_slope)
        return (by_w, self._momentum * by_slope), by_theta
