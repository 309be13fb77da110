"""A generation: everything a population is, in a few numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.noise import Key, Range
from blackbox_es.samplers import Sampler

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A population of antithetic pairs around a center, as a value of a few numbers.

    The points are ``center + d_p`` and ``center - d_p`` with directions d_p from the sampler. They
    are functions of (seed, index, p), so any part can be made anywhere and nothing is stored.

    Parameters
    ----------
    center : ndarray of shape (n,), float32 or float64
    sampler : Sampler
    seed : int, 0 <= seed < 2**64
    index : int
        Number of the generation, 0 for the first.
    n_pairs : int
    """

    center: Array
    sampler: Sampler
    seed: int
    index: int
    n_pairs: int

    @property
    def key(self) -> Key:
        """What the noise is a function of."""
        return self.seed, self.index

    def pairs(self, start: int, stop: int) -> Array:
        """The points of some pairs: shape (2, stop - start, n), ``+d`` first."""
        return self.sampler.perturb(self.center, self.key, (start, stop))

    def points(self) -> Array:
        """All points: shape (2 n_pairs, n), rows ``x + d_1 .. x + d_P``, then ``x - d_1 ..``."""
        return self.pairs(0, self.n_pairs).reshape(2 * self.n_pairs, -1)

    def point(self, row: int) -> Array:
        """One row of `points`, made alone."""
        half, pair = divmod(row, self.n_pairs)
        return np.asarray(self.pairs(pair, pair + 1)[half, 0])

    def chunks(self, start: int, stop: int, n_bytes: int) -> Iterator[Range]:
        """Ranges of pairs whose points take at most ``n_bytes``, one pair at the least."""
        size = max(1, n_bytes // (2 * self.center.nbytes))
        for first in range(start, stop, size):
            yield first, min(first + size, stop)

    def gradient(self, weights: Array, beta: float, n_valid: int) -> Array:
        """``beta / (2 sigma^2 P) sum_p weights[p] d_p``, the antithetic estimate.

        With ``weights[p] = f(x + d_p) - f(x - d_p)`` its expectation is ``beta Sigma grad f``,
        exactly so for linear and quadratic f.

        Parameters
        ----------
        weights : ndarray of shape (n_pairs,), float64
            Zero for pairs that failed.
        beta : float
        n_valid : int
            P, the number of pairs that did not fail.
        """
        sigma = self.sampler.sigma  # twice, since its square may be out of range
        scaled = weights / sigma * (beta / (2.0 * n_valid)) / sigma
        return self.sampler.combine(scaled, self.key, self.center.dtype)
