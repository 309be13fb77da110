"""Safe mutations: each parameter moves in inverse proportion to what it does to the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_center, check_between, check_positive
from blackbox_es.neural.data import Data
from blackbox_es.neural.network import FlatNetwork

Array = npt.NDArray[Any]


def safe_sigmas(
    outputs: FlatNetwork | Callable[[Array], Any],
    theta: npt.ArrayLike,
    X: npt.ArrayLike | None = None,
    *,
    sigma: float = 0.1,
    floor: float = 0.1,
    step: float = 1e-3,
) -> Array:
    """A standard deviation for each parameter, so that all change the outputs alike.

    ``sigma_i`` is in proportion to ``1 / sqrt(s_i^2 + (floor s)^2)`` with

        s_i^2 = sum_k,t (d R_k(t) / d theta_i)^2,    s^2 = mean_i s_i^2,

    ``R_k(t)`` being output k for example t (Lehman, Chen, Clune, Stanley 2018, "Safe mutations for
    deep and recurrent neural networks through output gradients", who take sums of absolute
    values over t, or sums in which examples cancel). Give them to a sampler, ``VanillaES(sampler=
    Diagonal(safe_sigmas(...)))``: its estimate is ``E[g_i] = c sigma_i^2 df / d theta_i`` then.

    Parameters
    ----------
    outputs : callable or FlatNetwork
        ``outputs(theta)``, an array of all k and t: the slopes are those of central differences,
        from two calls for each parameter. Of a network of this package they are those of
        backpropagation, one for each example and output.
    theta : array-like of shape (n,)
        Where the slopes are taken.
    X : array-like of shape (m, n_inputs)
        Examples for a network; some dozens are enough.
    sigma : float
        The root mean square of what is returned.
    floor : float in [0, 1]
        What bounds the parameters that do next to nothing: none moves more than some ``1 / floor``
        times as far as one whose slope is s. At 0 each slope is to be above zero.
    step : float
        Half of the difference, times ``max(1, |theta_i|)``. As long as a mutation for outputs that
        are steps.

    Returns
    -------
    ndarray of shape (n,), dtype of theta

    Raises
    ------
    TypeError, ValueError
        For what is neither; for outputs that are not finite, or move with no parameter.

    Examples
    --------
    >>> outputs = lambda theta: [100.0 * theta[0], theta[1]]
    >>> safe_sigmas(outputs, [1.0, 1.0], sigma=1.0, floor=0.0).round(4)
    array([0.0141, 1.4141])
    """
    at = as_center(theta)
    check_positive("sigma", sigma)
    check_between("floor", floor, 0.0, 1.0)
    check_positive("step", step)
    if isinstance(outputs, FlatNetwork):
        squares = _by_backpropagation(outputs, at, X)
    elif callable(outputs):
        if X is not None:
            raise ValueError("X is for networks of this package: outputs(theta) knows its examples")
        squares = _by_differences(outputs, at.astype(float), step)
    else:
        raise TypeError(f"outputs={outputs!r}: expected a function of theta, or a network")
    damped = squares + floor**2 * squares.mean()
    if not (np.isfinite(damped).all() and (damped > 0.0).all()):
        raise ValueError(
            "outputs are not finite, or do not move with some parameter: take floor=0.1 or a "
            "longer step"
        )
    scales = 1.0 / np.sqrt(damped)
    return np.asarray(scales * (sigma / math.sqrt(np.square(scales).mean())), at.dtype)


def _by_differences(outputs: Callable[[Array], Any], theta: Array, step: float) -> Array:
    """The squares of the slopes, summed over outputs and examples."""
    squares = np.empty(theta.size)
    for i in range(theta.size):
        moved, h = theta.copy(), step * max(1.0, abs(theta[i]))
        moved[i] = theta[i] + h
        above = np.array(outputs(moved.copy()), float)
        moved[i] = theta[i] - h
        slopes = (above - np.asarray(outputs(moved), float)) / (2.0 * h)
        squares[i] = np.square(slopes).sum()
    return squares


def _by_backpropagation(network: FlatNetwork, theta: Array, X: Any) -> Array:
    if X is None:
        raise ValueError("X=None: a network needs examples, X of shape (m, n_inputs)")
    X = np.ascontiguousarray(X, theta.dtype)
    if X.ndim != 2 or X.shape[1] != network.n_inputs or not len(X):
        raise ValueError(f"X has shape {X.shape}: expected (m, {network.n_inputs})")
    squares = np.zeros(theta.size)
    for row in range(len(X)):
        data = Data(X[row : row + 1], np.zeros(1, np.int64))
        for k in range(network.n_outputs):
            squares += np.square(network.backward(theta, data, _one(k))[0], dtype=float)
    return squares


def _one(k: int) -> Callable[[Array, Array, Array | None], Array]:
    """The slope of output k alone."""

    def slope(y: Array, raw: Array, weight: Array | None) -> Array:
        picked = np.zeros_like(raw)
        picked[:, k] = 1.0
        return picked

    return slope
