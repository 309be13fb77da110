"""A generation: a population as a value of a few numbers; and what is learnt from its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._products import outer_sum
from blackbox_es._value import Range, Vector, Word, value
from blackbox_es.samplers import Sampler
from blackbox_es.tree import Into

Array = npt.NDArray[Any]
Seed = Annotated[int, Range(0, 2**64 - 1)]
Pairs = Annotated[int, Range(1, 2**32 - 1)]

_LATENT_BYTES = 2**20  # of normals made at once: they stay in cache


@value
class Generation:
    """A population around a center, as a value of a few numbers.

    The points are ``center + d_p`` and, if mirrored, ``center - d_p`` with directions d_p from the
    sampler. They are functions of (seed, index, p), so any part can be made anywhere and nothing is
    stored.

    Parameters
    ----------
    center : ndarray of shape (n,), float32 or float64
    sampler : Sampler
    seed : int, 0 <= seed < 2**64
    index : int
        Number of the generation, 0 for the first.
    n_pairs : int
        Directions.
    mirrored : bool
        Whether each direction is searched both ways, as a pair. The first dimension of points and
        values is ``halves``: 2 if so, else 1.
    box : Box, Tree or None
        What the points are folded into. The center and the directions are of the search space.
    """

    center: Vector
    sampler: Sampler
    seed: Seed
    index: Word
    n_pairs: Pairs
    mirrored: bool = True
    box: Into | None = None

    @property
    def key(self) -> noise.Key:
        """What the noise is a function of."""
        return self.seed, self.index

    @property
    def halves(self) -> int:
        """Points of a direction: 2 if mirrored, else 1."""
        return 2 if self.mirrored else 1

    @property
    def n_points(self) -> int:
        """Points to evaluate."""
        return self.halves * self.n_pairs

    def pairs(self, start: int, stop: int) -> Array:
        """The points of some pairs: shape (halves, stop - start, n), ``+d`` first."""
        points = self.sampler.perturb(self.center, self.key, (start, stop))[: self.halves]
        return points if self.box is None else self.box.fold(points)

    def points(self) -> Array:
        """All points: shape (n_points, n), rows ``x + d_1 .. x + d_P``, then ``x - d_1 ..``."""
        return self.pairs(0, self.n_pairs).reshape(self.n_points, -1)

    def point(self, row: int) -> Array:
        """One row of `points`, made alone."""
        half, pair = divmod(row, self.n_pairs)
        return np.asarray(self.pairs(pair, pair + 1)[half, 0])

    def chunks(self, start: int, stop: int, n_bytes: int) -> Iterator[noise.Range]:
        """Ranges of pairs whose points take at most ``n_bytes``, one pair at the least."""
        size = max(1, n_bytes // (2 * self.center.nbytes))
        for first in range(start, stop, size):
            yield first, min(first + size, stop)


class Told:
    """A generation and the utilities of all its points: all that a strategy learns from.

    Parameters
    ----------
    generation : Generation
    utilities : ndarray of shape (halves, n_pairs), float64
        What shaping made of the values; they do not decrease with the value. Zero for pairs that
        failed.
    n_valid : int
        The pairs that did not fail.
    valid : ndarray of shape (n_pairs,), bool, or None
        Which they are; None is all of them.
    values : ndarray of shape (halves, n_pairs), float64, or None
        What the objective returned, NaN where it failed; None is the utilities.

    Attributes
    ----------
    odd : ndarray of shape (n_pairs,)
        ``u(x + d_p) - u(x - d_p)``, or u if not mirrored: as weights of d_p they point uphill.

    Examples
    --------
    >>> from blackbox_es.samplers import Isotropic
    >>> generation = Generation(np.zeros(2), Isotropic(2, 0.1), seed=0, index=0, n_pairs=1000)
    >>> values = (generation.points() @ [1.0, -2.0]).reshape(2, 1000)
    >>> Told(generation, values, n_valid=1000).gradient(beta=2.0).round()
    array([ 1., -2.])
    """

    __slots__ = ("_latents", "generation", "n_valid", "odd", "utilities", "valid", "values")

    def __init__(
        self,
        generation: Generation,
        utilities: Array,
        n_valid: int,
        valid: Array | None = None,
        values: Array | None = None,
    ) -> None:
        self.generation, self.utilities = generation, utilities
        self.values: Array = utilities if values is None else values
        self.n_valid, self.valid = n_valid, valid
        self.odd: Array = utilities[0] - utilities[1] if len(utilities) == 2 else utilities[0]
        self._latents: tuple[tuple[noise.Range, Array], ...] = ()

    @property
    def even(self) -> Array:
        """``u(x + d_p) + u(x - d_p)``, shape (n_pairs,): large where f curves up along d_p."""
        u = self.utilities
        return np.asarray(u[0] + u[1] if len(u) == 2 else u[0])

    def combine(self, weights: Array) -> Array:
        """``sum_p weights[p] d_p``: shape (n,), dtype of the center."""
        center, sampler = self.generation.center, self.generation.sampler
        return sampler.combine(weights, self.generation.key, center.dtype)

    def gradient(self, beta: float, *, unbiased: bool = False) -> Array:
        """``beta / (2 n sigma^2 P) sum_p odd[p] d_p``, the antithetic estimate.

        With values for utilities its expectation is ``beta Sigma grad f``, exactly so for linear
        and quadratic f; P counts the pairs that did not fail. Of a population that is not mirrored
        it is ``beta / (n sigma^2 P) sum_p u_p d_p``, with the same expectation; with values less
        their mean, whose variance is much lower, it is (P - 1) / P of that. Unbiased, it is
        multiplied by ``Sigma^-1``, by a sampler that can, and its expectation is ``beta grad f``.
        """
        generation = self.generation
        sampler: Any = generation.sampler
        sigma = sampler.sigma  # twice, since its square may be out of range
        size = float(generation.halves * self.n_valid * generation.center.size)
        weights = self.odd / sigma * (beta / size) / sigma
        if unbiased:
            return np.asarray(
                sampler.inverse_combine(weights, generation.key, generation.center.dtype)
            )
        return self.combine(weights)

    def squares(self, weights: Array) -> Array:
        """``sum_p weights[p] z_p^2``, float64, of the normals z behind the directions."""
        sampler: Any = self.generation.sampler
        return np.asarray(sampler.squares(weights, self.generation.key))

    def products(self, weights: Array) -> Array:
        """``sum_p weights[p] z_p z_p^T``, float64, of the normals z: for few coordinates."""
        n = self.generation.center.size
        total = np.zeros((n, n))
        for (start, stop), z in self.latents():
            total += outer_sum(weights[start:stop], z, slice(0, n), slice(0, n))
        return total

    def latents(self) -> Iterator[tuple[noise.Range, Array]]:
        """The normals z behind the directions in chunks: range of pairs, (pairs, n) float32.

        They are made anew each time, unless one chunk is all of them.
        """
        if self._latents:
            yield from self._latents
            return
        generation = self.generation
        sampler: Any = generation.sampler
        for chunk in generation.chunks(0, generation.n_pairs, _LATENT_BYTES):
            made = chunk, sampler.latents(generation.key, chunk)
            if chunk == (0, generation.n_pairs):
                self._latents = (made,)
            yield made
