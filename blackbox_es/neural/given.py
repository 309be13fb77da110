"""The examples that a multilayer perceptron is given, checked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, validate_data

from blackbox_es._validation import as_seed
from blackbox_es.neural.data import Data
from blackbox_es.neural.goals import check_classes, check_weighs, least_slice
from blackbox_es.neural.mlp import MLP

Array = npt.NDArray[Any]

_FULL_BATCH = 256  # with no more examples than this, every pair sees all of them
_METRIC_BATCH = 256  # examples of which a metric is taken, at least
_OF_EACH_CLASS = 16  # examples of the rarest class in such a slice


class GivenMLP(MLP):
    """What it does with examples before it learns from them."""

    def _batch_size(self, data: Data) -> int:
        if isinstance(self.batch_size, str):  # "auto"
            if self._goal_is_of_each():
                return (
                    len(data) if len(data) <= _FULL_BATCH else self._usual[self._moves()].batch_size
                )
            share = np.bincount(data.y).min() / len(data) if data.y.ndim == 1 else 1.0
            return min(max(_METRIC_BATCH, math.ceil(_OF_EACH_CLASS / (share or 1.0))), len(data))
        return len(data) if self.batch_size is None else min(int(self.batch_size), len(data))

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, *, reset: bool, dtype: Any = None
    ) -> Data:
        """The examples that count, targets as the losses take them; None is the dtype of X."""
        self._check_parameters()
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32) if dtype is None else dtype,
            order="C",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=reset,
        )
        data = Data(X, y)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
            if not weight.any():
                raise ValueError("sample_weight is zero for all samples: nothing to learn from")
            data = Data(X, y, weight).take(weight > 0)
        data = replace(data, y=self._encode(data.y, classes, reset))
        data = replace(data, weight=self._weight(data))
        if data.y.min() < self._loss_row().least:
            raise ValueError(
                f"y is as low as {data.y.min():g}: loss={self.loss!r} needs numbers of at least "
                f"{self._loss_row().least:g}"
            )
        check_weighs(self._goal(), data.weight)
        if self._targets == "labels":
            check_classes(self._goal(), len(self.classes_))
            self._check_slices(data)
        self.out_activation_ = self._loss_row().out_activation(self.n_outputs_)
        return data

    def _check_slices(self, data: Data) -> None:
        """Raise where a metric may not be defined for a slice."""
        least = least_slice(self._goal(), data.y, len(self.classes_))
        batch_size = self._batch_size(data)
        if batch_size < min(least, len(data)):
            raise ValueError(
                f"batch_size={batch_size} may leave a slice without one of the classes, of which "
                f"there is no {self.loss}: set batch_size={least} or more, or None for all samples"
            )

    def _split(self, data: Data) -> tuple[Data, Data]:
        """Training and validation parts."""
        train, test = train_test_split(
            np.arange(len(data)),
            test_size=self.validation_fraction,
            random_state=as_seed(self.random_state) % 2**32,
            stratify=data.y if hasattr(self, "classes_") else None,
        )
        if hasattr(self, "classes_") and len(np.unique(data.y[train])) < len(self.classes_):
            raise ValueError("a class has no training sample left: lower validation_fraction")
        if isinstance(self, RegressorMixin) and len(test) < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} holds out one of {len(data)} "
                "samples, of which there is no R^2: raise it, or set early_stopping=False"
            )
        return data.take(train), data.take(test)
