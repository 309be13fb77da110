"""Examples as one value."""

import numpy as np
import pytest
from problems import bits

from blackbox_es.neural.data import Data

RNG = np.random.default_rng(0)
X, LABELS, NUMBERS = RNG.normal(size=(7, 3)), RNG.integers(0, 3, 7), RNG.normal(size=(7, 2))
WEIGHT = RNG.uniform(size=7)


@pytest.mark.parametrize("rows", [slice(2, 5), np.array([6, 0, 0]), np.arange(7) > 2], ids=str)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_rows_stay_together(rows, weight):
    """Some examples are their inputs, targets and weights."""
    part = Data(X, LABELS, weight).take(rows)
    expected = X[rows], LABELS[rows], None if weight is None else weight[rows]
    assert bits([part.X, part.y, part.weight]) == bits(list(expected))
    assert len(part) == len(X[rows])


def test_total_weight_counts_examples_of_weight_one():
    assert Data(X, LABELS).total_weight == Data(X, LABELS, np.ones(7)).total_weight == 7.0
    assert Data(X, LABELS, WEIGHT).total_weight == WEIGHT.sum()


def test_kernels_are_given_what_they_were_compiled_for():
    """No read-only arrays, numbers in the dtype of X, and labels as they are."""
    for y, dtype in ((LABELS, LABELS.dtype), (NUMBERS, np.float32)):
        data = Data(X.astype(np.float32), y.copy(), WEIGHT.copy())
        for array in (data.X, data.y, data.weight):
            array.flags.writeable = False
        ready = data.for_kernels()
        assert all(array.flags.writeable for array in (ready.X, ready.y, ready.weight))
        assert ready.y.dtype == dtype
        assert bits([ready.X, ready.y, ready.weight]) == bits([data.X, y.astype(dtype), WEIGHT])


def test_what_kernels_can_use_is_not_copied():
    ready = Data(X, NUMBERS, WEIGHT).for_kernels()
    assert ready.X is X
    assert ready.y is NUMBERS
    assert ready.weight is WEIGHT
