"""Node perturbation, against each moved network by itself and against backpropagation."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SMOOTH, random_targets, xi_of
from problems import assert_never_hidden

from blackbox_es import _jit
from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural import kernels, layout, nodes, tasks
from blackbox_es.neural.activations import ACTIVATIONS, as_activation
from blackbox_es.neural.data import Data
from blackbox_es.neural.kernels import BLOCK, CHUNK
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network
from blackbox_es.neural.nodes import ActivationNoise
from blackbox_es.neural.signs import Signs
from blackbox_es.neural.tasks import activation_losses
from blackbox_es.optimizers import Adam
from blackbox_es.testing.statistics import assert_mean

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
few = settings(deadline=None, max_examples=5 if _jit.DISABLED else 60, derandomize=True)
KEY = 11, 3


def problem(
    sizes=(5, 9, 3), activation="tanh", loss="log_loss", *, dtype=np.float64, n_examples=7,
    n_pairs=3, weighted=False, seed=0,
):  # fmt: skip
    """What `losses_of` takes, with the signs of KEY."""
    rng, network = np.random.default_rng(seed), Network(sizes, activation)
    y = random_targets(loss, sizes[-1], n_examples, rng, dtype)
    theta = network.initial(rng).astype(dtype)
    X = rng.normal(size=(n_examples, sizes[0])).astype(dtype)
    return {
        "network": network,
        "loss": loss,
        "theta": theta,
        "sigma": 0.125,
        "signs": ActivationNoise(network, theta, X, n_pairs, 0.125).signs(KEY),
        "X": X,
        "y": y,
        "weight": rng.uniform(0, 2, n_examples) if weighted else None,
    }


def data_of(p):
    """The examples of a problem."""
    return Data(p["X"], p["y"], p["weight"])


def losses_of(p):
    """The losses of a problem."""
    arguments = (p[name] for name in ("network", "loss", "theta", "sigma", "signs"))
    return activation_losses(*arguments, data_of(p))


def noise_of(p, n_pairs, sigma=None, threads=ALONE):
    """The noise whose losses are those of a problem."""
    sigma = p["sigma"] if sigma is None else sigma
    return ActivationNoise(p["network"], p["theta"], p["X"], n_pairs, sigma, threads)


def estimate(p, n_pairs, sigma=None):
    """The estimate of the gradient of the (weighted) mean loss."""
    found, weight = noise_of(p, n_pairs, sigma), p["weight"]
    weight = None if weight is None else weight / weight.mean()
    plus, minus = found.losses(KEY, p["loss"], p["y"], weight)
    return found.gradient(KEY, plus - minus)


def gradient(p):
    """That by backpropagation."""
    return p["network"].gradient(p["theta"], data_of(p), p["loss"])[1]


# --- references ----------------------------------------------------------------------------------


def moved_outputs(network, theta, moves, X):
    """Raw outputs with all pre-activations moved, in float64."""
    coefs, intercepts = network.unpack(theta.astype(float))
    h, parts = X.astype(float), np.split(moves, np.cumsum(network.layer_sizes[1:-1]), axis=1)
    for layer, (W, b, move) in enumerate(zip(coefs, intercepts, parts, strict=True)):
        z = h @ W + b + move
        h = as_activation(network.activation).function(z) if layer < len(coefs) - 1 else z
    return h


def outputs_of(network, theta, sigma, signs, X, **_):
    """(half, pair, raw outputs)."""
    for pair, xi in enumerate(xi_of(signs, len(X))):
        for half, sign in enumerate((1, -1)):
            yield half, pair, moved_outputs(network, theta, sign * sigma * xi, X)


def expected_losses(p):
    values = np.empty((2, len(p["X"]), p["signs"].n_pairs))
    for half, pair, raw in outputs_of(**p):
        losses = LOSSES[p["loss"]].values(raw, p["y"])
        weight = p["weight"]
        values[half, :, pair] = losses if weight is None else weight * losses
    return values


def expected_estimate(p, differences):
    """``1/(M P) sum_{i,p} differences[i, p] / (2 sigma) h_{l-1,i} xi_{l,i,p}'``, term by term."""
    network, theta, X = p["network"], p["theta"].astype(float), p["X"].astype(float)
    coefs, intercepts = network.unpack(theta)
    total = np.zeros(network.n_parameters)
    W_sum, b_sum = network.unpack(total)
    ends = np.cumsum(network.layer_sizes[1:-1])
    weights = differences / (2 * p["sigma"] * differences.size)
    for w, xi in zip(weights.T, xi_of(p["signs"], len(X)), strict=True):
        h = X
        for layer, part in enumerate(np.split(xi, ends, axis=1)):
            W_sum[layer] += np.einsum("i,ij,ik->jk", w, h, part)
            b_sum[layer] += w @ part
            h = ACTIVATIONS[network.activation].function(h @ coefs[layer] + intercepts[layer])
    return total


# --- losses --------------------------------------------------------------------------------------

problems = {
    "sizes": st.tuples(
        st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 12)
    ).map(lambda sizes: (*sizes[0], sizes[1])),
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "loss": st.sampled_from(sorted(LOSSES)),
    "n_pairs": st.integers(1, 9),
    "n_examples": st.integers(1, 3 * BLOCK + 3),
    "weighted": st.booleans(),
    "seed": st.integers(0, 2**32 - 1),
}  # fmt: skip


@few
@given(st.fixed_dictionaries(problems))
def test_losses_in_float64_are_those_of_each_moved_network(arguments):
    p = problem(**arguments)
    losses = losses_of(p)
    np.testing.assert_allclose(losses, expected_losses(p), rtol=1e-11, atol=1e-13)


@few
@given(st.fixed_dictionaries(problems))
def test_losses_in_float32_are_those_of_each_moved_network(arguments):
    """As far as float32 goes; where a step decides, all but the few examples near one."""
    p = problem(**arguments, dtype=np.float32)
    losses, expected = losses_of(p), expected_losses(p)
    if arguments["activation"] in SMOOTH and LOSSES[arguments["loss"]].gradient:
        scale = 1 + max(abs(raw).max() for *_, raw in outputs_of(**p))
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5 * scale**2)
    else:
        assert np.mean(np.abs(losses - expected) < 1e-4 * (1 + expected)) > 0.9


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_all_activations_and_losses(activation, loss):
    """With one output and several, and any depth."""
    for sizes in ((4, 3), (4, 5, 1), (4, 20, 17, 3)):
        p = problem(sizes, activation, loss, n_examples=20)
        np.testing.assert_allclose(losses_of(p), expected_losses(p), rtol=1e-11)


@needs_numba
@pytest.mark.parametrize("n", [1, 7, 8, 9, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_sizes_around_those_of_tiles_and_chunks(n):
    """Inputs, units of one or two hidden layers and outputs."""
    for sizes in ((n, n), (n, n, n), (n, 3, n, n), (3, n, 2)):
        p = problem(sizes)
        np.testing.assert_allclose(losses_of(p), expected_losses(p), rtol=1e-11)


# --- bits ----------------------------------------------------------------------------------------

everything = pytest.mark.parametrize(
    ("sizes", "dtype"), [((5, 3), np.float64), ((5, 20, 7, 3), np.float32), ((9, 17, 1), float)]
)


@everything
def test_a_loss_has_its_bits_whatever_else_is_computed(sizes, dtype):
    """Later examples and what stands beside it in its block make no difference."""
    n_examples = 2 * BLOCK + 9
    p = problem(sizes, dtype=dtype, n_examples=n_examples, n_pairs=5, weighted=True)
    losses = losses_of(p)
    for first, last in ((0, 1), (0, BLOCK), (BLOCK, BLOCK + 3), (BLOCK, n_examples)):
        rows, blocks = slice(first, last), slice(first // BLOCK, -(-last // BLOCK))
        part = p | {name: p[name][rows] for name in ("X", "y", "weight")}
        part["signs"] = replace(p["signs"], own=p["signs"].own[blocks])
        np.testing.assert_array_equal(losses_of(part), losses[:, rows])
    others = np.arange(n_examples) % 3 != 0
    changed = p | {"X": np.where(others[:, None], np.nan, p["X"])}
    np.testing.assert_array_equal(losses_of(changed)[:, ~others], losses[:, ~others])


@needs_numba
@everything
def test_threads_give_the_same_bits(sizes, dtype):
    """Losses and gradients, while other threads compute the same."""
    p = problem(sizes, dtype=dtype, n_examples=9 * BLOCK + 3, n_pairs=2)
    with Threads(4) as threads:
        serial, threaded = (noise_of(p, 2, threads=t) for t in (ALONE, threads))
        losses = serial.losses(KEY, "log_loss", p["y"])
        differences = losses[0] - losses[1]
        for _ in range(5):
            np.testing.assert_array_equal(threaded.losses(KEY, "log_loss", p["y"]), losses)
            found = threaded.gradient(KEY, differences)
            np.testing.assert_array_equal(found, serial.gradient(KEY, differences))


@everything
def test_halves_are_exchanged_by_the_sign(sizes, dtype):
    """Both are computed alike: bit for bit, and without noise they are the losses of theta."""
    p = problem(sizes, dtype=dtype, n_examples=BLOCK + 9)
    losses = losses_of(p)
    np.testing.assert_array_equal(losses_of(p | {"sigma": -0.125}), losses[::-1])
    raw = p["network"].forward(p["theta"], p["X"])
    expected = LOSSES["log_loss"].values(raw, p["y"])[None, :, None]
    still = losses_of(p | {"sigma": 0.0})
    rtol = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(still, np.broadcast_to(expected, still.shape), rtol=rtol)


@pytest.mark.parametrize("sizes", [(5, 3), (3, 2, 1), (9, 20, 7, 3)])
def test_what_was_not_written_is_not_read(sizes, monkeypatch):
    """Memory of the kernel that begins as NaN makes no difference."""
    p = problem(sizes, n_examples=9)
    losses = losses_of(p)

    def poisoned(n, dtype):
        return np.full(n, np.nan, dtype)

    for module in (layout, tasks):
        monkeypatch.setattr(module, "aligned", poisoned)
    np.testing.assert_array_equal(losses_of(p), losses)


@needs_numba
def test_read_only_arrays_are_not_compiled_for_anew():
    p = problem(weighted=True)
    losses = losses_of(p)
    compiled = len(kernels.evaluate_nodes.signatures)
    for value in p.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    p["signs"].own.flags.writeable = False
    np.testing.assert_array_equal(losses_of(p), losses)
    assert len(kernels.evaluate_nodes.signatures) == compiled


# --- sums ----------------------------------------------------------------------------------------


@few
@given(st.fixed_dictionaries({name: problems[name] for name in (
    "sizes", "activation", "n_pairs", "n_examples", "seed"
)}))  # fmt: skip
def test_estimates_are_sums_of_outer_products(arguments):
    """In float64 to rounding, and in float32 as far as that goes."""
    if arguments["activation"] not in SMOOTH:
        arguments |= {"activation": "tanh"}  # float32 may fall on the other side of a step
    n_pairs = arguments["n_pairs"]
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-5)):
        p = problem(**arguments, dtype=dtype)
        differences = np.random.default_rng(0).normal(size=(len(p["X"]), n_pairs))
        found = noise_of(p, n_pairs).gradient(KEY, differences.ravel())
        assert found.dtype == dtype
        size = max(1, abs(p["X"]).max()) * abs(differences).mean() / (2 * p["sigma"])
        expected = expected_estimate(p, differences)
        np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * size)


@pytest.mark.parametrize("k", [-40, 1, 40])
def test_estimates_scale_with_the_losses(k):
    """By a power of two: bit for bit."""
    found = noise_of(problem(n_examples=BLOCK + 3), 3)
    differences = np.random.default_rng(0).normal(size=3 * (BLOCK + 3))
    whole = found.gradient(KEY, differences)
    np.testing.assert_array_equal(found.gradient(KEY, 2.0**k * differences), 2.0**k * whole)


def test_pairs_that_do_not_count_are_not_averaged_over():
    """With differences of zero for them and ``n_valid`` the others have their whole weight."""
    found, differences = noise_of(problem(), 3), np.random.default_rng(0).normal(size=21)
    differences[[4, 9, 20]] = 0
    some, every = found.gradient(KEY, differences, 18), found.gradient(KEY, differences)
    np.testing.assert_allclose(18 * some, 21 * every, rtol=1e-12)


# --- estimates -----------------------------------------------------------------------------------


@pytest.fixture
def enumerate_signs(monkeypatch):
    """Make the pairs of a problem all patterns of signs there are; returns their number.

    Of numbers that are powers of two each bit of a pair decides one sign.
    """

    def replace(p):
        monkeypatch.setattr(nodes, "of_units", lambda n: tuple(1 << j for j in range(n)))
        return 2 ** p["network"].n_units

    return replace


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 2, 3, 2)])
@pytest.mark.parametrize("sigma", [1e-2, 3.0])
def test_quadratic_losses_give_the_gradient_exactly(sizes, sigma, weighted, enumerate_signs):
    """Of linear networks with squared error, averaged over all patterns: for every sigma."""
    p = problem(sizes, "identity", "squared_error", n_examples=BLOCK + 3, weighted=weighted)
    found = estimate(p, enumerate_signs(p), sigma)
    np.testing.assert_allclose(found, gradient(p), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4), (3, 3, 2), (3, 2, 2, 1)])
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_smooth_losses_give_the_gradient_in_the_limit(sizes, activation, enumerate_signs):
    """With an error that falls as sigma^2, averaged over all patterns."""
    p = problem(sizes, activation, weighted=True)
    n_pairs, exact = enumerate_signs(p), gradient(p)
    errors = [np.abs(estimate(p, n_pairs, s) - exact).max() for s in (4e-3, 2e-3, 1e-3)]
    assert 1e-10 < errors[0] < 1e-4
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 4, rtol=0.05)


def test_steps_give_the_gradient_of_the_smoothed_loss(enumerate_signs):
    """A linear model with 0-1 loss: differences along each output, averaged over the other one."""
    p = problem((2, 2), "relu", "zero_one", n_examples=40)
    found, sigma = estimate(p, enumerate_signs(p), 0.5), 0.5
    raw = p["network"].forward(p["theta"], p["X"])
    delta = np.zeros((40, 2))
    for k, unit in enumerate(np.eye(2)):
        for sign in (1, -1):
            for other in (1, -1):
                moved = raw + sigma * (sign * unit + other * unit[::-1])
                delta[:, k] += sign * LOSSES["zero_one"].values(moved, p["y"]) / (4 * sigma)
    assert np.any(delta)
    W, b = p["X"].T @ delta / 40, delta.mean(axis=0)
    np.testing.assert_allclose(found, p["network"].pack([W], [b]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("activation", ["tanh", "identity", "sign"])
def test_even_losses_give_nothing(activation):
    """Odd activations without inputs and intercepts: both halves are equal, bit for bit."""
    p = problem((3, 6, 5, 2), activation, "squared_error", n_examples=BLOCK + 3)
    coefs, intercepts = p["network"].unpack(p["theta"])
    p["theta"] = p["network"].pack(coefs, [np.zeros_like(b) for b in intercepts])
    p |= {"X": np.zeros_like(p["X"]), "y": np.zeros_like(p["y"])}
    plus, minus = losses_of(p)
    np.testing.assert_array_equal(plus, minus)
    assert np.all(plus > 0)
    assert not np.any(estimate(p, 3))


def test_examples_of_weight_zero_change_nothing():
    """Neither the estimate nor any loss depends on what they are."""
    p = problem(n_examples=BLOCK + 9, weighted=True)
    unused = np.arange(BLOCK + 9) % 4 == 0
    p["weight"][unused] = 0
    changed = p | {
        "X": np.where(unused[:, None], 7.0, p["X"]),
        "y": np.where(unused, 2 - p["y"], p["y"]),
    }
    np.testing.assert_array_equal(losses_of(changed), losses_of(p))
    np.testing.assert_array_equal(estimate(changed, 3), estimate(p, 3))
    assert np.any(estimate(p, 3))


def test_losses_are_told_as_pairs():
    """Pair p of example i is number i P + p, and the mean is the weighted mean loss at sigma 0."""
    p = problem(n_examples=10, weighted=True)
    weight = p["weight"] / p["weight"].mean()
    losses = noise_of(p, 3).losses(KEY, "log_loss", p["y"], weight)
    expected = losses_of(p | {"weight": weight})
    np.testing.assert_array_equal(losses.reshape(2, 10, 3), expected)
    still = noise_of(p, 3, sigma=0.0).losses(KEY, "log_loss", p["y"], weight)
    whole = p["network"].gradient(p["theta"], Data(p["X"], p["y"], weight), "log_loss")[0]
    np.testing.assert_allclose(still.mean(), whole, rtol=1e-13)


@pytest.mark.parametrize(("n_units", "n_pairs"), [(1, 1), (3, 4), (8, 8), (5, 16)])
def test_losses_that_are_linear_give_the_gradient_exactly(n_units, n_pairs):
    """Where there are as many pairs as units, and a power of two: signs that are orthogonal."""
    p = problem((3, n_units), "identity", "absolute_error", n_examples=BLOCK + 3, weighted=True)
    p["y"] = p["y"] + 1e3
    np.testing.assert_allclose(estimate(p, n_pairs), gradient(p), rtol=1e-10, atol=1e-12)


@needs_numba
def test_estimates_are_unbiased():
    """The keyed signs of all units, pairs and examples: the mean over keys is the gradient."""
    p = problem((2, 3, 2), "identity", "squared_error", n_examples=3)
    found, sample = noise_of(p, 2), []
    for index in range(4000):
        plus, minus = found.losses((5, index), "squared_error", p["y"])
        sample.append(found.gradient((5, index), plus - minus))
    assert_mean(np.transpose(sample), gradient(p), detects=0.3)


@needs_numba
@pytest.mark.parametrize("activation", ["relu", "sign"])
def test_networks_learn(activation):
    """The exclusive or of two signs, which no linear model knows, with any activation."""
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], (128, 2)).astype(np.float32)
    y = (X[:, 0] != X[:, 1]).astype(int)
    network, adam = Network((2, 16, 1), activation), Adam()
    x = network.initial(rng).astype(np.float32)
    state = adam.init(x)
    for index in range(300):
        found, key = ActivationNoise(network, x, X, 4, 0.3), (0, index)
        plus, minus = found.losses(key, "log_loss", y)
        x, state = adam.step(x, found.gradient(key, plus - minus), state, 0.03)
    assert np.mean(LOSSES["zero_one"].values(network.forward(x, X), y)) == 0


# --- extremes ------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_not_finite_is_never_hidden(activation, loss, bad):
    """With NaN in any parameter the loss is NaN; with an infinite one it is right or not finite."""
    for n_outputs in (1, 3):
        p = problem((3, 4, 2, n_outputs), activation, loss, n_pairs=2, seed=5)
        assert_never_hidden(losses_of, expected_losses, p, bad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_center_that_is_not_finite_has_no_finite_estimate(dtype):
    """Nor has an example that is not: sums of products pass NaN on."""
    p = problem(dtype=dtype)
    p["X"][3, 2] = np.nan
    found = noise_of(p, 3).gradient(KEY, np.ones(21))
    assert np.isnan(p["network"].unpack(found)[0][0][2]).all()


def test_no_examples_and_no_pairs():
    p = problem()
    none = p | {"signs": replace(p["signs"], n_pairs=0)}
    assert losses_of(none).shape == (2, 7, 0)
    none = p | {"X": p["X"][:0], "y": p["y"][:0]}
    none["signs"] = replace(p["signs"], own=p["signs"].own[:0])
    assert losses_of(none).shape == (2, 0, 3)


# --- what is kept, what is refused ---------------------------------------------------------------


def test_threads_are_not_pickled():
    p, differences = problem(), np.ones(21)
    with Threads(2) as threads:
        copy = pickle.loads(pickle.dumps(noise_of(p, 3, threads=threads)))
    assert copy.threads is ALONE
    expected = noise_of(p, 3).gradient(KEY, differences)
    np.testing.assert_array_equal(copy.gradient(KEY, differences), expected)


@pytest.mark.parametrize("loss", ["absolute", lambda y, raw, weight: 0.0])
def test_a_loss_must_have_a_value_for_each_example(loss):
    """A function of the user's has one for all of them."""
    p = problem()
    with pytest.raises(ValueError, match="each example by itself"):
        noise_of(p, 3).losses(KEY, loss, p["y"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": np.zeros(84, np.int64)}, "dtype int64"),
        ({"theta": np.zeros(83)}, "theta has shape"),
        ({"signs": Signs(np.zeros((1, 11, 2), np.uint32), (), 3)}, "signs.own has shape"),
        ({"signs": Signs(np.zeros((1, 12, 2), int), (), 3)}, "signs.own has shape .* int64"),
        ({"X": np.ones((7, 4))}, "X has shape"),
        ({"X": np.ones((7, 5), np.float32)}, "X has shape .* float32"),
        ({"y": np.zeros(6, int)}, "y has shape"),
        ({"y": np.zeros((7, 3))}, "y has shape"),
        ({"weight": np.ones(6)}, "weight has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    """Before the kernel, which would read beyond its arrays."""
    with pytest.raises(ValueError, match=message):
        losses_of(problem() | change)
