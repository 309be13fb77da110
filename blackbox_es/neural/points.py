"""A population of networks of layers, each with parameters of its own."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es.neural import kernels
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers.blocks import blocks_of, rows_of
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.layout import targets_and_weights
from blackbox_es.neural.losses import Loss, as_loss
from blackbox_es.neural.sequential import Sequential

Array = npt.NDArray[Any]


class Points(NamedTuple):
    """Pairs of networks, and which of some examples each of them sees.

    Parameters
    ----------
    network : Sequential
    points : ndarray of shape (2, P, n_parameters)
        The parameters of both halves of each pair.
    starts : ndarray of shape (P,), int
        A pair sees examples ``starts[p] <= i < starts[p] + batch``. Those of neighbours with the
        same start are laid out once.
    batch : int
    """

    network: Sequential
    points: Array
    starts: Array
    batch: int

    def losses(self, loss: str | Loss, data: Data) -> tuple[Array, Array]:
        """Losses of pairs, summed, and squared differences by example.

        As `blackbox_es.neural.tasks.population_losses`.
        """
        dtype, row = self.points.dtype, as_loss(loss)
        targets, weights = targets_and_weights(self.network, loss, data, dtype)
        weights = weights if weights.size else np.ones(len(data))
        losses, squares = np.empty((2, len(self.starts))), np.zeros(len(data))
        for start, pairs in self._slices():
            rows = slice(start, start + self.batch)
            h, target = blocks_of(data.X[rows])[None], blocks_of(targets[rows])
            for some in self._at_once(pairs, h):
                raw = self._raw(h, some)
                values = np.empty((len(raw), raw.shape[1] * LANES), dtype)
                kernels.example_losses(values, raw, target, row.code, dtype.type(row.parameter))
                each = values[:, : self.batch].reshape(2, -1, self.batch).astype(np.float64)
                losses[:, some] = (each * weights[rows]).sum(axis=2)
                for difference in each[0] - each[1]:  # one by one: the order is always the same
                    squares[rows] += difference**2
        return losses, squares

    def outputs(self, X: Array) -> Array:
        """Raw outputs for the examples of each pair: shape (2, P, batch, n_outputs)."""
        shape = 2, len(self.starts), self.batch, self.network.n_outputs
        out = np.empty(shape, self.points.dtype)
        for start, pairs in self._slices():
            h = blocks_of(X[start : start + self.batch])[None]
            for some in self._at_once(pairs, h):
                raw = rows_of(self._raw(h, some), self.batch)
                out[:, some] = raw.reshape(2, -1, *raw.shape[1:])
        return out

    def _slices(self) -> list[tuple[int, range]]:
        """Where slices start, and the neighbouring pairs that see them."""
        groups = groupby(range(len(self.starts)), key=lambda pair: int(self.starts[pair]))
        found = [(start, list(pairs)) for start, pairs in groups]
        return [(start, range(pairs[0], pairs[-1] + 1)) for start, pairs in found]

    def _at_once(self, pairs: range, h: Array) -> list[slice]:
        """Few enough pairs to stay in the cache."""
        few = max(1, self.network.at_once(h.shape[1], h.itemsize) // 2)
        return [slice(i, min(i + few, pairs.stop)) for i in range(pairs.start, pairs.stop, few)]

    def _raw(self, h: Array, pairs: slice) -> Array:
        """Raw outputs of both halves of some pairs, plus first, as layers leave them."""
        thetas = self.points[:, pairs].reshape(-1, self.points.shape[2])
        return self.network.run(h, *self.network.several(thetas))
