"""Signs of each example its own: whose they are, how orthogonal, and what they add up to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import xi_of

from blackbox_es import noise
from blackbox_es.neural.kernels import BLOCK
from blackbox_es.neural.signs import Signs, of_factors, of_units, walsh

KEY = 11, 3
few = settings(deadline=None, max_examples=30, derandomize=True)
counts = {
    "n_pairs": st.integers(1, 20),
    "numbers": st.lists(st.integers(0, 40), min_size=1, max_size=12).map(tuple),
    "n_examples": st.integers(1, 2 * BLOCK + 3),
}


def drawn(n_pairs, numbers, n_examples, first=0):
    return Signs.drawn(KEY, first, n_pairs, numbers, n_examples)


def signs_of(n_pairs, numbers, n_examples, first=0):
    """xi (P, M, n)."""
    return xi_of(drawn(n_pairs, numbers, n_examples, first), n_examples)


@few
@given(st.fixed_dictionaries(counts), st.integers(0, 3))
def test_signs_are_those_of_the_key_times_walsh_functions(arguments, first):
    """Bit e of number j of a block is sign 64 (b n + j) + e of the first pair."""
    xi, numbers = signs_of(first=first, **arguments), arguments["numbers"]
    n, m = len(numbers), arguments["n_examples"]
    (own,) = noise.signs(KEY, (first, first + 1), n * BLOCK * -(-m // BLOCK), float)
    own = own.reshape(-1, n, BLOCK).swapaxes(1, 2).reshape(-1, n)[:m]
    for p, moved in enumerate(xi):
        walsh = [(-1) ** (p & number).bit_count() for number in numbers]
        np.testing.assert_array_equal(moved, own * walsh)


@pytest.mark.parametrize(("n", "n_pairs"), [(1, 1), (4, 4), (7, 8), (12, 4), (5, 16)])
def test_signs_of_units_are_orthogonal_across_pairs(n, n_pairs):
    """But for units whose numbers agree up to a multiple of the pairs, a power of two."""
    xi = signs_of(n_pairs, of_units(n), 70)
    products = np.einsum("pij,pik->ijk", xi, xi) / n_pairs
    same = np.subtract.outer(np.arange(n), np.arange(n)) % n_pairs == 0
    np.testing.assert_array_equal(np.abs(products), np.broadcast_to(same, products.shape))


@pytest.mark.parametrize(("fan_in", "fan_out", "n_pairs"), [(1, 1, 4), (3, 2, 8), (7, 3, 32)])
def test_products_of_factors_are_orthogonal_across_pairs(fan_in, fan_out, n_pairs):
    """All entries of ``a b'`` and c, of which there are no more than pairs."""
    numbers = of_factors(fan_in, fan_out)
    a, b, c = np.split(signs_of(n_pairs, numbers, 5), [fan_in, fan_in + fan_out], axis=2)
    moves = np.einsum("pij,pik->pijk", a, b).reshape(n_pairs, 5, -1)
    moves = np.concatenate([moves, c], axis=2)
    products = np.einsum("pij,pik->ijk", moves, moves) / n_pairs
    np.testing.assert_array_equal(
        products, np.broadcast_to(np.eye(products.shape[1]), products.shape)
    )


@pytest.mark.parametrize("n_pairs", [3, 5, 12])
def test_no_number_of_pairs_is_worse_than_independent_signs(n_pairs):
    """On average over a whole table: ``(N - P) / (N - 1)`` of their mean squared product."""
    size = 1 << n_pairs.bit_length()
    (xi,) = signs_of(n_pairs, of_units(size), 1).swapaxes(0, 1)
    products = xi.T @ xi / n_pairs
    off = np.mean(products[~np.eye(size, dtype=bool)] ** 2)
    assert off == pytest.approx((size - n_pairs) / (size - 1) / n_pairs, rel=1e-12)


@few
@given(st.fixed_dictionaries(counts), st.sampled_from([np.float32, np.float64]))
def test_sums_are_those_of_the_signs(arguments, dtype):
    """In float64, whatever the type of the result."""
    found, m, xi = drawn(**arguments), arguments["n_examples"], signs_of(**arguments)
    weights = np.random.default_rng(0).normal(size=(m, found.n_pairs))
    rtol = 1e-6 if dtype is np.float32 else 1e-13
    for block in range(-(-m // BLOCK)):
        rows = slice(block * BLOCK, (block + 1) * BLOCK)
        sums = found.sums(block, weights[rows], dtype)
        assert sums.dtype == dtype
        expected = np.einsum("ip,pij->ij", weights[rows], xi[:, rows])
        np.testing.assert_allclose(sums, expected, rtol=rtol, atol=rtol * found.n_pairs)


@few
@given(st.fixed_dictionaries(counts))
def test_words_are_the_signs(arguments):
    """32 examples to a word, lowest bit first: blocks, pairs, numbers, examples."""
    found = drawn(**arguments)
    bits = np.unpackbits(found.words().view(np.uint8), axis=2, bitorder="little")
    for block, own in enumerate(bits.reshape(len(bits), found.n_pairs, -1, BLOCK)):
        np.testing.assert_array_equal(2.0 * own - 1, found.values(block))


def test_a_table_that_is_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        walsh(3, (0, 1))[0, 0] = 5.0
