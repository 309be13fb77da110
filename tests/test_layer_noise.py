"""Noise on one layer at a time, against each moved network by itself and against exact laws."""

import numpy as np
import pytest
from layers import SMALL, TANH, outputs, passed
from networks import random_targets, xi_of

from blackbox_es import _jit
from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural import layer_noise
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.data import Data
from blackbox_es.neural.layer_noise import LayerNoise, stages_of
from blackbox_es.neural.layers import Activate, AvgPool2D, Conv2D, Dense, MaxPool2D, VectorQuantise
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.sequential import Sequential
from blackbox_es.testing.statistics import assert_mean

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
KEY = 11, 3
# A pool behind a convolution whose units are moved, one whose weights are, and one in between.
MIXED = Sequential(
    (4, 4, 1),
    (Conv2D(2, kernel=1), AvgPool2D(2), TANH, Conv2D(2, kernel=3), MaxPool2D(2), TANH, Dense(3)),
)
CODED = Sequential((4, 4, 1), (Conv2D(4, kernel=3), VectorQuantise(5, 2), Dense(3)))


def problem(network=MIXED, dtype=np.float64, n=7, n_pairs=12, sigma=0.125, threads=ALONE):
    """The noise of a network at random parameters and examples, and labels."""
    rng = np.random.default_rng(0)
    theta = (rng.normal(size=network.n_parameters) / 2).astype(dtype)
    X = rng.normal(size=(n, network.n_inputs)).astype(dtype)
    found = LayerNoise(network, theta, X, n_pairs, sigma, threads)
    return found, random_targets("log_loss", network.n_outputs, n, rng)


def signs_of(found, stage):
    """(pairs, examples, bits) of a stage."""
    return xi_of(found.signs(KEY, stage), len(found.X))


def factors(stage, network, xi):
    """W and b of one pair of an example whose weights are moved."""
    fan_in, fan_out = network.shapes[stage.which]
    a, b, c = np.split(xi, [fan_in, fan_in + fan_out])
    return np.outer(a, b), c


def moved_outputs(found, stage, xi, x):
    """Raw outputs of one example with one stage moved by xi."""
    network, theta = found.network, found.center.astype(float)
    if stage.on_units:
        return outputs(network, theta, x[None], {stage.end - 1: xi})[0]
    theta = theta.copy()
    coefs, intercepts = network.unpack(theta)
    for part, move in zip((coefs, intercepts), factors(stage, network, xi), strict=True):
        part[stage.which][:] += move
    return outputs(network, theta, x[None])[0]


def expected_losses(found, loss, y):
    """One by one: (2, examples, pairs)."""
    values = np.empty((2, len(found.X), found.n_pairs))
    for stage in found.stages:
        xi = signs_of(found, stage)
        for p, pair in enumerate(range(*stage.pairs.indices(found.n_pairs))):
            for i, x in enumerate(found.X):
                for half, sign in enumerate((1, -1)):
                    step = sign * found.sigma * xi[p, i]
                    if not stage.on_units:  # the product of a and b has one sigma
                        fan_in = found.network.shapes[stage.which][0]
                        step[:fan_in] = xi[p, i, :fan_in]
                    raw = moved_outputs(found, stage, step, x)
                    values[half, i, pair] = LOSSES[loss].values(raw[None], y[i : i + 1])[0]
    return values


# -- stages ----------------------------------------------------------------------------------------


def test_the_fewer_numbers_are_moved():
    """Units behind the pools, or weights and intercepts."""
    layers = Conv2D(6), MaxPool2D(2), TANH, Conv2D(6), MaxPool2D(2), TANH, Dense(10)
    stages = stages_of(Sequential((28, 28, 1), layers), 32)
    assert [stage.on_units for stage in stages] == [False, True, True]
    assert [stage.n_signs for stage in stages] == [156, 294, 10]
    assert [(stage.place, stage.end) for stage in stages] == [(0, 1), (3, 5), (6, 7)]


@pytest.mark.parametrize("n_pairs", [3, 4, 32, 1001])
def test_pairs_are_shared_out(n_pairs):
    """All of them, at least one for each layer, by what is moved and the time it takes."""
    layers = Conv2D(6), MaxPool2D(2), TANH, Conv2D(6), MaxPool2D(2), TANH, Dense(10)
    stages = stages_of(Sequential((28, 28, 1), layers), n_pairs)
    bounds = [stage.pairs.start for stage in stages] + [stages[-1].pairs.stop]
    assert (bounds[0], bounds[-1]) == (0, n_pairs)
    convolution, outputs = 14 * 14 * 150 * 6, 2940  # multiply-adds behind the first and second
    times = 2**15 + np.array([784 * 25 + 2 * (convolution + outputs), 2 * outputs, 0])
    roots = np.sqrt([156, 294, 10] / times)
    expected = 1 + (n_pairs - 3) * roots / roots.sum()
    assert abs(np.diff(bounds) - expected).max() <= 1


def test_a_layer_without_a_pair_is_refused():
    with pytest.raises(ValueError, match="n_pairs=2 is less than one for each of 3 layers"):
        stages_of(MIXED, 2)


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_each_moved_network(loss):
    """In float64, for every loss."""
    found, _ = problem()
    y = random_targets(loss, 3, len(found.X), np.random.default_rng(1), float)
    losses = found.losses(KEY, loss, y).reshape(2, len(found.X), -1)
    np.testing.assert_allclose(losses, expected_losses(found, loss, y), rtol=1e-10, atol=1e-13)


def test_losses_of_codes_are_those_of_each_moved_network():
    """Noise before them changes which are nearest, noise behind them what they are."""
    found, y = problem(CODED)
    assert [stage.on_units for stage in found.stages] == [False, True, True]
    losses = found.losses(KEY, "log_loss", y).reshape(2, len(y), -1)
    np.testing.assert_allclose(losses, expected_losses(found, "log_loss", y), rtol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_losses_with_any_activation(activation):
    """And with several blocks of examples, of which some are looked at."""
    layers = Conv2D(2, kernel=3), MaxPool2D(2), Activate(activation), Dense(3)
    found, y = problem(Sequential((4, 4, 1), layers), n=LANES + 3, n_pairs=5)
    losses = found.losses(KEY, "log_loss", y).reshape(2, len(y), -1)
    np.testing.assert_allclose(losses, expected_losses(found, "log_loss", y), rtol=1e-10)


def test_float32_is_as_far_as_it_goes():
    """Losses and estimates."""
    single, y = problem(SMALL, np.float32, n=LANES + 3)
    double = LayerNoise(SMALL, single.center.astype(float), single.X.astype(float), 12, 0.125)
    losses = [found.losses(KEY, "log_loss", y) for found in (single, double)]
    np.testing.assert_allclose(*losses, rtol=1e-4, atol=1e-5)
    differences = losses[1][0] - losses[1][1]
    estimates = [found.gradient(KEY, differences) for found in (single, double)]
    assert estimates[0].dtype == np.float32
    np.testing.assert_allclose(*estimates, rtol=1e-4, atol=1e-5 * abs(estimates[1]).max())


def test_weights_multiply_losses():
    """Of each example by itself."""
    found, y = problem()
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    plain = found.losses(KEY, "log_loss", y).reshape(2, len(y), -1)
    weighted = found.losses(KEY, "log_loss", y, weight).reshape(2, len(y), -1)
    np.testing.assert_allclose(weighted, weight[:, None] * plain, rtol=1e-14)


def test_what_is_not_finite_is_never_hidden():
    """Of the example that has it, and of no other."""
    found, y = problem()
    clean = found.losses(KEY, "log_loss", y).reshape(2, len(y), -1)
    found.X[2, 5] = np.nan
    losses = found.losses(KEY, "log_loss", y).reshape(2, len(y), -1)
    assert np.isnan(losses[:, 2]).all()
    others = np.arange(len(y)) != 2
    np.testing.assert_array_equal(losses[:, others], clean[:, others])


# -- estimates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [MIXED, CODED], ids=["pools", "codes"])
def test_estimates_are_sums_of_outer_products(network):
    """Term by term: patches times signs, or signs times signs, or signs for the nearest code."""
    found, y = problem(network)
    network, n_pairs = found.network, found.n_pairs
    differences = np.random.default_rng(0).normal(size=(len(y), n_pairs))
    total = np.zeros(network.n_parameters)
    for stage in found.stages:
        xi, count = signs_of(found, stage), stage.pairs.stop - stage.pairs.start
        for p, pair in enumerate(range(*stage.pairs.indices(n_pairs))):
            for i, x in enumerate(found.X):
                w = differences[i, pair] / (2 * found.sigma * len(y) * count)
                part = np.zeros(network.n_parameters)
                coefs, intercepts = network.unpack(part)
                if stage.on_units:
                    part[:] = by_parameters(found, stage, xi[p, i], x)
                else:
                    W, b = factors(stage, network, xi[p, i])
                    coefs[stage.which][:], intercepts[stage.which][:] = W, b
                total += w * part
    np.testing.assert_allclose(
        found.gradient(KEY, differences.ravel()), total, rtol=1e-6, atol=1e-9
    )


def by_parameters(found, stage, direction, x):
    """The slopes of ``direction @ z`` by the parameters of a stage, which are differences: z is
    linear in them, but for which pixel is the largest."""
    theta, slopes = found.center.astype(float), np.zeros(found.network.n_parameters)
    which = np.zeros(theta.size, bool)
    for part in found.network.unpack(which):
        part[stage.which][...] = True
    for k in np.flatnonzero(which):
        step = 1e-5 * (np.arange(theta.size) == k)
        z = [passed(found.network, theta + s * step, x)[stage.end - 1].ravel() for s in (1, -1)]
        slopes[k] = direction @ (z[0] - z[1]) / 2e-5
    return slopes


LINEAR = Sequential((2, 8, 2), (Conv2D(1, kernel=1), AvgPool2D(2), Dense(2), Dense(1)))


@pytest.fixture
def every_sign(monkeypatch):
    """Noise of all patterns of signs, in each stage of LINEAR: each bit of a pair decides one."""
    stages, first = [], 0
    for stage in stages_of(LINEAR, 3):
        stages.append(stage._replace(pairs=slice(first, first + 2**stage.n_bits)))
        first = stages[-1].pairs.stop
    monkeypatch.setattr(layer_noise, "stages_of", lambda network, n_pairs: tuple(stages))

    def bits(n):
        return tuple(1 << j for j in range(n))

    monkeypatch.setattr(layer_noise, "of_units", bits)
    monkeypatch.setattr(layer_noise, "of_factors", lambda m, n: bits(m + 2 * n))
    found, _ = problem(LINEAR, n=3, n_pairs=first, sigma=0.7)
    return found, np.full((3, 1), 1e3)  # so far off that the absolute error is linear


def test_the_mean_over_all_signs_is_the_gradient(every_sign):
    """Where the loss is linear in what is moved: at any sigma, to rounding."""
    found, y = every_sign
    assert [stage.on_units for stage in found.stages] == [False, True, True]
    plus, minus = found.losses(KEY, "absolute_error", y)
    _, gradient = LINEAR.gradient(found.center, Data(found.X, y), "absolute_error")
    np.testing.assert_allclose(found.gradient(KEY, plus - minus), gradient, rtol=1e-9, atol=1e-11)


def test_the_variance_over_all_signs_is_the_law(every_sign):
    """``n - 1`` times the squared gradient by what is moved, for one pair of one example."""
    found, y = every_sign
    found = LayerNoise(LINEAR, found.center, found.X[:1], found.n_pairs, found.sigma)
    plus, minus = found.losses(KEY, "absolute_error", y[:1])
    coefs, _ = LINEAR.unpack(found.center)
    moved = [None, (coefs[2][:, 0] * -1.0), np.array([-1.0])]  # the gradients by z; the loss falls
    _, gradient = LINEAR.gradient(found.center, Data(found.X[:1], y[:1]), "absolute_error")
    W, b = LINEAR.unpack(gradient)
    moved[0] = np.append(W[0].ravel(), b[0])
    for stage, exact in zip(found.stages, moved, strict=True):
        total = []
        for k, pair in enumerate(range(*stage.pairs.indices(found.n_pairs))):
            xi = signs_of(found, stage)[k, 0]
            if not stage.on_units:
                W, b = factors(stage, LINEAR, xi)
                xi = np.append(W.ravel(), b)
            estimate = (plus[pair] - minus[pair]) / (2 * found.sigma) * xi
            total.append(((estimate - exact) ** 2).sum())
        assert np.mean(total) == pytest.approx((stage.n_signs - 1) * (exact**2).sum(), rel=1e-9)


@needs_numba
def test_estimates_are_unbiased_as_sigma_falls():
    """The mean over generations is the gradient by backpropagation, for every parameter.

    Where signs are orthogonal an estimate is exact but for a bias of the order of sigma^2.
    """
    found, y = problem(n=3, n_pairs=30, sigma=1e-5)
    _, gradient = MIXED.gradient(found.center, Data(found.X, y), "log_loss")
    sample = []
    for t in range(1500):
        plus, minus = found.losses((5, t), "log_loss", y)
        sample.append(found.gradient((5, t), plus - minus))
    std = np.maximum(np.std(sample, axis=0), 1e-8)
    assert_mean(np.transpose(sample), gradient, std=std, detects=0.1)


def test_pairs_that_do_not_count_are_not_averaged_over():
    """With differences of zero for them and ``n_valid`` the others have their whole weight."""
    found, y = problem()
    differences = np.random.default_rng(0).normal(size=len(y) * found.n_pairs)
    whole = found.gradient(KEY, differences)
    some = found.gradient(KEY, differences, differences.size // 2)
    np.testing.assert_allclose(some, 2 * whole, rtol=1e-12)


# -- bits ------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_give_the_same_bits(dtype):
    """Losses and estimates."""
    serial, y = problem(SMALL, dtype, n=5 * LANES + 3)
    losses = serial.losses(KEY, "log_loss", y)
    estimate = serial.gradient(KEY, losses[0] - losses[1])
    with Threads(3) as threads:
        found, _ = problem(SMALL, dtype, n=5 * LANES + 3, threads=threads)
        for _ in range(3):
            np.testing.assert_array_equal(found.losses(KEY, "log_loss", y), losses)
            np.testing.assert_array_equal(found.gradient(KEY, losses[0] - losses[1]), estimate)


@pytest.mark.parametrize("k", [-40, 1, 40])
def test_estimates_scale_with_the_losses(k):
    """By a power of two: bit for bit."""
    found, y = problem(n=LANES + 3)
    differences = np.random.default_rng(0).normal(size=len(y) * found.n_pairs)
    whole = found.gradient(KEY, differences)
    np.testing.assert_array_equal(found.gradient(KEY, 2.0**k * differences), 2.0**k * whole)


def test_halves_are_exchanged_by_the_sign():
    """Both are computed alike, and without noise they are the losses of the center."""
    found, y = problem(SMALL)
    losses = found.losses(KEY, "log_loss", y)
    other = LayerNoise(SMALL, found.center, found.X, 12, -0.125)
    np.testing.assert_array_equal(other.losses(KEY, "log_loss", y), losses[::-1])
    still = LayerNoise(SMALL, found.center, found.X, 12, 0.0).losses(KEY, "log_loss", y)
    expected = LOSSES["log_loss"].values(SMALL.forward(found.center, found.X), y)
    expected = np.broadcast_to(np.repeat(expected, 12), still.shape)
    np.testing.assert_allclose(still, expected, rtol=1e-12)


# -- what is refused -------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    """A function has no value for each example; targets and types are checked."""
    found, y = problem()
    with pytest.raises(ValueError, match="is unknown: take one of log_loss"):
        found.losses(KEY, lambda y, raw, weight: 0.0, y)
    with pytest.raises(ValueError, match="y has shape"):
        found.losses(KEY, "squared_error", np.zeros((7, 2)))
    with pytest.raises(ValueError, match="X has shape"):
        LayerNoise(MIXED, found.center, found.X.astype("f4"), 12, 0.1).losses(KEY, "log_loss", y)
