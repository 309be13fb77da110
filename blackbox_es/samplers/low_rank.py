"""Random signs for the layers of a network."""

from __future__ import annotations

from dataclasses import field, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import mix, outer_sum
from blackbox_es._threads import ALONE, Threads
from blackbox_es._value import Positive, value
from blackbox_es.noise import Key
from blackbox_es.samplers.base import Array, Offset, Size


@value
class LowRank:
    """Random signs for the layers of a network: rank one on hidden layers, full rank on the last.

    The vector is that of `blackbox_es.neural.network.Network`: for each layer its weights (fan_in,
    fan_out) in C order, then its intercepts. A hidden layer is moved by ``s outer(a, b)``, the last
    one by ``s E``, intercepts by ``s c``, with independent signs in a, b, c and E and ``s`` the
    ``sigma``. So ``Sigma = I / n`` as for `Isotropic`, yet a perturbed forward pass needs no
    perturbed weight matrix. Every coordinate moves by sigma exactly, so the variance of
    the gradient of a linear objective is no higher than with normals (Sarkar et al. 2025,
    "Evolution strategies at the hyperscale", who perturb by normals of low rank).

    Parameters
    ----------
    shapes : tuple of (fan_in, fan_out)
        One for each layer, the last one last.
    sigma : float
        How far each coordinate is moved.
    threads : Threads
        Share the pairs of a sum; no result depends on them, and they are not pickled.

    Examples
    --------
    >>> LowRank(shapes=((784, 64), (64, 10))).n
    50890
    """

    shapes: tuple[tuple[Size, Size], ...]
    sigma: Positive = 1.0
    threads: Threads = field(default=ALONE, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of weights and intercepts."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    def with_sigma(self, sigma: float) -> LowRank:
        """The same distribution at another scale."""
        return replace(self, sigma=sigma)

    def factors(self, key: Key, pairs: noise.Range, dtype: npt.DTypeLike) -> Array:
        """The signs of each pair in a row: (a, b, c) of each hidden layer, then (E, c)."""
        return noise.signs(key, pairs, self._columns()[-1][-1].stop, dtype)

    def words(self, key: Key, pairs: noise.Range) -> Array:
        """The same signs, 32 to a word: see `noise.sign_words`."""
        return noise.sign_words(key, pairs, -(-self._columns()[-1][-1].stop // 32))

    def _columns(self) -> list[tuple[slice, ...]]:
        """Where the factors of each layer are: (a, b, c) for hidden layers, (E, c) for the last."""
        *hidden, (fan_in, fan_out) = self.shapes
        sizes = [(m, h, h) for m, h in hidden] + [(fan_in * fan_out, fan_out)]
        ends = accumulate(size for layer in sizes for size in layer)
        starts = accumulate((size for layer in sizes for size in layer), initial=0)
        return [tuple(slice(next(starts), next(ends)) for _ in layer) for layer in sizes]

    def perturb(
        self, center: Array, key: Key, pairs: noise.Range, offset: Offset | None = None
    ) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``, shape (2, pairs, n)."""
        signs = self.factors(key, pairs, center.dtype)
        *hidden, last = self._columns()
        parts = []
        for a, b, c in hidden:
            parts += [_outer(signs[:, a], signs[:, b]), signs[:, c]]
        d = np.concatenate([*parts, *(signs[:, part] for part in last)], axis=1)
        d *= self.sigma
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
        total *= self.sigma
        if offset is not None:
            coefs, rows = offset
            total += mix(coefs[None], rows)[0]
        return total.astype(dtype, copy=False)


_PAIRS_AT_ONCE = 512  # bounds the memory for factors; fixed, so that the sums keep their bits


def _outer(a: Array, b: Array) -> Array:
    """The outer products of the rows, raveled."""
    return np.asarray(a[:, :, None] * b[:, None, :]).reshape(len(a), a.shape[1] * b.shape[1])
