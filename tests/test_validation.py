"""Checks at the boundary: what a value, a start and a parameter may be, and what is said if not."""

import math

import numpy as np
import pandas as pd
import pytest

from blackbox_es import _validation
from blackbox_es._validation import (
    as_center,
    as_seed,
    as_value,
    as_values,
    check_between,
    check_count,
    check_exceptions,
    check_flag,
    check_fraction,
    check_n_jobs,
    check_positive,
)

HUGE = 10**400  # too large for a float
ENDLESS = 10**5000  # even too long to print

# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "masked",
    [
        np.ma.masked,
        np.ma.masked_array(5.0, True),
        np.ma.masked_array(5, True),
        np.ma.masked_array([5.0], [True]),
        np.ma.masked_array([[True]], [[True]]),
    ],
    ids=repr,
)
def test_a_masked_value_is_missing(masked):
    """Whatever is under the mask: NaN, alone and among others."""
    assert math.isnan(as_value(masked, "it"))
    np.testing.assert_array_equal(as_values([1, masked, 3.0], (3,), "it"), [1.0, np.nan, 3.0])


@pytest.mark.parametrize("dtype", [float, np.float32, int, bool])
def test_masked_elements_are_missing(dtype):
    """Those that are not masked are as they were."""
    values, mask = np.array([[1, 0, 1]], dtype), np.array([[False, True, False]])
    expected = np.array([[1.0, np.nan, 1.0]])
    for shape in ((1, 3), (3,)):
        masked = np.ma.masked_array(values, mask).reshape(shape)
        found = as_values(masked, shape, "it")
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected.reshape(shape))
        whole = as_values(np.ma.masked_array(values).reshape(shape), shape, "it")
        np.testing.assert_array_equal(whole, values.reshape(shape))
    assert as_value(np.ma.masked_array(values)[0, 0], "it") == 1.0


@pytest.mark.parametrize(
    ("x0", "what"),
    [(np.ma.masked_array([1, 2, 3], [0, 1, 0]), "masked"),
     (np.ma.masked_array([1.0, np.nan, 3], [0, 1, 0]), "masked"),
     (np.ma.masked_greater(np.array([1, 9, 3], np.float32), 5), "masked"),
     ([1.0, np.ma.masked, 3.0], "nan")],
)  # fmt: skip
def test_a_masked_coordinate_is_refused(x0, what):
    """By name."""
    with pytest.raises(ValueError, match=rf"x0\[1\] is {what}: expected finite numbers"):
        as_center(x0)


def test_a_start_without_a_mask_keeps_its_type():
    """A masked array in which nothing is masked is an array."""
    for dtype in (np.float32, np.float64):
        x = as_center(np.ma.masked_array(np.ones(3, dtype)))
        assert type(x) is np.ndarray
        assert x.dtype == dtype
    with pytest.raises(ValueError, match=r"x0\[0\] is nan"):
        as_center(np.ma.masked_array([np.nan, 2.0], [False, True]))


@pytest.mark.parametrize("huge", [HUGE, -HUGE, ENDLESS], ids=["huge", "negative", "endless"])
def test_integers_too_large_for_a_float(huge):
    """A ValueError that names the place, not an OverflowError."""
    for convert, place in [
        (lambda: as_value(huge, "it"), "it"),
        (lambda: as_value([huge], "it"), "it"),
        (lambda: as_values([1.0, huge], (2,), "it"), r"it\[1\]"),
        (lambda: as_values([[1.0, huge]], (1, 2), "it"), "it"),
        (lambda: as_center([1.0, huge]), "x0"),
    ]:
        with pytest.raises(ValueError, match=f"^{place} is .*: too large for a float$") as caught:
            convert()
        assert len(str(caught.value)) < 150


def test_integers_of_any_size_are_numbers():
    """As long as a float can hold them."""
    assert as_value(10**300, "it") == as_value([10**300], "it") == 1e300
    np.testing.assert_array_equal(as_center([2**64, 1]), [2.0**64, 1.0])


def test_missing_values_of_pandas():
    """NA is no number; in a Series of numbers it is NaN, as pandas says."""
    for value in (pd.NA, pd.NaT):
        with pytest.raises(TypeError, match=r"it is (<NA>|NaT), a NA?.*: expected real numbers"):
            as_value(value, "it")
        with pytest.raises(TypeError, match=r"it\[1\] is "):
            as_values([1.0, value], (2,), "it")
    series = pd.Series([1.0, None], dtype="Float64").astype("float64")
    np.testing.assert_array_equal(as_values(series, (2,), "it"), [1.0, np.nan])
    with pytest.raises(TypeError, match="expected real numbers"):
        as_values(pd.Series([1.0, pd.NA], dtype=object), (2,), "it")


# -- parameters ----------------------------------------------------------------------------------

NUMBERS = {
    "a positive number": (check_positive, (1, 0.5, np.float32(0.5), np.int8(1), np.longdouble(1)),
                          (0, -0.5, math.inf, np.float32("inf"))),
    "a number from 0 to 1": (lambda name, value: check_between(name, value, 0, 1),
                             (0, 1, 0.5, np.float32(1), np.float16(0.5)), (-0.1, 1.5)),
    "a number of at least 0 and below 1": (check_fraction, (0, 0.5, np.float32(0.5)), (1, -0.1)),
    "an integer of at least 1": (check_count, (1, HUGE, np.uint8(3)), (0, -1, 1.0, np.float32(1))),
    "an integer from 0 to 9": (lambda name, value: check_count(name, value, low=0, high=9),
                               (0, 9, np.int64(9)), (-1, 10, HUGE, ENDLESS, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "case"), NUMBERS.items(), ids=NUMBERS)
def test_numbers(expected, case):
    """Of Python and of NumPy; NaN, booleans and what is too large are refused, with one message."""
    check, good, bad = case
    for value in good:
        check("it", value)
    never = (None, math.nan, True, np.True_, "1", 1j, np.ones(1), [1], pd.NA, -HUGE, -ENDLESS)
    large = () if check is check_count else (HUGE, ENDLESS)
    for value in (*bad, *never, *large):
        with pytest.raises(ValueError, match=f"^it=.*: expected {expected}$") as caught:
            check("it", value)
        assert len(str(caught.value)) < 160


def test_counts_may_be_optional():
    """None is refused unless it is allowed."""
    check_count("it", None, optional=True)
    with pytest.raises(ValueError, match="it=0"):
        check_count("it", 0, optional=True)


def test_numbers_of_workers():
    """None or an integer that is not 0."""
    for value in (None, 1, 2, -1, np.int64(2)):
        check_n_jobs(value)
    for value in (0, 1.0, True, np.True_, "all", math.nan):
        with pytest.raises(ValueError, match=r"n_jobs=.*: expected None or an integer that is not"):
            check_n_jobs(value)


def test_flags():
    """True or False, of Python or of NumPy."""
    for value in (True, False, np.True_, np.False_):
        check_flag("it", value)
    for value in (None, 0, 1, 1.0, "yes", np.array([True]), np.int8(1)):
        with pytest.raises(ValueError, match=r"it=.*: expected True or False"):
            check_flag("it", value)


def test_tuples_of_exceptions():
    """An exception type alone, or anything else in the tuple, is refused."""
    for value in ((), (ValueError,), (OSError, KeyboardInterrupt)):
        check_exceptions("it", value)
    for value in (ValueError, [ValueError], None, (1,), (ValueError(),), ("ValueError",), (int,)):
        with pytest.raises(TypeError, match=r"it=.*: expected a tuple of exception types"):
            check_exceptions("it", value)


def test_seeds_that_are_none():
    """However large."""
    for value in (-1, 2**64, HUGE, ENDLESS, 0.5, pd.NA):
        with pytest.raises(ValueError, match=r"random_state=.*: take None"):
            as_seed(value)


def test_what_is_shown_is_short():
    """Long values are cut."""
    assert _validation._shown([1, 2]) == "[1, 2]"
    assert _validation._shown("x" * 1000) == "'" + "x" * 79 + "..."
