"""Targets for any loss of a network, and which activations have a slope."""

import numpy as np

from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.losses import LOSSES

SMOOTH = [
    name
    for name, activation in ACTIVATIONS.items()
    if len(np.unique(activation.function(np.linspace(0.1, 3, 100)))) > 1
]
STEPS = [name for name in ACTIVATIONS if name not in SMOOTH]


def random_targets(loss, n_outputs, n, rng, dtype=float):
    """What a loss by name takes for n examples: labels, or positive numbers."""
    if LOSSES[loss].targets == "labels":
        return rng.integers(0, max(2, n_outputs), n)
    return rng.exponential(size=(n, n_outputs)).astype(dtype)


def xi_of(signs, n_examples):
    """xi (P, M, n)."""
    xi = np.concatenate([signs.values(block) for block in range(len(signs.own))], axis=2)
    return xi.swapaxes(1, 2)[:, :n_examples]
