"""Smooth stand-ins for losses that are none: the slopes that guide a search for a metric.

Each is a function of targets y (m, ...), raw outputs (m, n_outputs) and weights (m,) or None, and
gives the gradient with respect to the raw outputs, of the dtype of these. Its length is of no
importance: a guide is a direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from blackbox_es.neural.losses import PREDICTIONS, Loss, as_loss

Array = npt.NDArray[Any]
Slope = Callable[[Array, Array, Array | None], Array]

_MOST_RANKED = 1024  # examples that are compared with one another: pairs cost their square


def mean_slope(y: Array, raw: Array, weight: Array | None, loss: str | Loss) -> Array:
    """Of the weighted mean of a loss of each example."""
    row = as_loss(loss)
    if row.gradient is None:
        raise ValueError(f"loss={loss!r} has no gradient: its values are steps")
    weight = np.ones(len(y)) if weight is None else weight
    share = (weight / weight.sum()).astype(raw.dtype, copy=False)
    return np.asarray(row.gradient(raw, y) * share[:, None])


def log_loss(y: Array, raw: Array, weight: Array | None) -> Array:
    """Of the mean log loss."""
    return mean_slope(y, raw, weight, "log_loss")


def balanced_log_loss(y: Array, raw: Array, weight: Array | None) -> Array:
    """Of the mean log loss, all classes that occur weighing the same."""
    weight = np.ones(len(y)) if weight is None else weight
    totals = np.bincount(y, weight)
    return log_loss(y, raw, weight / totals[y])


def squared_error(y: Array, raw: Array, weight: Array | None) -> Array:
    """Of half the mean squared error."""
    return mean_slope(y, raw, weight, "squared_error")


def pairwise_logistic(y: Array, raw: Array, weight: Array | None) -> Array:
    """``mean log(1 + exp(z_j - z_i))`` over pairs of an example i of class 1 and j of class 0.

    A bound of one minus the area under the ROC curve, times log 2 (Gao and Zhou 2015, "On the
    consistency of AUC pairwise optimization").
    """
    return _of_pairs((y == 1).astype(float), raw, weight)


def pairwise_gains(y: Array, raw: Array, weight: Array | None) -> Array:
    """``mean (y_i - y_j) log(1 + exp(z_j - z_i))`` over pairs with ``y_i > y_j``.

    RankNet's loss (Burges and others 2005), each pair weighing as much as its gains differ; scores
    z are means over the outputs.
    """
    scores = raw.mean(axis=1, keepdims=True)
    slope = _of_pairs(np.asarray(y, float).mean(axis=1), scores, weight)
    return np.asarray(np.repeat(slope / raw.shape[1], raw.shape[1], axis=1), raw.dtype)


def _of_pairs(gains: Array, raw: Array, weight: Array | None) -> Array:
    """All pairs among neighbours, a thousand at a time."""
    slope, scores = np.zeros(len(gains)), raw[:, 0].astype(np.float64)
    weight = np.ones(len(gains)) if weight is None else weight.astype(np.float64)
    for first in range(0, len(gains), _MOST_RANKED):
        part = slice(first, first + _MOST_RANKED)
        z, g, w = scores[part], gains[part], weight[part]
        above, below = np.flatnonzero(g > g.min()), np.flatnonzero(g < g.max())
        pull = np.maximum(g[above, None] - g[below], 0) * w[above, None] * w[below]
        pull *= expit(z[below] - z[above, None])
        slope[first + above] -= pull.sum(axis=1)
        slope[first + below] += pull.sum(axis=0)
    return np.asarray(slope[:, None] / max(1.0, weight.sum()), raw.dtype)


def soft_f1(y: Array, raw: Array, weight: Array | None, average: str) -> Array:
    """Of one minus F1 with probabilities in place of decisions: ``2 sum v y p / sum v (y + p)``."""
    chances, picked, weight = _chances(y, raw, weight)
    hits = 2.0 * (weight * picked * chances).sum(axis=0)
    sizes = (weight * (picked + chances)).sum(axis=0)
    if average == "binary":
        share = np.array([0.0, 1.0])
    elif average == "weighted":
        share = (weight * picked).sum(axis=0)
    else:  # micro is the accuracy, for which classes count by their examples, too
        share = sizes if average == "micro" else np.ones(len(sizes))
    pull = -(share / share.sum()) * weight * (2.0 * picked * sizes - hits) / sizes**2
    return _through_softmax(pull, chances, raw)


def expected_cost(y: Array, raw: Array, weight: Array | None, cost: Array) -> Array:
    """Of the mean cost with probabilities in place of decisions."""
    chances, _, weight = _chances(y, raw, weight)
    return _through_softmax(weight * cost[y] / weight.sum(), chances, raw)


def _chances(y: Array, raw: Array, weight: Array | None) -> tuple[Array, Array, Array]:
    """Probabilities of all classes, whether each is the true one, weights: (m, K), (m, 1)."""
    name = "logistic" if raw.shape[1] == 1 else "softmax"
    chances = PREDICTIONS[name](raw.astype(np.float64))
    weight = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    return chances, np.asarray(np.arange(chances.shape[1]) == y[:, None], float), weight[:, None]


def _through_softmax(pull: Array, chances: Array, raw: Array) -> Array:
    """From slopes of probabilities to those of raw outputs."""
    slope = chances * (pull - (pull * chances).sum(axis=1, keepdims=True))
    return np.asarray(slope[:, -raw.shape[1] :], raw.dtype)
