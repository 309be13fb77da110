"""A small network for each particle: loss, gradient, and the derivative of the gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Taped(NamedTuple):
    """What a pass has computed: inputs, hidden units, probabilities, slopes by the logits."""

    x: Array
    hidden: Array
    probability: Array
    by_output: Array


class Network(NamedTuple):
    """One hidden layer of tanh units and a softmax, whose weights are rows of shape (m, size).

    Everything has one row for each particle; products are made one particle at a time, so that no
    row depends on another.
    """

    n_inputs: int
    n_hidden: int
    n_classes: int

    @property
    def size(self) -> int:
        """Weights and biases."""
        return (self.n_inputs + 1) * self.n_hidden + (self.n_hidden + 1) * self.n_classes

    def starts(self, seeds: Array) -> Array:
        """Weights to begin with: normal, of variance one over the number of inputs; no biases."""
        return np.array([self._start(int(seed)) for seed in seeds])

    def _start(self, seed: int) -> Array:
        rng, layers = np.random.default_rng(seed), []
        for size in ((self.n_inputs, self.n_hidden), (self.n_hidden, self.n_classes)):
            layers += [rng.standard_normal(size).ravel() / np.sqrt(size[0]), np.zeros(size[1])]
        return np.concatenate(layers)

    def parts(self, w: Array) -> tuple[Array, Array, Array, Array]:
        """Weights and biases of both layers, as views."""
        f, h, c = self
        m, i, j = len(w), f * h, (f + 1) * h
        first, second = w[:, :i].reshape(m, f, h), w[:, j : j + h * c].reshape(m, h, c)
        return first, w[:, None, i:j], second, w[:, None, j + h * c :]

    def gradient(self, w: Array, x: Array, y: Array) -> tuple[Array, Array, Taped]:
        """Mean cross-entropy, its gradient by the weights, and what `product` needs.

        Parameters
        ----------
        w : ndarray of shape (m, size)
        x : ndarray of shape (m, b, n_inputs)
        y : ndarray of shape (m, b), int
            Classes.
        """
        w1, b1, w2, b2 = self.parts(w)
        hidden = np.tanh(x @ w1 + b1)
        logits = hidden @ w2 + b2
        logits -= logits.max(axis=2, keepdims=True)
        e = np.exp(logits)
        total = e.sum(axis=2, keepdims=True)
        right = y[:, :, None]
        picked = np.take_along_axis(logits, right, 2) - np.log(total)
        probability = e / total
        by_output = probability.copy()
        np.put_along_axis(by_output, right, np.take_along_axis(by_output, right, 2) - 1.0, 2)
        by_output /= y.shape[1]
        back = by_output @ _t(w2)
        by_hidden = back * (1.0 - hidden**2)
        slope = self._joined(_t(x) @ by_hidden, by_hidden, _t(hidden) @ by_output, by_output)
        return -picked.mean(axis=(1, 2)), slope, Taped(x, hidden, probability, by_output)

    def product(self, w: Array, taped: Taped, v: Array) -> Array:
        """The Hessian of the loss times v, shape (m, size) (Pearlmutter 1994)."""
        x, hidden, probability, by_output = taped
        (_, _, w2, _), (v1, c1, v2, c2) = self.parts(w), self.parts(v)
        keep = 1.0 - hidden**2
        r_hidden = keep * (x @ v1 + c1)
        r_logits = r_hidden @ w2 + hidden @ v2 + c2
        r_logits -= (probability * r_logits).sum(axis=2, keepdims=True)
        r_output = probability * r_logits / x.shape[1]
        r_back = r_output @ _t(w2) + by_output @ _t(v2)
        r_by_hidden = keep * r_back - 2.0 * hidden * r_hidden * (by_output @ _t(w2))
        r_second = _t(r_hidden) @ by_output + _t(hidden) @ r_output
        return self._joined(_t(x) @ r_by_hidden, r_by_hidden, r_second, r_output)

    def _joined(self, first: Array, by_hidden: Array, second: Array, by_output: Array) -> Array:
        m = len(first)
        parts = (first.reshape(m, -1), by_hidden.sum(axis=1))
        return np.concatenate([*parts, second.reshape(m, -1), by_output.sum(axis=1)], axis=1)


class Batches(NamedTuple):
    """Examples in an order of their own, from which each episode takes batches in turn."""

    x: Array
    y: Array
    size: int

    def at(self, t: Array, seeds: Array) -> tuple[Array, Array]:
        """The batch of step t of the episodes with these seeds."""
        first = (seeds + t * self.size) % len(self.x)
        rows = (first[:, None] + np.arange(self.size)) % len(self.x)
        return self.x[rows], self.y[rows]


def taught(
    x: npt.ArrayLike, y: npt.ArrayLike, n_hidden: int, size: int, seed: int
) -> tuple[Network, Batches]:
    """A network for these examples, and the batches that it is taught by.

    Examples are shuffled, their features scaled to a mean square of 1, and classes are integers.
    """
    inputs, (_, classes) = np.asarray(x, float), np.unique(np.asarray(y), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(inputs))
    inputs = inputs - inputs.mean(axis=0)
    inputs /= np.sqrt((inputs**2).mean())
    network = Network(inputs.shape[1], n_hidden, int(classes.max()) + 1)
    return network, Batches(inputs[order], classes[order], size)


def _t(matrices: Array) -> Array:
    return np.asarray(matrices.transpose(0, 2, 1))
