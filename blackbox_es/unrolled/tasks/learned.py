"""An optimizer that is a network itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner
from blackbox_es.unrolled.tasks.network import taught

Array = npt.NDArray[Any]

_DECAYS = np.array([0.5, 0.9, 0.99])
_TINY = 1e-12


class LearnedOptimizer(DifferentiableProblem):
    """A network trained by an optimizer that is a network of 418 parameters.

    For each weight it sees the gradient, its running means with decays 0.5, 0.9 and 0.99, the
    weight, each divided by its root mean square over all weights, and the share of the episode
    that is over. Two hidden layers of tanh units map them to (a, b), and the weight moves by
    ``-scale a exp(b)`` (a small one of Metz et al. 2019, "Understanding and correcting pathologies
    in the training of learned optimizers"). The loss is the cross-entropy of the batch before the
    step.

    Parameters
    ----------
    x, y : array-like of shape (n_examples, n_inputs), (n_examples,)
    n_hidden, batch_size, horizon : int
        Of the network that is trained.
    n_units : int
        Of each hidden layer of the optimizer.
    scale : float
    seed : int
        Of the order of the examples.

    Attributes
    ----------
    size : int
        Parameters of the optimizer.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        n_hidden: int = 8,
        batch_size: int = 32,
        horizon: int = 50,
        n_units: int = 16,
        scale: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.horizon = horizon
        self._network, self._batches = taught(x, y, n_hidden, batch_size, seed)
        f, u = len(_DECAYS) + 3, n_units
        self._shapes = ((f, u), (1, u), (u, u), (1, u), (u, 2), (1, 2))
        self._scale = scale
        self.size = sum(rows * columns for rows, columns in self._shapes)

    def start(self, seed: int) -> Array:
        """Parameters to begin with: normal weights, and no biases."""
        rng, theta = np.random.default_rng(seed), np.zeros((1, self.size))
        for part in self._parts(theta)[::2]:
            part[...] = rng.standard_normal(part.shape) / np.sqrt(part.shape[1])
        return np.asarray(theta[0])

    def _parts(self, theta: Array) -> list[Array]:
        parts, at = [], 0
        for rows, columns in self._shapes:
            parts.append(theta[:, at : at + rows * columns].reshape(len(theta), rows, columns))
            at += rows * columns
        return parts

    def init(self, seeds: Array) -> Inner:
        w = self._network.starts(seeds)
        return w, np.zeros((len(w), len(_DECAYS), w.shape[1]))

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        w, before = state
        losses, slope, inside = self._network.gradient(w, *self._batches.at(t, seeds))
        decays = _DECAYS[:, None]
        means = decays * before + (1.0 - decays) * slope[:, None]
        raw = np.concatenate([slope[:, None], means, w[:, None]], axis=1)  # (m, 5, size)
        size = np.sqrt((raw * raw).mean(axis=2, keepdims=True) + _TINY)
        seen = raw / size
        time = np.broadcast_to((2.0 * t / self.horizon - 1.0)[:, None, None], w[:, None].shape)
        features = np.concatenate([seen, time], axis=1).transpose(0, 2, 1).astype(theta.dtype)
        w1, b1, w2, b2, w3, b3 = self._parts(theta)
        first = np.tanh(features @ w1 + b1)
        second = np.tanh(first @ w2 + b2)
        out = second @ w3 + b3
        move = self._scale * out[..., 0] * np.exp(out[..., 1])
        taped = (w, slope, inside, size, seen, features, first, second, out, move)
        return (w - move, means), losses, taped

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        w, slope, inside, size, seen, features, first, second, out, move = taped
        by_w, by_means = slopes
        w1, _, w2, _, w3, _ = self._parts(theta)
        d3 = -by_w[..., None] * np.stack([self._scale * np.exp(out[..., 1]), move], axis=2)
        d2 = (d3 @ _t(w3)) * (1.0 - second**2)
        d1 = (d2 @ _t(w2)) * (1.0 - first**2)
        layers = zip((features, first, second), (d1, d2, d3), strict=True)
        parts = [p for a, d in layers for p in (_t(a) @ d, d.sum(axis=1, keepdims=True))]
        gradient = np.concatenate([part.reshape(len(w), -1) for part in parts], axis=1)
        by_seen = _t(d1 @ _t(w1))[:, :-1]
        along = (by_seen * seen).mean(axis=2, keepdims=True)
        by_raw = (by_seen - seen * along) / size
        by_means = by_means + by_raw[:, 1:-1]
        by_slope = by_raw[:, 0] + ((1.0 - _DECAYS)[:, None] * by_means).sum(axis=1)
        by_w = by_w + by_raw[:, -1] + weight * slope + self._network.product(w, inside, by_slope)
        return (by_w, _DECAYS[:, None] * by_means), gradient


def _t(matrices: Array) -> Array:
    return np.asarray(matrices.transpose(0, 2, 1))
