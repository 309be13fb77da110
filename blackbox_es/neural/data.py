"""Examples as one value: inputs, targets and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Data:
    """Examples of what a network should answer.

    Parameters
    ----------
    X : ndarray of shape (m, n_inputs)
    y : ndarray
        As the loss takes it: (m,) indices of classes, or (m, n_outputs) numbers.
    weight : ndarray of shape (m,) or None
        How much each example counts, not negative; None is one each.

    Examples
    --------
    >>> data = Data(np.eye(3), np.array([0, 1, 1]), np.array([1.0, 0.5, 2.0]))
    >>> part = data.take(slice(1, 3))
    >>> len(part), part.total_weight
    (2, 2.5)
    """

    X: Array
    y: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def total_weight(self) -> float:
        """The sum of the weights, which is the number of examples if there are none."""
        return float(len(self) if self.weight is None else self.weight.sum())

    def take(self, rows: Array | slice) -> Data:
        """These examples: views for a slice, else copies."""
        weight = None if self.weight is None else self.weight[rows]
        return Data(self.X[rows], self.y[rows], weight)

    def for_kernels(self) -> Data:
        """The same examples, with numbers for targets in the dtype of X, and nothing read-only."""
        y = self.y.astype(self.X.dtype, copy=False) if self.y.ndim == 2 else self.y
        weight = None if self.weight is None else writeable(self.weight)
        return Data(writeable(self.X), writeable(y), weight)


def writeable(array: Array) -> Array:
    """The array, or a copy if it is read-only, for which a kernel would be compiled anew."""
    return np.require(array, requirements=("C", "W"))
