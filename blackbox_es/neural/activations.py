"""Activations of hidden layers: one row of one table each.

A new one is a row of `ACTIVATIONS` and a branch of `kernels._activate`. `quantised` makes rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from blackbox_es._validation import check_count
from blackbox_es.neural import kernels

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Activation:
    """A function of the units of a hidden layer, unit by unit, and what depends on which it is.

    Parameters
    ----------
    code : int
        What the kernels call it; two with the same are equal.
    function : callable
        Units to units of the same dtype; NaN stays NaN.
    derivative : callable
        Of the function. At a kink it is that of the flat side (relu at 0: 0). A function of steps
        has none: a stand-in for it encloses the same area as the jump is high.
    glorot : float
        The c of `Network.initial`: how widely weights are drawn.
    """

    code: int
    function: Callable[[Array], Array] = field(repr=False, compare=False)
    derivative: Callable[[Array], Array] = field(repr=False, compare=False)
    # Glorot and Bengio's, which keeps the size of signals and gradients where the slope is about 1
    glorot: float = 6.0


def _relu_slope(z: Array) -> Array:
    return np.asarray(z > 0, z.dtype)


def _tanh_slope(z: Array) -> Array:
    return np.asarray(1 - np.tanh(z) ** 2)


def _logistic_slope(z: Array) -> Array:
    return np.asarray(expit(z) * expit(-z))


def _step(z: Array) -> Array:
    """1 if z > 0 else 0."""
    return np.asarray(np.heaviside(z, z.dtype.type(0)))


def _sign(z: Array) -> Array:
    """1 if z >= 0 else -1."""
    return np.asarray(2 * np.heaviside(z, z.dtype.type(1)) - 1)


def _window(z: Array) -> Array:
    """Derivative of the hard tanh, max(-1, min(1, z)): the straight-through surrogate."""
    return np.asarray(np.abs(z) <= 1, z.dtype)


def _half_window(z: Array) -> Array:
    return _window(z) / 2


ACTIVATIONS = {
    "relu": Activation(kernels.RELU, lambda z: np.maximum(z, 0), _relu_slope),
    "tanh": Activation(kernels.TANH, np.tanh, _tanh_slope),
    # scikit-learn draws the weights before logistic units less widely, and so that the same seed
    # begins at the same weights here, so do we
    "logistic": Activation(kernels.LOGISTIC, expit, _logistic_slope, glorot=2.0),
    "identity": Activation(kernels.IDENTITY, lambda z: z, np.ones_like),
    "step": Activation(kernels.STEP, _step, _half_window),  # jumps half as high as the sign
    "sign": Activation(kernels.SIGN, _sign, _window),
}


def as_activation(activation: str | Activation) -> Activation:
    """The row of a name in `ACTIVATIONS`; a row is itself."""
    return activation if isinstance(activation, Activation) else ACTIVATIONS[activation]


def _rounded(z: Array, levels: int) -> Array:
    scaled = np.floor(np.clip(z, 0, 1) * z.dtype.type(levels) + z.dtype.type(0.5))
    return np.asarray(scaled / z.dtype.type(levels))


def _inside(z: Array) -> Array:
    """Derivative of what is rounded: the straight-through surrogate."""
    return np.asarray((z >= 0) & (z <= 1), z.dtype)


def quantised(bits: int) -> Activation:
    """The row of ``round((2^bits - 1) min(1, max(0, z))) / (2^bits - 1)``.

    Units have 2^bits values from 0 to 1, as in Zhou et al. (2016), "DoReFa-Net".

    Parameters
    ----------
    bits : int from 1 to 16

    Examples
    --------
    >>> quantised(2).function(np.array([-1.0, 0.3, 0.6, 9.0])).round(3).tolist()
    [0.0, 0.333, 0.667, 1.0]
    """
    check_count("bits", bits, high=16)
    function = partial(_rounded, levels=2**bits - 1)
    return Activation(kernels.QUANTISED + bits, function, _inside)
