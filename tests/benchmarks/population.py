"""A population of networks for the kernel to evaluate, and the arithmetic that it cannot avoid.

Multiply-adds are counted by kind, those which the method needs however it is programmed: padding,
the perturbed weights of the last layer, the addition that goes with a rank-one move, activations
and losses are left out. D are the inputs, H the units of a hidden layer, K the outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from blackbox_es import noise
from blackbox_es.neural.data import Data
from blackbox_es.neural.network import Network
from blackbox_es.neural.tasks import Population

OUTPUTS = 10
BATCH = 64  # examples per pair
PAIRS_PER_SLICE = 16


def population(network: Network, n_pairs: int) -> dict[str, Any]:
    """Arguments of `population_losses` in float32; every 16 pairs see the same slice."""
    rng = np.random.default_rng(0)
    n_slices = max(1, n_pairs // PAIRS_PER_SLICE)
    n_inputs, n_outputs = network.layer_sizes[0], network.layer_sizes[-1]
    pairs = Population(
        network=network,
        theta=network.initial(rng).astype(np.float32),
        sigma=0.01,
        words=noise.sign_words((0, 0), (0, n_pairs), -(-network.n_factors // 32)),
        coefs=np.empty((n_pairs, 0), np.float32),
        subspace=np.empty((0, network.n_parameters), np.float32),
        starts=np.arange(n_pairs) * n_slices // n_pairs * BATCH,
        batch=BATCH,
    )
    X = rng.standard_normal((n_slices * BATCH, n_inputs), dtype=np.float32)
    y = rng.integers(0, n_outputs, n_slices * BATCH).astype(np.float32)
    return {"population": pairs, "loss": "log_loss", "data": Data(X, y)}


def multiply_adds(network: Network, n_pairs: int) -> dict[str, int]:
    """Multiply-adds of a call, by kind, of a network with a hidden layer."""
    *hidden, (last_in, n_outputs) = network.shapes
    n_slices = max(1, n_pairs // PAIRS_PER_SLICE)
    examples = n_pairs * BATCH
    n_inputs, n_units = hidden[0]
    inner = hidden[1:]
    return {
        "shared X W": n_slices * BATCH * n_inputs * n_units,  # once for 16 pairs
        "X a": examples * n_inputs,  # the same for both halves of a pair
        "h W, h a": 2 * examples * sum(m * n + m for m, n in inner),
        "rank-one moves": 2 * examples * sum(n for _, n in hidden),
        "last layer": 2 * examples * last_in * n_outputs,
    }


def exponentials(network: Network, n_pairs: int) -> int:
    """Exponentials of the log loss: of each output and, to lose no digit, of the margin."""
    return 2 * n_pairs * BATCH * (network.layer_sizes[-1] + 1)


def sign_bytes(network: Network, n_pairs: int) -> int:
    """Bytes of words of signs that are read."""
    return 4 * n_pairs * -(-network.n_factors // 32)
