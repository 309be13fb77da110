"""The loss of a network over examples that each generation draws anew; weights are perturbed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es.generation import Generation
from blackbox_es.neural.data import Data
from blackbox_es.neural.examples import Examples
from blackbox_es.neural.losses import Loss, as_loss, guide_of
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.network import FlatNetwork, Network
from blackbox_es.neural.points import Points
from blackbox_es.neural.sequential import Sequential
from blackbox_es.neural.standins import Slope, mean_slope
from blackbox_es.neural.tasks import Population
from blackbox_es.noise import Key, Range
from blackbox_es.samplers import Guided, LowRank

Array = npt.NDArray[Any]

# Pairs that see the same examples share their product with the weights. More of them see fewer
# examples, which adds at most PAIRS / n of the variance that an estimate has anyway.
_LEAST_PAIRS, _MOST_PAIRS = 16, 64


class PooledLoss(ABC):
    """The mean loss of a network over examples, over a pool of them in each generation.

    Parameters
    ----------
    network : FlatNetwork
    loss : str, Loss or Metric
        A row of `LOSSES` or its name, or a loss of many examples together.
    data : Data
        The examples, in float32 or float64. The loss is ``sum_i w_i l_i / sum_i w_i``, in
        expectation over pools.
    pool_size : int
    first : int
        The generation with which the first epoch begins.
    threads : Threads
        Share the work; values do not depend on them.
    n_slices : int
        Into which the pool is cut. Classes are spread evenly over pools and slices.
    """

    def __init__(
        self,
        network: FlatNetwork,
        loss: str | Loss | Metric,
        data: Data,
        *,
        pool_size: int,
        n_slices: int = 1,
        first: int,
        threads: Threads,
    ) -> None:
        self.network, self.loss, self.data = network, loss, data.for_kernels()
        parts = pool_size < len(data) or n_slices > 1
        strata = data.y if parts and data.y.ndim == 1 else None
        self.examples = Examples(len(data), pool_size, data.weight, first, strata)
        self.threads = threads

    @property
    @abstractmethod
    def examples_per_loss(self) -> int:
        """Examples that one loss is the mean of."""

    def pool(self, key: Key) -> Data:
        """The examples of a generation, with weights by which their mean loss is unbiased."""
        rows, weight = self.examples.pool(key)
        return replace(self.data.take(rows), weight=weight)


class NetworkObjective(PooledLoss):
    """An objective that evaluates whole generations of perturbed weights.

    The pool is cut into slices of ``batch_size``. A pair sees one slice, and 16 to 64 neighbouring
    pairs the same one. `Examples` says which examples they are.

    Parameters
    ----------
    network, loss, data, first, threads
        As in `PooledLoss`.
    batch_size : int
        Examples per pair; with ``len(data)`` or more every pair sees all examples.
    n_pairs : int
    """

    def __init__(
        self,
        network: FlatNetwork,
        loss: str | Loss | Metric,
        data: Data,
        *,
        batch_size: int,
        n_pairs: int,
        first: int = 0,
        threads: Threads = ALONE,
    ) -> None:
        self.batch_size = min(batch_size, len(data))
        per_slice = min(max(_LEAST_PAIRS, network.n_parameters // 1024 * 16), _MOST_PAIRS)
        n_slices = max(1, min(n_pairs // per_slice, len(data) // self.batch_size))
        pools = {"pool_size": n_slices * self.batch_size, "n_slices": n_slices, "first": first}
        super().__init__(network, loss, data, threads=threads, **pools)
        # Pairs of one slice are neighbours, as the kernel likes them.
        self._starts = np.arange(n_pairs) * n_slices // n_pairs * self.batch_size

    @property
    def examples_per_loss(self) -> int:
        return self.batch_size

    def __call__(self, theta: Array) -> float:
        """The mean loss over all examples."""
        data, raw = self.data, self.network.forward(theta, self.data.X)
        if isinstance(self.loss, Metric):
            return self.loss(data.y, raw, data.weight)
        return float(np.average(as_loss(self.loss).values(raw, data.y), weights=data.weight))

    def evaluate_generation(self, generation: Generation) -> Array:
        """Mean losses of all pairs, each over its slice: shape (2, n_pairs).

        Raises
        ------
        TypeError
            If the directions are not those of `LowRank`, or guided by such.
        ValueError
            If the generation has other pairs than the objective was made for.
        """
        if generation.n_pairs != self._starts.size:
            raise ValueError(
                f"the generation has {generation.n_pairs} pairs: the objective was made for "
                f"n_pairs={self._starts.size}"
            )
        rows = self.examples.pool(generation.key).rows
        # A metric is given the user's weights, and weights what it likes.
        of_each = not isinstance(self.loss, Metric)
        data = self.pool(generation.key) if of_each else self.data.take(rows)

        def evaluate(pairs: Range) -> tuple[Array, Array]:
            return self._losses(self._population(generation, pairs), data)

        values, squares = zip(*self.threads.map(evaluate, self._tasks()), strict=True)
        if len(data) < len(self.data) and of_each:
            self.examples.learn(rows, sum(squares) / generation.sampler.sigma**2)
        return np.concatenate(values, axis=1)

    def _tasks(self) -> Iterator[Range]:
        """Ranges of pairs, one for each thread; pairs of a slice, whose squares add, together."""
        n_pairs, n_slices = self._starts.size, self.examples.pool_size // self.batch_size
        n_units = n_slices if n_slices > 1 else n_pairs
        cuts = np.arange(self.threads.n + 1) * n_units // self.threads.n  # -(-a // b) rounds up
        yield from pairwise(np.unique(-(-cuts * n_pairs // n_units)).tolist())

    def _population(self, generation: Generation, pairs: Range) -> Population | Points:
        """Some pairs of a generation as the kernel takes them."""
        starts, batch = self._starts[slice(*pairs)], self.batch_size
        if isinstance(self.network, Sequential):
            return Points(self.network, generation.pairs(*pairs), starts, batch)
        assert isinstance(self.network, Network)
        sampler, dtype = generation.sampler, generation.center.dtype
        coefs, subspace = np.empty((pairs[1] - pairs[0], 0), dtype), np.empty((0, sampler.n), dtype)
        if isinstance(sampler, Guided):
            coefs, subspace = sampler.coefs(generation.key, pairs, dtype), sampler.rows
            sampler = sampler.full_space()
        if not isinstance(sampler, LowRank):
            raise TypeError(f"a network is perturbed by LowRank noise, not by {sampler!r}")
        return Population(
            network=self.network,
            theta=generation.center,
            sigma=sampler.sigma,
            words=sampler.words(generation.key, pairs),
            coefs=coefs,
            subspace=subspace,
            starts=starts,
            batch=batch,
        )

    def _losses(self, population: Population | Points, data: Data) -> tuple[Array, Array]:
        """Mean losses of some pairs, and how much those of each example differ."""
        if not isinstance(self.loss, Metric):
            sums, squares = population.losses(self.loss, data)
            return sums / self.batch_size, squares
        outputs = population.outputs(data.X)
        values = np.empty(outputs.shape[:2])
        for start in np.unique(population.starts):  # pairs of a slice are judged together
            pairs = np.flatnonzero(population.starts == start)
            part, raw = data.take(slice(start, start + self.batch_size)), outputs[:, pairs]
            losses = self.loss.values(part.y, raw.reshape(-1, *raw.shape[2:]), part.weight)
            values[:, pairs] = losses.reshape(2, -1)
        return values, np.empty(0)

    def gradient(self, theta: Array, key: Key) -> Array:
        """The guide by backpropagation, over the pool of a generation."""
        return self.network.backward(theta, self.pool(key), self._slope())[0]

    def _slope(self) -> Slope:
        """Of the loss, or of its stand-in."""
        if not isinstance(self.loss, Metric):
            return partial(mean_slope, loss=guide_of(self.loss))
        return self.loss.slope
