"""A meta-estimator that says what the estimator inside it says."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

Array = npt.NDArray[Any]


def _has(name: str) -> Callable[[Any], bool]:
    """For methods that are there if the estimator has them."""

    def check(self: Any) -> bool:
        getattr(self.estimator_ if hasattr(self, "estimator_") else self._estimator(), name)
        return True

    return check


class Delegating(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Predictions, scores, names and tags of ``estimator_``, once there is one."""

    estimator: Any
    estimator_: Any

    def _estimator(self) -> Any:
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise TypeError(
                f"estimator={estimator!r}: expected a classifier or a regressor of scikit-learn"
            )
        return estimator

    def predict(self, X: Any) -> Array:
        """What ``estimator_`` predicts."""
        return self._tuned().predict(X)  # type: ignore[no-any-return]

    @available_if(_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes by ``estimator_``."""
        return self._tuned().predict_proba(X)  # type: ignore[no-any-return]

    @available_if(_has("predict_log_proba"))  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms."""
        return self._tuned().predict_log_proba(X)  # type: ignore[no-any-return]

    @available_if(_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """The outputs of ``estimator_``."""
        return self._tuned().decision_function(X)  # type: ignore[no-any-return]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy or R^2 of ``estimator_``."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(self._tuned().score(X, y, **weights))

    @property
    def classes_(self) -> Array:
        """The classes, of a classifier."""
        return self._tuned().classes_  # type: ignore[no-any-return]

    @property
    def n_features_in_(self) -> int:
        """The number of features, as ``estimator_`` has it."""
        return self._tuned().n_features_in_  # type: ignore[no-any-return]

    @property
    def feature_names_in_(self) -> Array:
        """Their names, if ``estimator_`` knows them."""
        return self._tuned().feature_names_in_  # type: ignore[no-any-return]

    def _tuned(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self._estimator())
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
            setattr(tags, name, deepcopy(getattr(inner, name)))
        tags.input_tags = deepcopy(inner.input_tags)
        tags.input_tags.sparse = False
        return tags
