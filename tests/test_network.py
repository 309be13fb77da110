"""Networks as functions of a flat vector: outputs, losses and gradients, each against a law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import hinge_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor

from blackbox_es.neural.network import ACTIVATIONS, LOSSES, Network

few = settings(deadline=None, max_examples=40, derandomize=True)
layer_sizes = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)
seeds = st.integers(0, 2**32 - 1)
SMOOTH = ("tanh", "logistic", "identity")
STEPS = ("step", "sign")


def random_network(sizes, activation, seed, n=7):
    """A network, parameters and examples, all from one seed."""
    network, rng = Network(sizes, activation), np.random.default_rng(seed)
    return network, rng.normal(size=network.n_parameters), rng.normal(size=(n, sizes[0]))


def random_targets(loss, n_outputs, n, seed):
    rng = np.random.default_rng(seed)
    if loss == "squared_error":
        return rng.normal(size=(n, n_outputs))
    return rng.integers(0, max(2, n_outputs), n)


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


@pytest.mark.parametrize("activation", ["relu", "logistic"])
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
    functions = {
        "relu": lambda z: max(z, 0.0),
        "tanh": np.tanh,
        "logistic": lambda z: 1 / (1 + np.exp(-z)),
        "identity": lambda z: z,
        "step": lambda z: float(z > 0),
        "sign": lambda z: 1.0 if z >= 0 else -1.0,
    }
    network, theta, X = random_network(sizes, activation, seed, n=2)
    coefs, intercepts = network.unpack(theta)
    for x, outputs in zip(X, network.forward(theta, X), strict=True):
        for layer, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            h = x if layer == 0 else [functions[activation](z) for z in x]
            x = [sum(h[i] * W[i, j] for i in range(len(h))) + b[j] for j in range(len(b))]
        np.testing.assert_allclose(outputs, x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay(activation, dtype):
    """float32 parameters and examples make float32 outputs, losses and gradients."""
    network, theta, X = random_network((3, 4, 2), activation, 0)
    theta, X = theta.astype(dtype), X.astype(dtype)
    raw = network.forward(theta, X)
    assert raw.dtype == dtype
    for name, loss in LOSSES.items():
        y = random_targets(name, 2, len(X), 0)
        y = y.astype(dtype) if y.ndim == 2 else y
        assert loss.values(raw, y).dtype == dtype
        if loss.gradient is not None:
            assert network.gradient(theta, X, y, None, name)[1].dtype == dtype


@pytest.mark.parametrize(("name", "at_zero"), [("step", 0.0), ("sign", 1.0), ("relu", 0.0)])
def test_activations_at_zero(name, at_zero):
    """Both zeros count as zero, and NaN stays NaN."""
    values = ACTIVATIONS[name].function(np.array([0.0, -0.0, np.nan]))
    np.testing.assert_array_equal(values, [at_zero, at_zero, np.nan])


# --- losses --------------------------------------------------------------------------------------


@few
@given(st.integers(2, 6), st.floats(0.01, 1e4), seeds)
def test_log_loss_is_minus_the_log_of_the_softmax(n_classes, size, seed):
    raw = size * np.random.default_rng(seed).normal(size=(9, n_classes))
    y = random_targets("log_loss", n_classes, 9, seed)
    expected = -log_softmax(raw, axis=1)[np.arange(9), y]
    np.testing.assert_allclose(LOSSES["log_loss"].values(raw, y), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("lead", [0.0, 1.0, 30.0, 300.0, 700.0])
def test_log_loss_of_a_class_far_ahead_is_relatively_right(lead):
    """log(1 + exp(-lead)), where 1 - probability has long vanished."""
    raw = np.array([[lead, 0.0]])
    value = LOSSES["log_loss"].values(raw, np.array([0]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-lead)), rtol=1e-15)
    # one at random among 1 + 9 classes of equal outputs
    value = LOSSES["log_loss"].values(np.zeros((1, 10)), np.array([4]))
    np.testing.assert_allclose(value, np.log(10), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["log_loss", "hinge", "zero_one"])
def test_losses_do_not_overflow(name, dtype):
    """Outputs of +-1e4 give a loss of twice that, of nothing, or of one."""
    raw = np.array([[1e4, -1e4, 0.0]], dtype)
    far = {"log_loss": 2e4, "hinge": 2e4 + 1, "zero_one": 1.0}[name]
    assert LOSSES[name].values(raw, np.array([0]))[0] == 0.0
    assert LOSSES[name].values(raw, np.array([1]))[0] == far
    if LOSSES[name].gradient is not None:
        np.testing.assert_array_equal(LOSSES[name].gradient(raw, np.array([0])), [[0, 0, 0]])
        np.testing.assert_array_equal(LOSSES[name].gradient(raw, np.array([1])), [[1, -1, 0]])


@few
@given(st.integers(3, 6), seeds)
def test_hinge_is_scikit_learns(n_classes, seed):
    raw = np.random.default_rng(seed).normal(size=(8, n_classes))
    y = random_targets("hinge", n_classes, 8, seed)
    expected = hinge_loss(y, raw, labels=range(n_classes))
    np.testing.assert_allclose(LOSSES["hinge"].values(raw, y).mean(), expected, rtol=1e-12)
    raw, y = raw[:, :1], y % 2
    expected = hinge_loss(y, raw[:, 0], labels=[0, 1])
    np.testing.assert_allclose(LOSSES["hinge"].values(raw, y).mean(), expected, rtol=1e-12)


def test_squared_error_is_half_the_mean_over_outputs():
    """The convention of MLPRegressor, whose training loss is half of its mean squared error."""
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(2, 8, 3))
    values = LOSSES["squared_error"].values(raw, y)
    np.testing.assert_allclose(values.mean(), mean_squared_error(y, raw) / 2, rtol=1e-14)


def test_zero_one_takes_the_first_of_the_largest():
    raw = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [np.nan, 5.0, 0.0]])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(raw, np.zeros(3, int)), [0, 1, np.nan])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(raw, np.ones(3, int)), [1, 0, np.nan])
    one = np.array([[0.0], [1e-300], [-1.0]])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(one, np.ones(3, int)), [1, 0, 1])


@few
@given(st.sampled_from(["log_loss", "hinge", "zero_one"]), seeds)
def test_one_output_is_two_of_which_the_first_is_zero(name, seed):
    raw = np.random.default_rng(seed).normal(size=(8, 1))
    y = random_targets(name, 1, 8, seed)
    both, loss = np.hstack([np.zeros_like(raw), raw]), LOSSES[name]
    np.testing.assert_array_equal(loss.values(raw, y), loss.values(both, y))
    if loss.gradient is not None:
        np.testing.assert_array_equal(loss.gradient(raw, y), loss.gradient(both, y)[:, 1:])


# --- gradients -----------------------------------------------------------------------------------


@few
@given(
    layer_sizes, st.sampled_from((*SMOOTH, "relu")),
    st.sampled_from(["log_loss", "hinge", "squared_error"]), st.booleans(), seeds,
)  # fmt: skip
def test_gradient_is_the_limit_of_differences(sizes, activation, loss, weighted, seed):
    """Along a random direction; with kinks (relu, hinge) at random points, which are not at one."""
    network, theta, X = random_network(sizes, activation, seed)
    rng, y = np.random.default_rng(seed), random_targets(loss, sizes[-1], len(X), seed)
    weight = rng.uniform(0.5, 2, len(X)) if weighted else None
    d, h = rng.normal(size=theta.size), 1e-6

    def f(theta):
        values = LOSSES[loss].values(network.forward(theta, X), y)
        return np.average(values, weights=weight)

    value, gradient = network.gradient(theta, X, y, weight, loss)
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
    _, gradient = network.gradient(start, X, y, None, "log_loss")
    moved = network.pack(model.coefs_, model.intercepts_)
    np.testing.assert_allclose(start - 0.125 * gradient, moved, rtol=1e-10, atol=1e-13)


def test_relu_has_slope_zero_at_zero():
    """Units at exactly zero learn nothing, whatever the weights behind them say."""
    network = Network((3, 4, 2), "relu")
    theta = np.zeros(network.n_parameters)
    theta[16:24] = np.arange(8)  # the weights of the last layer
    _, gradient = network.gradient(theta, np.ones((5, 3)), np.zeros(5, int), None, "log_loss")
    np.testing.assert_array_equal(gradient[:-2], 0)
    np.testing.assert_allclose(gradient[-2:], [-0.5, 0.5])


@pytest.mark.parametrize(("name", "slope"), [("step", 0.5), ("sign", 1.0)])
def test_steps_have_the_slope_of_the_hard_tanh(name, slope):
    """The jump over the width of the window between -1 and 1, and nothing outside."""
    z = np.array([-1.5, -1.0, 0.0, 0.3, 1.0, 1.5, np.inf])
    expected = slope * np.array([0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(ACTIVATIONS[name].derivative(z), expected)
    network, theta, X = random_network((3, 20, 2), name, 0, n=50)
    surrogate = network.gradient(theta, X, random_targets("log_loss", 2, 50, 0), None, "log_loss")
    assert np.all(np.isfinite(surrogate[1]))
    assert np.any(surrogate[1][: 3 * 20])


def test_a_loss_of_steps_has_no_gradient():
    network, theta, X = random_network((3, 2), "relu", 0)
    with pytest.raises(ValueError, match="loss='zero_one' has no gradient"):
        network.gradient(theta, X, np.zeros(len(X), int), None, "zero_one")


@pytest.mark.parametrize("activation", STEPS)
def test_a_linear_model_does_not_see_its_activation(activation):
    """Without hidden layers there is nothing to activate: gradients are exact."""
    network, theta, X = random_network((3, 2), activation, 0)
    y = random_targets("log_loss", 2, len(X), 0)
    smooth = Network((3, 2), "identity").gradient(theta, X, y, None, "log_loss")
    np.testing.assert_array_equal(network.gradient(theta, X, y, None, "log_loss")[1], smooth[1])
