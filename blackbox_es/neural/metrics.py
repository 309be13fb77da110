"""Losses of many examples together: one row of one table each, one minus a metric.

A new one is a row of `METRICS`: its values for many networks at once, and the slope of a smooth
stand-in that guides a search (see `standins`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from blackbox_es.neural import counting, ranking, standins
from blackbox_es.neural.standins import Slope

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A loss of many examples together.

    Parameters
    ----------
    values : callable
        ``values(y, raw, weight)`` of targets (m, ...), the raw outputs of C networks (C, m,
        n_outputs) and weights (m,) or None: C losses, float64. NaN where an output is not finite,
        and where the metric is not defined.
    slope : callable
        The guide: ``slope(y, raw, weight)``, shape (m, n_outputs), is the gradient of a smooth
        stand-in at the raw outputs of one network.
    targets : {"labels", "numbers"}
        As in `blackbox_es.neural.losses.Loss`.
    n_classes : {"two", "any"}
        For how many it is defined.
    each_class : bool
        It is not defined for examples without one of the classes.
    takes_weight : bool
    """

    values: Callable[[Array, Array, Array | None], Array]
    slope: Slope
    targets: Literal["labels", "numbers"] = "labels"
    n_classes: Literal["two", "any"] = "any"
    each_class: bool = False
    takes_weight: bool = True

    def __call__(self, y: Array, raw: Array, weight: Array | None) -> float:
        """The loss of one network: raw outputs of shape (m, n_outputs)."""
        return float(self.values(y, raw[None], weight)[0])


# -- rankings --------------------------------------------------------------------------------------


def _of_ranking(y: Array, raw: Array, weight: Array | None, areas: bool) -> Array:
    """Of two classes, by the output of class 1."""
    return _ranked(np.asarray(y == 1), raw[:, :, 0], weight, areas)


def _ranked(positive: Array, scores: Array, weight: Array | None, areas: bool) -> Array:
    losses = np.empty(len(scores))
    weight = np.ones(len(positive)) if weight is None else weight.astype(np.float64)
    ranking.rank(np.ascontiguousarray(scores), positive, weight, losses, areas)
    return losses


def _one_against_rest(y: Array, raw: Array, weight: Array | None, weighted: bool) -> Array:
    """By the probabilities of each class in turn, averaged over the classes."""
    if raw.shape[2] == 1:
        return _of_ranking(y, raw, weight, True)
    with np.errstate(invalid="ignore"):
        chances = softmax(raw, axis=2)
    each = [
        _ranked(np.asarray(y == k), chances[:, :, k], weight, True) for k in range(raw.shape[2])
    ]
    shares = np.bincount(y, weight, minlength=len(each)) if weighted else None
    return np.average(each, axis=0, weights=shares)


def _ndcg(y: Array, raw: Array, weight: Array | None) -> Array:
    """By the outputs averaged; the gains of an example are averaged, too."""
    losses = np.empty(len(raw))
    scores = np.ascontiguousarray(raw.mean(axis=2))
    ranking.discounted(scores, np.asarray(y, np.float64).mean(axis=1), losses)
    return losses


# -- confusions ------------------------------------------------------------------------------------


def _of_confusion(
    y: Array, raw: Array, weight: Array | None, score: Callable[[Array], Array]
) -> Array:
    return 1.0 - score(counting.confusions(raw, y, weight))


def _f1(average: str) -> Metric:
    values = partial(_of_confusion, score=partial(counting.f1, average=average))
    slope = partial(standins.soft_f1, average=average)
    return Metric(values, slope, n_classes="two" if average == "binary" else "any")


def _mean_cost(y: Array, raw: Array, weight: Array | None, cost: Array) -> Array:
    return counting.mean_cost(counting.confusions(raw, y, weight), cost)


def cost_metric(cost: Array) -> Metric:
    """The mean cost of the classes that are taken: row i, column j for class i taken for j."""
    return Metric(partial(_mean_cost, cost=cost), partial(standins.expected_cost, cost=cost))


_AUC = partial(_of_ranking, areas=True)
_BALANCED = partial(_of_confusion, score=counting.balanced_accuracy)
METRICS = {
    "roc_auc": Metric(_AUC, standins.pairwise_logistic, n_classes="two", each_class=True),
    "average_precision": Metric(
        partial(_of_ranking, areas=False),
        standins.pairwise_logistic,
        n_classes="two",
        each_class=True,
    ),
    "roc_auc_ovr": Metric(
        partial(_one_against_rest, weighted=False), standins.log_loss, each_class=True
    ),
    "roc_auc_ovr_weighted": Metric(
        partial(_one_against_rest, weighted=True), standins.log_loss, each_class=True
    ),
    "f1": _f1("binary"),
    "f1_macro": _f1("macro"),
    "f1_micro": _f1("micro"),
    "f1_weighted": _f1("weighted"),
    "balanced_accuracy": Metric(_BALANCED, standins.balanced_log_loss),
    "matthews_corrcoef": Metric(
        partial(_of_confusion, score=counting.matthews), standins.balanced_log_loss
    ),
    "ndcg": Metric(_ndcg, standins.pairwise_gains, targets="numbers", takes_weight=False),
}


def metrics_of(targets: str) -> tuple[str, ...]:
    """Names of the metrics with such targets."""
    return tuple(name for name, metric in METRICS.items() if metric.targets == targets)
