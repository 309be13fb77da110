"""What a classifier is, whatever its network."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from blackbox_es.neural.data import Data
from blackbox_es.neural.scoring import Answers, ClassAnswers
from blackbox_es.neural.training import ESMLP
from blackbox_es.neural.units import Units

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False)
class Classifier(ClassifierMixin, ESMLP):  # type: ignore[misc]
    """Classes in, classes and their probabilities out."""

    _targets = "labels"

    _: KW_ONLY
    class_weight: Any = None

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train on one pass over these examples, going on where the last call stopped.

        The learning rate is constant. Parameters are to stay those of the first call; change them
        before a `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cast to the dtype of the first call.
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), optional
            All classes there will be; needed in the first call.
        sample_weight : array-like of shape (n_samples,), optional
        """
        if not hasattr(self, "classes_") and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all examples at once: give partial_fit a dict of "
                "weights, or set class_weight=None"
            )
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: Any) -> Array:
        """The most probable class of each row."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (n_samples, n_classes)."""
        return self._predictions(self._raw(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def _encode(self, y: Array, classes: Any, reset: bool) -> Array:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if reset:
            self.classes_ = np.unique(y if classes is None else classes)
            self.n_outputs_ = 1 if len(self.classes_) == 2 else len(self.classes_)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={classes!r} are not those of the first call, {self.classes_.tolist()}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y holds classes that are not in classes_: {unknown[:5].tolist()}")
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}: at least two are needed")
        return np.searchsorted(self.classes_, y)

    def _weight(self, data: Data) -> Array | None:
        if self.class_weight is None:
            return data.weight
        weight = compute_sample_weight(self.class_weight, self.classes_[data.y])
        return np.asarray(weight * (1.0 if data.weight is None else data.weight), data.X.dtype)

    def _answers(self, units: Units) -> Answers:
        return ClassAnswers(self.classes_, self.out_activation_)

    def _score(self, raw: Array, data: Data) -> float:
        right = self._predictions(raw).argmax(axis=1) == data.y
        return float(np.average(right, weights=data.weight))
