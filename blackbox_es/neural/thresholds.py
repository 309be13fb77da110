"""Where to draw the line between classes, for a metric of decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.metrics import Metric

Array = npt.NDArray[Any]

_LEAST, _MOST = 16, 256  # shifts tried of each output
_NUMBERS = 2**22  # raw outputs at once


def best_shifts(metric: Metric, y: Array, raw: Array, weight: Array | None) -> Array:
    """What to add to each raw output so that the metric is best: shape (n_outputs,).

    One output after another is shifted so far that it becomes the largest for one more example of
    some hundred, evenly spread. No shift that does not help; rankings of two classes have none.

    Parameters
    ----------
    metric : Metric
    y : ndarray of shape (m,)
    raw : ndarray of shape (m, n_outputs)
        Of one network. A single output is that of class 1, beside a zero for class 0.
    weight : ndarray of shape (m,) or None
    """
    shifts, best = np.zeros(raw.shape[1], raw.dtype), metric(y, raw, weight)
    n = min(max(_NUMBERS // max(1, raw.size), _LEAST), _MOST)
    for k in range(raw.shape[1]):
        now = raw + shifts
        others = np.delete(now, k, axis=1).max(axis=1, initial=-np.inf if now.shape[1] > 1 else 0.0)
        margins = now[:, k] - others
        between = np.quantile(margins, (np.arange(n - 1) + 0.5) / (n - 1))
        tried = -np.append(between, margins.min() - 1.0).astype(raw.dtype)  # the last for all
        moved = np.repeat(now[None], n, axis=0)
        moved[:, :, k] += tried[:, None]
        values = np.nan_to_num(metric.values(y, moved, weight), nan=np.inf, posinf=np.inf)
        if values.min() < best:
            best, shifts[k] = values.min(), shifts[k] + tried[values.argmin()]
    return shifts
