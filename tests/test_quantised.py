"""Weights and activations of few bits: laws of every row, and networks that compute with them."""

import pickle

import numpy as np
import pytest
from layers import POOLED, SMALL, outputs
from networks import random_targets
from sklearn.base import clone
from sklearn.datasets import load_digits
from test_nodes import expected_losses, losses_of, problem

from blackbox_es import ESConvNetClassifier, ESMLPClassifier, ESMLPRegressor, _jit
from blackbox_es.neural.activations import quantised
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import Activate, Dense
from blackbox_es.neural.network import Network
from blackbox_es.neural.points import Points
from blackbox_es.neural.quantisers import QUANTISERS, WEIGHTS, quantise
from blackbox_es.neural.sequential import Sequential

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
every_kind = pytest.mark.parametrize("kind", QUANTISERS)
bits = pytest.mark.parametrize("bits", [1, 2, 8, 16])
RNG = np.random.default_rng(0)
LEVELS = {"binary": {-1, 1}, "ternary": {-1, 0, 1}, "int8": set(range(-127, 128))}


# -- weights ---------------------------------------------------------------------------------------


@every_kind
def test_weights_are_a_scale_times_whole_numbers(kind):
    """Of each network and layer its own; the dtype stays."""
    W = RNG.normal(size=(3, 40, 5)).astype(np.float32)
    scale, integers = QUANTISERS[kind](W)
    assert scale.shape == (3, 1, 1)
    assert set(np.unique(integers)) <= LEVELS[kind]
    assert len(np.unique(integers)) == min(len(np.unique(integers)), len(LEVELS[kind])) > 1
    assert scale.dtype == integers.dtype == quantise(W, kind).dtype == np.float32
    for v in range(3):
        np.testing.assert_array_equal(quantise(W, kind)[v], quantise(W[v], kind))


@every_kind
def test_the_scale_is_the_nearest_to_the_weights(kind):
    """Of all scales with the same whole numbers (for int8 but for rounding, which it is not)."""
    W = RNG.normal(size=(40, 5))
    scale, integers = QUANTISERS[kind](W)
    nearest = (W * integers).sum() / (integers**2).sum()
    assert scale[0, 0] == pytest.approx(nearest, rel=1e-2 if kind == "int8" else 1e-12)
    error = ((W - quantise(W, kind)) ** 2).mean() / (W**2).mean()
    assert error < {"binary": 0.4, "ternary": 0.25, "int8": 1e-4}[kind]


@every_kind
def test_laws_of_quantising(kind):
    """Larger weights have larger scales, signs turn, and once is as good as twice."""
    W = RNG.normal(size=(30, 4))
    q = quantise(W, kind)
    np.testing.assert_array_equal(quantise(4 * W, kind), 4 * q)
    np.testing.assert_array_equal(quantise(-W, kind), -q)
    np.testing.assert_allclose(quantise(q, kind), q, rtol=1e-14)
    np.testing.assert_array_equal(quantise(0 * W, kind), 0)
    W[3, 1] = np.nan  # the scale of a layer is then as undefined as the weight
    assert np.isnan(quantise(W, kind)).all()


@every_kind
def test_networks_compute_with_quantised_weights(kind):
    """Outputs and gradients are those of the network with these weights; intercepts are kept."""
    network = Sequential(SMALL.image_shape, SMALL.layers, kind)
    theta, X = RNG.normal(size=network.n_parameters), RNG.normal(size=(9, network.n_inputs))
    effective = network.effective(theta)
    for W, b, q, c in zip(*network.unpack(theta), *network.unpack(effective), strict=True):
        np.testing.assert_array_equal(q, quantise(W, kind))
        np.testing.assert_array_equal(c, b)
    raw = network.forward(theta, X)
    np.testing.assert_array_equal(raw, SMALL.forward(effective, X))
    np.testing.assert_allclose(raw, outputs(SMALL, effective, X), rtol=1e-10, atol=1e-12)
    data = Data(X, random_targets("log_loss", 3, 9, RNG))
    _, straight_through = network.gradient(theta, data, "log_loss")
    np.testing.assert_array_equal(straight_through, SMALL.gradient(effective, data, "log_loss")[1])


@every_kind
def test_perceptrons_compute_with_quantised_weights(kind):
    """As the same layers in a sequence do."""
    network = Network((5, 7, 3), "tanh", kind)
    layers = Sequential((1, 1, 5), (Dense(7), Activate("tanh"), Dense(3)), kind)
    theta, X = RNG.normal(size=network.n_parameters), RNG.normal(size=(9, 5))
    np.testing.assert_array_equal(network.effective(theta), layers.effective(theta))
    np.testing.assert_allclose(network.forward(theta, X), layers.forward(theta, X), rtol=1e-12)
    data = Data(X, random_targets("log_loss", 3, 9, RNG))
    (f, g), (value, gradient) = (n.gradient(theta, data, "log_loss") for n in (network, layers))
    assert f == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(g, gradient, rtol=1e-10, atol=1e-14)
    assert network.inputs_are == layers.inputs_are == "centered"
    with pytest.raises(ValueError, match="weights='int3'"):
        Network((5, 3), "tanh", "int3")


@every_kind
def test_moved_weights_are_quantised_after_the_move(kind):
    """Each network of a population has quantised weights of its own."""
    network = Sequential(SMALL.image_shape, SMALL.layers, kind)
    points = RNG.normal(size=(2, 3, network.n_parameters))
    X = RNG.normal(size=(5, network.n_inputs))
    found = Points(network, points, np.zeros(3, int), 5).outputs(X)
    for half, pair in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[half, pair], network.forward(points[half, pair], X))


X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)


@needs_numba
@every_kind
@pytest.mark.parametrize("options", [
    {"perturb": "activations", "learning_rate_init": 0.01},
    {"perturb": "weights", "guide": "backprop", "learning_rate_init": 0.02, "n_pairs": 64},
], ids=lambda options: options["perturb"])  # fmt: skip
def test_fitted_weights_are_quantised_and_predict(kind, options):
    """Both networks learn; what they hold are few numbers."""
    common = {"weights": kind, "random_state": 0, "max_iter": 200, **options}
    for model in (
        ESMLPClassifier((32,), **common),
        ESConvNetClassifier((8, 8), (*POOLED[:3], Dense(16), "tanh"), **common),
    ):
        model.fit(X[:1400], Y[:1400])
        for W in model.coefs_:
            scale, integers = QUANTISERS[kind](W)
            np.testing.assert_allclose(scale * integers, W, rtol=1e-6)
            assert set(np.unique(integers)) <= LEVELS[kind]
        assert model.score(X[1400:], Y[1400:]) > 0.7
        assert clone(model).weights == kind


@needs_numba
@every_kind
def test_calls_go_on_from_the_weights_that_are_moved(kind):
    """partial_fit does not begin at the quantised ones: a small step is not lost."""
    model = ESMLPRegressor((4,), weights=kind, random_state=0, learning_rate_init=1e-4)
    for _ in range(3):
        model.partial_fit(X[:200], Y[:200] / 9.0)
    moved = model._descent.x
    assert not np.array_equal(model._network.effective(moved), moved)


def test_unknown_weights_are_refused():
    assert WEIGHTS == ("float", "ternary", "binary", "int8")
    with pytest.raises(ValueError, match="weights='int4': take 'float', 'ternary', 'bin"):
        ESMLPClassifier(weights="int4").fit(X, Y)


# -- activations -----------------------------------------------------------------------------------


@bits
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_have_so_many_values(bits, dtype):
    """From 0 to 1 in equal steps, the nearest to z; outside, the nearer end; NaN stays NaN."""
    row, levels = quantised(bits), 2**bits - 1
    z = np.append(np.linspace(-1, 2, 10_001), [0.0, 1.0]).astype(dtype)
    h = row.function(z)
    assert h.dtype == row.derivative(z).dtype == dtype
    whole = h.astype(float) * levels
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-2)
    assert len(np.unique(h)) == min(2**bits, len(np.unique(h)))
    assert abs(h - np.clip(z, 0, 1)).max() <= 0.5001 / levels
    assert np.isnan(row.function(np.array([np.nan], dtype))).all()
    width = np.mean(row.derivative(z)) * 3
    assert width == pytest.approx(1, abs=1e-3)  # encloses the height of all steps


@bits
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_compute_the_rows(bits, dtype):
    """For moved activations, but for the few units near a step."""
    p = problem((4, 20, 17, 3), "tanh", n_examples=70, dtype=dtype)
    p["network"] = Network((4, 20, 17, 3), quantised(bits))
    found, expected = losses_of(p), expected_losses(p)
    assert np.mean(np.abs(found - expected) < 1e-4 * (1 + expected)) > 0.98


def test_rows_are_values():
    """They are compared by what they compute, copied, pickled and shown."""
    assert quantised(2) == quantised(2) != quantised(3)
    assert pickle.loads(pickle.dumps(quantised(2))) == quantised(2)
    model = ESMLPClassifier((5,), quantised(2), max_iter=3, random_state=0)
    again = pickle.loads(pickle.dumps(clone(model).fit(X, Y)))
    np.testing.assert_array_equal(again.predict_proba(X), model.fit(X, Y).predict_proba(X))
    assert Activate(quantised(2)).shape((1, 1, 3)) == (1, 1, 3)


@needs_numba
@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_networks_of_quantised_units_learn(perturb):
    """Of two bits, in both kinds of network."""
    common = {"max_iter": 200, "learning_rate_init": 0.02, "random_state": 0, "perturb": perturb}
    for model in (
        ESMLPClassifier((32,), quantised(2), **common),
        ESConvNetClassifier((8, 8), (*POOLED[:2], quantised(2)), **common),
    ):
        assert model.fit(X[:1400], Y[:1400]).score(X[1400:], Y[1400:]) > 0.7


@pytest.mark.parametrize("bad", [0, 17, 1.5])
def test_bits_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match=f"bits={bad}: expected an integer from 1 to 16"):
        quantised(bad)
