"""Search distributions as frozen values.

A sampler knows the law of its directions d, ``E[d d^T] = sigma^2 Sigma`` with ``trace(Sigma) = 1``,
so that every direction has mean squared length sigma^2, whatever the dimension. It holds no
randomness: a direction is a function of the key (seed, generation) and of the pair, and is made
again wherever it is needed.

A sampler of one's own is a frozen dataclass with ``n``, ``sigma`` and the two methods of
`Sampler`: ``perturb`` gives points, ``combine`` the sum of all directions with given weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import gram, mix, outer_sum
from blackbox_es._threads import ALONE, Threads
from blackbox_es.noise import Key, Range

Array = npt.NDArray[Any]
Offset = tuple[Array, Array]  # coefficients and rows: what is added to a base distribution


class Sampler(Protocol):
    """What a generation needs of its search distribution."""

    @property
    def n(self) -> int:
        """Dimension of the space."""

    @property
    def sigma(self) -> float:
        """Root mean squared length of a direction."""

    def perturb(self, center: Array, key: Key, pairs: Range) -> Array:
        """``center + d_p`` and ``center - d_p``: shape (2, pairs, n), dtype of the center."""

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``: shape (n,)."""


class Base(Sampler, Protocol):
    """A sampler with ``Sigma = I / n``, which `Guided` can elongate along a subspace.

    With an offset (coefs, rows), ``coefs @ rows`` is added to each direction, or to their sum.
    """

    def with_sigma(self, sigma: float) -> Base:
        """The same distribution at another scale."""

    def perturb(self, center: Array, key: Key, pairs: Range, offset: Offset | None = None) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``."""

    def combine(
        self, weights: Array, key: Key, dtype: npt.DTypeLike, offset: Offset | None = None
    ) -> Array:
        """``sum_p weights[p] d_p + coefs @ rows``."""


def directions(sampler: Sampler, key: Key, pairs: Range) -> Array:
    """The directions of some pairs, one row each, in float64."""
    return np.asarray(sampler.perturb(np.zeros(sampler.n), key, pairs)[0])


@dataclass(frozen=True, slots=True)
class Isotropic:
    """``d = sigma / sqrt(n) z``, z standard normal: ``Sigma = I / n``.

    Parameters
    ----------
    n : int
        Dimension.
    sigma : float
        Root mean squared length; each coordinate has standard deviation ``sigma / sqrt(n)``.

    Examples
    --------
    >>> directions(Isotropic(n=5, sigma=0.1), key=(0, 0), pairs=(0, 3)).shape
    (3, 5)
    """

    n: int
    sigma: float = 1.0

    def with_sigma(self, sigma: float) -> Isotropic:
        """The same distribution at another scale."""
        return Isotropic(self.n, sigma)

    def perturb(self, center: Array, key: Key, pairs: Range, offset: Offset | None = None) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``, shape (2, pairs, n)."""
        if offset is None:
            no_coefs = np.empty((pairs[1] - pairs[0], 0), center.dtype)
            offset = no_coefs, _no_rows(self.n, center.dtype)
        return noise.perturb(center, self.sigma / math.sqrt(self.n), *offset, key, pairs)

    def combine(
        self, weights: Array, key: Key, dtype: npt.DTypeLike, offset: Offset | None = None
    ) -> Array:
        """``sum_p weights[p] d_p + coefs @ rows``, summed in float64 in the order of the pairs."""
        coefs, rows = offset or (np.empty(0), _no_rows(self.n, dtype))
        rows = rows.astype(dtype, copy=False)
        return noise.combine(weights, self.sigma / math.sqrt(self.n), coefs, rows, key)


def _no_rows(n: int, dtype: npt.DTypeLike) -> Array:
    return np.empty((0, n), dtype)


@dataclass(frozen=True, slots=True)
class LowRank:
    """Random signs for the layers of a network: rank one on hidden layers, full rank on the last.

    The vector is that of `blackbox_es.neural.network.Network`: for each layer its weights (fan_in,
    fan_out) in C order, then its intercepts. A hidden layer is moved by ``s outer(a, b)``, the last
    one by ``s E``, intercepts by ``s c``, with independent signs in a, b, c and E and
    ``s = sigma / sqrt(n)``. So ``Sigma = I / n`` as for `Isotropic`, yet a perturbed forward pass
    needs no perturbed weight matrix. Every direction has length sigma exactly, so the variance of
    the gradient of a linear objective is no higher than with normals (Sarkar et al. 2025,
    "Evolution strategies at the hyperscale", who perturb by normals of low rank).

    Parameters
    ----------
    shapes : tuple of (fan_in, fan_out)
        One for each layer, the last one last.
    sigma : float
        Root mean squared length.
    threads : Threads
        Share the pairs of a sum; no result depends on them, and they are not pickled.

    Examples
    --------
    >>> LowRank(shapes=((784, 64), (64, 10))).n
    50890
    """

    shapes: tuple[tuple[int, int], ...]
    sigma: float = 1.0
    threads: Threads = field(default=ALONE, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of weights and intercepts."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    @property
    def scale(self) -> float:
        """Size of each coordinate's move, ``s = sigma / sqrt(n)``."""
        return self.sigma / math.sqrt(self.n)

    def with_sigma(self, sigma: float) -> LowRank:
        """The same distribution at another scale."""
        return replace(self, sigma=sigma)

    def factors(self, key: Key, pairs: Range, dtype: npt.DTypeLike) -> Array:
        """The signs of each pair in a row: (a, b, c) of each hidden layer, then (E, c)."""
        return noise.signs(key, pairs, self._columns()[-1][-1].stop, dtype)

    def words(self, key: Key, pairs: Range) -> Array:
        """The same signs, 32 to a word: see `noise.sign_words`."""
        return noise.sign_words(key, pairs, -(-self._columns()[-1][-1].stop // 32))

    def _columns(self) -> list[tuple[slice, ...]]:
        """Where the factors of each layer are: (a, b, c) for hidden layers, (E, c) for the last."""
        *hidden, (fan_in, fan_out) = self.shapes
        sizes = [(m, h, h) for m, h in hidden] + [(fan_in * fan_out, fan_out)]
        ends = accumulate(size for layer in sizes for size in layer)
        starts = accumulate((size for layer in sizes for size in layer), initial=0)
        return [tuple(slice(next(starts), next(ends)) for _ in layer) for layer in sizes]

    def perturb(self, center: Array, key: Key, pairs: Range, offset: Offset | None = None) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``, shape (2, pairs, n)."""
        signs = self.factors(key, pairs, center.dtype)
        *hidden, last = self._columns()
        parts = []
        for a, b, c in hidden:
            parts += [_outer(signs[:, a], signs[:, b]), signs[:, c]]
        d = np.concatenate([*parts, *(signs[:, part] for part in last)], axis=1)
        d *= self.scale
        if offset is not None:
            d += mix(*offset)
        return np.stack([center + d, center - d])

    def combine(
        self, weights: Array, key: Key, dtype: npt.DTypeLike, offset: Offset | None = None
    ) -> Array:
        """``sum_p weights[p] d_p + coefs @ rows``, summed in float64 in the order of the pairs."""
        *hidden, last = self._columns()

        def moves(start: int) -> Array:
            """The sum over some pairs, before scaling."""
            w = weights[start : start + _PAIRS_AT_ONCE]
            signs = self.factors(key, (start, start + w.size), np.float32)
            sums = mix(w[None], signs)[0]
            parts = []
            for a, b, c in hidden:
                parts += [outer_sum(w, signs, a, b).ravel(), sums[c]]
            return np.concatenate([*parts, *(sums[part] for part in last)])

        total = np.zeros(self.n)
        for part in self.threads.map(moves, range(0, weights.size, _PAIRS_AT_ONCE)):
            total += part
        total *= self.scale
        if offset is not None:
            coefs, rows = offset
            total += mix(coefs[None], rows)[0]
        return total.astype(dtype, copy=False)


_PAIRS_AT_ONCE = 512  # bounds the memory for factors; fixed, so that the sums keep their bits


def _outer(a: Array, b: Array) -> Array:
    """The outer products of the rows, raveled."""
    return np.asarray(a[:, :, None] * b[:, None, :]).reshape(len(a), a.shape[1] * b.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Guided:
    """A base distribution elongated along a subspace: ``Sigma = alpha/n I + (1-alpha)/k U U^T``.

    ``d = sqrt(alpha) d_base + sigma sqrt((1-alpha)/k) U z`` with z standard normal of size k
    (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided evolutionary strategies").

    Parameters
    ----------
    base : Isotropic or LowRank
        Gives sigma and the share ``alpha`` of the variance.
    rows : ndarray of shape (k, n), k >= 1
        Orthonormal rows: the transpose of U. See `orthonormal_rows`.
    alpha : float in [0, 1]
        Share of the variance that is spread over the full space.
    """

    base: Base
    rows: Array
    alpha: float

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.base.n

    @property
    def sigma(self) -> float:
        """Root mean squared length of a direction."""
        return self.base.sigma

    def latent(self, key: Key, pairs: Range) -> Array:
        """The normals z of the subspace, shape (pairs, k), float32."""
        return _latent(key, pairs, len(self.rows))

    def coefs(self, key: Key, pairs: Range, dtype: npt.DTypeLike) -> Array:
        """Coordinates inside the subspace, ``sigma sqrt((1-alpha)/k) z``, shape (pairs, k)."""
        scale = self.sigma * math.sqrt((1.0 - self.alpha) / len(self.rows))
        return self.latent(key, pairs).astype(dtype) * scale

    def full_space(self) -> Base:
        """The base distribution with its share of the variance, ``alpha sigma^2``."""
        return self.base.with_sigma(self.sigma * math.sqrt(self.alpha))

    def perturb(self, center: Array, key: Key, pairs: Range) -> Array:
        """Points ``center + d_p`` and ``center - d_p``, shape (2, pairs, n)."""
        offset = self.coefs(key, pairs, center.dtype), self.rows
        return self.full_space().perturb(center, key, pairs, offset)

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``."""
        coefs = mix(weights[None], self.coefs(key, (0, weights.size), np.float64))[0]
        return self.full_space().combine(weights, key, dtype, (coefs, self.rows))


@lru_cache(maxsize=1)  # points, gradient and quality of a generation need the same ones
def _latent(key: Key, pairs: Range, k: int) -> Array:
    z = noise.normals(key, pairs, (0, k), stream=noise.SUBSPACE)
    z.flags.writeable = False
    return z


_PARALLEL = 1e-12  # squared sine below which guides count as one: an angle of a microradian
_WELL_CONDITIONED = 0.05  # ratio of eigenvalues above which rounding grows by less than 20


def unit_guide(guide: Array, dtype: npt.DTypeLike = np.float64) -> Array | None:
    """The guide at length 1, or None if it is zero, infinite or NaN and so says nothing.

    Safe for every scale: divided by its largest entry before the norm is taken and the dtype is.
    """
    largest = np.abs(guide).max(initial=0.0)
    if not (0.0 < largest < np.inf):
        return None
    unit: Array = np.divide(guide, largest, dtype=np.float64).astype(dtype, copy=False)
    unit /= math.sqrt((unit * unit).sum(dtype=np.float64))
    return unit


def orthonormal_rows(guides: Iterable[Array], dtype: npt.DTypeLike) -> Array:
    """An orthonormal basis of the span of unit guides, as rows; only the span matters.

    Duplicated and dependent guides add no row, so the number of rows is the rank. A round of
    ``V <- (V V^T)^(-1/2) V``, restricted to what is not null, makes the rows orthonormal to
    rounding times the condition number of ``V V^T``; a second one follows if that is large. A round
    costs two matrix products, not k passes over memory.

    Parameters
    ----------
    guides : iterable of k ndarrays of shape (n,)
        Of length 1, see `unit_guide`.
    dtype : float32 or float64

    Returns
    -------
    ndarray of shape (rank, n)

    Examples
    --------
    >>> orthonormal_rows([np.array([0.6, 0.8]), np.array([-0.6, -0.8])], float).shape
    (1, 2)
    """
    rows = np.array(list(guides), dtype)
    for _ in range(2 if len(rows) > 1 else 0):
        values, vectors = np.linalg.eigh(gram(rows))
        keep = values > _PARALLEL * values[-1]
        root = vectors[:, keep] / np.sqrt(values[keep])
        well = values[0] > _WELL_CONDITIONED * values[-1]
        if well:  # the symmetric root does not depend on the signs of eigenvectors
            root = root @ vectors.T
        rows = mix(root.T.astype(dtype), rows)
        if well:
            break
    return rows
