"""Multilayer perceptrons as functions of one flat vector: outputs, mean losses and their gradient.

What units compute is in `activations`, what outputs cost in `losses`; many networks at once are
evaluated by `tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_choice
from blackbox_es.neural.activations import ACTIVATIONS, Activation, as_activation
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import Loss, as_loss
from blackbox_es.neural.quantisers import WEIGHTS, quantise
from blackbox_es.neural.standins import Slope, mean_slope

Array = npt.NDArray[Any]


class FlatNetwork(ABC):
    """A network whose parameters are one vector: of each linear map ``W`` and then ``b``.

    `Network` and `blackbox_es.neural.sequential.Sequential` are such.
    """

    weights: str  # "float", or how they are quantised before they compute

    @property
    @abstractmethod
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of each linear map."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Features of an example."""

    @property
    def n_outputs(self) -> int:
        """Raw outputs."""
        return self.shapes[-1][1]

    def effective(self, theta: Array) -> Array:
        """Parameters as they compute: with the weights of each layer quantised."""
        if self.weights == "float":
            return theta
        coefs, intercepts = self.unpack(theta)
        return self.pack([quantise(W, self.weights) for W in coefs], intercepts)

    @property
    def inputs_are(self) -> str:
        """What the first layer makes up for.

        A center and a scale of each feature ("free"), a center of each and one scale
        ("centered"), one scale ("scaled"), nothing ("fixed").
        """
        return "free"

    @abstractmethod
    def initial(self, rng: Any) -> Array:
        """Parameters to begin with: shape (n_parameters,), float64."""

    @abstractmethod
    def forward(self, theta: Array, X: Array) -> Array:
        """Raw outputs, before any softmax or logistic function: shape (n_samples, n_outputs)."""

    @abstractmethod
    def backward(self, theta: Array, data: Data, slope: Slope) -> tuple[Array, Array]:
        """The gradient by backpropagation of anything with a slope at the raw outputs.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)
        data : Data
        slope : callable
            ``slope(y, raw, weight)``, shape (n_samples, n_outputs): the derivative of a function of
            the raw outputs of all examples.

        Returns
        -------
        gradient : ndarray of shape (n_parameters,)
        raw : ndarray of shape (n_samples, n_outputs)
        """

    def gradient(self, theta: Array, data: Data, loss: str | Loss) -> tuple[float, Array]:
        """The mean loss and its gradient by backpropagation.

        ``f = sum_i w_i l_i / sum_i w_i``. Activations that are steps have no derivative: a stand-in
        (see `Activation`) makes the "gradient" a biased direction, good enough for a guide.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)
        data : Data
        loss : str or Loss
            A loss with a gradient: a row of `LOSSES` or its name.

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_parameters,)

        Raises
        ------
        ValueError
            If the loss has no gradient.
        """
        slope = partial(mean_slope, loss=loss)
        gradient, raw = self.backward(theta, data, slope)
        return float(np.average(as_loss(loss).values(raw, data.y), weights=data.weight)), gradient

    @property
    def n_parameters(self) -> int:
        """Number of weights and intercepts, ``sum_l (fan_in + 1) fan_out``."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

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
                f"theta has shape {theta.shape}, but {self} has {self.n_parameters} parameters"
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
                f"coefs and intercepts have shapes {shapes[0]} and {shapes[1]}, but the "
                f"network is {self}"
            )
        layers = zip(coefs, intercepts, strict=True)
        return np.concatenate([np.ravel(part) for layer in layers for part in layer])


@dataclass(frozen=True)
class Network(FlatNetwork):
    """A multilayer perceptron of fixed shape, without its parameters.

    ``h_0 = X``, ``h_l = activation(h_{l-1} W_l + b_l)``, raw outputs ``h_{L-1} W_L + b_L``. The
    vector of parameters is, for each layer in turn, ``W_l`` (fan_in, fan_out) in C order, then
    ``b_l`` (fan_out).

    Parameters
    ----------
    layer_sizes : tuple of int
        Numbers of inputs, of units of each hidden layer (of which there may be none), of outputs.
    activation : str or Activation
        A name in `ACTIVATIONS`, or a row.
    weights : {"float", "ternary", "binary", "int8"}
        What computes: see `blackbox_es.neural.sequential.Sequential`.

    Raises
    ------
    ValueError
        With fewer than two layers, an empty layer, or an unknown activation or kind of weights.

    Examples
    --------
    >>> network = Network((784, 64, 10), "relu")
    >>> network.n_parameters, network.n_factors
    (50890, 1562)
    >>> network.forward(np.zeros(50890), np.ones((2, 784))).shape
    (2, 10)
    """

    layer_sizes: tuple[int, ...]
    activation: str | Activation
    weights: str = "float"

    def __post_init__(self) -> None:
        if len(self.layer_sizes) < 2 or min(self.layer_sizes) < 1:
            raise ValueError(
                f"layer_sizes={self.layer_sizes!r}: take the number of inputs, of units of any "
                "hidden layers and of outputs, each at least 1"
            )
        if not isinstance(self.activation, Activation) and self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r} is unknown: take one of {', '.join(ACTIVATIONS)}"
            )
        check_choice("weights", self.weights, WEIGHTS)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of each layer."""
        return tuple(zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True))

    @property
    def n_inputs(self) -> int:
        """Features of an example."""
        return self.layer_sizes[0]

    @property
    def inputs_are(self) -> str:
        """Weights of few bits allow for one scale of all features."""
        return "free" if self.weights == "float" else "centered"

    @property
    def n_units(self) -> int:
        """Units of all hidden layers, and outputs."""
        return sum(self.layer_sizes[1:])

    @property
    def n_factors(self) -> int:
        """Random signs that perturb the network: rank one in hidden layers, full in the last."""
        *hidden, (fan_in, fan_out) = self.shapes
        return sum(m + 2 * n for m, n in hidden) + (fan_in + 1) * fan_out

    def initial(self, rng: Any) -> Array:
        """Parameters drawn uniformly from the bounds of Glorot and Bengio (2010).

        ``|w| <= sqrt(c / (fan_in + fan_out))`` for weights and intercepts alike, where c is that of
        the activation, drawn in the order in which scikit-learn draws them.

        Parameters
        ----------
        rng : numpy.random.Generator or numpy.random.RandomState

        Returns
        -------
        theta : ndarray of shape (n_parameters,), float64
        """
        parts = []
        for shape in self.shapes:
            bound = np.sqrt(as_activation(self.activation).glorot / sum(shape))
            parts += [rng.uniform(-bound, bound, shape), rng.uniform(-bound, bound, shape[1])]
        return self.pack(parts[::2], parts[1::2])

    def forward(self, theta: Array, X: Array) -> Array:
        """Raw outputs, before any softmax or logistic function: shape (n_samples, n_outputs)."""
        return self._layers(*self.unpack(self.effective(theta)), X)[1][-1]

    def inputs(self, theta: Array, X: Array, linear: Array | None = None) -> list[Array]:
        """What each layer is given, ``h_0 = X`` to ``h_{L-1}``: shapes (n_samples, fan_in).

        ``linear`` is what the first layer makes of X before its activation, where that is known.
        """
        return self._layers(*self.unpack(self.effective(theta)), X, linear)[0]

    def backward(self, theta: Array, data: Data, slope: Slope) -> tuple[Array, Array]:
        coefs, intercepts = self.unpack(self.effective(theta))
        inputs, linear = self._layers(coefs, intercepts, data.X)
        delta = slope(data.y, linear[-1], data.weight)
        parts: list[Array] = []
        for layer in reversed(range(len(coefs))):
            parts += [delta.sum(axis=0), inputs[layer].T @ delta]
            if layer:
                derivative = as_activation(self.activation).derivative
                delta = (delta @ coefs[layer].T) * derivative(linear[layer - 1])
        return self.pack(parts[::-1][::2], parts[::-1][1::2]), linear[-1]

    def _layers(
        self,
        coefs: Sequence[Array],
        intercepts: Sequence[Array],
        X: Array,
        first: Array | None = None,
    ) -> tuple[list[Array], list[Array]]:
        """Inputs of each layer, and its outputs before the activation."""
        inputs, linear = [X], [X @ coefs[0] + intercepts[0] if first is None else first]
        for W, b in zip(coefs[1:], intercepts[1:], strict=True):
            inputs.append(as_activation(self.activation).function(linear[-1]))
            linear.append(inputs[-1] @ W + b)
        return inputs, linear
