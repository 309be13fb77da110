"""Multilayer perceptrons as users describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from blackbox_es._validation import check_choice, check_count
from blackbox_es.neural.activations import ACTIVATIONS, Activation
from blackbox_es.neural.layers import Activate, Dense
from blackbox_es.neural.network import FlatNetwork, Network
from blackbox_es.neural.sequential import Sequential
from blackbox_es.neural.training import ESMLP


@dataclass(eq=False, repr=False)
class Perceptron(ESMLP):
    """The parameters that say what network it is; they are documented with the estimators."""

    _network_parameter: ClassVar[str] = "hidden_layer_sizes"

    hidden_layer_sizes: Sequence[int] = (64,)
    activation: str | Activation = "relu"

    def _hidden(self) -> tuple[Any, ...]:
        sizes = self.hidden_layer_sizes
        return tuple(sizes) if np.iterable(sizes) else (sizes,)

    def _check_network(self) -> None:
        for size in self._hidden():
            check_count("hidden_layer_sizes", size)
        if not isinstance(self.activation, Activation):
            check_choice("activation", self.activation, ACTIVATIONS)

    def _make_network(self, n_inputs: int) -> FlatNetwork:
        sizes = n_inputs, *self._hidden(), self.n_outputs_
        if self.weights == "float" or self._moves() == "activations":
            return Network(sizes, self.activation, self.weights)
        # What is quantised has no factors of noise: each network of a population is run by itself.
        hidden = ((Dense(n), Activate(self.activation)) for n in self._hidden())
        layers = (*chain(*hidden), Dense(self.n_outputs_))
        return Sequential((1, 1, n_inputs), layers, self.weights)
