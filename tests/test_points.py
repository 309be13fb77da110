"""A population of networks of layers is evaluated as each network is by itself."""

import numpy as np
import pytest
from layers import SMALL
from networks import random_targets

from blackbox_es import _jit
from blackbox_es._threads import Threads
from blackbox_es.generation import Generation
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.metrics import METRICS
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.points import Points
from blackbox_es.samplers import Isotropic, LowRank

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
RNG = np.random.default_rng(0)


def population(starts=(0, 0, 3, 3, 3), batch=LANES + 2, dtype=np.float64):
    """Pairs around a center."""
    theta = RNG.normal(size=(2, len(starts), SMALL.n_parameters)) / 2
    return Points(SMALL, theta.astype(dtype), np.array(starts), batch)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_squares_are_those_of_each_network(loss, weighted):
    """Sums over the slice of the pair, and squared differences by example, without weights."""
    pairs, m = population(), LANES + 5
    X, weight = RNG.normal(size=(m, SMALL.n_inputs)), RNG.uniform(0, 2, m) if weighted else None
    y = random_targets(loss, 3, m, RNG, float)
    losses, squares = pairs.losses(loss, Data(X, y, weight))
    expected, differences = np.empty((2, 5)), np.zeros(m)
    for p, start in enumerate(pairs.starts):
        rows, values = slice(start, start + pairs.batch), []
        for half in (0, 1):
            raw = SMALL.forward(pairs.points[half, p], X[rows])
            values.append(LOSSES[loss].values(raw, y[rows]))
            expected[half, p] = values[half] @ (weight[rows] if weighted else np.ones(len(raw)))
        differences[rows] += (values[0] - values[1]) ** 2
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    np.testing.assert_allclose(squares, differences, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_are_those_of_each_network(dtype):
    """Bit for bit."""
    pairs, X = population(dtype=dtype), RNG.normal(size=(LANES + 5, SMALL.n_inputs)).astype(dtype)
    outputs = pairs.outputs(X)
    assert outputs.shape == (2, 5, pairs.batch, 3)
    for p, start in enumerate(pairs.starts):
        for half in (0, 1):
            raw = SMALL.forward(pairs.points[half, p], X[start : start + pairs.batch])
            np.testing.assert_array_equal(outputs[half, p], raw)


def test_a_pair_has_its_bits_whatever_others_there_are():
    """Losses of some pairs are those of all."""
    pairs, X = population(), RNG.normal(size=(LANES + 5, SMALL.n_inputs))
    data = Data(X, random_targets("log_loss", 3, len(X), RNG))
    losses, _ = pairs.losses("log_loss", data)
    for some in ([4], [0, 2], slice(1, 4)):
        part = pairs._replace(points=pairs.points[:, some], starts=pairs.starts[some])
        np.testing.assert_array_equal(part.losses("log_loss", data)[0], losses[:, some])


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="y has shape"):
        population().losses("log_loss", Data(np.zeros((LANES + 5, SMALL.n_inputs)), np.zeros(3)))


@needs_numba
@pytest.mark.parametrize("loss", ["log_loss", METRICS["roc_auc"]], ids=["log_loss", "roc_auc"])
def test_an_objective_evaluates_generations(loss):
    """Of signs or normals, in threads or not: losses are those of the points of the generation."""
    network = type(SMALL)(SMALL.image_shape, (*SMALL.layers[:-1], type(SMALL.layers[-1])(1)))
    rng = np.random.default_rng(0)
    data = Data(rng.normal(size=(200, network.n_inputs)), rng.integers(0, 2, 200))
    center = network.initial(rng)
    for sampler in (LowRank(network.shapes, 0.1), Isotropic(center.size, 0.1)):
        generation = Generation(center, sampler, 0, 3, 48)
        found = []
        for n in (1, 3):
            with Threads(n) as threads:
                objective = NetworkObjective(
                    network, loss, data, batch_size=70, n_pairs=48, threads=threads
                )
                found.append(objective.evaluate_generation(generation))
        np.testing.assert_array_equal(*found)
        rows = objective.examples.pool(generation.key).rows
        for pair in (0, 47):
            part = data.take(rows[:70] if pair == 0 else rows[70:140])
            points = generation.pairs(pair, pair + 1)[:, 0]
            for half in (0, 1):
                raw = network.forward(points[half], part.X)
                one = LOSSES["log_loss"].values(raw, part.y).mean() if loss == "log_loss" else None
                expected = loss(part.y, raw, None) if one is None else one
                assert found[0][half, pair] == pytest.approx(expected, rel=1e-10)
