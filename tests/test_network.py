"""Networks as functions of a flat vector: outputs and gradients, each against a law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SMOOTH, STEPS, random_targets
from sklearn.neural_network import MLPClassifier, MLPRegressor

from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network

few = settings(deadline=None, max_examples=40, derandomize=True)
layer_sizes = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)
seeds = st.integers(0, 2**32 - 1)
SLOPED = [name for name, loss in LOSSES.items() if loss.gradient is not None]


def random_network(sizes, activation, seed, n=7):
    """A network, parameters and examples, all from one seed."""
    network, rng = Network(sizes, activation), np.random.default_rng(seed)
    return network, rng.normal(size=network.n_parameters), rng.normal(size=(n, sizes[0]))


def labels(n_classes, n, seed):
    return random_targets("log_loss", n_classes, n, np.random.default_rng(seed))


# --- the flat vector -----------------------------------------------------------------------------


@few
@given(layer_sizes, seeds)
def test_pack_undoes_unpack(sizes, seed):
    """Weights and intercepts of all layers are views that make up the vector, in order."""
    network, theta, _ = random_network(sizes, "relu", seed)
    coefs, intercepts = network.unpack(theta)
    assert tuple(W.shape for W in coefs) == network.shapes
    assert tuple(b.size for b in intercepts) == sizes[1:]
    assert all(np.shares_memory(part, theta) for part in (*coefs, *intercepts))
    np.testing.assert_array_equal(network.pack(coefs, intercepts), theta)
    np.testing.assert_array_equal(
        theta, np.concatenate([np.r_[W.ravel(), b] for W, b in zip(coefs, intercepts, strict=True)])
    )


def test_sizes():
    """784-64-10: 50,890 parameters, and signs a, b, c of the hidden and E, c of the last layer."""
    network = Network((784, 64, 10), "relu")
    assert network.shapes == ((784, 64), (64, 10))
    assert network.n_parameters == 784 * 64 + 64 + 64 * 10 + 10
    assert network.n_units == 64 + 10
    assert network.n_factors == (784 + 64 + 64) + (64 * 10 + 10)
    assert Network((3, 2), "relu").n_factors == 8  # no hidden layer: a sign for each parameter


def test_is_weight_is_false_at_intercepts():
    assert Network((2, 1, 2), "relu").is_weight().tolist() == [1, 1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("sizes", "activation", "message"),
    [
        ((3,), "relu", "layer_sizes"),
        ((3, 0, 1), "relu", "layer_sizes"),
        ((3, 1), "softplus", "activation='softplus' is unknown"),
    ],
)
def test_networks_that_cannot_be(sizes, activation, message):
    with pytest.raises(ValueError, match=message):
        Network(sizes, activation)


def test_vectors_that_do_not_fit():
    network = Network((2, 3), "relu")
    with pytest.raises(ValueError, match="9 parameters"):
        network.forward(np.zeros(8), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="shapes"):
        network.pack([np.zeros((3, 2))], [np.zeros(3)])


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_initial_parameters_are_those_of_scikit_learn(activation):
    """The same bounds and the same order of draws, so the same numbers from the same generator."""
    model = MLPRegressor(
        hidden_layer_sizes=(6, 4), activation=activation, max_iter=1, random_state=3,
        learning_rate_init=1e-300,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="converged"):
        model.fit(np.eye(5), np.eye(5)[:, :3])
    network = Network((5, 6, 4, 3), activation)
    expected = network.pack(model.coefs_, model.intercepts_)
    np.testing.assert_array_equal(network.initial(np.random.RandomState(3)), expected)


# --- outputs -------------------------------------------------------------------------------------


@few
@given(layer_sizes, st.sampled_from(list(ACTIVATIONS)), seeds)
def test_forward_is_layer_after_layer(sizes, activation, seed):
    """Unit by unit, in plain Python."""
    function = ACTIVATIONS[activation].function
    network, theta, X = random_network(sizes, activation, seed, n=2)
    coefs, intercepts = network.unpack(theta)
    for x, outputs in zip(X, network.forward(theta, X), strict=True):
        for layer, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            h = x if layer == 0 else [function(z) for z in x]
            x = [sum(h[i] * W[i, j] for i in range(len(h))) + b[j] for j in range(len(b))]
        np.testing.assert_allclose(outputs, x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay(activation, dtype):
    """float32 parameters and examples make float32 outputs and gradients."""
    network, theta, X = random_network((3, 4, 2), activation, 0)
    theta, X = theta.astype(dtype), X.astype(dtype)
    assert network.forward(theta, X).dtype == dtype
    for name in SLOPED:
        y = random_targets(name, 2, len(X), np.random.default_rng(0), dtype)
        assert network.gradient(theta, Data(X, y), name)[1].dtype == dtype


# --- gradients -----------------------------------------------------------------------------------


@few
@given(
    layer_sizes, st.sampled_from(SMOOTH), st.sampled_from(SLOPED), st.booleans(), seeds,
)  # fmt: skip
def test_gradient_is_the_limit_of_differences(sizes, activation, loss, weighted, seed):
    """Along a random direction; with kinks (relu, hinge) at random points, which are not at one."""
    network, theta, X = random_network(sizes, activation, seed)
    rng = np.random.default_rng(seed)
    y = random_targets(loss, sizes[-1], len(X), rng)
    weight = rng.uniform(0.5, 2, len(X)) if weighted else None
    d, h = rng.normal(size=theta.size), 1e-6

    def f(theta):
        values = LOSSES[loss].values(network.forward(theta, X), y)
        return np.average(values, weights=weight)

    value, gradient = network.gradient(theta, Data(X, y, weight), loss)
    np.testing.assert_allclose(value, f(theta), rtol=1e-13, atol=1e-300)
    difference = (f(theta + h * d) - f(theta - h * d)) / (2 * h)
    scale = np.abs(gradient * d).sum() + 1
    np.testing.assert_allclose(gradient @ d, difference, rtol=0, atol=1e-6 * scale)


def test_gradient_is_that_of_scikit_learn():
    """A step of plain stochastic gradient descent on all examples goes the same way."""
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    model = MLPClassifier(
        hidden_layer_sizes=(5,), activation="relu", solver="sgd", alpha=0.0, batch_size=30,
        momentum=0.0, learning_rate_init=0.125, max_iter=1, random_state=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="converged"):
        model.fit(X, y)
    network = Network((4, 5, 3), "relu")
    start = network.initial(np.random.RandomState(0))
    _, gradient = network.gradient(start, Data(X, y), "log_loss")
    moved = network.pack(model.coefs_, model.intercepts_)
    np.testing.assert_allclose(start - 0.125 * gradient, moved, rtol=1e-10, atol=1e-13)


def test_relu_has_slope_zero_at_zero():
    """Units at exactly zero learn nothing, whatever the weights behind them say."""
    network = Network((3, 4, 2), "relu")
    theta = np.zeros(network.n_parameters)
    theta[16:24] = np.arange(8)  # the weights of the last layer
    _, gradient = network.gradient(theta, Data(np.ones((5, 3)), np.zeros(5, int)), "log_loss")
    np.testing.assert_array_equal(gradient[:-2], 0)
    np.testing.assert_allclose(gradient[-2:], [-0.5, 0.5])


@pytest.mark.parametrize("name", STEPS)
def test_steps_have_a_gradient_to_be_guided_by(name):
    """Finite, and not zero before the units."""
    network, theta, X = random_network((3, 20, 2), name, 0, n=50)
    _, surrogate = network.gradient(theta, Data(X, labels(2, 50, 0)), "log_loss")
    assert np.all(np.isfinite(surrogate))
    assert np.any(surrogate[: 3 * 20])


def test_a_loss_of_steps_has_no_gradient():
    network, theta, X = random_network((3, 2), "relu", 0)
    with pytest.raises(ValueError, match="loss='zero_one' has no gradient"):
        network.gradient(theta, Data(X, np.zeros(len(X), int)), "zero_one")


@pytest.mark.parametrize("activation", STEPS)
def test_a_linear_model_does_not_see_its_activation(activation):
    """Without hidden layers there is nothing to activate: gradients are exact."""
    network, theta, X = random_network((3, 2), activation, 0)
    data = Data(X, labels(2, len(X), 0))
    smooth = Network((3, 2), "identity").gradient(theta, data, "log_loss")
    np.testing.assert_array_equal(network.gradient(theta, data, "log_loss")[1], smooth[1])
