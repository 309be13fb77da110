"""Losses of many examples together: one row of one table each, one minus a metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural import ranking

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """One minus a metric of the ranking of two classes.

    A loss as `blackbox_es.neural.objective.PooledLoss` takes it, for one network or for many.

    Parameters
    ----------
    areas : bool
        The area under the ROC curve, else the average precision.
    """

    areas: bool

    def __call__(self, y: Array, raw: Array, weight: Array | None) -> float:
        """The loss of raw outputs (m, 1)."""
        return float(self.values(y, raw[None], weight)[0])

    def values(self, y: Array, raw: Array, weight: Array | None) -> Array:
        """The losses of C networks with raw outputs (C, m, 1): shape (C,), float64.

        NaN where an output is not finite, and where the examples are not of both classes.
        """
        losses = np.empty(len(raw))
        weight = np.ones(len(y)) if weight is None else weight.astype(np.float64)
        ranking.rank(np.ascontiguousarray(raw[:, :, 0]), y == 1, weight, losses, self.areas)
        return losses


METRICS = {"roc_auc": Metric(areas=True), "average_precision": Metric(areas=False)}
