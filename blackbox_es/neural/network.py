"""Multilayer perceptrons as functions of one flat vector: outputs, losses and their gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron of fixed shape, without its parameters.

    ``h_0 = X``, ``h_l = activation(h_{l-1} W_l + b_l)``, raw outputs ``h_{L-1} W_L + b_L``. The
    vector of parameters is, for each layer in turn, ``W_l`` (fan_in, fan_out) in C order, then
    ``b_l`` (fan_out).

    Parameters
    ----------
    layer_sizes : tuple of int
        Numbers of inputs, of units of each hidden layer (of which there may be none), of outputs.
    activation : str
        A name in `ACTIVATIONS`.

    Raises
    ------
    ValueError
        With fewer than two layers, an empty layer or an unknown activation.

    Examples
    --------
    >>> network = Network((784, 64, 10), "relu")
    >>> network.n_parameters, network.n_factors
    (50890, 1562)
    >>> network.forward(np.zeros(50890), np.ones((2, 784))).shape
    (2, 10)
    """

    layer_sizes: tuple[int, ...]
    activation: str

    def __post_init__(self) -> None:
        if len(self.layer_sizes) < 2 or min(self.layer_sizes) < 1:
            raise ValueError(
                f"layer_sizes={self.layer_sizes!r}: take the number of inputs, of units of any "
                "hidden layers and of outputs, each at least 1"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r} is unknown: take one of {', '.join(ACTIVATIONS)}"
            )

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of each layer."""
        return tuple(zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True))

    @property
    def n_parameters(self) -> int:
        """Number of weights and intercepts, ``sum_l (fan_in + 1) fan_out``."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    @property
    def n_units(self) -> int:
        """Units of all hidden layers, and outputs."""
        return sum(self.layer_sizes[1:])

    @property
    def n_factors(self) -> int:
        """Random signs that perturb the network: rank one in hidden layers, full in the last."""
        *hidden, (fan_in, fan_out) = self.shapes
        return sum(m + 2 * n for m, n in hidden) + (fan_in + 1) * fan_out

    def is_weight(self) -> npt.NDArray[np.bool_]:
        """True where a parameter is a weight, False where it is an intercept."""
        return self.pack(
            [np.ones(shape, bool) for shape in self.shapes],
            [np.zeros(fan_out, bool) for _, fan_out in self.shapes],
        )

    def unpack(self, theta: Array) -> tuple[list[Array], list[Array]]:
        """Weights (fan_in, fan_out) and intercepts (fan_out) of each layer, as views of `theta`."""
        if theta.shape != (self.n_parameters,):
            raise ValueError(
                f"theta has shape {theta.shape}, but a network of layer_sizes={self.layer_sizes} "
                f"has {self.n_parameters} parameters"
            )
        coefs, intercepts, start = [], [], 0
        for fan_in, fan_out in self.shapes:
            end = start + fan_in * fan_out
            coefs.append(theta[start:end].reshape(fan_in, fan_out))
            start = end + fan_out
            intercepts.append(theta[end:start])
        return coefs, intercepts

    def pack(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> Array:
        """The flat vector of these weights and intercepts: the inverse of `unpack`."""
        shapes = tuple(np.shape(W) for W in coefs), tuple(np.shape(b) for b in intercepts)
        if shapes != (self.shapes, tuple((fan_out,) for _, fan_out in self.shapes)):
            raise ValueError(
                f"coefs and intercepts have shapes {shapes[0]} and {shapes[1]}, but "
                f"layer_sizes={self.layer_sizes}"
            )
        layers = zip(coefs, intercepts, strict=True)
        return np.concatenate([np.ravel(part) for layer in layers for part in layer])

    def initial(self, rng: Any) -> Array:
        """Parameters drawn uniformly from the bounds of Glorot and Bengio (2010).

        ``|w| <= sqrt(c / (fan_in + fan_out))`` for weights and intercepts alike, with c = 2 for
        ``"logistic"`` and 6 otherwise, drawn in the order in which scikit-learn draws them.

        Parameters
        ----------
        rng : numpy.random.Generator or numpy.random.RandomState

        Returns
        -------
        theta : ndarray of shape (n_parameters,), float64
        """
        parts = []
        for shape in self.shapes:
            bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / sum(shape))
            parts += [rng.uniform(-bound, bound, shape), rng.uniform(-bound, bound, shape[1])]
        return self.pack(parts[::2], parts[1::2])

    def forward(self, theta: Array, X: Array) -> Array:
        """Raw outputs, before any softmax or logistic function: shape (n_samples, n_outputs)."""
        return self._layers(*self.unpack(theta), X)[1][-1]

    def inputs(self, theta: Array, X: Array) -> list[Array]:
        """What each layer is given, ``h_0 = X`` to ``h_{L-1}``: shapes (n_samples, fan_in)."""
        return self._layers(*self.unpack(theta), X)[0]

    def gradient(
        self, theta: Array, X: Array, y: Array, sample_weight: Array | None, loss: str
    ) -> tuple[float, Array]:
        """The mean loss and its gradient by backpropagation.

        ``f = sum_i w_i l_i / sum_i w_i``. Where an activation has a kink, the derivative is that
        of the flat side (relu at 0: 0). Step activations have none: theirs is replaced by a
        surrogate (see `ACTIVATIONS`), so that the "gradient" is a biased direction, good enough for
        a guide.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)
        X : ndarray of shape (n_samples, n_inputs)
        y : ndarray
            As the loss takes it, see `LOSSES`.
        sample_weight : ndarray of shape (n_samples,) or None
        loss : str
            A name in `LOSSES` of a loss with a gradient.

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_parameters,)

        Raises
        ------
        ValueError
            If the loss has no gradient.
        """
        slope = LOSSES[loss].gradient
        if slope is None:
            raise ValueError(f"loss={loss!r} has no gradient: its values are steps")
        coefs, intercepts = self.unpack(theta)
        inputs, linear = self._layers(coefs, intercepts, X)
        weight = np.ones(len(X)) if sample_weight is None else sample_weight
        weight = (weight / weight.sum()).astype(X.dtype, copy=False)
        value = float(weight.astype(np.float64) @ LOSSES[loss].values(linear[-1], y))
        delta = slope(linear[-1], y) * weight[:, None]
        parts: list[Array] = []
        for layer in reversed(range(len(coefs))):
            parts += [delta.sum(axis=0), inputs[layer].T @ delta]
            if layer:
                derivative = ACTIVATIONS[self.activation].derivative
                delta = (delta @ coefs[layer].T) * derivative(linear[layer - 1])
        return value, self.pack(parts[::-1][::2], parts[::-1][1::2])

    def _layers(
        self, coefs: Sequence[Array], intercepts: Sequence[Array], X: Array
    ) -> tuple[list[Array], list[Array]]:
        """Inputs of each layer, and its outputs before the activation."""
        inputs, linear = [X], [X @ coefs[0] + intercepts[0]]
        for W, b in zip(coefs[1:], intercepts[1:], strict=True):
            inputs.append(ACTIVATIONS[self.activation].function(linear[-1]))
            linear.append(inputs[-1] @ W + b)
        return inputs, linear


@dataclass(frozen=True)
class Activation:
    """A function of the units of a hidden layer, and its derivative or a stand-in for it."""

    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


@dataclass(frozen=True)
class Loss:
    """A loss per example: ``values(raw, y)`` has shape (n_samples,), the gradient that of `raw`."""

    values: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array] | None


def _window(z: Array) -> Array:
    """Derivative of the hard tanh, max(-1, min(1, z)): the straight-through surrogate."""
    return np.asarray(np.abs(z) <= 1, z.dtype)


def _logistic_slope(z: Array) -> Array:
    return np.asarray(expit(z) * expit(-z))


ACTIVATIONS = {
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: np.asarray(z > 0, z.dtype)),
    "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "logistic": Activation(expit, _logistic_slope),
    "identity": Activation(lambda z: z, np.ones_like),
    # 1 if z > 0 else 0; its jump is half as high as that of the sign
    "step": Activation(lambda z: np.heaviside(z, z.dtype.type(0)), lambda z: _window(z) / 2),
    # 1 if z >= 0 else -1
    "sign": Activation(lambda z: 2 * np.heaviside(z, z.dtype.type(1)) - 1, _window),
}


def _by_class(raw: Array) -> Array:
    """The outputs of all classes: a single one is that of class 1, beside a zero for class 0."""
    return np.hstack([np.zeros_like(raw), raw]) if raw.shape[1] == 1 else raw


def _picked(raw: Array, y: Array) -> Array:
    """True at the class of each example."""
    return np.asarray(np.arange(raw.shape[1]) == np.asarray(y)[:, None])


def _log_loss(raw: Array, y: Array) -> Array:
    raw = _by_class(raw)
    picked = _picked(raw, y)
    excess = raw - raw[picked][:, None]
    top = excess.max(axis=1)  # at least the 0 of the class itself
    others = np.where(picked, 0, np.exp(excess - top[:, None])).sum(axis=1)
    # log(exp(-top) + others), of full relative accuracy however small the loss is
    return np.asarray(top + np.log1p(others + np.expm1(-top)))


def _log_loss_gradient(raw: Array, y: Array) -> Array:
    z = _by_class(raw)
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    slope = odds / odds.sum(axis=1, keepdims=True) - _picked(z, y)
    return np.asarray(slope[:, -raw.shape[1] :])


def _zero_one(raw: Array, y: Array) -> Array:
    wrong = np.asarray(_by_class(raw).argmax(axis=1) != y, raw.dtype)
    # a network that says nothing is not merely wrong: its loss is as undefined as its outputs
    return np.asarray(np.where(np.isnan(raw).any(axis=1), raw.dtype.type(np.nan), wrong))


def _rival(raw: Array, y: Array) -> tuple[Array, Array]:
    """``1 + raw_k - raw_y`` for the best of the other classes k, and True at k."""
    picked = _picked(raw, y)
    others = np.where(picked, -np.inf, raw)
    best = _picked(raw, others.argmax(axis=1))
    return 1 + others[best] - raw[picked], best


def _hinge(raw: Array, y: Array) -> Array:
    return np.asarray(np.maximum(_rival(_by_class(raw), y)[0], 0))


def _hinge_gradient(raw: Array, y: Array) -> Array:
    z = _by_class(raw)
    excess, best = _rival(z, y)
    slope = (np.asarray(best, z.dtype) - _picked(z, y)) * (excess > 0)[:, None]
    return np.asarray(slope[:, -raw.shape[1] :])


def _squared_error(raw: Array, y: Array) -> Array:
    return np.asarray(0.5 * np.mean((raw - y) ** 2, axis=1))


def _squared_error_gradient(raw: Array, y: Array) -> Array:
    return np.asarray((raw - y) / raw.dtype.type(raw.shape[1]))


LOSSES = {
    # classification: y (n_samples,) is the index of the class
    "log_loss": Loss(_log_loss, _log_loss_gradient),
    "zero_one": Loss(_zero_one, None),  # predicts the first of the classes with the largest output
    "hinge": Loss(_hinge, _hinge_gradient),  # Crammer and Singer's: the best of the other classes
    # regression: y (n_samples, n_outputs); half the squared error, averaged over the outputs
    "squared_error": Loss(_squared_error, _squared_error_gradient),
}
