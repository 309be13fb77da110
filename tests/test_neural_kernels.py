"""The fused evaluation of a population, against each perturbed network by itself."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SMOOTH, random_targets
from problems import assert_never_hidden
from scipy.special import expit

from blackbox_es import _jit
from blackbox_es.neural import kernels, layout, tasks
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.data import Data
from blackbox_es.neural.kernels import BLOCK, CHUNK, GROUP
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network
from blackbox_es.neural.tasks import Population, population_losses, population_outputs

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
few = settings(deadline=None, max_examples=5 if _jit.DISABLED else 60, derandomize=True)
FAR = 1e-3  # a unit or an output so far from a step is on the same side of it in float32


def population_of(arguments):
    """The population and the examples of `random_population`."""
    population = Population(*(arguments[name] for name in Population._fields))
    return population, Data(arguments["X"], arguments["y"], arguments["weight"])


def losses_and_squares(arguments):
    population, data = population_of(arguments)
    return population_losses(population, arguments["loss"], data)


def losses_of(arguments):
    return losses_and_squares(arguments)[0]


def random_population(
    sizes=(5, 9, 3), activation="relu", loss="log_loss", *, dtype=np.float64, n_pairs=5, k=0,
    n_slices=2, batch=7, weighted=False, seed=0,
):  # fmt: skip
    """A population, examples and a loss: neighbouring pairs share slices, which overlap."""
    rng, network = np.random.default_rng(seed), Network(sizes, activation)
    n, n_examples = network.n_parameters, n_slices * batch
    y = random_targets(loss, sizes[-1], n_examples, rng, dtype)
    return {
        "network": network,
        "loss": loss,
        "theta": network.initial(rng).astype(dtype),
        "sigma": 0.125,
        "words": words_of(rng.choice([-1, 1], (n_pairs, network.n_factors))),
        "coefs": rng.normal(size=(n_pairs, k)).astype(dtype),
        "subspace": (0.1 * rng.normal(size=(k, n))).astype(dtype),
        "X": rng.normal(size=(n_examples, sizes[0])).astype(dtype),
        "y": y,
        "weight": rng.uniform(0, 2, n_examples) if weighted else None,
        "starts": np.sort(rng.integers(0, n_examples - batch + 1, n_slices))[
            np.arange(n_pairs) * n_slices // n_pairs
        ],
        "batch": batch,
    }


def words_of(signs):
    """32 signs to a word, lowest bit first: 1 is +1, 0 is -1, and what is left over is random."""
    n_pairs, n = signs.shape
    bits = np.random.default_rng(n).integers(0, 2, (n_pairs, -(-n // 32) * 32), np.uint64)
    bits[:, :n] = signs > 0
    bits = bits.reshape(n_pairs, -1, 32)
    return (bits << np.arange(32, dtype=np.uint64)).sum(axis=2).astype(np.uint32)


def signs_of(network, words):
    """The signs of words: shape (n_pairs, n_factors)."""
    bits = (words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    return (2.0 * bits - 1).reshape(len(words), -1)[:, : network.n_factors]


def direction(network, signs):
    """One row of signs as a vector: outer products for the weights of hidden layers."""
    parts, start = [], 0
    for fan_in, fan_out in network.shapes[:-1]:
        a, b, c = np.split(signs[start : start + fan_in + 2 * fan_out], [fan_in, fan_in + fan_out])
        parts += [np.outer(a, b).ravel(), c]
        start += fan_in + 2 * fan_out
    return np.concatenate([*parts, signs[start:]])


def each(network, theta, sigma, words, coefs, subspace, X, starts, batch, y=None, **_):
    """(half, pair, examples, raw outputs) of each half of each pair, in float64 and one by one."""
    signs = signs_of(network, words)
    for pair, start in enumerate(starts):
        d = sigma * direction(network, signs[pair])
        d += coefs[pair].astype(float) @ subspace.astype(float)
        rows = slice(start, start + batch)
        for half, point in enumerate((theta + d, theta - d)):
            yield half, pair, rows, network.forward(point, X[rows].astype(float))


def expected_outputs(population):
    return [raw for *_, raw in each(**population)]


def expected_losses(population):
    """Reference values, and the sum of the sizes of what was added up for each."""
    values = np.zeros((2, len(population["starts"])))
    y, weight = population["y"], population["weight"]
    for half, pair, rows, raw in each(**population):
        losses = LOSSES[population["loss"]].values(raw, y[rows])
        values[half, pair] = (losses if weight is None else weight[rows] * losses).sum()
    return values


def parts(population, pairs):
    """The same population with these pairs only."""
    return {
        name: value[pairs] if name in ("words", "coefs", "starts") else value
        for name, value in population.items()
    }


def outputs_of(population):
    return population_outputs(population_of(population)[0], population["X"])


# --- values --------------------------------------------------------------------------------------

networks = st.tuples(
    st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 12)
).map(lambda sizes: (*sizes[0], sizes[1]))  # fmt: skip
populations = {
    "sizes": networks,
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "loss": st.sampled_from(sorted(LOSSES)),
    "n_pairs": st.integers(1, 40),
    "k": st.integers(0, 3),
    "n_slices": st.integers(1, 3),
    "batch": st.integers(1, 2 * BLOCK + 3),
    "weighted": st.booleans(),
    "seed": st.integers(0, 2**32 - 1),
}


@few
@given(st.fixed_dictionaries(populations))
def test_losses_in_float64_are_those_of_each_network(arguments):
    """Every loss agrees with the network that the pair describes, to 1e-12 of its size."""
    population = random_population(**arguments)
    losses = losses_of(population)
    np.testing.assert_allclose(losses, expected_losses(population), rtol=1e-12, atol=1e-13)


@few
@given(st.fixed_dictionaries(populations))
def test_losses_in_float32_are_those_of_each_network(arguments):
    """As far as float32 goes; where a step decides, no unit or output may be near it."""
    population = random_population(**arguments, dtype=np.float32)
    losses, expected = losses_of(population), expected_losses(population)
    if arguments["activation"] in SMOOTH and LOSSES[arguments["loss"]].gradient:
        scale = arguments["batch"] * (1 + max(abs(r).max() for r in expected_outputs(population)))
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5 * scale)
    else:
        assert np.mean(np.abs(losses - expected) < 1e-4 * (1 + expected)) > 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("sizes", [(3, 2), (9, 17, 1), (5, 20, 33, 4)])
def test_outputs_are_those_of_each_network(sizes, k, dtype):
    population = random_population(sizes, "tanh", dtype=dtype, k=k, batch=BLOCK + 1, n_pairs=19)
    outputs = outputs_of(population)
    assert outputs.dtype == dtype
    assert outputs.shape == (2, 19, BLOCK + 1, sizes[-1])
    for half, pair, _, raw in each(**population):
        rtol = 1e-12 if dtype is np.float64 else 2e-5
        np.testing.assert_allclose(outputs[half, pair], raw, rtol=rtol, atol=rtol)


@needs_numba
@pytest.mark.parametrize("n", [1, 7, 8, 9, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_sizes_around_those_of_tiles_and_chunks(n):
    """Inputs, units of one or two hidden layers and outputs."""
    for sizes in ((n, n), (n, n, n), (n, 3, n, n), (3, n, 2)):
        population = random_population(sizes, "tanh", n_pairs=GROUP + 2, k=1)
        losses = losses_of(population)
        np.testing.assert_allclose(losses, expected_losses(population), rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_all_activations_and_losses(activation, loss):
    for n_outputs in (1, 2, 3):
        population = random_population((4, 6, 5, n_outputs), activation, loss, weighted=True)
        losses = losses_of(population)
        np.testing.assert_allclose(losses, expected_losses(population), rtol=1e-12, atol=1e-13)


# --- laws ----------------------------------------------------------------------------------------

everything = pytest.mark.parametrize(
    ("sizes", "dtype", "k"),
    [((9, 5), np.float32, 0), ((9, 20, 5), np.float32, 0), ((9, 20, 11, 5), np.float64, 2)],
)


@everything
def test_a_pair_has_its_bits_whatever_else_is_computed(sizes, dtype, k):
    """Alone, in any range, in any order, with neighbours on other slices: bit for bit."""
    n_pairs = 2 * GROUP + 3
    population = random_population(
        sizes, "tanh", dtype=dtype, k=k, n_pairs=n_pairs, n_slices=3, batch=BLOCK + 9, weighted=True
    )
    losses, outputs = losses_of(population), outputs_of(population)
    shuffled = np.random.default_rng(0).permutation(n_pairs)
    cuts = ([p] for p in range(n_pairs)), np.split(np.arange(n_pairs), [1, 8, 21]), [shuffled]
    for cut in cuts:
        for pairs in cut:
            part = parts(population, pairs)
            np.testing.assert_array_equal(losses_of(part), losses[:, pairs])
            np.testing.assert_array_equal(outputs_of(part), outputs[:, pairs])


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("sizes", [(5, 3), (3, 2, 1), (9, 20, 7, 3)])
def test_what_was_not_written_is_not_read(sizes, k, monkeypatch):
    """Memory of the kernel that begins as NaN makes no difference."""
    population = random_population(sizes, k=k, batch=9)
    losses = losses_of(population)
    for module in (layout, tasks):
        monkeypatch.setattr(module, "aligned", lambda n, dtype: np.full(n, np.nan, dtype))
    np.testing.assert_array_equal(losses_of(population), losses)


@everything
def test_threads_give_the_same_bits(sizes, dtype, k):
    """Calls at the same time share nothing."""
    population = random_population(sizes, dtype=dtype, k=k, n_pairs=60, batch=100)
    losses = losses_of(population)
    ranges = [slice(first, first + 7) for first in range(0, 60, 7)] * 5
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda pairs: losses_of(parts(population, pairs)), ranges)
    for pairs, values in zip(ranges, found, strict=True):
        np.testing.assert_array_equal(values, losses[:, pairs])


@everything
def test_halves_are_exchanged_by_the_sign(sizes, dtype, k):
    """theta + d and theta - d are computed alike: bit for bit."""
    population = random_population(sizes, dtype=dtype, k=k, batch=BLOCK + 9)
    mirrored = population | {"sigma": -population["sigma"], "coefs": -population["coefs"]}
    losses = losses_of(population)
    np.testing.assert_array_equal(losses_of(mirrored), losses[::-1])
    still = population | {"sigma": 0.0, "coefs": 0 * population["coefs"]}
    values = LOSSES["log_loss"].values(
        population["network"].forward(population["theta"], population["X"]), population["y"]
    )
    expected = [values[s : s + population["batch"]].sum() for s in population["starts"]]
    for half in losses_of(still):
        np.testing.assert_allclose(half, expected, rtol=1e-4 if dtype is np.float32 else 1e-12)


def test_weights_count_examples():
    """Weight zero takes an example out, weight two is an example twice, in exact arithmetic."""
    population = random_population(n_slices=1, batch=30)
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, 30)
    rows = np.repeat(np.arange(30), weight)
    repeated = population | {
        "X": population["X"][rows], "y": population["y"][rows], "batch": rows.size,
    }  # fmt: skip
    weighted = losses_of(population | {"weight": weight})
    np.testing.assert_allclose(weighted, losses_of(repeated), rtol=1e-13)
    ones = losses_of(population | {"weight": np.ones(30)})
    np.testing.assert_array_equal(ones, losses_of(population))


def test_losses_of_one_example_after_another():
    """Rounding aside, the loss of a slice is the sum of the losses of its examples."""
    population = random_population(n_slices=1, batch=10)
    single = [
        losses_of(population | {"starts": population["starts"] + i, "batch": 1}) for i in range(10)
    ]
    np.testing.assert_allclose(sum(single), losses_of(population), rtol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [(5, 3), (5, 9, 3)], ids=str)
def test_squares_are_those_of_each_example_whatever_it_weighs(loss, sizes):
    """Over all pairs that see an example, in slices that end within a block and overlap."""
    population = random_population(sizes, loss=loss, batch=BLOCK + 9, n_pairs=7, weighted=True)
    starts = population["starts"] = np.array([3, 3, 3, 3, 20, 20, 20])
    _, squares = losses_and_squares(population)
    expected = np.zeros(len(population["X"]))
    for i in range(len(expected)):
        one = population | {"starts": starts * 0 + i, "batch": 1, "weight": None}
        plus, minus = losses_of(one)
        sees = (starts <= i) & (i < starts + BLOCK + 9)
        expected[i] = np.square(plus - minus)[sees].sum()
    np.testing.assert_allclose(squares, expected, rtol=1e-9, atol=1e-15)


def test_examples_outside_the_slice_do_not_matter():
    """Not even as NaN: a batch that ends within a block sees no further."""
    population = random_population(n_slices=1, batch=BLOCK + 5, n_pairs=3)
    losses = losses_of(population)
    around = np.full((BLOCK, 5), np.nan)
    shifted = population | {
        "X": np.vstack([around, population["X"], around]),
        "y": np.concatenate([np.zeros(BLOCK, int), population["y"], np.zeros(BLOCK, int)]),
        "starts": population["starts"] + BLOCK,
    }
    np.testing.assert_array_equal(losses_of(shifted), losses)


def test_words_may_be_a_part_of_more():
    """As those of `noise.sign_words` are: a view that is not contiguous."""
    population = random_population()
    words = population["words"]
    more = np.concatenate([words, ~words], axis=1)[:, : words.shape[1]]
    np.testing.assert_array_equal(losses_of(population | {"words": more}), losses_of(population))


def test_no_pairs():
    population = parts(random_population(), slice(0, 0))
    assert losses_of(population).shape == (2, 0)
    assert outputs_of(population).shape == (2, 0, 7, 3)


@needs_numba
def test_read_only_arrays_are_not_compiled_for_anew():
    population = random_population(k=1, weighted=True)
    losses = losses_of(population)
    compiled = len(kernels.evaluate.signatures)
    for value in population.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    np.testing.assert_array_equal(losses_of(population), losses)
    assert len(kernels.evaluate.signatures) == compiled


# --- extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["log_loss", "hinge", "zero_one"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_large_outputs_do_not_overflow(n_outputs, loss, dtype):
    """Losses of outputs of +-1e4 are right, relatively, with one class far ahead or behind."""
    population = random_population((1, n_outputs), "relu", loss, dtype=dtype, n_slices=1, n_pairs=2)
    theta = np.zeros(2 * n_outputs, dtype)
    theta[:n_outputs] = 1e4 * np.array([1, 0, -1])[:n_outputs]
    population |= {"theta": theta, "X": np.array([[1], [-1], [0.5], [-0.5]] * 2, dtype), "batch": 8}
    population |= {"y": np.arange(8) % 3 % max(2, n_outputs)}
    population |= {"starts": np.zeros(2, int), "sigma": 0.0}
    losses = losses_of(population)
    np.testing.assert_allclose(losses, expected_losses(population), rtol=1e-6)
    assert np.all(np.isfinite(losses))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_that_is_nearly_zero_is_relatively_right(dtype):
    """log(1 + exp(-lead)) down to the smallest numbers, with one output and with several."""
    for lead in (1.0, 10.0, 40.0, 80.0):
        for n_outputs in (1, 4):
            population = random_population((1, n_outputs), dtype=dtype, n_slices=1, n_pairs=1)
            theta = np.zeros(2 * n_outputs, dtype)
            theta[-1] = lead
            population |= {"theta": theta, "sigma": 0.0, "y": np.full(7, max(1, n_outputs - 1))}
            expected = 7 * math.log1p(max(1, n_outputs - 1) * math.exp(-lead))
            rtol = 1e-14 if dtype is np.float64 else 1e-6
            np.testing.assert_allclose(losses_of(population), expected, rtol=rtol)


@needs_numba
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_not_finite_is_never_hidden(activation, loss, bad):
    """With NaN in any parameter the loss is NaN; with an infinite one it is right or not finite."""
    for n_outputs in (1, 3):
        population = random_population((3, 4, 2, n_outputs), activation, loss, n_pairs=2, seed=5)
        assert_never_hidden(losses_of, expected_losses, population, bad)


@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_the_first_of_equal_outputs_wins(n_outputs):
    """As in `network`, and as a single output of zero stands for class 0."""
    population = random_population((2, n_outputs), "relu", "zero_one", n_slices=1, n_pairs=1)
    population |= {"theta": np.zeros(3 * n_outputs), "sigma": 0.0}
    losses = losses_of(population)
    np.testing.assert_array_equal(losses, np.count_nonzero(population["y"]))


@pytest.mark.parametrize("activation", ["step", "sign", "relu"])
def test_activations_at_zero(activation):
    """Units at exactly 0 and -0 are those of `network`."""
    population = random_population((1, 2, 1), activation, "squared_error", n_slices=1, n_pairs=1)
    theta = np.array([1.0, -1.0, 0.0, 0.0, 2.0, 3.0, 0.0])
    population |= {"theta": theta, "sigma": 0.0, "X": np.zeros((7, 1))}
    np.testing.assert_array_equal(losses_of(population), expected_losses(population))


# --- exp and log ---------------------------------------------------------------------------------


def function(name):
    kernel = getattr(kernels, name)

    @_jit.jit(contract=True)
    def apply(x, out):
        for i in range(len(x)):
            out[i] = kernel(x[i])

    return apply


def ulps(found, exact):
    """Distance in units in the last place of the exact value in the type of the found one."""
    return np.max(np.abs(found - exact) / np.spacing(np.abs(exact).astype(found.dtype)))


BELOW = -np.concatenate([np.geomspace(1e-30, 1e-3, 500), np.linspace(0, 87, 20000)])
ABOVE = np.concatenate([[0.0], np.geomspace(1e-30, 1e-3, 500), np.linspace(0, 2000, 20000)])
AROUND = np.concatenate([BELOW, -BELOW])


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "reference", "x"),
    [
        ("_exp", np.exp, BELOW),
        ("_log1p", np.log1p, ABOVE),
        ("_tanh", np.tanh, AROUND),
        ("_logistic", expit, AROUND[np.abs(AROUND) < 85]),
    ],
)
def test_functions_are_right_to_a_few_units_in_the_last_place(name, reference, x, dtype):
    """Against NumPy in extended precision, for arguments from tiny to large, and NaN."""
    apply, x = function(name), x.astype(dtype)
    out = np.empty_like(x)
    apply(x, out)
    exact = reference(x.astype(np.longdouble))
    assert ulps(out, exact) < 4
    apply(np.full(3, np.nan, dtype), out)
    assert np.isnan(out[:3]).all()


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_far_out(dtype):
    """exp underflows to exactly zero, and what is made of it saturates."""
    far, out = np.array([-1e4, -np.inf], dtype), np.empty(2, dtype)
    for name, left, right in (("_exp", 0, None), ("_tanh", -1, 1), ("_logistic", 0, 1)):
        function(name)(far, out)
        np.testing.assert_array_equal(out, left)
        if right is not None:
            function(name)(-far, out)
            np.testing.assert_array_equal(out, right)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": np.zeros(3)}, "theta has shape"),
        ({"theta": np.zeros(84, int)}, "theta has dtype int64"),
        ({"theta": np.zeros(84, np.float32)}, "X has shape .* float64: expected .* float32"),
        ({"words": np.ones((5, 3), np.uint32)}, "words has shape"),
        ({"words": np.ones((5, 2), np.int64)}, "words has shape .* int64: expected .*uint32"),
        ({"coefs": np.ones((4, 0))}, "coefs has shape"),
        ({"coefs": np.ones((5, 0), np.float32)}, "coefs has shape .* float32: expected .* float64"),
        ({"subspace": np.ones((1, 84))}, "coefs has shape"),
        ({"subspace": np.ones((0, 83))}, "subspace has shape"),
        ({"X": np.ones((14, 4))}, "X has shape"),
        ({"X": np.ones((14, 5), np.float32)}, "X has shape .* float32"),
        ({"y": np.zeros(13, int)}, "y has shape"),
        ({"y": np.zeros((14, 3))}, "y has shape"),
        ({"weight": np.ones(13)}, "weight has shape"),
        ({"starts": np.array([0, 0, 0, 0, 8])}, "leave the pool of 14"),
        ({"starts": np.array([-1, 0, 0, 0, 0])}, "leave the pool of 14"),
        ({"batch": 15}, "leave the pool of 14"),
        ({"batch": 0}, "batch=0"),
        ({"loss": "absolute"}, "loss='absolute' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    """Before the kernel, which would read beyond its arrays."""
    with pytest.raises(ValueError, match=message):
        losses_of(random_population() | change)
