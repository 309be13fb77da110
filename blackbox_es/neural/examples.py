"""Which examples a generation sees, and what each of them weighs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es.noise import EXAMPLES, Key

Array = npt.NDArray[Any]

_FLOOR = 0.2  # share of the draws that ignores the scores: no weight is above 1 / _FLOOR
_REFRESH = 8  # generations between two looks at all scores, which change slowly


class Pool(NamedTuple):
    """The examples of one generation. Their weights have mean 1 in expectation; None is all 1."""

    rows: Array | slice
    weight: Array | None


class Examples:
    """Draws pools of examples: in the first epoch each one once, then those that tell most.

    An example whose loss hardly changes with the weights tells a search nothing. With the
    probabilities q_i of being drawn and weights ``v_i / (N q_i)`` the mean over a pool is unbiased
    for the mean loss whatever q is, and the variance of an estimated gradient is least for q_i in
    proportion to ``v_i sqrt(E (l_i^+ - l_i^-)^2)``, the size of an example's own gradient as far
    as perturbations see it (Alain, Lamb, Sankar, Courville, Bengio 2015, "Variance reduction in SGD
    by distributed importance sampling"). These scores are measured by every generation for the
    examples it sees. One draw in five goes by v alone, so that no example is forgotten.

    Parameters
    ----------
    n_samples, pool_size : int
    sample_weight : ndarray of shape (n_samples,) or None
        The weights v.
    first : int
        The generation with which the first epoch begins.
    strata : ndarray of shape (n_samples,) or None
        Classes that are spread evenly over an epoch, so that each slice holds its share of them.
    """

    def __init__(
        self,
        n_samples: int,
        pool_size: int,
        sample_weight: Array | None,
        first: int,
        strata: Array | None = None,
    ) -> None:
        self._strata = strata
        self.n_samples, self.pool_size, self._first = n_samples, pool_size, first
        self.pools_per_epoch = n_samples // pool_size
        self._share: Array | None = None  # v_i / sum v
        if sample_weight is not None:
            self._share = sample_weight.astype(np.float64) / sample_weight.sum(dtype=np.float64)
        self._scores: Array | None = None  # v_i times what was measured; NaN if nothing was
        self._odds: _Odds | None = None
        self._drawn: tuple[Key, Pool] | None = None
        self._epoch: tuple[Key, Array] | None = None

    def pool(self, key: Key) -> Pool:
        """The pool of the generation (seed, index); asked twice, the same."""
        if self._drawn is None or self._drawn[0] != key:
            epoch = (key[1] - self._first) // self.pools_per_epoch
            if self._scores is None or epoch == 0:
                rows = self._permuted(key)
                weight = None if self._share is None else self._share[rows] * self.n_samples
                self._drawn = key, Pool(rows, weight)
            else:
                self._drawn = key, self._by_score(self._scores, key)
        return self._drawn[1]

    def learn(self, rows: Array | slice, squares: Array) -> None:
        """Remember how much the losses of these examples change: squared differences, not < 0."""
        if self._scores is None:
            self._scores = np.full(self.n_samples, np.nan)
        scores = np.sqrt(squares)
        self._scores[rows] = scores if self._share is None else scores * self._share[rows]

    def _permuted(self, key: Key) -> Array | slice:
        """The next part of a permutation of all examples."""
        if self.pool_size == self.n_samples and self._strata is None:
            return slice(None)
        seed, generation = key
        pool = (generation - self._first) % self.pools_per_epoch
        epoch = seed, generation - pool  # the generation with which this epoch began
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffled(_rng(epoch))
        return self._epoch[1][pool * self.pool_size : (pool + 1) * self.pool_size]

    def _shuffled(self, rng: np.random.Generator) -> Array:
        """A permutation, in which each class comes at equal distances."""
        rows = rng.permutation(self.n_samples)
        if self._strata is None:
            return rows
        places, strata = np.empty(self.n_samples), self._strata[rows]
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            places[members] = (np.arange(members.size) + rng.random()) / members.size
        return np.asarray(rows[np.argsort(places)])

    def _by_score(self, scores: Array, key: Key) -> Pool:
        """A systematic sample: an example is drawn ``M q_i`` times, rounded up or down."""
        if self._odds is None or key[1] - self._odds.made >= _REFRESH:
            self._odds = _odds(scores, self._share, key[1])
        rng, ends = _rng(key), self._odds.ends
        marks = (np.arange(self.pool_size) + rng.random()) * (ends[-1] / self.pool_size)
        rows = np.minimum(np.searchsorted(ends, marks, side="right"), self.n_samples - 1)
        rng.shuffle(rows)  # neighbours may be alike, and would make a slice
        share = 1.0 / self.n_samples if self._share is None else self._share[rows]
        return Pool(rows, share / self._odds.chances[rows])


class _Odds(NamedTuple):
    """Chances of being drawn, of sum 1, and their cumulative sums."""

    chances: Array
    ends: Array
    made: int  # the generation for which they were made


def _odds(scores: Array, share: Array | None, made: int) -> _Odds:
    known = np.isfinite(scores)
    if not known.all():
        scores = np.where(known, scores, scores[known].mean() if known.any() else 0.0)
    uniform = 1.0 / scores.size if share is None else share
    total = scores.sum()
    if total > 0.0:
        chances = scores * ((1.0 - _FLOOR) / total) + _FLOOR * uniform
    else:
        chances = np.zeros(scores.size) + uniform
    return _Odds(chances, chances.cumsum(), made)


def _rng(key: Key) -> np.random.Generator:
    return np.random.default_rng((*key, int(EXAMPLES)))
