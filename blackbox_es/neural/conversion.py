"""Estimators of scikit-learn as networks, and back: whose weights are which layers.

`final_of` finds what predicts behind the steps of a pipeline, `inputs_of` what it is given, and
`weights_of` and `set_weights` read and write its weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.network import Network

Array = npt.NDArray[Any]

_KINDS = (
    "take one with coef_ and intercept_ whose decision_function or predict is affine, "
    "MLPClassifier, MLPRegressor, or a Pipeline that ends with one"
)


# -- pipelines -------------------------------------------------------------------------------------


def thawed(estimator: Any) -> Any:
    """The estimator itself, of one that is frozen."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def final_of(estimator: Any) -> Any:
    """What predicts: the last step of a pipeline, or the estimator itself."""
    estimator = thawed(estimator)
    return final_of(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def inputs_of(estimator: Any, X: Any) -> Any:
    """What the final estimator is given for X."""
    estimator = thawed(estimator)
    if not isinstance(estimator, Pipeline):
        return X
    if len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
    return inputs_of(estimator.steps[-1][1], X)


def fit_name(estimator: Any, name: str) -> str:
    """How the final estimator's parameter of `fit` is called from outside."""
    estimator = thawed(estimator)
    if not isinstance(estimator, Pipeline):
        return name
    step, last = estimator.steps[-1]
    return f"{step}__{fit_name(last, name)}"


# -- weights ---------------------------------------------------------------------------------------


def weights_of(final: Any) -> tuple[Network, Array]:
    """The network that a fitted estimator is, and its parameters in float64.

    Raises
    ------
    TypeError
        If it has no weights that can be read and written.
    """
    if all(hasattr(final, name) for name in ("coefs_", "intercepts_", "activation")):
        if final.activation not in ACTIVATIONS:
            raise TypeError(f"{final!r} has an unknown activation: {_KINDS}")
        coefs, intercepts, activation = final.coefs_, final.intercepts_, final.activation
    elif hasattr(final, "coef_") and hasattr(final, "intercept_"):
        if isinstance(getattr(type(final), "coef_", None), property):
            raise TypeError(f"the coef_ of {final!r} cannot be set: {_KINDS}")
        if issparse(final.coef_):
            raise TypeError(f"the coef_ of {final!r} is sparse: call its densify() first")
        W = np.atleast_2d(np.asarray(final.coef_, np.float64)).T
        coefs = [W]
        intercepts = [np.broadcast_to(np.ravel(final.intercept_), W.shape[1:])]
        activation = "identity"  # of hidden layers, of which there are none
    else:
        raise TypeError(f"{final!r} has no weights to move: {_KINDS}")
    network = Network((len(coefs[0]), *(W.shape[1] for W in coefs)), activation)
    return network, network.pack(coefs, intercepts).astype(np.float64)


def set_weights(final: Any, network: Network, theta: Array) -> None:
    """Write parameters where `weights_of` has read some, in the same shapes and dtypes."""
    coefs, intercepts = network.unpack(theta)
    if hasattr(final, "coefs_"):
        final.coefs_ = [_like(*pair) for pair in zip(coefs, final.coefs_, strict=True)]
        final.intercepts_ = [_like(*p) for p in zip(intercepts, final.intercepts_, strict=True)]
        return
    final.coef_ = _like(coefs[0].T, final.coef_)
    # One number for several outputs is what scikit-learn leaves without an intercept.
    one = np.size(final.intercept_) == intercepts[0].size
    intercept = _like(intercepts[0], final.intercept_) if one else intercepts[0].copy()
    final.intercept_ = intercept if np.ndim(intercept) else float(intercept)


def _like(values: Array, before: Any) -> Array:
    """The values in the shape and dtype of those before."""
    before = np.asarray(before)
    dtype = before.dtype if before.dtype.kind == "f" else np.float64
    return np.array(values, dtype, order="C").reshape(before.shape)
