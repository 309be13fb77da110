"""Which examples a generation sees: every one in the first epoch, then those that tell most."""

import numpy as np
import pytest
from problems import bits

from blackbox_es.neural import examples
from blackbox_es.neural.examples import Examples

N, M = 96, 32
RNG = np.random.default_rng(0)
WEIGHT = RNG.integers(1, 4, N) * 0.5
SQUARES = RNG.gamma(0.3, size=N)
WEIGHTS = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def taught(weight=None, squares=SQUARES, size=M):
    """Examples about which everything is known."""
    known = Examples(N, size, weight, first=0)
    known.learn(np.arange(N), squares)
    return known


# -- the first epoch, and all of them if nothing is learnt -----------------------------------------


@pytest.mark.parametrize("first", [0, 4])
def test_an_epoch_is_a_permutation(first):
    """From ``first`` on, the pools of each epoch hold every example once, in another order."""
    whole = Examples(N, M, None, first)
    assert whole.pools_per_epoch == 3
    pools = [whole.pool((0, first + i)).rows for i in range(9)]
    epochs = [np.concatenate(pools[i : i + 3]) for i in (0, 3, 6)]
    for order in epochs:
        assert sorted(order) == list(range(N))
    assert len({tuple(order) for order in epochs}) == 3


def test_an_epoch_leaves_out_what_fills_no_pool():
    """No example comes twice in an epoch; those that do not fill a pool wait for other epochs."""
    whole = Examples(N, 40, None, first=0)
    assert whole.pools_per_epoch == 2
    orders = [
        np.concatenate([whole.pool((0, 2 * e + i)).rows for i in range(2)]) for e in range(20)
    ]
    assert all(len(set(order)) == 80 for order in orders)
    assert len(set(np.concatenate(orders))) == N


def test_pools_are_functions_of_the_key():
    """While nothing is learnt, a pool depends on seed and generation, whatever was asked before."""
    forward, backward = (Examples(N, M, None, first=0) for _ in range(2))
    keys = [(seed, index) for seed in (0, 1, 2**63) for index in range(7)]
    pools = {key: bits(forward.pool(key).rows) for key in keys}
    assert pools == {key: bits(backward.pool(key).rows) for key in reversed(keys)}
    assert len({str(pool) for pool in pools.values()}) == len(keys)


def test_full_batches_keep_all_examples():
    """With as many examples as there are, every generation takes them all, in their order."""
    whole = Examples(N, N, None, first=0)
    assert whole.pools_per_epoch == 1
    assert all(bits(np.arange(N)[whole.pool((0, i)).rows]) == bits(np.arange(N)) for i in range(3))


@WEIGHTS
def test_the_first_epoch_draws_without_regard_to_scores(weight):
    """Each example is seen once, before some are preferred, and weighs what the user says."""
    known = taught(weight)
    pools = [known.pool((0, index)) for index in range(3)]
    rows = np.concatenate([pool.rows for pool in pools])
    assert sorted(rows) == list(range(N))
    if weight is None:
        assert all(pool.weight is None for pool in pools)
    else:
        weights = np.concatenate([pool.weight for pool in pools])
        np.testing.assert_allclose(weights, weight[rows] / weight.mean(), rtol=1e-12)


# -- drawn by score --------------------------------------------------------------------------------


def chances(weight, squares=SQUARES):
    """The probabilities with which each example should be drawn."""
    v = np.full(N, 1 / N) if weight is None else weight / weight.sum()
    scores = v * np.sqrt(squares)
    return 0.8 * scores / scores.sum() + 0.2 * v


@WEIGHTS
def test_draws_are_in_proportion_to_the_scores(weight):
    """An example is drawn M q times, rounded up or down, and weighs v / q."""
    known, q = taught(weight), chances(weight)
    v = np.full(N, 1 / N) if weight is None else weight / weight.sum()
    for index in range(3, 50):
        rows, w = known.pool((0, index))
        counts = np.bincount(rows, minlength=N)
        assert len(rows) == M
        assert (np.abs(counts - M * q) < 1 + 1e-9).all()
        np.testing.assert_allclose(w, v[rows] / q[rows], rtol=1e-9)
        assert w.max() < 5 + 1e-9


@WEIGHTS
def test_weighted_means_are_unbiased(weight, monkeypatch):
    """Averaged over the one random number of a pool, its mean is that of all examples."""
    offsets = (np.arange(1000) + 0.5) / 1000

    class Grid:
        def __init__(self, key):
            self.key = key

        def random(self):
            return offsets[self.key[1] - 3]

        def shuffle(self, rows):
            pass

    monkeypatch.setattr(examples, "_rng", Grid)
    known, losses = taught(weight), RNG.normal(size=N)
    means = []
    for index in range(3, 1003):
        rows, w = known.pool((0, index))
        means.append(w @ losses[rows] / M)
    expected = np.average(losses, weights=weight)
    # each example's count jumps at two offsets at most, which a grid finds to 1 / 2000
    assert abs(np.mean(means) - expected) < 5 * np.abs(losses).sum() / (1000 * M)
    assert np.std(means) > 0.01


def test_a_pool_is_shuffled():
    """Neighbours, which may be of one class, do not end up in the same slice."""
    rows = taught().pool((0, 5)).rows
    assert (np.diff(rows) < 0).sum() > M / 4


def test_pools_by_score_differ_from_key_to_key_and_only_so():
    keys = [(seed, index) for seed in (0, 1) for index in range(3, 9)]
    pools = {key: bits(taught().pool(key).rows) for key in keys}
    assert pools == {key: bits(taught().pool(key).rows) for key in keys}
    assert len({str(pool) for pool in pools.values()}) == len(keys)
    known = taught()
    before = known.pool((0, 5))
    known.learn(before.rows, np.zeros(M))
    assert known.pool((0, 5)) is before


def test_what_was_not_seen_counts_as_the_mean():
    """So does what was not finite; a score of zero is a score."""
    seen = np.arange(N) < N // 2
    squares = np.where(seen, SQUARES, np.nan)
    squares[0], squares[1] = np.inf, 0.0
    known = taught(squares=squares)
    scores = np.sqrt(squares)
    mean = scores[1 : N // 2].mean()
    scores = np.where(np.isfinite(scores), scores, mean)
    rows, w = known.pool((0, 3))
    q = 0.8 * scores / scores.sum() + 0.2 / N
    np.testing.assert_allclose(w, 1 / (N * q[rows]), rtol=1e-9)


@WEIGHTS
@pytest.mark.parametrize("squares", [np.zeros(N), np.full(N, np.nan)], ids=["zero", "nan"])
def test_without_a_difference_draws_go_by_weight(squares, weight):
    """A plateau, or nothing but NaN, prefers nothing."""
    rows, w = taught(weight, squares).pool((0, 3))
    np.testing.assert_allclose(w, np.ones(M), rtol=1e-12)
    v = np.full(N, 1 / N) if weight is None else weight / weight.sum()
    assert (np.abs(np.bincount(rows, minlength=N) - M * v) < 1 + 1e-9).all()


def test_scores_are_looked_at_again_every_few_generations():
    known = taught()
    known.pool((0, 3))
    known.learn(np.arange(N), SQUARES[::-1])
    later = {index: known.pool((0, index)) for index in (10, 11)}
    for index, squares in ((10, SQUARES), (11, SQUARES[::-1])):
        rows, w = later[index]
        np.testing.assert_allclose(w, 1 / (N * chances(None, squares)[rows]), rtol=1e-9)
