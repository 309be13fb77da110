"""Multilayer perceptrons as users describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from blackbox_es._validation import check_choice, check_count
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.network import Network


@dataclass(eq=False, repr=False)
class Perceptron:
    """The parameters that say what network it is; they are documented with the estimators."""

    _network_parameter: ClassVar[str] = "hidden_layer_sizes"
    n_outputs_: int = field(init=False)

    hidden_layer_sizes: Sequence[int] = (64,)
    activation: str = "relu"

    def _hidden(self) -> tuple[Any, ...]:
        sizes = self.hidden_layer_sizes
        return tuple(sizes) if np.iterable(sizes) else (sizes,)

    def _check_network(self) -> None:
        for size in self._hidden():
            check_count("hidden_layer_sizes", size)
        check_choice("activation", self.activation, ACTIVATIONS)

    def _make_network(self, n_inputs: int) -> Network:
        return Network((n_inputs, *self._hidden(), self.n_outputs_), self.activation)
