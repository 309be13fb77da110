"""A learned rate for descent on random quadratics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner

Array = npt.NDArray[Any]


class RandomQuadratics(DifferentiableProblem):
    """Gradient descent on ``f(x) = sum_i h_i x_i^2 / 2``, whose rates a network reads off h.

    A network with two hidden layers of tanh units maps ``log h``, sorted, and the time to the
    logarithm of the rate of a step. The curvatures ``h_i`` are log-uniform in [0.01, 1], and x
    begins standard normal. The loss of a step is ``log(f(x') / f(x))``: the mean over an episode is
    that of its end over its beginning, divided by T. What is best for one step is not best for
    many: small curvatures are left for later (as in section 4.2 of Maheswaranathan, Metz, Tucker,
    Choi, Sohl-Dickstein 2019).

    Parameters
    ----------
    n, n_hidden, horizon : int

    Attributes
    ----------
    size : int
        Parameters of the network.
    """

    def __init__(self, n: int = 10, n_hidden: int = 32, *, horizon: int = 15) -> None:
        self.horizon = horizon
        self._n, self._h = n, n_hidden
        self.size = (n + 1) * n_hidden + n_hidden + n_hidden**2 + n_hidden + n_hidden + 1

    def start(self, seed: int) -> Array:
        """Parameters to begin with: normal weights, and rates near 0.1."""
        n, h, rng = self._n, self._h, np.random.default_rng(seed)
        theta = np.zeros((1, self.size))
        for part, size in zip(self._parts(theta)[::2], (n + 1, h, h), strict=True):
            part[...] = rng.standard_normal(part.shape) / np.sqrt(size)
        theta[0, -1] = np.log(0.1)
        return np.asarray(theta[0])

    def _parts(self, theta: Array) -> list[Array]:
        n, h, m = self._n, self._h, len(theta)
        parts, at = [], 0
        for rows, columns in ((n + 1, h), (1, h), (h, h), (1, h), (h, 1), (1, 1)):
            parts.append(theta[:, at : at + rows * columns].reshape(m, rows, columns))
            at += rows * columns
        return parts

    def init(self, seeds: Array) -> Inner:
        rngs = [np.random.default_rng(int(seed)) for seed in seeds]
        x = np.array([rng.standard_normal(self._n) for rng in rngs])
        logs = [rng.uniform(-2.0, 0.0, self._n) for rng in rngs]
        return x, 10.0 ** np.sort(logs)

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        x, h = state
        w1, b1, w2, b2, w3, b3 = self._parts(theta)
        time = 2.0 * t[:, None] / self.horizon - 1.0
        features = np.concatenate([np.log10(h) + 1.0, time], axis=1)[:, None]
        first = np.tanh(features @ w1 + b1)
        second = np.tanh(first @ w2 + b2)
        rate = np.exp(second @ w3 + b3)[:, 0]
        after = x - rate * h * x
        before, value = ((h * at * at).sum(axis=1) for at in (x, after))
        taped = (state, before, value, after, features, first, second, rate)
        return (after, h), np.log(value / before), taped

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        (x, h), before, value, after, features, first, second, rate = taped
        by_after = slopes[0] + 2.0 * weight * h * after / value[:, None]
        by_log_rate = -(by_after * h * x).sum(axis=1, keepdims=True) * rate
        _, _, w2, _, w3, _ = self._parts(theta)
        d3 = by_log_rate[:, :, None]
        d2 = d3 * w3.transpose(0, 2, 1) * (1.0 - second**2)
        d1 = (d2 @ w2.transpose(0, 2, 1)) * (1.0 - first**2)
        layers = zip((features, first, second), (d1, d2, d3), strict=True)
        parts = [part for a, d in layers for part in (a.transpose(0, 2, 1) @ d, d)]
        gradient = np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)
        by_x = by_after * (1.0 - rate * h) - 2.0 * weight * h * x / before[:, None]
        return (by_x, slopes[1]), gradient  # h does not depend on theta
