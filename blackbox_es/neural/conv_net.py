"""A network of layers for images, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from blackbox_es._validation import check_count
from blackbox_es.neural.activations import Activation
from blackbox_es.neural.classifier import Classifier
from blackbox_es.neural.layers import Activate, Conv2D, Dense, Layer, MaxPool2D, Shape
from blackbox_es.neural.mlp import USUAL, Usual
from blackbox_es.neural.sequential import Sequential

LAYERS = (Conv2D(6), MaxPool2D(2), "relu", Conv2D(6), MaxPool2D(2), "relu")


@dataclass(eq=False, repr=False)
class ESConvNetClassifier(Classifier):
    """A classifier of images whose layers are trained by evolution strategies.

    As `ESMLPClassifier`, whose other parameters and attributes it has, but for the network: a
    sequence of layers, and a `Dense` one of an output for each class behind them.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels)
        An example is a row of so many numbers, in that order.
    layers : sequence of Layer, Activation or str
        Those of `blackbox_es.neural.layers`: ``Conv2D(channels, kernel=5)``, ``Dense(n_units)``,
        ``MaxPool2D(2)``, ``AvgPool2D(2)``, and names of activations. Pools right behind a
        convolution and before the activation are best: they make less of what is to be estimated.
    perturb : {"auto", "activations", "weights"}
        "auto" is activations where the loss is one of each example and no guide is given.
        "activations" moves one layer at a time, by signs of each example its own: its units behind
        the pools, or its weights where they are fewer. See
        `blackbox_es.neural.layer_noise.LayerNoise`. "weights" moves all of them at once, the same
        way for many examples, and allows any loss and a guide.
    n_pairs : int or None
        Antithetic pairs per generation, or per example with ``perturb="activations"``, where the
        layers share them; None is 128, or 32 for activations.
    sigma : float, schedule or None
        None is 0.03, or 0.1 if what is moved are weights that are quantised; 0.05 for activations.
    batch_size : int, "auto" or None
        "auto" is 64, or 256 for activations; with up to 256 samples it is all.

    alpha : float
        Weaker than that of a perceptron: a weight of a convolution is that of many places.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Of the layers that have parameters, the one of the outputs last. Those of a convolution are
        (kernel kernel channels_in, channels_out) and (channels_out,).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> layers = Conv2D(4, kernel=3), MaxPool2D(2), "relu"
    >>> model = ESConvNetClassifier((8, 8), layers, max_iter=200, random_state=0)
    >>> bool(model.fit(X / 16, y).score(X / 16, y) > 0.9)
    True
    """

    _network_parameter: ClassVar[str] = "layers"
    _usual: ClassVar[dict[str, Usual]] = USUAL | {"activations": Usual(0.05, 32, 256)}

    image_shape: Sequence[int] = (28, 28)
    layers: Sequence[Layer | Activation | str] = LAYERS
    _: KW_ONLY
    alpha: float = 0.0001

    def _shape(self) -> Shape:
        height, width, *channels = self.image_shape
        return height, width, channels[0] if channels else 1

    def _check_network(self) -> None:
        shape = self.image_shape
        if not np.iterable(shape) or len(shape) not in (2, 3):
            raise ValueError(
                f"image_shape={shape!r}: take (height, width) or (height, width, channels)"
            )
        for size in shape:
            check_count("image_shape", size)
        if isinstance(self.layers, str) or not np.iterable(self.layers):
            raise TypeError(
                f"layers={self.layers!r}: take a sequence of layers and names of activations"
            )
        for layer in self.layers:
            if not isinstance(layer, (Layer, Activation, str)):
                raise TypeError(f"layers holds {layer!r}: take layers and names of activations")
        self._sequence(1)

    def _sequence(self, n_outputs: int) -> Sequential:
        layers = (layer if isinstance(layer, Layer) else Activate(layer) for layer in self.layers)
        return Sequential(self._shape(), (*layers, Dense(n_outputs)), self.weights)

    def _make_network(self, n_inputs: int) -> Sequential:
        network = self._sequence(self.n_outputs_)
        if network.n_inputs != n_inputs:
            raise ValueError(
                f"image_shape={self.image_shape!r} has {network.n_inputs} numbers, but X has "
                f"{n_inputs} features: set it to the height, width and channels of an image"
            )
        return network
