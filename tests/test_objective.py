"""The loss of a network over parts of the examples, against every network evaluated by itself."""

from functools import partial

import numpy as np
import pytest
from problems import bits
from scipy.special import expit, log_softmax

from blackbox_es import GuidedES, Isotropic, LowRank, VanillaES
from blackbox_es._threads import Threads
from blackbox_es.generation import Generation
from blackbox_es.neural import kernels
from blackbox_es.neural.data import Data
from blackbox_es.neural.examples import Examples
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.scoring import ClassAnswers, of_function
from blackbox_es.neural.standins import mean_slope
from blackbox_es.samplers import Guided, orthonormal_rows, unit_guide

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
LABELS = RNG.integers(0, 3, N)
TARGETS = RNG.normal(size=(N, 3))
WEIGHT = RNG.integers(1, 4, N) * 0.5
NETWORK = Network((5, 4, 3), "tanh")


def objective(loss="log_loss", y=LABELS, weight=None, network=NETWORK, x=X, **options):
    """The objective of 32 pairs on two slices of 16 of the 96 examples."""
    options = {"batch_size": 16, "n_pairs": 32, **options}
    return NetworkObjective(network, loss, Data(x, y, weight), **options)


def metric(loss, slope=None):
    """A function ``loss(y, raw, weight)`` of one network's outputs as a `Metric`."""
    return Metric(lambda y, raw, w: np.array([loss(y, z, w) for z in raw]), slope)


def generation(network=NETWORK, guides=0, dtype=float, n_pairs=32, seed=3, index=0):
    """A generation around a random network, guided or not."""
    rng = np.random.default_rng(seed)
    sampler = LowRank(network.shapes, sigma=2.0)
    if guides:
        units = [unit_guide(g) for g in rng.normal(size=(guides, network.n_parameters))]
        sampler = Guided(sampler, orthonormal_rows(units, dtype), 0.5)
    return Generation(network.initial(rng).astype(dtype), sampler, seed, index, n_pairs)


# -- references: losses of each example from raw outputs ------------------------------------------


def log_loss(raw, y):
    if raw.shape[1] == 1:
        return -np.log(expit(np.where(y, raw[:, 0], -raw[:, 0])))
    return -log_softmax(raw, axis=1)[np.arange(len(y)), y]


def squared_error(raw, y):
    return ((raw - y) ** 2).sum(axis=1) / (2 * raw.shape[1])


def zero_one(raw, y):
    return (raw[:, 0] > 0 if raw.shape[1] == 1 else raw.argmax(axis=1)) != y


def hinge(raw, y):
    if raw.shape[1] == 1:
        return np.maximum(0, 1 - np.where(y, 1, -1) * raw[:, 0])
    rows = np.arange(len(y))
    others = raw.copy()
    others[rows, y] = -np.inf
    return np.maximum(0, 1 + others.max(axis=1) - raw[rows, y])


CLASSIFICATION = {"log_loss": log_loss, "zero_one": zero_one, "hinge": hinge}


def dense(loss, gen, network, x, y, weight, pool, batch, n_slices):
    """Each network of a generation, made and evaluated on its slice of the pool."""
    pool = np.arange(len(x))[pool]
    values = np.empty((2, gen.n_pairs))
    for row, theta in enumerate(gen.points()):
        half, pair = divmod(row, gen.n_pairs)
        first = pair * n_slices // gen.n_pairs * batch
        rows = pool[first : first + batch]
        losses = loss(network.forward(theta, x[rows]), y[rows])
        w = np.ones(len(x)) if weight is None else weight
        values[half, pair] = w[rows] @ losses / (batch * w.mean())
    return values


# -- a generation --------------------------------------------------------------------------------


@pytest.mark.parametrize("guides", [0, 1, 3])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_generation_is_each_network_by_itself(loss, n_outputs, weight, guides):
    """The losses of a generation are those of its points, each on its slice of the pool."""
    network = Network((5, 4, n_outputs), "relu")
    y = LABELS if n_outputs == 3 else LABELS % 2
    whole, gen = objective(loss, y, weight, network), generation(network, guides)
    pool = whole.examples.pool(gen.key).rows
    expected = dense(CLASSIFICATION[loss], gen, network, X, y, weight, pool, 16, 2)
    np.testing.assert_allclose(whole.evaluate_generation(gen), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("guides", [0, 2])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 3), (5, 70, 4, 3)], ids=str)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_generation_of_any_depth(sizes, guides, dtype, rtol):
    """So it is for any number of layers and in both precisions, of regression too."""
    network = Network(sizes, "tanh")
    gen = generation(network, guides, dtype)
    whole = objective("squared_error", TARGETS, network=network, x=X.astype(dtype))
    pool = whole.examples.pool(gen.key).rows
    expected = dense(squared_error, gen, network, X, TARGETS, None, pool, 16, 2)
    np.testing.assert_allclose(whole.evaluate_generation(gen), expected, rtol=rtol)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("guides", [0, 1])
def test_a_function_is_given_what_a_point_gives(guides, weight):
    """A metric gets targets, outputs and weights of the slice, and its value is the loss."""

    def loss(y, raw, w):
        assert (w is None) == (weight is None)
        return np.average(log_loss(raw, y), weights=w)

    gen = generation(guides=guides)
    whole = objective(metric(loss), weight=weight)
    pool = np.arange(N)[whole.examples.pool(gen.key).rows]
    points, values = gen.points(), whole.evaluate_generation(gen)
    for row, value in enumerate(values.ravel()):
        rows = pool[row % 32 // 16 * 16 :][:16]
        w = None if weight is None else weight[rows]
        expected = loss(LABELS[rows], NETWORK.forward(points[row], X[rows]), w)
        assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("batch_size", "n_pairs", "n_slices"),
    [(16, 15, 1), (16, 50, 3), (12, 300, 8), (40, 64, 2), (200, 64, 1)],
)
def test_slices(batch_size, n_pairs, n_slices):
    """Sixteen pairs or more share a slice; there are no more slices than the examples fill."""
    whole = objective(batch_size=batch_size, n_pairs=n_pairs)
    batch = min(batch_size, N)
    assert (whole.batch_size, whole.examples.pool_size) == (batch, n_slices * batch)
    gen = generation(n_pairs=n_pairs)
    pool = whole.examples.pool(gen.key).rows
    expected = dense(log_loss, gen, NETWORK, X, LABELS, None, pool, batch, n_slices)
    np.testing.assert_allclose(whole.evaluate_generation(gen), expected, rtol=1e-9)


def test_classes_are_spread_over_slices():
    """Each slice has its share of them, of losses and metrics alike; numbers have no classes."""
    mean = metric(lambda y, raw, w: raw.mean())
    spread = Examples(N, 32, None, 0, LABELS)
    in_slices = Examples(N, N, None, 0, LABELS)
    for index in range(3):
        key = 3, index
        for loss in ("log_loss", mean):
            rows = objective(loss).examples.pool(key).rows
            assert bits(rows) == bits(spread.pool(key).rows)
            assert objective(loss, batch_size=N).examples.pool(key).rows == slice(None)
            rows = objective(loss, n_pairs=96).examples.pool(key).rows
            assert bits(rows) == bits(in_slices.pool(key).rows)
        numbers = objective("squared_error", TARGETS).examples.pool(key).rows
        assert bits(numbers) == bits(Examples(N, 32, None, 0).pool(key).rows)


@pytest.mark.parametrize(
    "loss", ["log_loss", metric(lambda y, raw, w: raw.mean())], ids=["name", "metric"]
)
@pytest.mark.parametrize("guides", [0, 2])
def test_any_number_of_threads(loss, guides):
    """Threads do not change a bit of the values."""
    gen = generation(guides=guides, n_pairs=300)
    alone = objective(loss, n_pairs=300).evaluate_generation(gen)
    with Threads(3) as threads:
        whole = objective(loss, n_pairs=300, threads=threads)
        assert bits(whole.evaluate_generation(gen)) == bits(alone)


def test_only_low_rank_noise():
    """Networks are perturbed by LowRank noise; other noise is refused."""
    gen = generation()
    other = Generation(gen.center, Isotropic(gen.center.size), 0, 0, 32)
    with pytest.raises(TypeError, match="LowRank noise, not by Isotropic"):
        objective().evaluate_generation(other)


@pytest.mark.parametrize("n_pairs", [31, 33])
def test_other_pairs_are_refused(n_pairs):
    """Which have no slices: the slices are those of the pairs that were announced."""
    with pytest.raises(ValueError, match=f"{n_pairs} pairs: .* made for n_pairs=32"):
        objective().evaluate_generation(generation(n_pairs=n_pairs))


@pytest.mark.skipif(not hasattr(kernels.evaluate, "signatures"), reason="nothing is compiled")
def test_read_only_data_compile_nothing_new():
    """Read-only examples, targets and weights, as pandas has them, use the code that is there."""
    arguments = [X.copy(), TARGETS.copy(), WEIGHT.copy()]
    n_compiled = []
    for writeable in (True, False):
        for array in arguments:
            array.flags.writeable = writeable
        x, y, weight = arguments
        whole = objective("squared_error", y, weight, x=x, batch_size=N)
        whole.evaluate_generation(generation())
        n_compiled.append(len(kernels.evaluate.signatures))
    assert n_compiled[0] == n_compiled[1]


# -- what a generation teaches about its examples --------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_later_pools_are_weighted_by_what_generations_measured(weight):
    """Values are weighted means over pools drawn by score, and remain unbiased."""
    whole = objective(weight=weight)
    for index in range(5):
        gen = generation(index=index)
        pool = whole.examples.pool(gen.key)
        found = whole.evaluate_generation(gen)
        w = np.ones(32) if pool.weight is None else pool.weight
        for row, theta in enumerate(gen.points()):
            rows = slice(row % 32 // 16 * 16, row % 32 // 16 * 16 + 16)
            losses = log_loss(NETWORK.forward(theta, X[pool.rows]), LABELS[pool.rows])
            assert found.ravel()[row] == pytest.approx(w[rows] @ losses[rows] / 16, rel=1e-9)
    assert (index < 3) == (weight is None and pool.weight is None)
    assert pool.weight.std() > 0.1


def test_scores_are_root_mean_squared_differences():
    """An example's score is what pairs change its loss by, in units of sigma, times its weight."""
    whole, gen = objective(weight=WEIGHT), generation()
    rows = whole.examples.pool(gen.key).rows
    whole.evaluate_generation(gen)
    expected = np.full(N, np.nan)
    for s in range(2):
        x, y = X[rows[16 * s : 16 * s + 16]], LABELS[rows[16 * s : 16 * s + 16]]
        losses = [log_loss(NETWORK.forward(theta, x), y) for theta in gen.points()]
        plus, minus = losses[16 * s : 16 * s + 16], losses[32 + 16 * s : 48 + 16 * s]
        sizes = np.sqrt(np.square(np.subtract(plus, minus)).sum(axis=0)) / gen.sampler.sigma
        expected[rows[16 * s : 16 * s + 16]] = sizes
    scores = whole.examples._scores
    np.testing.assert_allclose(scores, expected * WEIGHT / WEIGHT.sum(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_any_number_of_threads_teaches_the_same(dtype):
    """Threads do not change a bit of later pools either."""
    pools = []
    for n in (1, 2, 3, 50):
        with Threads(n) as threads:
            whole = objective(x=X.astype(dtype), n_pairs=300, batch_size=4, threads=threads)
            for index in range(3):
                whole.evaluate_generation(generation(index=index, n_pairs=300, dtype=dtype))
            pools.append(whole.examples.pool((3, 3)))
    assert len({bits(pool.weight) for pool in pools}) == 1
    assert len({bits(pool.rows) for pool in pools}) == 1


def test_a_function_teaches_nothing():
    """A metric's value is not that of single examples: its pools stay permutations."""
    whole = objective(metric(lambda y, raw, w: raw.mean()))
    for index in range(5):
        whole.evaluate_generation(generation(index=index))
    assert whole.examples.pool((3, 5)).weight is None


# -- at one point --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, N])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize(("name", "y"), [("log_loss", LABELS), ("squared_error", TARGETS)])
def test_gradient_is_that_of_finite_differences(name, y, weight, batch_size):
    """The gradient is that of the weighted mean loss over the pool of the generation."""
    whole = objective(name, y, weight, batch_size=batch_size)
    theta, key = generation().center, (5, 4)
    rows = np.arange(N)[whole.examples.pool(key).rows]
    reference = {"log_loss": log_loss, "squared_error": squared_error}[name]

    def loss(at):
        w = None if weight is None else weight[rows]
        return np.average(reference(NETWORK.forward(at, X[rows]), y[rows]), weights=w)

    steps = 1e-6 * np.eye(theta.size)
    differences = [(loss(theta + step) - loss(theta - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(whole.gradient(theta, key), differences, atol=1e-8)
    # A metric is guided by the slope that it brings, of the pool and its weights.
    guided = objective(
        metric(None, partial(mean_slope, loss=name)), y, weight, batch_size=batch_size
    )
    np.testing.assert_allclose(guided.gradient(theta, key), differences, atol=1e-8)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_call_is_the_mean_over_all_examples(weight):
    """Called with parameters it is the weighted mean loss over all examples, as a float."""
    theta = generation().center
    expected = np.average(log_loss(NETWORK.forward(theta, X), LABELS), weights=weight)
    mean = metric(lambda y, raw, w: np.average(log_loss(raw, y), weights=w))
    for loss in ("log_loss", LOSSES["log_loss"], mean):
        value = objective(loss, weight=weight)(theta)
        assert type(value) is float
        assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize(("returned", "error"), [(None, TypeError), ([1.0, 2.0], ValueError)])
def test_a_function_must_return_a_number(returned, error, vectorized):
    """What is no number, or no number for each network, is refused, at a point or in a generation.

    So it is for functions of the user's, of one network's outputs and of those of all.
    """
    answers = ClassAnswers(np.arange(3), "softmax")
    whole = objective(of_function(lambda y, p: returned, answers, log_loss, vectorized))
    where = "the vectorized loss" if vectorized else "the loss"
    with pytest.raises(error, match=where):
        whole(generation().center)
    with pytest.raises(error, match=where):
        whole.evaluate_generation(generation())


@pytest.mark.parametrize("strategy", [VanillaES, GuidedES])
def test_is_an_objective(strategy):
    """A strategy takes it as it takes any function, and lowers the mean loss over all examples."""
    whole, theta = objective("squared_error", TARGETS), generation().center
    options = {"n_pairs": 32, "max_iter": 60, "learning_rate": 0.03, "random_state": 0}
    es = strategy(sampler=LowRank(NETWORK.shapes), **options)
    guide = None
    if strategy is GuidedES:
        guide = partial(whole.gradient, key=(0, 0))
    es.fit(whole, theta, guide)
    assert es.fun_ == whole(es.x_) < 0.9 * whole(theta)
