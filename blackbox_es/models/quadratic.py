"""A quadratic function fitted to values around a point: pure functions.

In coordinates ``z = (x - center) / scale`` the model is ``t + b + g^T z + z^T A z + h |z|^2``, a
Gaussian process whose kernel is

    k(z, z') = 10 + z^T z' + c (z^T z')^2 + 10 |z|^2 |z'|^2,

the terms being an offset, slopes, curvatures and their mean, which is known long before n^2 / 2
curvatures are. With m values the gradient is in the span of m differences of points, as is that of
any model that does not know more of the coordinates, a network among them: there is no way around
points. A value is trusted the less the farther away it is, ``y = f + e``, ``var e = noise (1 +
|z|^2)^3``, as the error of a quadratic grows with the third power of the distance. c and the noise
have the largest marginal likelihood. Time: ``12 m^3 / 3 + 2 m^2 n`` multiplications.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._value import value

Array = npt.NDArray[Any]

_FEWEST = 4  # values that show more than noise
_WIDE = 10.0  # prior variance of offset and mean curvature, over that of a slope
_CURVATURES = (0.05, 0.5, 5.0)  # c: prior variances of curvatures
_NOISES = (1e-8, 1e-5, 1e-2, 1.0)  # of values near the center, over the variance of a slope
_NEAR = 0.1  # share of the points that are closer than ``scale``


@value
class Quadratic:
    """A quadratic function by its weights at points z: the mean of a Gaussian process.

    Parameters
    ----------
    center : ndarray of shape (n,)
    scale : float
        The unit of z.
    Z : ndarray of shape (m, n), float64
    weights : ndarray of shape (m,)
        ``alpha = (K + noise W)^-1 y``.
    level, size : float
        Weighted mean and root mean square of the values.
    curvature, noise : float
    """

    center: npt.NDArray[Any]
    scale: float
    Z: npt.NDArray[Any]
    weights: npt.NDArray[Any]
    level: float
    size: float
    curvature: float
    noise: float

    def predict(self, X: npt.ArrayLike) -> Array:
        """The values of the model at points of shape (m, n), or at one of shape (n,)."""
        z = (np.asarray(X, np.float64) - self.center) / self.scale
        squares = np.square(self.Z).sum(axis=1), np.square(z).sum(axis=-1)
        kernel = _kernel(z @ self.Z.T, np.multiply.outer(squares[1], squares[0]), self.curvature)
        return np.asarray(self.level + self.size * (kernel @ self.weights))

    def gradient(self, x: npt.ArrayLike) -> Array:
        """The gradient of `predict` at a point of shape (n,)."""
        z = (np.asarray(x, np.float64) - self.center) / self.scale
        along = self.weights * (1.0 + 2.0 * self.curvature * (self.Z @ z))
        mean = 2.0 * _WIDE * float(self.weights @ np.square(self.Z).sum(axis=1))
        return np.asarray((along @ self.Z + mean * z) * (self.size / self.scale))


def fitted(X: Array, values: Array, center: Array) -> Quadratic | None:
    """The model of these values around a point; None if they show nothing.

    Parameters
    ----------
    X : ndarray of shape (m, n)
    values : ndarray of shape (m,)
        Finite. Multiples of them, by powers of two, give these multiples of the model exactly.
    center : ndarray of shape (n,)
    """
    if len(values) < _FEWEST:
        return None
    with np.errstate(all="ignore"):  # what is out of range is seen at the end
        Z = np.subtract(X, center, dtype=np.float64)
        squares = np.square(Z).sum(axis=1)
        scale = math.sqrt(np.sort(squares)[int(_NEAR * len(squares))]) or math.sqrt(squares.max())
        if not 0.0 < scale < math.inf:
            return None
        Z /= scale
        squares = np.square(Z).sum(axis=1)
        trust = (1.0 + squares) ** -1.5  # 1 / sqrt(W)
        share = np.square(trust) / np.square(trust).sum()
        level = float(share @ values)
        size = math.sqrt(share @ np.square(values - level))
        if not (0.0 < size < math.inf and np.isfinite(trust).all()):
            return None
        found = _likeliest(Z @ Z.T, squares, trust, (values - level) / size)
    if found is None:
        return None
    weights, curvature, noise = found
    return Quadratic(center, scale, Z, weights, level, size, curvature, noise)


def _kernel(products: Array, squares: Array, curvature: float) -> Array:
    """From ``z^T z'`` and ``|z|^2 |z'|^2``."""
    return np.asarray(_WIDE + products + curvature * products * products + _WIDE * squares)


def _likeliest(
    products: Array, squares: Array, trust: Array, targets: Array
) -> tuple[Array, float, float] | None:
    """Weights, c and noise of the largest marginal likelihood, whatever the variance of slopes.

    ``-m/2 log(y^T M^-1 y) - 1/2 log det M`` with ``M = W^-1/2 K W^-1/2 + noise I``.
    """
    from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

    best, found = -math.inf, None
    outer, m, scaled = np.multiply.outer(squares, squares), targets.size, targets * trust
    for curvature in _CURVATURES:
        kernel = _kernel(products, outer, curvature) * np.multiply.outer(trust, trust)
        diagonal = kernel.diagonal().copy()
        for noise in _NOISES:
            np.fill_diagonal(kernel, diagonal + noise)
            try:
                root = cholesky(kernel, lower=True)
            except (LinAlgError, ValueError):  # singular but for rounding, or out of range
                continue
            residual = solve_triangular(root, scaled, lower=True)
            misfit = float(residual @ residual)
            if not 0.0 < misfit < math.inf:
                continue
            likelihood = -0.5 * m * math.log(misfit) - float(np.log(root.diagonal()).sum())
            if likelihood > best:
                best = likelihood
                found = trust * cho_solve((root, True), scaled), curvature, noise
    return found
