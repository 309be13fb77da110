"""Functions and scorers of the user's as losses of raw outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from blackbox_es._validation import as_value, as_values
from blackbox_es.neural.losses import PREDICTIONS
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.standins import Slope
from blackbox_es.neural.units import Units

Array = npt.NDArray[Any]

_SCORER = type(get_scorer("accuracy"))


def is_scorer(loss: Any) -> bool:
    """What scikit-learn's `make_scorer` and `get_scorer` give."""
    return isinstance(loss, _SCORER)


@dataclass(eq=False, repr=False)
class ClassAnswers(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose inputs are the raw outputs of a network."""

    classes_: Array
    output: str

    def predict_proba(self, raw: Array) -> Array:
        """Of all classes: shape (..., n_classes)."""
        flat = raw.reshape(-1, raw.shape[-1])
        chances = PREDICTIONS[self.output](flat)
        return np.asarray(chances.reshape(*raw.shape[:-1], -1))

    def decision_function(self, raw: Array) -> Array:
        """The output of class 1 of two, or of all classes."""
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def predict(self, raw: Array) -> Array:
        """The most probable class."""
        return np.asarray(self.classes_[self.predict_proba(raw).argmax(axis=1)])

    def targets(self, y: Array) -> Array:
        """Labels as the user knows them."""
        return np.asarray(self.classes_[y])

    def given(self, raw: Array) -> Array:
        """What a function is called with: for two classes the probability of the second."""
        chances = self.predict_proba(raw)
        return np.asarray(chances[..., 1]) if chances.shape[-1] == 2 else chances


@dataclass(eq=False, repr=False)
class NumberAnswers(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose inputs are the raw outputs of a network."""

    one_dimensional: bool
    output: str
    units: Units

    def predict(self, raw: Array) -> Array:
        """The numbers predicted, in units of the user's."""
        return self._shaped(PREDICTIONS[self.output](self.units.outputs(raw)))

    def targets(self, y: Array) -> Array:
        """Numbers in the shape in which the user gave them."""
        return self._shaped(y)

    given = predict

    def _shaped(self, y: Array) -> Array:
        return y[..., 0] if self.one_dimensional else y


Answers = ClassAnswers | NumberAnswers


def of_scorer(scorer: Any, answers: Answers, slope: Slope) -> Metric:
    """Minus the score."""
    return Metric(partial(_of_scorer, scorer=scorer, answers=answers), slope)


def of_function(
    function: Callable[..., Any], answers: Answers, slope: Slope, vectorized: bool
) -> Metric:
    """The value of ``function(y_true, y_pred)``, of all networks at once if vectorized."""
    values = _of_vectorized if vectorized else _of_function
    return Metric(partial(values, function=function, answers=answers), slope)


def _weights(weight: Array | None) -> dict[str, Array]:
    return {} if weight is None else {"sample_weight": weight}


def _of_scorer(y: Array, raw: Array, weight: Array | None, scorer: Any, answers: Answers) -> Array:
    targets, weights = answers.targets(y), _weights(weight)
    scores = [as_value(scorer(answers, z, targets, **weights), "the score") for z in raw]
    return -np.array(scores)


def _of_function(
    y: Array, raw: Array, weight: Array | None, function: Callable[..., Any], answers: Answers
) -> Array:
    values = []
    for z in answers.given(raw):
        value = function(answers.targets(y).copy(), z, **_weights(weight))
        values.append(as_value(value, "the loss"))
    return np.array(values)


def _of_vectorized(
    y: Array, raw: Array, weight: Array | None, function: Callable[..., Any], answers: Answers
) -> Array:
    values = function(answers.targets(y).copy(), answers.given(raw), **_weights(weight))
    return as_values(values, (len(raw),), "what the vectorized loss returned")
