"""A learned rate for descent on random quadratics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner

Array = npt.NDArray[Any]


class RandomQuadratics(DifferentiableProblem):
    """Gradient descent on ``f(x) = sum_i h_i x_i^2 / 2``, whose rate a network reads off h.

    A network with two hidden layers of tanh units maps ``log h``, sorted, to the logarithm of the
    rate. The curvatures ``h_i`` are log-uniform in [0.01, 1] and x begins standard normal; the loss
    is f after the step, relative to f at the start. The best rate for one step is another one than
    that for many (as in section 4.2 of Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019).

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
        self.size = n * n_hidden + n_hidden + n_hidden**2 + n_hidden + n_hidden + 1

    def start(self, seed: int) -> Array:
        """Parameters to begin with: normal weights, and rates near 0.1."""
        n, h, rng = self._n, self._h, np.random.default_rng(seed)
        theta = np.zeros((1, self.size))
        for part, size in zip(self._parts(theta)[::2], (n, h, h), strict=True):
            part[...] = rng.standard_normal(part.shape) / np.sqrt(size)
        theta[0, -1] = np.log(0.1)
        return np.asarray(theta[0])

    def _parts(self, theta: Array) -> list[Array]:
        n, h, m = self._n, self._h, len(theta)
        parts, at = [], 0
        for rows, columns in ((n, h), (1, h), (h, h), (1, h), (h, 1), (1, 1)):
            parts.append(theta[:, at : at + rows * columns].reshape(m, rows, columns))
            at += rows * columns
        return parts

    def init(self, seeds: Array) -> Inner:
        rngs = [np.random.default_rng(int(seed)) for seed in seeds]
        x = np.array([rng.standard_normal(self._n) for rng in rngs])
        h = np.array([np.sort(10.0 ** rng.uniform(-2.0, 0.0, self._n)) for rng in rngs])
        return x, h, (h * x * x).sum(axis=1)

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        x, h, scale = state
        w1, b1, w2, b2, w3, b3 = self._parts(theta)
        features = np.log10(h)[:, None] + 1.0
        first = np.tanh(features @ w1 + b1)
        second = np.tanh(first @ w2 + b2)
        rate = np.exp(second @ w3 + b3)[:, 0]
        after = x - rate * h * x
        losses = (h * after * after).sum(axis=1) / scale
        return (after, h, scale), losses, (state, after, features, first, second, rate)

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        (x, h, scale), after, features, first, second, rate = taped
        by_after = slopes[0] + 2.0 * weight * h * after / scale[:, None]
        by_log_rate = -(by_after * h * x).sum(axis=1, keepdims=True) * rate
        _, _, w2, _, w3, _ = self._parts(theta)
        d3 = by_log_rate[:, :, None]
        d2 = d3 * w3.transpose(0, 2, 1) * (1.0 - second**2)
        d1 = (d2 @ w2.transpose(0, 2, 1)) * (1.0 - first**2)
        layers = zip((features, first, second), (d1, d2, d3), strict=True)
        parts = [part for a, d in layers for part in (a.transpose(0, 2, 1) @ d, d)]
        gradient = np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)
        by_x = by_after * (1.0 - rate * h)
        return (by_x, slopes[1], slopes[2]), gradient  # h and scale never depend on theta
