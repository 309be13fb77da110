"""Losses of networks: one row of one table each, and how outputs become predictions.

A new loss is a row of `LOSSES` and a branch of `kernels._losses`. Here are the plain functions that
the kernels are compared with, and the gradients that guide a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from blackbox_es._validation import check_positive
from blackbox_es.neural import kernels

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """A loss of each example by itself, and what depends on which one it is.

    Parameters
    ----------
    code : int
        What the kernels call it.
    values : callable
        ``values(raw, y)``, shape (m,), of raw outputs (m, n_outputs).
    gradient : callable or None
        ``gradient(raw, y)``, shape (m, n_outputs), of the values. None if they are steps.
    targets : {"labels", "numbers"}
        y holds indices of classes, shape (m,), or numbers, shape (m, n_outputs). Two classes have
        one output: that of class 1, beside a zero for class 0.
    output : str
        The row of `PREDICTIONS` that makes predictions of raw outputs.
    guide : str or None
        The loss whose gradient guides a search by backpropagation; None is the loss itself.
    degree : int
        The loss of targets and outputs k times as large is ``k**degree`` times as large.
    parameter : float
        What the kernel is given beside outputs and targets: a quantile, a threshold.
    least : float
        The smallest target there may be.
    """

    code: int
    values: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array] | None
    targets: Literal["labels", "numbers"]
    output: str
    guide: str | None = None
    degree: int = 0
    parameter: float = 0.0
    least: float = -math.inf

    def target_shape(self, n_outputs: int) -> tuple[int, ...]:
        """The shape of the target of one example."""
        return () if self.targets == "labels" else (n_outputs,)

    def out_activation(self, n_outputs: int) -> str:
        """The row of `PREDICTIONS` for so many outputs, as scikit-learn calls it."""
        return "logistic" if self.output == "softmax" and n_outputs == 1 else self.output


def as_loss(loss: str | Loss) -> Loss:
    """The row of a name in `LOSSES`; a row is itself."""
    return loss if isinstance(loss, Loss) else LOSSES[loss]


def guide_of(loss: str | Loss) -> Loss:
    """The loss whose gradient guides a search that minimises this one."""
    row = as_loss(loss)
    return row if row.guide is None else LOSSES[row.guide]


def losses_of(targets: str) -> tuple[str, ...]:
    """Names of the losses with such targets, the one to take by default first."""
    return tuple(name for name, loss in LOSSES.items() if loss.targets == targets)


# -- predictions -----------------------------------------------------------------------------------


def _of_two_classes(raw: Array) -> Array:
    positive = expit(raw)
    return np.hstack([1.0 - positive, positive])


def _of_classes(raw: Array) -> Array:
    return np.asarray(softmax(raw, axis=1))


# Of raw outputs (m, n_outputs): probabilities (m, n_classes), or expected targets (m, n_outputs).
PREDICTIONS: dict[str, Callable[[Array], Array]] = {
    "logistic": _of_two_classes,
    "softmax": _of_classes,
    "identity": lambda raw: raw,
    "exp": np.exp,
}


# -- classes ---------------------------------------------------------------------------------------


def _by_class(raw: Array) -> Array:
    """The outputs of all classes: a single one is that of class 1, beside a zero for class 0."""
    return np.hstack([np.zeros_like(raw), raw]) if raw.shape[1] == 1 else raw


def _picked(raw: Array, y: Array) -> Array:
    """True at the class of each example."""
    return np.asarray(np.arange(raw.shape[1]) == np.asarray(y)[:, None])


def _log_loss(raw: Array, y: Array) -> Array:
    """``-log`` of the probability of the class."""
    raw = _by_class(raw)
    picked = _picked(raw, y)
    excess = raw - raw[picked][:, None]
    top = excess.max(axis=1)  # at least the 0 of the class itself
    others = np.where(picked, 0, np.exp(excess - top[:, None])).sum(axis=1)
    # log(exp(-top) + others), of full relative accuracy however small the loss is
    return np.asarray(top + np.log1p(others + np.expm1(-top)))


def _log_loss_gradient(raw: Array, y: Array) -> Array:
    z = _by_class(raw)
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    slope = odds / odds.sum(axis=1, keepdims=True) - _picked(z, y)
    return np.asarray(slope[:, -raw.shape[1] :])


def _zero_one(raw: Array, y: Array) -> Array:
    """0 where the first of the classes with the largest output is the right one, else 1."""
    wrong = np.asarray(_by_class(raw).argmax(axis=1) != y, raw.dtype)
    # a network that says nothing is not merely wrong: its loss is as undefined as its outputs
    return np.asarray(np.where(np.isnan(raw).any(axis=1), raw.dtype.type(np.nan), wrong))


def _rival(raw: Array, y: Array) -> tuple[Array, Array]:
    """``1 + raw_k - raw_y`` for the best of the other classes k, and True at k."""
    picked = _picked(raw, y)
    others = np.where(picked, -np.inf, raw)
    best = _picked(raw, others.argmax(axis=1))
    return 1 + others[best] - raw[picked], best


def _hinge(raw: Array, y: Array) -> Array:
    """``max(0, 1 + max_{k != y} raw_k - raw_y)``, Crammer and Singer's."""
    return np.asarray(np.maximum(_rival(_by_class(raw), y)[0], 0))


def _hinge_gradient(raw: Array, y: Array) -> Array:
    z = _by_class(raw)
    excess, best = _rival(z, y)
    slope = (np.asarray(best, z.dtype) - _picked(z, y)) * (excess > 0)[:, None]
    return np.asarray(slope[:, -raw.shape[1] :])


# -- numbers ---------------------------------------------------------------------------------------


def _squared_error(raw: Array, y: Array) -> Array:
    """Half the squared error, averaged over the outputs."""
    return np.asarray(0.5 * np.mean((raw - y) ** 2, axis=1))


def _squared_error_gradient(raw: Array, y: Array) -> Array:
    return np.asarray((raw - y) / raw.dtype.type(raw.shape[1]))


def _absolute_error(raw: Array, y: Array) -> Array:
    """The absolute error, averaged over the outputs."""
    return np.asarray(np.mean(np.abs(raw - y), axis=1))


def _absolute_error_gradient(raw: Array, y: Array) -> Array:
    return np.asarray(np.sign(raw - y) / raw.dtype.type(raw.shape[1]))


def _huber(raw: Array, y: Array, epsilon: float) -> Array:
    """Half the squared error up to epsilon, and beyond it the line that goes on from there."""
    size = np.abs(raw - y)
    return np.asarray(
        np.mean(np.where(size <= epsilon, 0.5 * size**2, epsilon * (size - 0.5 * epsilon)), axis=1)
    )


def _huber_gradient(raw: Array, y: Array, epsilon: float) -> Array:
    return np.asarray(np.clip(raw - y, -epsilon, epsilon) / raw.dtype.type(raw.shape[1]))


def _pinball(raw: Array, y: Array, quantile: float) -> Array:
    """``max(q (y - raw), (q - 1) (y - raw))``, averaged over the outputs."""
    return np.asarray(np.mean(np.maximum(quantile * (y - raw), (quantile - 1) * (y - raw)), axis=1))


def _pinball_gradient(raw: Array, y: Array, quantile: float) -> Array:
    # 0 at the kink, where any slope between q - 1 and q would do
    slope = (1 - quantile) * (raw > y) - quantile * (raw < y)
    return np.asarray(slope / raw.shape[1], raw.dtype)


def _poisson(raw: Array, y: Array) -> Array:
    """``exp(raw) - y raw``: half the Poisson deviance of the mean exp(raw), but for a constant."""
    return np.asarray(np.mean(np.exp(raw) - y * raw, axis=1))


def _poisson_gradient(raw: Array, y: Array) -> Array:
    return np.asarray((np.exp(raw) - y) / raw.dtype.type(raw.shape[1]))


def huber(epsilon: float = 1.35) -> Loss:
    """The row of Huber's loss (1964), which is linear beyond errors of epsilon."""
    check_positive("epsilon", epsilon)
    return Loss(
        kernels.HUBER,
        partial(_huber, epsilon=epsilon),
        partial(_huber_gradient, epsilon=epsilon),
        "numbers",
        "identity",
        degree=2,
        parameter=epsilon,
    )


def pinball(quantile: float = 0.5) -> Loss:
    """The row of the loss that is least at this quantile (Koenker and Bassett 1978)."""
    check_positive("quantile", quantile, also=" below 1")
    if quantile >= 1.0:
        raise ValueError(f"quantile={quantile!r}: expected a positive number below 1")
    return Loss(
        kernels.PINBALL,
        partial(_pinball, quantile=quantile),
        partial(_pinball_gradient, quantile=quantile),
        "numbers",
        "identity",
        degree=1,
        parameter=quantile,
    )


LOSSES = {
    "log_loss": Loss(kernels.LOG_LOSS, _log_loss, _log_loss_gradient, "labels", "softmax"),
    "zero_one": Loss(kernels.ZERO_ONE, _zero_one, None, "labels", "softmax", guide="log_loss"),
    "hinge": Loss(kernels.HINGE, _hinge, _hinge_gradient, "labels", "softmax"),
    "squared_error": Loss(
        kernels.SQUARED_ERROR,
        _squared_error,
        _squared_error_gradient,
        "numbers",
        "identity",
        degree=2,
    ),
    "absolute_error": Loss(
        kernels.ABSOLUTE_ERROR,
        _absolute_error,
        _absolute_error_gradient,
        "numbers",
        "identity",
        degree=1,
    ),
    "huber": huber(),
    "pinball": pinball(),
    "poisson": Loss(kernels.POISSON, _poisson, _poisson_gradient, "numbers", "exp", least=0.0),
}

# Losses that a parameter of the estimator tells apart: its name, the row for a value of it, and the
# power of the unit of y that it has.
FAMILIES: dict[str, tuple[str, Callable[[float], Loss], int]] = {
    "huber": ("epsilon", huber, 1),
    "pinball": ("quantile", pinball, 0),
}

# Names by which scikit-learn knows what is minimised just the same: of a score, or of a parameter.
SYNONYMS = {
    "accuracy": "zero_one",
    "neg_log_loss": "log_loss",
    "quantile": "pinball",
    "r2": "squared_error",
    "neg_mean_squared_error": "squared_error",
    "neg_root_mean_squared_error": "squared_error",
    "neg_mean_absolute_error": "absolute_error",
    "neg_mean_poisson_deviance": "poisson",
}
