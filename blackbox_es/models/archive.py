"""The last points that have been evaluated, and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es import _value
from blackbox_es._value import Rows, freeze, value

Array = npt.NDArray[Any]


@value
class Archive:
    """The last points that have been evaluated, oldest first, and their finite values.

    Parameters
    ----------
    X : ndarray of shape (k, n)
    values : ndarray of shape (k,), float64
    """

    X: Rows
    values: npt.NDArray[Any]

    def check(self, n: int) -> None:
        """Raise ValueError unless the points are of this dimension, and all is finite."""
        values, single = self.values, self.X.dtype == np.float32
        _value.check(self, n, np.float32 if single else np.float64)
        if values.dtype != np.float64 or values.shape != self.X.shape[:1]:
            raise ValueError(f"{len(self.X)} points have values of shape {values.shape}")
        if not (np.isfinite(self.X).all() and np.isfinite(values).all()):
            raise ValueError("an archive holds what is not finite")


def added(archive: Archive | None, X: Array, values: Array, most: int) -> Archive | None:
    """The archive with further points: the last ``most``, without those that failed."""
    known = np.isfinite(values) & np.isfinite(X).all(axis=1)
    X, values = X[known][-most:], values[known][-most:]
    if archive is not None:
        X = np.concatenate([archive.X, X])[-most:]
        values = np.concatenate([archive.values, values])[-most:]
    if not len(X):
        return archive
    return freeze(Archive(np.ascontiguousarray(X), np.array(values)))
