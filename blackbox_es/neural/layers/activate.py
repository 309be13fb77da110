"""A function of each unit by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_choice
from blackbox_es.neural.activations import ACTIVATIONS, Activation, as_activation
from blackbox_es.neural.layers.base import Map, Shape

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Activate(Map):
    """An activation, unit by unit.

    Parameters
    ----------
    activation : str or Activation
        A name in `ACTIVATIONS` or a row. Among the layers of an estimator it alone will do.

    Examples
    --------
    >>> Activate("relu").shape((14, 14, 6))
    (14, 14, 6)
    """

    activation: str | Activation

    @property
    def row(self) -> Activation:
        """The row of the table."""
        return as_activation(self.activation)

    def shape(self, given: Shape) -> Shape:
        """The same."""
        if not isinstance(self.activation, Activation):
            check_choice("activation", self.activation, ACTIVATIONS)
        return given

    def forward(self, h: Array, given: Shape) -> Array:
        """The function."""
        return self.row.function(h)

    def backward(self, slopes: Array, h: Array, given: Shape) -> Array:
        """Times the derivative, or what stands in for it."""
        return np.asarray(slopes * self.row.derivative(h))
