"""Networks that are a sequence of layers, as functions of one flat vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import Activate, Dense, Layer, Linear, Map, Shape, Weighted
from blackbox_es.neural.layers.blocks import blocks_of, rows_of
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.network import FlatNetwork
from blackbox_es.neural.quantisers import quantise
from blackbox_es.neural.standins import Slope

Array = npt.NDArray[Any]

# Of what a layer makes of several networks at once: it is to stay in the cache of a core, and yet
# to be more work than the call.
_BYTES = 2**21


class Step(NamedTuple):
    """A layer in its place."""

    layer: Layer
    given: Shape
    which: int  # of weights and intercepts are its own; -1 if it has none

    @property
    def shape(self) -> Shape:
        """Of what comes out."""
        return self.layer.shape(self.given)


@dataclass(frozen=True)
class Sequential(FlatNetwork):
    """Layers one after another, without their parameters; the last one is `Dense`.

    The vector of parameters is, for each layer that has some, ``W`` (K, n) in C order, then ``b``
    (n). Images are rows of ``height width channels`` numbers, in that order.

    Parameters
    ----------
    image_shape : (height, width, channels)
    layers : tuple of Layer
    weights : {"float", "ternary", "binary", "int8"}
        What computes: the weights of the vector, or these quantised layer by layer. Gradients are
        those by the quantised weights, straight through to the vector.

    Raises
    ------
    ValueError
        If a layer does not fit to what comes before it, or if the last one is not plain units.

    Examples
    --------
    >>> from blackbox_es.neural.layers import Conv2D, Dense, MaxPool2D
    >>> pool, relu = MaxPool2D(2), Activate("relu")
    >>> layers = Conv2D(6), pool, relu, Conv2D(6), pool, relu, Dense(10)
    >>> network = Sequential((28, 28, 1), layers)
    >>> network.n_parameters
    4012
    >>> network.forward(np.zeros(4012), np.ones((2, 784))).shape
    (2, 10)
    """

    image_shape: Shape
    layers: tuple[Layer, ...]
    weights: str = "float"

    def __post_init__(self) -> None:
        last = self.steps[-1] if self.steps else None
        if not last or not isinstance(last.layer, Linear) or last.shape[:2] != (1, 1):
            raise ValueError(f"layers={self.layers!r}: the last one must be Dense(n_outputs)")

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The layers with the shapes that they are given."""
        given, n_weighted, steps = self.image_shape, 0, []
        for layer in self.layers:
            has_some = isinstance(layer, Weighted)
            steps.append(Step(layer, given, n_weighted if has_some else -1))
            given, n_weighted = layer.shape(given), n_weighted + has_some
        return tuple(steps)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(K, n) of each layer that has parameters."""
        weighted = ((s.layer, s.given) for s in self.steps if isinstance(s.layer, Weighted))
        return tuple(layer.matrix(given) for layer, given in weighted)

    @property
    def n_inputs(self) -> int:
        """Pixels times channels."""
        return int(np.prod(self.image_shape))

    @property
    def inputs_are(self) -> str:
        """Weights of many places, or of few bits, allow for one scale, if they come first."""
        if isinstance(self.layers[0], Dense):
            return "free" if self.weights == "float" else "centered"
        return "scaled" if isinstance(self.layers[0], Linear) else "fixed"

    def initial(self, rng: Any) -> Array:
        """Parameters drawn uniformly from the bounds of Glorot and Bengio (2010).

        As `blackbox_es.neural.network.Network.initial`, with the c of the activation that follows,
        and for a convolution ``kernel^2 channels`` for the numbers of units on either side.
        """
        parts: list[Array] = []
        for place, step in enumerate(self.steps):
            if isinstance(step.layer, Weighted):
                rows = (s.layer.row for s in self.steps[place:] if isinstance(s.layer, Activate))
                c = next((row.glorot for row in rows), 6.0)
                bound, shape = (
                    np.sqrt(c / sum(step.layer.fans(step.given))),
                    self.shapes[step.which],
                )
                parts += [rng.uniform(-bound, bound, shape), rng.uniform(-bound, bound, shape[1])]
        return self.pack(parts[::2], parts[1::2])

    # -- many at once ------------------------------------------------------------------------------

    def several(self, thetas: Array) -> tuple[list[Array], list[Array]]:
        """Weights (V, K, n), quantised, and intercepts (V, n) of each layer, of V vectors."""
        coefs, intercepts, start = [], [], 0
        for fan_in, fan_out in self.shapes:
            end = start + fan_in * fan_out
            coefs.append(quantise(thetas[:, start:end].reshape(-1, fan_in, fan_out), self.weights))
            start = end + fan_out
            intercepts.append(thetas[:, end:start])
        return coefs, intercepts

    def run(
        self, h: Array, coefs: list[Array], intercepts: list[Array], steps: slice = slice(None)
    ) -> Array:
        """What some of the layers make of blocks h (1 or V, G, U, LANES); parameters `several`."""
        for layer, given, which in self.steps[steps]:
            if isinstance(layer, Weighted):
                h = layer.forward(h, coefs[which], intercepts[which], given)
            elif isinstance(layer, Map):
                h = layer.forward(h, given)
        return h

    def at_once(self, n_blocks: int, itemsize: int, first: int = 0) -> int:
        """How many networks to run together, from a step on."""
        sizes = [np.prod(step.shape) for step in self.steps[first:]]
        return max(1, int(_BYTES // (max(sizes) * LANES * n_blocks * itemsize)))

    # -- one ---------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Raw outputs, before any softmax or logistic function: shape (n_samples, n_outputs)."""
        self.unpack(theta)  # raises if it does not fit
        coefs, intercepts = self.several(theta[None])
        out = np.empty((len(X), self.n_outputs), theta.dtype)
        for start in range(0, len(X), LANES):
            rows = X[start : start + LANES].astype(theta.dtype, copy=False)
            raw = self.run(blocks_of(rows)[None], coefs, intercepts)
            out[start : start + LANES] = rows_of(raw[0], len(rows))
        return out

    def backward(self, theta: Array, data: Data, slope: Slope) -> tuple[Array, Array]:
        """The gradient of anything with a slope at the raw outputs, and these."""
        coefs, intercepts = self.several(theta[None])
        raw = self.forward(theta, data.X)
        slopes = slope(data.y, raw, data.weight)
        total = np.zeros(self.n_parameters)
        W_sums, b_sums = self.unpack(total)
        for start in range(0, len(data), LANES):
            rows = slice(start, start + LANES)
            h = blocks_of(data.X[rows])[None]
            inputs = []
            for place in range(len(self.steps)):
                inputs.append(h)
                h = self.run(h, coefs, intercepts, slice(place, place + 1))
            delta = blocks_of(slopes[rows])
            for (layer, given, which), h in zip(self.steps[::-1], inputs[::-1], strict=True):
                if isinstance(layer, Weighted):
                    W = coefs[which][0]
                    by_W, by_b = layer.sums(delta, h[0], W, intercepts[which][0], given)
                    W_sums[which] += by_W
                    b_sums[which] += by_b
                    if which:  # before the first one there is nothing to learn
                        delta = layer.backward(delta, W, given)
                elif isinstance(layer, Map):
                    delta = layer.backward(delta[None], h, given)[0]
        return total.astype(theta.dtype, copy=False), raw
