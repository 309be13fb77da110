"""Products in a fixed order equal those of NumPy to rounding, for sizes around every block."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import _products

few = settings(deadline=None, max_examples=40, derandomize=True)
small = st.integers(0, 20)
sizes = st.integers(0, 70) | st.sampled_from([511, 512, 513, 1025])


def normal(*shape, dtype=np.float64):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def assert_close(found, a, b):
    """``a @ b`` with errors below n roundings of the sum of magnitudes."""
    eps = np.finfo(found.dtype).eps
    bound = (2 + a.shape[1]) * eps * (np.abs(a).astype(float) @ np.abs(b))
    assert found.shape == (len(a), b.shape[1])
    assert (np.abs(found - a.astype(float) @ b) <= bound).all()


@few
@given(
    n_pairs=st.integers(0, 35), m=small, n=sizes, dtype=st.sampled_from([np.float32, np.float64])
)
def test_outer_sum_is_the_weighted_sum_of_outer_products(n_pairs, m, n, dtype):
    """Of columns from anywhere in the rows, in float64 even if they are not."""
    weights, rows = normal(n_pairs), normal(n_pairs, m + n + 3, dtype=dtype)
    left, right = slice(n + 2, n + 2 + m), slice(1, 1 + n)
    found = _products.outer_sum(weights, rows, left, right)
    assert found.dtype == np.float64
    assert_close(found, rows[:, left].astype(float).T * weights, rows[:, right].astype(float))


@few
@given(k=st.integers(1, 6), n=sizes)
def test_gram_is_the_matrix_of_inner_products(k, n):
    rows = normal(k, n)
    found = _products.gram(rows)
    assert_close(found, rows, rows.T)
    np.testing.assert_array_equal(found, found.T)


@few
@given(m=small, k=st.integers(0, 6), n=sizes, dtypes=st.sampled_from(["ff", "df", "dd"]))
def test_mix_is_the_matrix_product(m, k, n, dtypes):
    """Whatever the layout, and each row is what it is alone, bit for bit."""
    matrix, rows = normal(k, m, dtype=dtypes[0]).T, normal(k, 2 * n, dtype=dtypes[1])[:, ::2]
    found = _products.mix(matrix, rows)
    assert found.dtype == dtypes[0]
    assert_close(found, matrix, rows)
    for i in range(m):
        np.testing.assert_array_equal(_products.mix(matrix[i : i + 1], rows)[0], found[i])


@few
@given(n_pairs=st.integers(0, 35), k=st.integers(1, 6), scale=st.sampled_from([1.0, 0.3, 1e9]))
def test_weighted_sum_is_the_product_with_the_weights(n_pairs, k, scale):
    weights, rows = normal(n_pairs), normal(n_pairs, k, dtype=np.float32)
    found = _products.weighted_sum(weights, rows, scale)
    expected = reference.weighted_sum(weights, rows, scale)
    bound = 4 * np.finfo(float).eps * np.abs(weights) @ np.abs(rows.astype(float)) * scale
    assert (np.abs(found - expected) <= bound).all()


@few
@given(n=st.integers(0, 70), power=st.integers(-1000, 1000), dtype=st.sampled_from("fd"),
       bad=st.none() | st.sampled_from([0.0, np.nan, np.inf, -np.inf]))  # fmt: skip
def test_unit_is_the_vector_at_length_one(n, power, dtype, bad):
    """At any scale; None if it is zero or holds one entry that is not finite."""
    vector = np.ldexp(normal(n), power)
    if bad == 0.0:
        vector[:] = 0.0
    elif bad is not None and n:
        vector[-1] = bad
    found, expected = _products.unit(vector, dtype), reference.unit(vector)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps)


@few
@given(n_pairs=st.integers(1, 35), k=st.integers(1, 6), power=st.sampled_from([-500, 0, 500]))
def test_regress_leaves_what_a_regression_leaves(n_pairs, k, power):
    """Whatever the scale of the differences; those of zero are left out."""
    differences, latent = normal(n_pairs) * 2.0**power, normal(n_pairs, k, dtype=np.float32)
    differences[: n_pairs // 3] = 0.0
    found = _products.regress(differences, latent)
    expected = reference.regress(differences, latent)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("differences", [np.zeros(5), np.array([1.0, np.inf])])
def test_regress_of_nothing(differences):
    """Without a finite difference that is not zero there is nothing to learn."""
    *_, largest, total, _ = _products.regress(differences, normal(differences.size, 2))
    assert largest in (0.0, np.inf)
    assert total == 0.0
