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
    w, v = weight[positive], weight[~positive]
    k, n_positive, n_negative = len(w), w.sum(), v.sum()
    cumulative, alarms = np.zeros(k + 1), np.empty(k + 1)
    for c in range(len(scores)):
        if not (n_positive > 0.0 and n_negative > 0.0 and np.isfinite(scores[c]).all()):
            losses[c] = np.nan
            continue
        # Those of class 1 are sorted; each of class 0 is placed among them.
        hits, others, total = scores[c][positive], scores[c][~positive], 0.0
        order = np.argsort(hits)
        hits, alarms[:] = hits[order], 0.0
        for i in range(k):
            cumulative[i + 1] = cumulative[i] + w[order[i]]
        for j in range(len(others)):
            above = np.searchsorted(hits, others[j], side="right")
            below = above
            if above > 0 and hits[above - 1] == others[j]:
                below = np.searchsorted(hits, others[j], side="left")
            alarms[above] += v[j]
            total += v[j] * 0.5 * (cumulative[below] + cumulative[above])
        if areas:
            losses[c] = total / (n_positive * n_negative)
            continue
        gained, taken, i = 0.0, 0.0, k - 1
        while i >= 0:
            last = i
            while i >= 0 and hits[i] == hits[last]:
                taken += alarms[i + 1]
                i -= 1
            tied, right = cumulative[last + 1] - cumulative[i + 1], n_positive - cumulative[i + 1]
            gained += tied * right / (right + taken) if tied > 0.0 else 0.0
        losses[c] = 1.0 - gained / n_positive


@jit()
def discounted(scores: Array, gains: Array, losses: Array) -> None:
    """Write one minus the normalised discounted cumulative gain of one ranking of the examples.

    ``sum_i gain_i / log2(rank_i + 1)`` by falling score, of that by falling gain; examples of equal
    score share their discounts alike (McSherry and Najork 2008). 1 if all gains are zero.

    Parameters
    ----------
    scores : ndarray of shape (C, m)
    gains : ndarray of shape (m,), float64, not negative
    losses : ndarray of shape (C,), float64
        The result: NaN for scores that are not finite.
    """
    m = len(gains)
    discounts, ideal = 1.0 / np.log2(np.arange(m) + 2.0), np.sort(gains)
    best = 0.0
    for i in range(m):
        best += ideal[m - 1 - i] * discounts[i]
    for c in range(len(scores)):
        z = scores[c]
        if not np.isfinite(z).all():
            losses[c] = np.nan
            continue
        order, total, i = np.argsort(z), 0.0, m - 1
        while i >= 0:
            first, gain, discount = i, 0.0, 0.0
            while i >= 0 and z[order[i]] == z[order[first]]:
                gain += gains[order[i]]
                discount += discounts[m - 1 - i]
                i -= 1
            total += gain * discount / (first - i)
        losses[c] = 1.0 - (total / best if best > 0.0 else 0.0)
