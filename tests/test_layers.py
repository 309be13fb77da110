"""Layers and sequences of them, against plain loops, differences and the multilayer perceptron."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import SMALL, TANH, outputs
from networks import random_targets

from blackbox_es import _jit
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import (
    Activate,
    AvgPool2D,
    Conv2D,
    Dense,
    MaxPool2D,
    VectorQuantise,
)  # fmt: skip
from blackbox_es.neural.layers.blocks import blocks_of, rows_of
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network
from blackbox_es.neural.sequential import Sequential

few = settings(deadline=None, max_examples=5 if _jit.DISABLED else 40, derandomize=True)
RNG = np.random.default_rng(0)
POOL, RELU = MaxPool2D(2), Activate("relu")
CODES = VectorQuantise(5, 2), VectorQuantise(3, 4)
QUANTISED = Sequential(  # pairs of channels of an image, and four of plain units
    (2, 3, 1), (Conv2D(6, kernel=3), CODES[0], Dense(8), TANH, CODES[1], Dense(2))
)


def examples(network, n, dtype=np.float64, seed=0):
    """Parameters and inputs."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=network.n_parameters) / 2
    return theta.astype(dtype), rng.normal(size=(n, network.n_inputs)).astype(dtype)


# -- what comes out --------------------------------------------------------------------------------


@few
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 3, 5])), max_size=3),
    st.integers(1, 9),
    st.sampled_from(list(ACTIVATIONS)),
    st.integers(1, LANES + 3),
)
def test_convolutions_are_those_of_loops(shape, convolutions, n_outputs, activation, n):
    """Of any number of channels, on images of any size, also smaller than the kernel."""
    pairs = ((Conv2D(c, kernel=k), Activate(activation)) for c, k in convolutions)
    layers = [layer for pair in pairs for layer in pair]
    network = Sequential(shape, (*layers, Dense(n_outputs)))
    theta, X = examples(network, n)
    raw = network.forward(theta, X)
    np.testing.assert_allclose(raw[-3:], outputs(network, theta, X[-3:]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pool", [MaxPool2D, AvgPool2D])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pools_are_those_of_loops(pool, size):
    """Square by square, channel by channel."""
    network = Sequential((6, 12, 2), (Conv2D(3, kernel=3), pool(size), TANH, Dense(2)))
    theta, X = examples(network, 5)
    expected = outputs(network, theta, X)
    np.testing.assert_allclose(network.forward(theta, X), expected, rtol=1e-12)


def test_codes_are_those_of_loops():
    """Of each group of channels the nearest, at each place; of several networks, too."""
    theta, X = examples(QUANTISED, LANES + 5)
    expected = outputs(QUANTISED, theta, X)
    np.testing.assert_allclose(QUANTISED.forward(theta, X), expected, rtol=1e-12)
    thetas = np.stack([theta, -theta, theta[::-1]])
    raw = QUANTISED.run(blocks_of(X)[None], *QUANTISED.several(thetas))
    for some, one in zip(raw, thetas, strict=True):
        found = rows_of(some, len(X))
        np.testing.assert_allclose(found, QUANTISED.forward(one, X), rtol=1e-12)


def test_float32_is_as_far_as_it_goes():
    """And stays float32."""
    theta, X = examples(SMALL, LANES + 7)
    raw = SMALL.forward(theta.astype("f4"), X.astype("f4"))
    assert raw.dtype == np.float32
    np.testing.assert_allclose(raw, SMALL.forward(theta, X), rtol=1e-4, atol=1e-5)


def test_dense_layers_are_a_multilayer_perceptron():
    """The same vector of parameters, outputs and gradients."""
    network, mlp = Sequential((1, 1, 5), (Dense(7), TANH, Dense(3))), Network((5, 7, 3), "tanh")
    theta, X = examples(network, LANES + 9)
    data = Data(X, random_targets("log_loss", 3, len(X), RNG), RNG.uniform(0, 2, len(X)))
    np.testing.assert_allclose(network.forward(theta, X), mlp.forward(theta, X), rtol=1e-12)
    (f, g), (value, gradient) = (n.gradient(theta, data, "log_loss") for n in (network, mlp))
    np.testing.assert_allclose(f, value, rtol=1e-13)
    np.testing.assert_allclose(g, gradient, rtol=1e-10, atol=1e-14)
    seeds = np.random.default_rng(3), np.random.default_rng(3)
    np.testing.assert_array_equal(network.initial(seeds[0]), mlp.initial(seeds[1]))
    np.testing.assert_array_equal(network.is_weight(), mlp.is_weight())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("middle", [(POOL, RELU), (VectorQuantise(3, 2),)], ids=str)
def test_what_is_not_finite_is_never_hidden(middle, bad):
    """A pixel that is not finite makes outputs that are not, of its own example alone."""
    network = Sequential((4, 4, 1), (Conv2D(2, kernel=3), *middle, Dense(2)))
    theta, X = np.ones(network.n_parameters), np.ones((3, 16))
    X[1, 5] = bad
    with np.errstate(invalid="ignore"):  # without Numba
        raw = network.forward(theta, X)
    assert not np.isfinite(raw[1]).any()
    np.testing.assert_array_equal(raw[[0, 2]], network.forward(theta, np.ones((2, 16))))


def test_examples_have_their_bits_whatever_stands_beside_them():
    """In any block and at any place."""
    theta, X = examples(SMALL, 2 * LANES + 5, np.float32)
    raw = SMALL.forward(theta, X)
    for rows in (slice(1), slice(LANES - 2, LANES + 2), slice(None, None, -1)):
        np.testing.assert_array_equal(SMALL.forward(theta, X[rows]), raw[rows])


@pytest.mark.parametrize("m", [1, LANES, LANES + 1])
def test_blocks_are_undone(m):
    """Rows are the same again; what is beside them is zero."""
    X = RNG.normal(size=(m, 3))
    blocks = blocks_of(X)
    assert blocks.shape == (-(-m // LANES), 3, LANES)
    np.testing.assert_array_equal(rows_of(blocks, m), X)
    np.testing.assert_array_equal(rows_of(blocks, blocks.shape[0] * LANES)[m:], 0)


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [name for name, row in LOSSES.items() if row.gradient])
@pytest.mark.parametrize("pool", [MaxPool2D(2), AvgPool2D(2)], ids=str)
def test_gradients_are_those_of_differences(loss, pool):
    """Along random directions, for every loss that has one; examples are weighted."""
    layers = Conv2D(3, kernel=3), pool, TANH, Conv2D(2), TANH, Dense(3)
    network = Sequential((4, 4, 2), layers)
    theta, X = examples(network, LANES + 3)
    y = random_targets(loss, 3, len(X), np.random.default_rng(0), float)
    data = Data(X, y, np.random.default_rng(1).uniform(0, 2, len(X)))
    value, gradient = network.gradient(theta, data, loss)

    def f(theta):
        return np.average(LOSSES[loss].values(network.forward(theta, X), y), weights=data.weight)

    assert value == pytest.approx(f(theta), rel=1e-12)
    for d in np.random.default_rng(2).normal(size=(5, theta.size)):
        slope = (f(theta + 1e-6 * d) - f(theta - 1e-6 * d)) / 2e-6
        assert slope == pytest.approx(gradient @ d, rel=1e-4, abs=1e-6)


@few
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    st.integers(1, 5),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 2),
)
def test_sums_and_slopes_are_adjoints(shape, channels, kernel, n_blocks):
    """<conv(h; W, b), d> is linear in W, b and in h: its gradients times them are it again."""
    rng, layer = np.random.default_rng(0), Conv2D(channels, kernel=kernel)
    h = rng.normal(size=(n_blocks, int(np.prod(shape)), LANES))
    W, b = rng.normal(size=layer.matrix(shape)), rng.normal(size=channels)
    z = layer.forward(h[None], W[None], b[None], shape)[0]
    d = rng.normal(size=z.shape)
    W_sums, b_sums = layer.sums(d, h, W, b, shape)
    assert (W_sums * W).sum() + b_sums @ b == pytest.approx((z * d).sum(), rel=1e-9, abs=1e-9)
    plain = layer.forward(h[None], W[None], 0 * b[None], shape)[0]
    slopes = layer.backward(d, W, shape)
    assert (slopes * h).sum() == pytest.approx((plain * d).sum(), rel=1e-9, abs=1e-9)


def test_codes_have_their_gradient_and_what_is_before_them_that_of_the_codes():
    """The last codes by differences; what was given is treated as if it had been passed on."""
    theta, X = examples(QUANTISED, LANES + 3)
    data = Data(X, np.arange(len(X)) % 2)
    _, gradient = QUANTISED.gradient(theta, data, "log_loss")
    (*_, by_W, _), (*_, by_b, _) = QUANTISED.unpack(gradient)
    (*_, W, _), (*_, b, _) = QUANTISED.unpack(theta.copy())
    for part, found in ((W, by_W), (b, by_b)):
        for place in np.ndindex(part.shape):
            values = []
            for step in (1e-7, -2e-7):
                part[place] += step
                moved = QUANTISED.pack(*_replaced(QUANTISED, theta, W, b))
                values.append(QUANTISED.gradient(moved, data, "log_loss")[0])
            part[place] += 1e-7
            assert (values[0] - values[1]) / 2e-7 == pytest.approx(found[place], abs=1e-6)
    slopes = RNG.normal(size=(1, 8, LANES))
    assert CODES[1].backward(slopes, W, (1, 1, 8)) is slopes


def _replaced(network, theta, W, b):
    """The weights and intercepts of a network with others in the last layer but one."""
    coefs, intercepts = map(list, network.unpack(theta))
    coefs[-2], intercepts[-2] = W, b
    return coefs, intercepts


def test_of_equal_pixels_the_first_has_the_gradient():
    """As a whole: it is neither lost nor counted twice."""
    h = np.zeros((1, 1, 4, LANES))
    slopes = np.ones((1, 1, 1, LANES))
    found = POOL.backward(slopes, h, (2, 2, 1))
    np.testing.assert_array_equal(found[0, 0, :, 0], [1, 0, 0, 0])


def test_a_loss_of_steps_has_no_gradient():
    """As for a multilayer perceptron."""
    theta, X = examples(SMALL, 3)
    with pytest.raises(ValueError, match="loss='zero_one' has no gradient"):
        SMALL.gradient(theta, Data(X, np.zeros(3, int)), "zero_one")


# -- what a sequence is ----------------------------------------------------------------------------


def test_the_small_network_for_digits_has_4012_parameters():
    """Two convolutions of 5 x 5 with six channels, both pooled, and ten outputs."""
    layers = Conv2D(6), POOL, RELU, Conv2D(6), POOL, RELU, Dense(10)
    network = Sequential((28, 28, 1), layers)
    assert network.shapes == ((25, 6), (150, 6), (294, 10))
    assert network.n_parameters == 4012
    assert pickle.loads(pickle.dumps(network)) == network


def test_initial_weights_are_within_their_bounds():
    """Of a convolution the fans count places of the kernel; logistic units have narrower ones."""
    layers = Conv2D(4, kernel=3), Activate("logistic"), Dense(5), RELU, Dense(2)
    network = Sequential((4, 4, 2), layers)
    coefs, intercepts = network.unpack(network.initial(np.random.default_rng(0)))
    for W, b, c, fans in zip(coefs, intercepts, (2, 6, 6), (18 + 36, 64 + 5, 7), strict=True):
        bound = np.sqrt(c / fans)
        assert 0.8 * bound < abs(W).max() <= bound
        assert abs(b).max() <= bound


BAD = [
    ((), "the last one must be Dense"),
    ((Conv2D(2), RELU), "the last one must be Dense"),
    ((Dense(2), RELU), "the last one must be Dense"),
    ((Conv2D(2),), "the last one must be Dense"),
    ((MaxPool2D(3), Dense(2)), "size=3 does not divide an image of 4 x 6"),
    ((AvgPool2D(0), Dense(2)), "size=0"),
    ((Conv2D(2, kernel=4), Dense(2)), "kernel=4 has no middle: take an odd number"),
    ((Conv2D(0), Dense(2)), "channels=0"),
    ((Dense(2.5),), "n_units=2.5"),
    ((Dense(4), VectorQuantise(3, 2)), "the last one must be Dense"),
    ((Dense(5), VectorQuantise(3, 2), Dense(2)), "size=2 does not divide the 5 channels"),
    ((Dense(4), VectorQuantise(0, 2), Dense(2)), "n_codes=0"),
    ((Activate("sin"), Dense(2)), "activation='sin': take 'relu'"),
]


@pytest.mark.parametrize(("layers", "message"), BAD, ids=lambda value: str(value)[:40])
def test_layers_that_do_not_fit_are_refused(layers, message):
    """By name, with what to do."""
    with pytest.raises(ValueError, match=message):
        Sequential((4, 6, 1), layers)


def test_parameters_that_do_not_fit_are_refused():
    """Also of the right number in two dimensions."""
    with pytest.raises(ValueError, match=r"theta has shape \(3,\)"):
        SMALL.forward(np.zeros(3), np.zeros((1, SMALL.n_inputs)))
