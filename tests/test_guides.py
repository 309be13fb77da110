"""Guides: only the span of the usable ones matters."""

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from blackbox_es.samplers import orthonormal_rows, unit_guide

few = settings(deadline=None, max_examples=40, derandomize=True)
problems = st.tuples(st.integers(0, 999), st.integers(6, 90), st.integers(1, 6))


def random_guides(seed, n, k):
    return np.random.default_rng(seed).normal(size=(k, n))


def orthonormal(guides, dtype=np.float64):
    return orthonormal_rows([unit_guide(guide) for guide in guides], dtype)


def assert_orthonormal(rows, atol=1e-14):
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), rtol=0, atol=atol)


def assert_same_span(rows, expected, atol=1e-12):
    np.testing.assert_allclose(rows.T @ rows, expected.T @ expected, rtol=0, atol=atol)


# --- one guide -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_a_guide_that_says_nothing_is_none(value):
    assert unit_guide(np.zeros(3)) is None
    assert unit_guide(np.array([1.0, value, 2.0])) is None or value == 0.0
    assert unit_guide(np.full(2, value)) is None


@few
@given(problem=problems, power=st.integers(-1000, 1000), dtype=st.sampled_from("fd"))
def test_only_the_direction_of_a_guide_matters(problem, power, dtype):
    """Length one to rounding; scaled by any power of two, the same bits."""
    guide = random_guides(*problem)[0].astype(dtype)
    unit = unit_guide(guide)
    assert abs(np.linalg.norm(unit.astype(float)) - 1) <= 4 * np.finfo(dtype).eps
    cosine = unit.astype(float) @ guide / np.linalg.norm(guide.astype(float))
    assert abs(cosine - 1) <= 4 * np.finfo(dtype).eps
    if dtype == "d":
        np.testing.assert_array_equal(unit_guide(np.ldexp(guide, power)), unit)


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e300, 5e-324, 2.2e-308])
def test_extreme_guides_have_length_one(scale):
    """Neither overflow nor underflow, down to subnormal numbers."""
    unit = unit_guide(np.array([3.0, -4.0, 0.0]) * scale)
    np.testing.assert_allclose(unit, [0.6, -0.8, 0.0], rtol=1e-15)


def test_the_guide_is_not_changed():
    guide = np.array([3.0, 4.0])
    guide.flags.writeable = False
    assert not np.shares_memory(unit_guide(guide), guide)
    assert not np.shares_memory(orthonormal_rows([guide], float), guide)


# --- their span ----------------------------------------------------------------------------------


@few
@given(problem=problems)
def test_rows_are_an_orthonormal_basis_of_the_span(problem):
    guides = random_guides(*problem)
    rows = orthonormal(guides)
    assert rows.shape == guides.shape
    assert_orthonormal(rows)
    assert_same_span(rows, np.linalg.qr(guides.T)[0].T)
    assert orthonormal(guides, np.float32).dtype == np.float32
    assert_orthonormal(orthonormal(guides, np.float32).astype(float), atol=1e-6)


@few
@given(problem=problems, seed=st.integers(0, 99))
def test_the_covariance_depends_on_the_span_alone(problem, seed):
    """Other guides of the same span, at other scales, give the same covariance to rounding."""
    guides = random_guides(*problem)
    k = len(guides)
    rng = np.random.default_rng(seed)
    mixed = np.linalg.qr(rng.normal(size=(k, k)))[0] @ guides * 10.0 ** rng.integers(-150, 150)
    found, expected = (
        reference.covariance(0.1, 0.5, orthonormal(some)) for some in (mixed, guides)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@few
@given(
    problem=problems, copies=st.lists(st.floats(1e-200, 1e9) | st.floats(-1e9, -1e-200), max_size=4)
)
def test_duplicated_and_dependent_guides_add_no_row(problem, copies):
    """The number of rows is the rank: copies, opposites, sums and scaled sums add nothing."""
    guides = random_guides(*problem)
    more = [scale * guides[0] for scale in copies] + [guides.sum(axis=0)]
    rows = orthonormal([*guides, *more])
    assert len(rows) == len(guides)
    assert_orthonormal(rows)
    assert_same_span(rows, orthonormal(guides))


@few
@given(problem=problems, power=st.floats(-5.5, 0.0))
def test_nearly_parallel_guides_are_two_orthonormal_rows(problem, power):
    """Angles down to three microradians; every guide lies in the span of the rows to rounding."""
    guide, other = random_guides(problem[0], problem[1], 2)
    guides = np.array(
        [unit_guide(guide), unit_guide(unit_guide(guide) + 10**power * unit_guide(other))]
    )
    rows = orthonormal(guides)
    assert len(rows) == 2
    assert_orthonormal(rows)
    np.testing.assert_allclose(guides @ rows.T @ rows, guides, rtol=0, atol=1e-14)
    assert_same_span(rows, np.linalg.qr(guides.T)[0].T, atol=1e-14 / 10**power)


@few
@given(problem=problems, noise=st.integers(0, 2**32 - 1))
def test_rounding_of_guides_moves_rows_by_as_little(problem, noise):
    """If guides are well apart no row changes its sign, whatever LAPACK computes."""
    guides = random_guides(*problem)
    assume(np.linalg.cond(guides / np.linalg.norm(guides, axis=1, keepdims=True)) < 4)
    near = guides * (1 + 1e-13 * np.random.default_rng(noise).uniform(-1, 1, guides.shape))
    np.testing.assert_allclose(orthonormal(near), orthonormal(guides), rtol=0, atol=1e-11)


@few
@given(problem=problems)
def test_parallel_guides_are_one_row(problem):
    """Angles below a tenth of a microradian are rounding errors of somebody's float32."""
    guide, other = random_guides(problem[0], problem[1], 2)
    rows = orthonormal([guide, guide + 1e-8 * other])
    assert rows.shape == (1, len(guide))
    assert_orthonormal(rows)
    np.testing.assert_allclose(rows * np.sign(rows @ guide), [unit_guide(guide)], rtol=0, atol=1e-7)


def test_more_guides_than_dimensions_span_everything():
    rows = orthonormal(random_guides(0, 3, 7))
    assert rows.shape == (3, 3)
    assert_orthonormal(rows)


def test_threads_change_no_bits():
    """However many of them BLAS is given, as a worker is given one."""
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(orthonormal(random_guides(0, 200_000, 2)).tobytes())
    same = len(set(found)) == 1
    assert same
