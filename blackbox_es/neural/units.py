"""The units in which a network is trained: inputs and targets centered and scaled.

A change of coordinates, undone exactly in the first and the last layer: the model that is fitted
takes and gives what the user has. Steps and perturbations of one size suit it whatever the units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import Loss
from blackbox_es.neural.network import FlatNetwork

Array = npt.NDArray[Any]

_ALIKE = 10.0  # columns of one unit have spreads that differ by less
_ROWS = 4096  # at a time, which need no large copy
_FARTHEST = 10.0  # scales from the center, at most, is any value of a column


@dataclass(frozen=True, eq=False)
class Units:
    """``x' = (x - center) / scale`` and ``raw = raw' out_scale + out_center``.

    Attributes
    ----------
    center, scale : ndarray of shape (n_inputs,), or of none
        Where a weight is that of many features, or made of few bits, there is one scale, the
        largest number, and no center.
        Columns of one unit, such as pixels, have one scale: half of the largest distance from their
        centers, by which columns that hardly vary stay small. If spreads of columns differ much,
        each column has a scale of its own, its standard deviation (if no value is farther than ten
        of them from the center).
    out_center : ndarray of shape (n_outputs,)
    out_scale : float
        The same for all outputs, so that a mean over them remains what it is.
    loss_scale, loss_zero : float
        A loss of each example, in units of the user's, is ``loss' loss_scale + loss_zero``.
    loss_unit : float
        In which differences of losses are judged: for numbers, that of predicting their mean.
    """

    center: Array
    scale: Array
    out_center: Array
    out_scale: float = 1.0
    loss_scale: float = 1.0
    loss_zero: float = 0.0
    loss_unit: float = 1.0

    @classmethod
    def of(cls, data: Data, loss: Loss, network: FlatNetwork) -> Self:
        """Those of these examples: of a loss of numbers, also of the targets."""
        n_outputs, (center, scale) = network.n_outputs, _of_inputs(data, network.inputs_are)
        if loss.targets == "labels":
            return cls(center, scale, np.zeros(n_outputs))
        mean, farthest = _center(data, data.y)
        if loss.output == "exp":  # the unit is the mean, and the center of outputs its logarithm
            unit = float(mean.mean()) or 1.0
            shift = math.log(unit)
            zero = -shift * float(mean.mean())
            return cls(center, scale, np.full(n_outputs, shift), 1.0, unit, zero, unit)
        spread = float(np.sqrt(np.mean(_deviation(data, data.y, mean) ** 2)))
        unit = spread if farthest.any() else 1.0
        each = loss.values(np.broadcast_to(mean, data.y.shape), data.y)
        loss_unit = float(_share(data) @ each) or 1.0
        return cls(center, scale, mean, unit, unit**loss.degree, loss_unit=loss_unit)

    @classmethod
    def of_weights(cls, X: Array, network: FlatNetwork) -> Self:
        """Of inputs only, for weights that are there already.

        Scales are powers of two about the standard deviation, so that weights of a single layer
        come back bit for bit. A column that does not vary has scale 1.
        """
        mean, spread = X.mean(axis=0), X.std(axis=0)
        varies = spread > 1e-9 * np.abs(mean)  # else it is rounding
        scale = np.exp2(np.round(np.log2(np.where(varies, spread, 1.0))))
        return cls(np.where(varies, mean, X[0]), scale, np.zeros(network.n_outputs))

    def inputs(self, X: Array) -> Array:
        """Inputs as the network is given them."""
        out = X - self.center.astype(X.dtype)
        out /= self.scale.astype(X.dtype)
        return np.asarray(out)

    def targets(self, y: Array, loss: Loss) -> Array:
        """Numbers as a loss of each example is given them."""
        if loss.output == "exp":
            return np.asarray(y / self.loss_scale)
        return np.asarray((y - self.out_center) / self.out_scale)

    def outputs(self, raw: Array) -> Array:
        """Raw outputs in units of the user's."""
        scale, center = raw.dtype.type(self.out_scale), self.out_center.astype(raw.dtype)
        return np.asarray(raw * scale + center)

    def outer(self, network: FlatNetwork, theta: Array) -> tuple[list[Array], list[Array]]:
        """Weights and intercepts of the same network in units of the user's: copies."""
        coefs, intercepts = map(list, network.unpack(theta.copy()))
        dtype = theta.dtype
        coefs[0] /= np.atleast_1d(self.scale.astype(dtype))[:, None]
        if self.center.ndim:
            intercepts[0] -= self.center.astype(dtype) @ coefs[0]
        coefs[-1] *= dtype.type(self.out_scale)
        intercepts[-1] *= dtype.type(self.out_scale)
        intercepts[-1] += self.out_center.astype(dtype)
        return coefs, intercepts

    def inner(self, network: FlatNetwork, coefs: list[Array], intercepts: list[Array]) -> Array:
        """The inverse of `outer`, packed."""
        theta = network.pack(coefs, intercepts)
        coefs, intercepts = map(list, network.unpack(theta))
        dtype = theta.dtype
        intercepts[-1] -= self.out_center.astype(dtype)
        intercepts[-1] /= dtype.type(self.out_scale)
        coefs[-1] /= dtype.type(self.out_scale)
        if self.center.ndim:
            intercepts[0] += self.center.astype(dtype) @ coefs[0]
        coefs[0] *= np.atleast_1d(self.scale.astype(dtype))[:, None]
        return theta


def _of_inputs(data: Data, inputs_are: str) -> tuple[Array, Array]:
    """Center and scale of the inputs, as far as the first layer can make up for them."""
    if inputs_are in ("scaled", "fixed"):
        most = float(np.abs(data.X).max()) if inputs_are == "scaled" else 1.0
        return np.zeros(()), np.asarray(most or 1.0)
    center, farthest = _center(data, data.X)
    varying = farthest[farthest > 0]
    if inputs_are == "centered":  # weights of few bits have one scale, in any unit
        return center, np.full(center.shape, 0.5 * varying.max() if varying.size else 1.0)
    if varying.size and varying.max() <= _ALIKE * np.quantile(varying, 0.1, method="lower"):
        scale = np.full(center.shape, 0.5 * varying.max())
    else:
        scale = np.maximum(_deviation(data, data.X, center), farthest / _FARTHEST)
    scale[farthest == 0] = 1
    return center, scale


def _share(data: Data) -> Array:
    """Weights of sum 1. As with any center, nothing depends on how precise the mean is."""
    weight = np.ones(len(data)) if data.weight is None else data.weight
    return np.asarray(weight / weight.sum(dtype=np.float64))


def _center(data: Data, values: Array) -> tuple[Array, Array]:
    """The mean of each column, and the largest distance from it."""
    mean = _share(data).astype(values.dtype) @ values
    most, least = values.max(axis=0), values.min(axis=0)
    return mean, np.where(most > least, np.maximum(most - mean, mean - least), 0)


def _deviation(data: Data, values: Array, mean: Array) -> Array:
    """The standard deviation of each column."""
    share, total = _share(data), np.zeros(values.shape[1])
    for first in range(0, len(values), _ROWS):
        rows = slice(first, first + _ROWS)
        total += share[rows] @ (values[rows].astype(np.float64) - mean) ** 2
    return np.sqrt(total)
