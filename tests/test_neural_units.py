"""Units inside of a network: a change of coordinates, undone exactly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import ESMLPClassifier
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import LOSSES, huber, losses_of
from blackbox_es.neural.network import Network
from blackbox_es.neural.units import Units

few = settings(deadline=None, max_examples=40, derandomize=True)
NUMBERS = losses_of("numbers")
SIZES = st.sampled_from([(3, 2), (3, 4, 2), (2, 3, 3, 1)])


def example(sizes, weighted, seed, loss="squared_error"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, sizes[0])) * np.geomspace(1, 1e3, sizes[0]) + 50
    y = rng.exponential(size=(40, sizes[-1])) * 300
    data = Data(X, y, rng.uniform(0.5, 2, 40) if weighted else None)
    return data, Units.of(data, LOSSES[loss], Network(sizes, "tanh"))


@few
@given(SIZES, st.booleans(), st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1))
def test_the_network_says_the_same_in_both(sizes, weighted, loss, seed):
    """Outer weights on inputs of the user's are inner ones on the network's, and back again."""
    network = Network(sizes, "tanh")
    data, units = example(sizes, weighted, seed, loss)
    theta = network.initial(np.random.default_rng(seed))
    inner = network.forward(theta, units.inputs(data.X))
    coefs, intercepts = units.outer(network, theta)
    outer = network.forward(network.pack(coefs, intercepts), data.X)
    np.testing.assert_allclose(outer, units.outputs(inner), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(units.inner(network, coefs, intercepts), theta, rtol=0, atol=1e-9)


@few
@given(st.booleans(), st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1))
def test_losses_have_the_units_of_the_user(weighted, name, seed):
    """``loss(raw, y) = loss'(raw', y') scale + zero`` for the mean over the examples."""
    data, units = example((3, 4, 2), weighted, seed, name)
    raw = np.random.default_rng(seed).normal(size=data.y.shape)
    row = LOSSES[name]
    inner = huber(1.35 / units.out_scale) if name == "huber" else row
    mean = np.average(row.values(units.outputs(raw), data.y), weights=data.weight)
    found = np.average(inner.values(raw, units.targets(data.y, row)), weights=data.weight)
    np.testing.assert_allclose(found * units.loss_scale + units.loss_zero, mean, rtol=1e-9)


def test_columns_of_one_unit_keep_it():
    """Pixels, of which some hardly vary, are divided by one number: half the farthest."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 255, (200, 30))
    X[:, 0], X[1:, 1] = 0, 0
    units = Units.of(Data(X, np.zeros(200, int)), LOSSES["log_loss"], Network((30, 1), "relu"))
    farthest = np.abs(X - X.mean(axis=0)).max()
    np.testing.assert_allclose(units.scale[1:], farthest / 2)
    assert units.scale[0] == 1


def test_columns_of_several_units_have_their_own():
    """The standard deviation, so large that no value is farther than ten of them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) * [1e-3, 1, 1e3]
    X[0, 1] = 1e4
    units = Units.of(Data(X, np.zeros(500, int)), LOSSES["log_loss"], Network((3, 1), "relu"))
    np.testing.assert_allclose(units.scale[[0, 2]], X[:, [0, 2]].std(axis=0))
    farthest = np.abs(X[:, 1] - X[:, 1].mean()).max()
    np.testing.assert_allclose(units.scale[1], max(farthest / 10, X[:, 1].std()))


def test_weights_are_repetitions():
    data, _ = example((3, 2), False, 0)
    times = np.random.default_rng(0).integers(1, 4, 40)
    row, network = LOSSES["squared_error"], Network((3, 2), "relu")
    weighted = Units.of(Data(data.X, data.y, times * 1.0), row, network)
    repeated = Data(np.repeat(data.X, times, axis=0), np.repeat(data.y, times, axis=0))
    for a, b in zip(
        vars(weighted).values(),
        vars(Units.of(repeated, row, network)).values(),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_constants_divide_nothing():
    """Neither columns nor targets without any spread, nor a mean of zero."""
    data = Data(np.full((5, 2), 0.1), np.full((5, 1), 0.3))
    for name in NUMBERS:
        units = Units.of(data, LOSSES[name], Network((2, 1), "relu"))
        assert (units.scale == 1).all()
        assert np.isfinite([units.out_scale, units.loss_scale, units.loss_unit]).all()
    zero = Units.of(Data(data.X, 0 * data.y), LOSSES["poisson"], Network((2, 1), "relu"))
    assert (zero.loss_scale, zero.out_center[0]) == (1, 0)


def test_raw_columns_of_any_size_are_learnt():
    """By the defaults, which a thousand times larger column would drown otherwise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) * [1e-3, 1e3] + [0, 1e4]
    y = (X[:, 0] > 0).astype(int)
    assert ESMLPClassifier(max_iter=200, random_state=0).fit(X, y).score(X, y) > 0.97
