"""Who was taken for whom: confusion matrices of many candidates at once, and metrics of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import jit

Array = npt.NDArray[Any]


@jit()
def count(raw: Array, y: Array, weight: Array, counts: Array) -> None:
    """Write the weights of the examples of class i for which class j has the largest output.

    Parameters
    ----------
    raw : ndarray of shape (C, m, K), or (C, m, 1): the output of class 1 beside a zero for class 0
    y : ndarray of shape (m,), int64
    weight : ndarray of shape (m,), float64
    counts : ndarray of shape (C, K, K), float64
        The result; of equal outputs the first counts. NaN for a candidate with an output that is
        not finite.
    """
    counts[:] = 0.0
    for c in range(len(raw)):
        if not np.isfinite(raw[c]).all():
            counts[c] = np.nan
            continue
        for i in range(len(y)):
            taken = 0
            if raw.shape[2] == 1:
                taken = 1 if raw[c, i, 0] > 0 else 0
            else:
                for k in range(1, raw.shape[2]):
                    if raw[c, i, k] > raw[c, i, taken]:
                        taken = k
            counts[c, y[i], taken] += weight[i]


def confusions(raw: Array, y: Array, weight: Array | None) -> Array:
    """Confusion matrices, rows of true classes: shape (C, K, K)."""
    n_classes = max(2, raw.shape[2])
    counts = np.empty((len(raw), n_classes, n_classes))
    weight = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    count(np.ascontiguousarray(raw), np.asarray(y, np.int64), weight, counts)
    return counts


# Metrics of confusion matrices (C, K, K), defined as scikit-learn does: 0 for 0 / 0.


def f1(counts: Array, average: str) -> Array:
    """``2 tp / (2 tp + fp + fn)`` of class 1 ("binary"), or an average over the classes."""
    hits, true, taken = _margins(counts)
    if average == "micro":
        return _ratio(hits.sum(axis=1), true.sum(axis=1))
    each = _ratio(2.0 * hits, true + taken)
    if average == "binary":
        return np.asarray(each[:, 1])
    weight = true if average == "weighted" else np.asarray(true + taken > 0, float)
    return _ratio((each * weight).sum(axis=1), weight.sum(axis=1))


def balanced_accuracy(counts: Array) -> Array:
    """The share that is right of each class that occurs, averaged over them."""
    hits, true, _ = _margins(counts)
    return _ratio(_ratio(hits, true).sum(axis=1), np.sum(true > 0, axis=1))


def matthews(counts: Array) -> Array:
    """Matthews' correlation of true and taken classes (Gorodkin's, for more than two)."""
    hits, true, taken = _margins(counts)
    total = true.sum(axis=1)
    both = hits.sum(axis=1) * total - (true * taken).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (taken**2).sum(axis=1))
    return _ratio(both, np.sqrt(spread))


def mean_cost(counts: Array, cost: Array) -> Array:
    """The mean of ``cost[i, j]`` over the examples."""
    return _ratio((counts * cost).sum(axis=(1, 2)), counts.sum(axis=(1, 2)))


def _margins(counts: Array) -> tuple[Array, Array, Array]:
    """Weights of what is right, of what there is and of what was taken: shape (C, K) each."""
    return np.einsum("ckk->ck", counts), counts.sum(axis=2), counts.sum(axis=1)


def _ratio(top: Array, bottom: Array) -> Array:
    """0 where there is nothing; NaN where NaN is."""
    return np.asarray(np.where(bottom == 0, 0.0 * top, top / np.where(bottom == 0, 1.0, bottom)))
