"""A layer that passes on the nearest of some codes in place of what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_count
from blackbox_es.neural.layers.base import Shape, Weighted
from blackbox_es.neural.layers.products import LANES

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class VectorQuantise(Weighted):
    """Of each ``size`` channels side by side it makes the nearest of the codes ``W_k + b``.

        z -> W_k + b,    k = argmin_k |z - W_k - b|^2,    the first of equally near ones.

    It is the bottleneck of a vector-quantised autoencoder (van den Oord, Vinyals, Kavukcuoglu 2017,
    "Neural discrete representation learning"): what passes is one of ``n_codes`` numbers for each
    group of channels. It has no slope by z. The gradient by W and b is that of what comes out, of
    the codes that were taken; that by z is passed straight through, which makes a guide, not a
    gradient.

    Parameters
    ----------
    n_codes : int
        K.
    size : int
        Channels to a code, by which their number is divisible.

    Examples
    --------
    >>> layer, W = VectorQuantise(n_codes=3, size=2), np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    >>> h = np.broadcast_to(np.array([0.9, 0.2, 0.1, 4.0])[:, None], (1, 1, 4, LANES))
    >>> layer.forward(h, W[None], np.zeros((1, 2)), (1, 1, 4))[0, 0, :, 0]
    array([1., 0., 0., 5.])
    """

    n_codes: int
    size: int

    def shape(self, given: Shape) -> Shape:
        """The same; ValueError if the channels are no groups of this size."""
        check_count("n_codes", self.n_codes)
        check_count("size", self.size)
        if given[2] % self.size:
            raise ValueError(
                f"size={self.size} does not divide the {given[2]} channels that the layer is given"
            )
        return given

    def matrix(self, given: Shape) -> tuple[int, int]:
        """(n_codes, size)."""
        return self.n_codes, self.size

    def fans(self, given: Shape) -> tuple[int, int]:
        """As if a code were weights of one unit each: codes are about as far apart as units."""
        return 1, 1

    def forward(self, h: Array, W: Array, b: Array, given: Shape) -> Array:
        """The nearest codes, of shape (V, G, U, LANES); NaN where an input is not finite."""
        codes, groups = W + b[:, None], self._groups(h)
        which = np.arange(len(codes))[:, None, None, None]
        taken = codes[which, _nearest(groups, codes)].swapaxes(3, 4)
        return (taken + 0.0 * groups).reshape(len(taken), *h.shape[1:])

    def sums(
        self, slopes: Array, h: Array, W: Array, b: Array, given: Shape
    ) -> tuple[Array, Array]:
        """The gradient by the codes that were taken, and by what they share."""
        nearest = _nearest(self._groups(h[None]), (W + b)[None])[0]
        by_code = self._groups(slopes[None])[0].swapaxes(2, 3).reshape(-1, self.size)
        total = np.zeros(W.shape)
        np.add.at(total, nearest.ravel(), by_code)
        return total, by_code.sum(axis=0, dtype=np.float64)

    def backward(self, slopes: Array, W: Array, given: Shape) -> Array:
        """Straight through."""
        return slopes

    def _groups(self, units: Array) -> Array:
        """(V, G, groups, size, LANES)."""
        return units.reshape(*units.shape[:2], -1, self.size, LANES)


def _nearest(groups: Array, codes: Array) -> Array:
    """Which of the codes (V, K, size): shape (V, G, groups, LANES)."""
    half_lengths = 0.5 * np.einsum("vks,vks->vk", codes, codes)[:, None, None, :, None]
    return np.asarray(np.argmin(half_lengths - codes[:, None, None] @ groups, axis=3))
