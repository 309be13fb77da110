"""Metrics of rankings, for many candidates at once: one sort each, ties as one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import jit

Array = npt.NDArray[Any]


@jit()
def rank(scores: Array, positive: Array, weight: Array, losses: Array, areas: bool) -> None:
    """Write one minus the area under the ROC curve, or minus the average precision.

    Parameters
    ----------
    scores : ndarray of shape (C, m)
    positive : ndarray of shape (m,), bool
    weight : ndarray of shape (m,), float64
    losses : ndarray of shape (C,), float64
        The result: NaN for scores that are not finite, or if there are not both classes.
    areas : bool
        The area under the ROC curve, else the average precision.
    """
    n_positive, n_negative, m = 0.0, 0.0, len(positive)
    for i in range(m):
        n_positive += weight[i] if positive[i] else 0.0
        n_negative += 0.0 if positive[i] else weight[i]
    for c in range(len(scores)):
        z = scores[c]
        if not (n_positive > 0.0 and n_negative > 0.0 and np.isfinite(z).all()):
            losses[c] = np.nan
            continue
        order, total, hits, alarms, i = np.argsort(z), 0.0, 0.0, 0.0, m - 1
        while i >= 0:
            score, more_hits, more_alarms = z[order[i]], 0.0, 0.0
            while i >= 0 and z[order[i]] == score:
                v = weight[order[i]]
                more_hits += v if positive[order[i]] else 0.0
                more_alarms += 0.0 if positive[order[i]] else v
                i -= 1
            if areas:
                total += more_alarms * (hits + 0.5 * more_hits)
            hits, alarms = hits + more_hits, alarms + more_alarms
            if not areas and more_hits > 0.0:
                total += more_hits * hits / (hits + alarms)
        losses[c] = 1.0 - (total / n_negative if areas else total) / n_positive
