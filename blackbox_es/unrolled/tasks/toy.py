"""A learning rate's schedule for a rough function of two variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner

Array = npt.NDArray[Any]


class ToySchedule(DifferentiableProblem):
    """Gradient descent with rates from ``exp(theta_0)`` to ``exp(theta_1)`` on a function in 2-D.

    ``f(a, b) = sqrt(a^2 + 5) - sqrt(5) + sin(b)^2 exp(-5 a^2) + |b - 100| / 4`` from (1, 1); the
    rate of step t is ``(1 - t/T) exp(theta_0) + t/T exp(theta_1)``. The mean of f over an episode
    is smooth in theta only from afar (Vicol, Metz, Sohl-Dickstein 2021).

    Parameters
    ----------
    horizon : int
    """

    def __init__(self, horizon: int = 100) -> None:
        self.horizon = horizon

    def init(self, seeds: Array) -> Inner:
        return (np.ones((len(seeds), 2)),)

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        ramp = np.stack([1.0 - t / self.horizon, t / self.horizon], axis=1)
        parts = ramp * np.exp(theta)  # the derivatives of the rate, too
        rate = parts.sum(axis=1, keepdims=True)
        slope = _gradient(state[0])
        x = state[0] - rate * slope
        return (x,), _value(x), (state[0], x, rate, slope, parts)

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        before, x, rate, slope, parts = taped
        d = slopes[0] + weight * _gradient(x)
        by_theta = -(d * slope).sum(axis=1, keepdims=True) * parts
        return (d - rate * np.einsum("mij,mj->mi", _hessian(before), d),), by_theta


def _value(x: Array) -> Array:
    a, b = x.T
    wave = np.sin(b) ** 2 * np.exp(-5.0 * a * a)
    return np.asarray(np.sqrt(a * a + 5.0) - math.sqrt(5.0) + wave + 0.25 * np.abs(b - 100.0))


def _gradient(x: Array) -> Array:
    a, b = x.T
    bell = np.exp(-5.0 * a * a)
    by_a = a / np.sqrt(a * a + 5.0) - 10.0 * a * bell * np.sin(b) ** 2
    return np.stack([by_a, np.sin(2.0 * b) * bell + 0.25 * np.sign(b - 100.0)], axis=1)


def _hessian(x: Array) -> Array:
    a, b = x.T
    bell = np.exp(-5.0 * a * a)
    aa = 5.0 / (a * a + 5.0) ** 1.5 + (100.0 * a * a - 10.0) * bell * np.sin(b) ** 2
    ab, bb = -10.0 * a * bell * np.sin(2.0 * b), 2.0 * np.cos(2.0 * b) * bell
    return np.stack([np.stack([aa, ab], axis=1), np.stack([ab, bb], axis=1)], axis=1)
