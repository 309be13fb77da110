"""Normal distributions: one scale, a scale for each coordinate, a full matrix."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import mix
from blackbox_es._value import Matrix, Positive, Vector, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array, Offset, Size


@value
class Isotropic:
    """``d = sigma z``, z standard normal: ``Sigma = I / n``.

    Parameters
    ----------
    n : int
        Dimension.
    sigma : float
        Standard deviation of each coordinate.

    Examples
    --------
    >>> from blackbox_es.samplers import directions
    >>> directions(Isotropic(n=5, sigma=0.1), key=(0, 0), pairs=(0, 3)).shape
    (3, 5)
    """

    n: Size
    sigma: Positive = 1.0

    def with_sigma(self, sigma: float) -> Isotropic:
        """The same distribution at another scale."""
        return self if sigma == self.sigma else Isotropic(self.n, sigma)

    def perturb(
        self, center: Array, key: Key, pairs: noise.Range, offset: Offset | None = None
    ) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``, shape (2, pairs, n)."""
        ones, no_coefs, no_rows = _nothing(self.n, center.dtype.char, pairs[1] - pairs[0])
        coefs, rows = offset or (no_coefs, no_rows)
        return noise.perturb(center, self.sigma, ones, coefs, rows, key, pairs)

    def combine(
        self, weights: Array, key: Key, dtype: npt.DTypeLike, offset: Offset | None = None
    ) -> Array:
        """``sum_p weights[p] d_p + coefs @ rows``, summed in float64 in the order of the pairs."""
        ones, no_coefs, no_rows = _nothing(self.n, np.dtype(dtype).char)
        if offset is None:
            return noise.combine(weights, self.sigma, ones, no_coefs, no_rows, key)
        coefs, rows = offset
        return noise.combine(weights, self.sigma, ones, coefs, rows.astype(dtype, copy=False), key)

    def squares(self, weights: Array, key: Key) -> Array:
        """``sum_p weights[p] z_p^2``: shape (n,), float64."""
        return noise.squares(weights, self.n, key)

    def latents(self, key: Key, pairs: noise.Range) -> Array:
        """The normals z of some pairs: shape (pairs, n), float32."""
        return noise.normals(key, pairs, (0, self.n))


@value
class Diagonal:
    """``d_i = sigmas_i z_i``, z standard normal: every coordinate has a scale of its own.

    Parameters
    ----------
    sigmas : ndarray of shape (n,), dtype of the center
        Standard deviations of the coordinates.

    Examples
    --------
    >>> Diagonal(np.array([1.0, 7.0])).sigma
    5.0
    """

    sigmas: Vector

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.sigmas.size

    @property
    def sigma(self) -> float:
        """Root mean square of the scales."""
        return _size(self.sigmas, self.n)

    @property
    def n_axes(self) -> float:
        """``1 / tr Sigma^2``: among how many axes the search is spread."""
        squares = np.square(self.sigmas / self.sigma, dtype=np.float64)
        return self.n**2 / float(np.square(squares).sum())

    def scaled(self, sigma: float, dtype: npt.DTypeLike) -> Diagonal:
        """The same distribution at another scale, for a center of this dtype."""
        return Diagonal((self.sigmas * (sigma / self.sigma)).astype(dtype))

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        _, coefs, rows = _nothing(self.n, center.dtype.char, pairs[1] - pairs[0])
        return noise.perturb(center, 1.0, self.sigmas, coefs, rows, key, pairs)

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``, summed in float64 in the order of the pairs."""
        _, coefs, rows = _nothing(self.n, np.dtype(dtype).char)
        return noise.combine(weights, 1.0, self.sigmas, coefs, rows, key)

    def squares(self, weights: Array, key: Key) -> Array:
        """``sum_p weights[p] z_p^2``: shape (n,), float64."""
        return noise.squares(weights, self.n, key)

    def latents(self, key: Key, pairs: noise.Range) -> Array:
        """The normals z of some pairs: shape (pairs, n), float32."""
        return noise.normals(key, pairs, (0, self.n))


@value
class Affine:
    """``d = A z``, z standard normal: ``n sigma^2 Sigma = A A^T``. For few coordinates.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), dtype of the center
        A.

    Examples
    --------
    >>> Affine(np.diag([1.0, 7.0])).sigma
    5.0
    """

    matrix: Matrix

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return len(self.matrix)

    @property
    def sigma(self) -> float:
        """``sqrt(trace(A A^T) / n)``."""
        return _size(self.matrix, self.n)

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        root = self.matrix.T.astype(center.dtype, copy=False)
        d = mix(self.latents(key, pairs).astype(center.dtype), root)
        points = np.empty((2, *d.shape), center.dtype)
        np.add(center, d, out=points[0])
        np.subtract(center, d, out=points[1])
        return points

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``A sum_p weights[p] z_p``, summed in float64 in the order of the pairs."""
        return self.apply(mix(weights[None], self.latents(key, (0, weights.size)))[0], dtype)

    def apply(self, z: Array, dtype: npt.DTypeLike) -> Array:
        """``A z``."""
        return np.asarray(mix(z[None], self.matrix.T)[0], dtype)

    def latents(self, key: Key, pairs: noise.Range) -> Array:
        """The normals z of some pairs: shape (pairs, n), float32."""
        return noise.normals(key, pairs, (0, self.n))


def _size(a: Array, n: int) -> float:
    """The root of the mean square of n coordinates."""
    return math.sqrt(float(np.square(a, dtype=np.float64).sum()) / n)


@lru_cache(maxsize=16)
def _nothing(n: int, dtype: str, *pairs: int) -> tuple[Array, Array, Array]:
    """No scales of the coordinates, no coefficients, no rows: nothing changes the directions."""
    coefs = np.empty((*pairs, 0), dtype if pairs else np.float64)
    return np.empty(0, dtype), coefs, np.empty((0, n), dtype)
