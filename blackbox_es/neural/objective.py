"""The loss of a network as an objective that evaluates whole generations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es._validation import as_value
from blackbox_es.generation import Generation
from blackbox_es.neural.examples import Examples, Pool
from blackbox_es.neural.network import LOSSES, Network
from blackbox_es.neural.tasks import population_losses, population_outputs, writeable
from blackbox_es.noise import Key, Range
from blackbox_es.samplers import Guided, LowRank

Array = npt.NDArray[Any]

# Pairs that see the same examples share their product with the weights. More of them see fewer
# examples, which adds at most PAIRS / n of the variance that an estimate has anyway.
_LEAST_PAIRS, _MOST_PAIRS = 16, 64


class NetworkObjective:
    """The mean loss of a network over examples, over a pool of them in each generation.

    The pool is cut into slices of ``batch_size``. A pair sees one slice, and 16 to 64 neighbouring
    pairs the same one. `Examples` says which examples they are.

    Parameters
    ----------
    network : Network
    loss : str or callable
        A name in `LOSSES`, or ``loss(y, outputs, sample_weight or None) -> float``.
    X : ndarray of shape (n_samples, n_inputs), float32 or float64
    y : ndarray of shape (n_samples,) of class indices, or (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,) or None
        The loss is ``sum_i w_i l_i / sum_i w_i``, in expectation over slices.
    batch_size : int
        Examples per pair; with ``n_samples`` or more every pair sees all examples.
    n_pairs : int
    first : int
        The generation with which the first epoch begins.
    threads : Threads
        Evaluate ranges of pairs; values do not depend on them.
    """

    def __init__(
        self,
        network: Network,
        loss: str | Callable[..., Any],
        X: Array,
        y: Array,
        sample_weight: Array | None,
        *,
        batch_size: int,
        n_pairs: int,
        first: int = 0,
        threads: Threads = ALONE,
    ) -> None:
        self.network, self.loss = network, loss
        # Numba compiles again for read-only arrays: copy those.
        y = y.astype(X.dtype, copy=False) if y.ndim == 2 else y
        self.X, self.y = writeable(X), writeable(y)
        self.sample_weight = None if sample_weight is None else writeable(sample_weight)
        self.batch_size = min(batch_size, len(X))
        self.threads = threads
        self.examples_per_loss = self.batch_size
        per_slice = min(max(_LEAST_PAIRS, network.n_parameters // 1024 * 16), _MOST_PAIRS)
        n_slices = max(1, min(n_pairs // per_slice, len(X) // self.batch_size))
        self.examples = Examples(len(X), n_slices * self.batch_size, sample_weight, first)
        # Pairs of one slice are neighbours, as the kernel likes them.
        self._starts = np.arange(n_pairs) * n_slices // n_pairs * self.batch_size

    def evaluate_generation(self, generation: Generation) -> Array:
        """Mean losses of all pairs, each over its slice: shape (2, n_pairs)."""
        pool = self.examples.pool(generation.key)
        X, y = self.X[pool.rows], self.y[pool.rows]

        def evaluate(pairs: Range) -> tuple[Array, Array]:
            return self._losses(generation, pairs, X, y, pool)

        values, squares = zip(*self.threads.map(evaluate, self._tasks()), strict=True)
        if len(X) < len(self.X) and not callable(self.loss):
            self.examples.learn(pool.rows, sum(squares) / generation.sampler.sigma**2)
        return np.concatenate(values, axis=1)

    def _tasks(self) -> Iterator[Range]:
        """Ranges of pairs, one for each thread; pairs of a slice, whose squares add, together."""
        n_pairs, n_slices = self._starts.size, self.examples.pool_size // self.batch_size
        n_units = n_slices if n_slices > 1 else n_pairs
        cuts = np.arange(self.threads.n + 1) * n_units // self.threads.n  # -(-a // b) rounds up
        yield from pairwise(np.unique(-(-cuts * n_pairs // n_units)).tolist())

    def __call__(self, theta: Array) -> float:
        """The mean loss over all examples."""
        raw = self.network.forward(theta, self.X)
        if callable(self.loss):
            return as_value(self.loss(self.y, raw, self.sample_weight), "the loss")
        values = LOSSES[self.loss].values(raw, self.y)
        return float(np.average(values, weights=self.sample_weight))

    def _losses(
        self, generation: Generation, pairs: Range, X: Array, y: Array, pool: Pool
    ) -> tuple[Array, Array]:
        """Mean losses of some pairs, and how much those of each example differ."""
        sampler, dtype = generation.sampler, generation.center.dtype
        coefs, subspace = np.empty((pairs[1] - pairs[0], 0), dtype), np.empty((0, sampler.n), dtype)
        if isinstance(sampler, Guided):
            coefs, subspace = sampler.coefs(generation.key, pairs, dtype), sampler.rows
            sampler = sampler.full_space()
        if not isinstance(sampler, LowRank):
            raise TypeError(f"a network is perturbed by LowRank noise, not by {sampler!r}")
        population: dict[str, Any] = {
            "network": self.network,
            "theta": generation.center,
            "scale": sampler.scale,
            "words": sampler.words(generation.key, pairs),
            "coefs": coefs,
            "subspace": subspace,
            "X": X,
            "starts": self._starts[slice(*pairs)],
            "batch": self.batch_size,
        }
        if not callable(self.loss):
            population |= {"loss": self.loss, "y": y, "sample_weight": pool.weight}
            sums, squares = population_losses(**population)
            return sums / self.batch_size, squares
        outputs = population_outputs(**population)
        weight = None if self.sample_weight is None else self.sample_weight[pool.rows]
        values = np.empty(outputs.shape[:2])
        for pair, start in enumerate(population["starts"]):
            rows = slice(start, start + self.batch_size)
            w = None if weight is None else weight[rows]
            for half in (0, 1):
                value = self.loss(y[rows].copy(), outputs[half, pair], w)
                values[half, pair] = as_value(value, "the loss")
        return values, np.empty(0)

    def gradient(self, theta: Array, key: Key, loss: str) -> Array:
        """The gradient of a smooth loss by backpropagation, over the pool of a generation."""
        rows, weight = self.examples.pool(key)
        _, gradient = self.network.gradient(theta, self.X[rows], self.y[rows], weight, loss)
        return gradient
