"""Networks as functions of a vector, against scikit-learn, differences and the fused kernel."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import hinge_loss, log_loss, zero_one_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor

from blackbox_es.neural.kernels import population_losses, population_outputs
from blackbox_es.neural.network import ACTIVATIONS, LOSSES, Network
from blackbox_es.samplers import LowRank, directions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 5))
LABELS, TARGETS = RNG.integers(0, 3, 70), RNG.normal(size=(70, 3))
SMOOTH = ["relu", "tanh", "logistic", "identity"]


@pytest.mark.parametrize("activation", SMOOTH)
def test_outputs_are_scikit_learns(activation):
    """With the weights of an MLPClassifier, softmax of the outputs is its predict_proba."""
    model = MLPClassifier((6, 4), activation=activation, max_iter=5, random_state=0)
    with pytest.warns(UserWarning, match="converged"):
        model.fit(X, LABELS)
    network = Network((5, 6, 4, 3), activation)
    raw = network.forward(network.pack(model.coefs_, model.intercepts_), X)
    odds = np.exp(raw)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), model.predict_proba(X))


def test_initial_weights_are_scikit_learns():
    """Drawn from the same bounds in the same order."""
    model = MLPRegressor(
        hidden_layer_sizes=(6, 4), max_iter=2, random_state=3, learning_rate_init=1e-300
    )
    with pytest.warns(UserWarning, match="converged"):
        model.fit(X, TARGETS)
    network = Network((5, 6, 4, 3), "relu")
    expected = network.pack(model.coefs_, model.intercepts_)
    np.testing.assert_array_equal(network.initial(np.random.RandomState(3)), expected)


def test_pack_and_unpack():
    """Weights, then intercepts, layer by layer; unpack gives views."""
    network = Network((2, 3, 1), "relu")
    theta = np.arange(13.0)
    coefs, intercepts = network.unpack(theta)
    np.testing.assert_array_equal(coefs[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(intercepts[0], [6, 7, 8])
    np.testing.assert_array_equal(network.pack(coefs, intercepts), theta)
    assert np.shares_memory(coefs[1], theta)
    assert network.is_weight().tolist() == [True] * 6 + [False] * 3 + [True] * 3 + [False]


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_losses_are_scikit_learns(n_outputs):
    """Mean log loss, hinge loss and zero-one loss of raw outputs."""
    y = LABELS if n_outputs > 1 else LABELS % 2
    raw = RNG.normal(size=(70, n_outputs))
    labels, decision = sorted(set(y)), raw if n_outputs > 1 else raw[:, 0]
    odds = np.exp(raw) if n_outputs > 1 else np.hstack([expit(-raw), expit(raw)])
    probability = odds / odds.sum(axis=1, keepdims=True)
    predicted = probability.argmax(axis=1)
    expected = {
        "log_loss": log_loss(y, probability, labels=labels),
        "hinge": hinge_loss(y, decision, labels=labels),
        "zero_one": zero_one_loss(y, predicted),
    }
    found = {name: float(LOSSES[name].values(raw, y).mean()) for name in expected}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("size", [30.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_never_overflows(size, dtype):
    """Outputs of any size: the loss of a class that is far behind is its distance."""
    raw = np.array([[size, 0.0, -size]], dtype)
    for label, expected in enumerate((0.0, size, 2 * size)):
        assert LOSSES["log_loss"].values(raw, np.array([label]))[0] == pytest.approx(expected)
        binary = LOSSES["log_loss"].values(raw[:, :1], np.array([label % 2]))[0]
        assert binary == pytest.approx(0.0 if label % 2 else size)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "hinge"])
@pytest.mark.parametrize("activation", SMOOTH)
def test_backpropagation_is_the_gradient(activation, loss):
    """Central differences of the mean loss, weighted, agree in every coordinate."""
    network = Network((5, 4, 3, 3), activation)
    y, weight = (TARGETS if loss == "squared_error" else LABELS), RNG.uniform(0.5, 2, 70)
    theta, h = network.initial(np.random.default_rng(1)), 1e-6

    def f(theta):
        values = LOSSES[loss].values(network.forward(theta, X), y)
        return np.average(values, weights=weight)

    value, gradient = network.gradient(theta, X, y, weight, loss)
    steps = h * np.eye(theta.size)
    differences = [(f(theta + step) - f(theta - step)) / (2 * h) for step in steps]
    assert value == pytest.approx(f(theta))
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-8)


def test_steps_have_no_gradient():
    """The zero-one loss says so; step activations have a surrogate that points somewhere."""
    network = Network((5, 4, 3), "step")
    theta = network.initial(np.random.default_rng(1))
    with pytest.raises(ValueError, match="no gradient"):
        network.gradient(theta, X, LABELS, None, "zero_one")
    assert np.any(network.gradient(theta, X, LABELS, None, "log_loss")[1][:24])


@pytest.mark.parametrize("batch", [1, 63, 64, 65, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_population_is_each_network(activation, dtype, batch):
    """The fused kernel gives the losses and outputs of each perturbed network by itself."""
    network = Network((5, 9, 7, 3), activation)
    sampler = LowRank(network.shapes, 0.5)
    theta = network.initial(np.random.default_rng(2)).astype(dtype)
    x, key, pairs = X.astype(dtype), (1, 2), (0, 5)
    population = {
        "network": network, "theta": theta, "scale": sampler.scale,
        "signs": sampler.factors(key, pairs, dtype), "coefs": np.empty((5, 0), dtype),
        "subspace": np.empty((0, theta.size), dtype), "X": x,
        "starts": np.zeros(5, int), "batch": batch,
    }  # fmt: skip
    error = 1e-5 if dtype is np.float32 else 1e-12
    losses = population_losses(**population, loss="log_loss", y=LABELS, sample_weight=None)
    outputs = population_outputs(**population)
    for half, sign in enumerate((1, -1)):
        for pair, d in enumerate(directions(sampler, key, pairs)):
            raw = network.forward(theta.astype(float) + sign * d, X[:batch])
            close = np.abs(outputs[half, pair] - raw).max(axis=1) < error
            assert close.mean() > (0.9 if activation in ("step", "sign") else 0.999)
            if activation not in ("step", "sign"):  # a unit at the edge of a step may flip
                expected = LOSSES["log_loss"].values(raw, LABELS[:batch]).sum()
                assert losses[half, pair] == pytest.approx(expected, rel=error)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_have_no_finite_loss(bad):
    """NaN and inf in the weights are never hidden by an activation, a maximum or an exponential."""
    network = Network((5, 9, 3), "tanh")
    theta = network.initial(np.random.default_rng(2)).astype(np.float32)
    theta[-1] = bad  # the last intercept
    sampler = LowRank(network.shapes, 0.5)
    for loss in ("log_loss", "squared_error"):
        y = TARGETS if loss == "squared_error" else LABELS
        losses = population_losses(
            network, loss, theta, sampler.scale, sampler.factors((1, 2), (0, 2), np.float32),
            np.empty((2, 0), np.float32), np.empty((0, theta.size), np.float32),
            X.astype(np.float32), y, None, np.zeros(2, int), 70,
        )  # fmt: skip
        assert not np.isfinite(losses).any()
