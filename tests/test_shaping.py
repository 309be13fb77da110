"""Fitness shaping: utilities are functions of the order, or of the scale, and of nothing else."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import shaping

few = settings(deadline=None, max_examples=60, derandomize=True)
every_shaping = pytest.mark.parametrize("shape", shaping.SHAPINGS.values(), ids=shaping.SHAPINGS)
every_ranking = pytest.mark.parametrize("shape", shaping.RANK_BASED)


def generations(values):
    """Arrays of shape (2, n_pairs)."""
    pairs = st.lists(st.tuples(values, values), min_size=1, max_size=12)
    return pairs.map(lambda pairs: np.array(pairs, float).T.copy())


with_ties = generations(st.integers(-3, 3))
reals = generations(st.floats(-1e6, 1e6))


@few
@given(values=with_ties | reals)
def test_ranks_equal_the_reference(values):
    """Sorted and looked up one by one, ties averaged."""
    for name in ("centered_ranks", "nes", "log_ranks"):
        found, expected = (getattr(module, name)(values) for module in (shaping, reference))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_known_utilities():
    values = np.array([[3.0, 1.0], [2.0, np.inf]])
    np.testing.assert_allclose(shaping.centered_ranks(values) * 6, [[1, -3], [-1, 3]], rtol=1e-15)
    best = np.log(3) / (np.log(3) + np.log(1.5))  # of four: ln(4/2 + 1) - ln 1, then - ln 2
    expected = [[0.25, 0.25 - best], [best - 0.75, 0.25]]
    np.testing.assert_allclose(shaping.nes(values), expected, rtol=1e-14)


def test_known_log_ranks():
    """``ln k`` less ``ln((m + 1) / 2)``: zero for the one in the middle, of five."""
    values = np.array([[3.0, 1.0, 2.0, np.inf, 2.5]])
    expected = np.log([[4 / 3, 1 / 3, 2 / 3, 5 / 3, 1.0]])
    np.testing.assert_allclose(shaping.log_ranks(values), expected, rtol=1e-14, atol=1e-16)


@every_ranking
@few
@given(values=generations(st.integers(-1000, 1000)))
def test_increasing_maps_change_no_rank(shape, values):
    """Bit for bit."""
    for rising in (lambda v: v**3, lambda v: 7 * v - 3, lambda v: np.exp(v / 100), np.arctan):
        np.testing.assert_array_equal(shape(rising(values)), shape(values))


@every_ranking
def test_infinity_is_simply_the_worst(shape):
    values = np.array([[3.0, np.inf], [2.0, np.inf]])
    np.testing.assert_array_equal(shape(values), shape(np.nan_to_num(values, posinf=1e9)))


@every_shaping
@few
@given(values=with_ties | reals)
def test_utilities_do_not_decrease_and_are_equal_for_equal_values(shape, values):
    """Exactly so without ties, whose means are rounded."""
    before = values.copy()
    values.flags.writeable = False
    utilities = shape(values)
    order = np.argsort(values, axis=None)
    steps = np.diff(utilities.ravel()[order])
    assert utilities.shape == values.shape
    assert (steps >= (0 if len(np.unique(values)) == values.size else -1e-15)).all()
    assert (steps[np.diff(values.ravel()[order]) == 0] == 0).all()
    np.testing.assert_array_equal(values, before)


@few
@given(values=with_ties | reals)
def test_utilities_sum_to_zero(values):
    ranks = shaping.centered_ranks(values)
    assert abs(ranks.sum()) <= 1e-13
    assert np.abs(ranks).max() <= 0.5
    assert abs(shaping.nes(values).sum()) <= 1e-13


def difference(shape, values):
    """``u(x + d) - u(x - d)`` of each pair."""
    utilities = shaping.shaped(shape, values, 0).utilities
    return utilities[0] - utilities[1]


@every_shaping
@few
@given(values=with_ties | reals)
def test_swapped_halves_swap_the_sign_of_the_differences(shape, values):
    """Bit for bit where utilities do not depend on sums of values."""
    swapped, found = difference(shape, values[::-1]), difference(shape, values)
    assert found.shape == (values.shape[1],)
    if shape is shaping.standardized:
        np.testing.assert_allclose(swapped, -found, rtol=1e-9, atol=1e-9)
    else:
        np.testing.assert_array_equal(swapped, -found)


def test_raw_utilities_are_the_values():
    values = np.array([[3.0, 1.0], [2.0, 100.0]])
    assert shaping.raw(values) is values
    assert shaping.shaped(shaping.raw, values, 0).mean == 26.5


@every_shaping
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_failed_pair_is_left_out(shape, bad):
    """Utilities are those of the other pairs, its own zero; with ranks inf is the worst value."""
    values = np.array([[1.0, bad, 3.0, 9.0], [4.0, 5.0, 2.0, 7.0]])
    found = shaping.shaped(shape, values, 0)
    if bad == np.inf and shape in shaping.RANK_BASED:
        expected = shape(np.where(values == np.inf, 1e9, values))
        assert (found.n_valid, found.n_failed) == (4, 0)
    else:
        expected = np.insert(shape(np.delete(values, 1, axis=1)), 1, 0.0, axis=1)
        assert (found.n_valid, found.n_failed) == (3, 1)
        assert found.valid.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found.utilities, expected)
    assert found.mean == np.mean([1.0, 3.0, 9.0, 4.0, 5.0, 2.0, 7.0])


def test_half_of_the_pairs_may_fail():
    """With fewer there is nothing to learn; minus infinity ends the search."""
    values = np.array([[np.nan, np.nan, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    assert shaping.shaped(shaping.raw, values, 0).n_valid == 2
    values[1, 2] = np.nan
    with pytest.raises(shaping.EvaluationError, match="3 of 4 pairs of generation 7"):
        shaping.shaped(shaping.raw, values, 7)
    values[0, 0] = -np.inf
    assert shaping.shaped(shaping.raw, values, 7).n_valid == 0


@few
@given(values=generations(st.integers(-1000, 1000)), power=st.integers(-400, 400))
def test_standardized_values_have_mean_zero_and_deviation_one(values, power):
    """Powers of two change nothing, bit for bit."""
    found = shaping.standardized(values)
    varied = len(np.unique(values)) > 1
    assert abs(found.mean()) <= 1e-13
    assert found.std() == pytest.approx(float(varied), abs=1e-13)
    np.testing.assert_array_equal(shaping.standardized(np.ldexp(values, power)), found)
    np.testing.assert_allclose(shaping.standardized(3 * values - 7), found, rtol=0, atol=1e-10)


@few
@given(value=st.floats(-1e100, 1e100), n_pairs=st.integers(1, 20))
def test_equal_values_are_standardized_to_zero(value, n_pairs):
    """Whatever their mean is rounded to."""
    found = shaping.standardized(np.full((2, n_pairs), value))
    np.testing.assert_array_equal(found, np.zeros((2, n_pairs)))


def test_resolve_takes_a_name_or_a_function():
    for name, function in shaping.SHAPINGS.items():
        assert shaping.resolve(name) is function
    assert shaping.resolve(np.sqrt) is np.sqrt
    with pytest.raises(ValueError, match="shaping='rank' is unknown: take 'raw'"):
        shaping.resolve("rank")


def test_a_shaping_must_keep_the_shape():
    values = np.arange(6.0).reshape(2, 3)
    with pytest.raises(ValueError, match=r"shape \(3,\): expected \(2, 3\)"):
        shaping.shaped(lambda v: v[0], values, 0)
    found = difference(lambda v: v.astype(int).tolist(), values)
    np.testing.assert_array_equal(found, [-3.0, -3.0, -3.0])


@pytest.mark.parametrize("of", [shaping.as_they_are, lambda v: shaping.shaped(shaping.nes, v, 0)])
def test_failures_and_the_mean_of_what_is_finite(of):
    """NaN has failed, plus infinity is a value, minus infinity ends the search: nothing counts."""
    values = np.array([[1.0, np.nan, np.inf, 2.0], [4.0, 3.0, -1.0, 0.5]])
    found = of(values)
    assert found.n_failed == 1
    assert found.mean == np.mean([1.0, 2.0, 4.0, 3.0, -1.0, 0.5])
    values[0, [0, 2]] = -np.inf, 9.0
    found = of(values)
    assert (found.n_valid, found.n_failed) == (0, 1)
    assert found.mean == np.mean([9.0, 2.0, 4.0, 3.0, -1.0, 0.5])
    assert np.isnan(of(np.full((2, 3), np.inf)).mean)
    assert np.isnan(of(np.full((2, 3), -np.inf)).mean)


def test_as_they_are():
    """Values are utilities, those that are missing too; no pair is left out."""
    values = np.array([[1.0, np.nan, np.inf], [4.0, 3.0, -1.0]])
    found = shaping.as_they_are(values)
    assert found.utilities is values
    assert (found.n_valid, found.valid) == (3, None)
    assert shaping.as_they_are(values[:, 1:]).n_valid == 2


@every_shaping
def test_a_sum_that_overflows_is_no_failure(shape):
    """All values count, and so does their mean, as far as there is one."""
    values = np.array([[1e308, 1.2e308, 1.0], [1e308, 3.0, 2.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        found = shaping.shaped(shape, values, 0)
    assert (found.n_valid, found.n_failed, found.valid) == (3, 0, None)
    assert found.utilities.shape == values.shape
    assert found.mean == np.inf


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 4, 5])
def test_exactly_half_of_the_pairs_may_fail(n_pairs):
    for n_failed in range(n_pairs + 1):
        values = np.arange(2.0 * n_pairs).reshape(2, n_pairs)
        values[1, :n_failed] = np.nan
        if 2 * n_failed <= n_pairs:
            found = shaping.shaped(shaping.raw, values, 0)
            assert (found.n_valid, found.n_failed) == (n_pairs - n_failed, n_failed)
        else:
            with pytest.raises(shaping.EvaluationError, match=f"{n_failed} of {n_pairs} pairs"):
                shaping.shaped(shaping.raw, values, 0)
