"""What a layer is: a value that knows its shapes, its parameters, and how units pass through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.layers import products
from blackbox_es.neural.layers.products import LANES, TILE, Window

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]  # of an image: height, width, channels; (1, 1, n) for plain units


class Layer(ABC):
    """A part of a network, without its parameters.

    Units pass through as (V, G, U, LANES): V networks, G blocks of LANES examples, and the units of
    an image of some `Shape` in C order.
    """

    @abstractmethod
    def shape(self, given: Shape) -> Shape:
        """The shape of what comes out; ValueError if what is given does not fit."""


class Map(Layer):
    """A layer without parameters.

    Attributes
    ----------
    is_pool : bool
        Behind a linear map it is differentiated as that is when noise moves what comes out. Other
        maps may be anything: `backward` is for guides only.
    """

    is_pool: ClassVar[bool] = False

    @abstractmethod
    def forward(self, h: Array, given: Shape) -> Array:
        """What comes out."""

    @abstractmethod
    def backward(self, slopes: Array, h: Array, given: Shape) -> Array:
        """The gradient by the inputs h, of that by what came out."""


class Weighted(Layer):
    """A layer that has weights W (K, n) and intercepts b (n).

    Behind it noise moves what comes out, of which `sums` is the gradient's way to W and b.
    """

    @abstractmethod
    def matrix(self, given: Shape) -> tuple[int, int]:
        """(K, n)."""

    @abstractmethod
    def fans(self, given: Shape) -> tuple[int, int]:
        """How many units one depends on, and how many depend on one: for `Sequential.initial`."""

    @abstractmethod
    def forward(self, h: Array, W: Array, b: Array, given: Shape) -> Array:
        """What comes out, of shape (V, G, units, LANES).

        Parameters
        ----------
        h : ndarray of shape (1 or V, G, U, LANES)
        W, b : ndarray of shape (1 or V, K, n) and (1 or V, n)
        """

    @abstractmethod
    def sums(
        self, slopes: Array, h: Array, W: Array, b: Array, given: Shape
    ) -> tuple[Array, Array]:
        """The gradient by W and b in float64, summed over blocks and examples.

        Parameters
        ----------
        slopes, h : ndarray of shape (G, units, LANES) and (G, U, LANES)
            The gradient by what came out, and what was given.
        W, b : ndarray of shape (K, n) and (n,)
        """

    @abstractmethod
    def backward(self, slopes: Array, W: Array, given: Shape) -> Array:
        """The gradient by the inputs, or what stands in for it: shape (G, U, LANES)."""


class Linear(Weighted):
    """At each place ``h_seen @ W + b``."""

    @abstractmethod
    def window(self, given: Shape) -> Window:
        """Which inputs each place sees."""

    def matrix(self, given: Shape) -> tuple[int, int]:
        """(K, n)."""
        return len(self.window(given).offsets), self.shape(given)[2]

    def forward(self, h: Array, W: Array, b: Array, given: Shape) -> Array:
        """``h_seen @ W + b``."""
        V, n_units = max(len(h), len(W)), int(np.prod(self.shape(given)))
        weights = np.zeros((len(W), -(-W.shape[1] // TILE) * TILE, W.shape[2]), h.dtype)
        weights[:, : W.shape[1]] = W
        out = np.empty((V, h.shape[1], n_units, LANES), h.dtype)
        products.product(out, h, weights, np.ascontiguousarray(b), self.window(given))
        return out

    def moved(self, z: Array, h: Array, words: Array, step: Any, given: Shape) -> Array:
        """z if weights and intercepts moved by signs of each example: (2, P, n places, LANES).

        ``W +- step a b'`` and ``b +- step c``, plus first.

        Parameters
        ----------
        z, h : ndarray of shape (n places, LANES) and (U, LANES)
            What comes out if nothing is moved, and what is given.
        words : ndarray of shape (P, 2 (K + 2 n)), uint32
        step : scalar of that dtype
        """
        out = np.empty((2, len(words), *z.shape), z.dtype)
        products.move_weights(out, z, h, words, step, self.window(given))
        return out

    def sums(
        self, slopes: Array, h: Array, W: Array, b: Array, given: Shape
    ) -> tuple[Array, Array]:
        """Products of what was given and the slopes."""
        by_W, by_b = np.zeros(W.shape), np.zeros(b.shape)
        products.weight_sums(by_W, by_b, h, slopes, self.window(given))
        return by_W, by_b

    def backward(self, slopes: Array, W: Array, given: Shape) -> Array:
        """Products of weights and slopes."""
        out = np.empty((len(slopes), int(np.prod(given)), LANES), slopes.dtype)
        products.input_slopes(out, slopes, np.ascontiguousarray(W), self.window(given))
        return out
