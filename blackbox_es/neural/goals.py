"""What the parameter `loss` of the estimators means: a row of a table, or a metric of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import get_scorer, get_scorer_names

from blackbox_es.neural.losses import LOSSES, SYNONYMS, losses_of
from blackbox_es.neural.metrics import METRICS, Metric, cost_metric, metrics_of
from blackbox_es.neural.scoring import Answers, is_scorer, of_function, of_scorer
from blackbox_es.neural.standins import Slope

Array = npt.NDArray[Any]


def goal_of(loss: Any, targets: str) -> Any:
    """A name in `LOSSES` or `METRICS`, costs, a function or a scorer; None is the first name.

    Raises
    ------
    ValueError
        If it is none of these, or not for such targets.
    """
    names = (*losses_of(targets), *metrics_of(targets))
    if loss is None:
        return names[0]
    if isinstance(loss, str):
        name = SYNONYMS.get(loss, loss)
        if name in names:
            return name
        if name not in LOSSES and name not in METRICS and name in get_scorer_names():
            return get_scorer(name)
    elif callable(loss):
        return loss
    elif targets == "labels":
        try:
            cost = np.asarray(loss, np.float64)
        except (TypeError, ValueError):
            cost = np.empty(0)
        if cost.ndim == 2 and cost.shape[0] == cost.shape[1] > 1 and np.isfinite(cost).all():
            return cost
    also = " a square matrix of finite costs," if targets == "labels" else ""
    raise ValueError(
        f"loss={loss!r}: expected one of {', '.join(names)}, the name of a scorer of scikit-learn,"
        f"{also} a function or a scorer"
    )


def each_of(goal: Any, targets: str) -> str:
    """The name of a loss of each example, by default where the goal is none."""
    return goal if isinstance(goal, str) and goal in LOSSES else losses_of(targets)[0]


def metric_of(goal: Any, answers: Answers, vectorized: bool, stand_in: Slope) -> Metric:
    """The metric of a goal that is no loss of each example.

    Parameters
    ----------
    goal
        As `goal_of` gives it.
    answers : Answers
    vectorized : bool
        A function takes the outputs of all networks at once.
    stand_in : callable
        The slope that guides a search for what is not known.
    """
    if isinstance(goal, str):
        return METRICS[goal]
    if isinstance(goal, np.ndarray):
        return cost_metric(goal)
    if is_scorer(goal):
        return of_scorer(goal, answers, stand_in)
    return of_function(goal, answers, stand_in, vectorized)


def check_weighs(goal: Any, weight: Array | None) -> None:
    """Raise ValueError if a goal has no place for weights, and there are some."""
    row = _row(goal)
    if row and weight is not None and not row.takes_weight:
        raise ValueError(
            f"loss={goal!r} is of one ranking, in which examples have no weights: leave out "
            "sample_weight"
        )


def check_classes(goal: Any, n_classes: int) -> None:
    """Raise ValueError if there are more classes, or others, than a goal is for."""
    if isinstance(goal, np.ndarray) and len(goal) != n_classes:
        raise ValueError(f"loss has costs for {len(goal)} classes: y has {n_classes}")
    row = _row(goal)
    if row and n_classes > 2 and row.n_classes == "two":
        also = {"f1": "f1_macro", "roc_auc": "roc_auc_ovr"}.get(goal)
        cure = f": take {also}" if also else ""
        raise ValueError(f"loss={goal!r} is of two classes: y has {n_classes}{cure}")


def least_slice(goal: Any, y: Array, n_classes: int) -> int:
    """Examples that hold each class of labels y where each slice has its share of them.

    Raises
    ------
    ValueError
        If there are none of a class, without which the goal is not defined.
    """
    row = _row(goal)
    if not row or not row.each_class:
        return 1
    rarest = int(np.bincount(y, minlength=n_classes).min())
    if rarest == 0:
        raise ValueError(f"y has no example of one of {n_classes} classes: there is no {goal}")
    return -(-2 * len(y) // rarest)


def _row(goal: Any) -> Metric | None:
    """Of the table of metrics, if it is one of them."""
    return METRICS.get(goal) if isinstance(goal, str) else None
