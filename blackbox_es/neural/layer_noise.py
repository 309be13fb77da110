"""Noise of each example on one layer of a network at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural import kernels
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import Layer, Linear, Map, Weighted, products
from blackbox_es.neural.layers.blocks import blocks_of
from blackbox_es.neural.layers.products import LANES
from blackbox_es.neural.layout import check_center, targets_and_weights
from blackbox_es.neural.losses import as_loss
from blackbox_es.neural.sequential import Sequential
from blackbox_es.neural.signs import Signs, of_factors, of_units
from blackbox_es.noise import Key

Array = npt.NDArray[Any]

_PAIR = 2**15  # multiply-adds that take as long as the noise and the losses of a pair


class Stage(NamedTuple):
    """A layer with parameters, where its noise enters, and which pairs bring it."""

    place: int  # of the layer among the steps
    end: int  # before this step the noise is added
    which: int  # of the parameters
    on_units: bool  # else on weights and intercepts
    n_signs: int  # numbers that are moved
    n_bits: int  # of noise
    pairs: slice


def stages_of(network: Sequential, n_pairs: int) -> tuple[Stage, ...]:
    """The stages of a network, in its order; ValueError unless each has a pair.

    With n signs and P pairs the variance is ``n / P - 1`` times the square of a gradient. Where
    these are alike, the sum over the stages is least for the time it takes with P in proportion to
    ``sqrt(n / t)``, where t is the time of a pair.
    """
    found, times = [], []
    for place, (layer, given, which) in enumerate(network.steps):
        if isinstance(layer, Weighted):
            end = place + 1
            while end < len(network.steps) and _is_pool(network.steps[end].layer):
                end += 1
            n_units = int(np.prod(network.steps[end - 1].shape))
            fan_in, fan_out = layer.matrix(given)
            n_weights, n_factors = (fan_in + 1) * fan_out, fan_in + 2 * fan_out
            if n_units <= n_weights or not isinstance(layer, Linear):
                found.append(Stage(place, end, which, True, n_units, n_units, slice(0)))
                times.append(_PAIR + 2 * _work(network, end))
            else:
                found.append(Stage(place, place + 1, which, False, n_weights, n_factors, slice(0)))
                moves = _work(network, place, place + 1) / fan_out
                times.append(_PAIR + moves + 2 * _work(network, place + 1))
    spare = n_pairs - len(found)
    if spare < 0:
        raise ValueError(
            f"n_pairs={n_pairs} is less than one for each of {len(found)} layers with parameters: "
            f"take {len(found)} or more"
        )
    shares = np.cumsum(np.sqrt([stage.n_signs for stage in found] / np.array(times)))
    ends = np.rint(spare * shares / shares[-1]).astype(int) + np.arange(1, len(found) + 1)
    bounds = [0, *ends.tolist()]
    return tuple(s._replace(pairs=slice(*bounds[i : i + 2])) for i, s in enumerate(found))


def _work(network: Sequential, start: int, stop: int | None = None) -> float:
    """Multiply-adds of some steps, for one example."""
    steps = (step for step in network.steps[start:stop] if isinstance(step.layer, Weighted))
    return float(sum(np.prod(network.shapes[s.which]) * np.prod(s.shape[:2]) for s in steps))


def _is_pool(layer: Layer) -> bool:
    return isinstance(layer, Map) and layer.is_pool


@dataclass(frozen=True, eq=False)
class LayerNoise:
    """Random signs on one layer of a network at a time, of each example and pair their own.

    A pair of example i moves one linear map l, either what comes out of it and of the pools right
    behind it, or, where these are fewer numbers, its weights and intercepts:

        z_l = pool(conv(h_{l-1,i}; W_l, b_l)) +- sigma xi,    or
        z_l = conv(h_{l-1,i}; W_l +- sigma a b', b_l +- sigma c)

    with signs xi, a, b and c of this pair of this example; all other layers are as they are. Each
    of the ``P_l`` pairs of a layer estimates the gradient of the loss l of that example,

        dl/dz_l = (l^+ - l^-) / (2 sigma) xi,    or
        dl/dW_l = (l^+ - l^-) / (2 sigma) a b',    dl/db_l = (l^+ - l^-) / (2 sigma) c.

    The first is carried on to W_l and b_l through pools and linear map, with the patch of the image
    that a place sees where a dense layer has all of h. Activations and loss may be anything.

    As sigma goes to 0 the estimate is unbiased. Signs are orthogonal across the pairs of an example
    as far as that goes, those of all entries of a b' and c, too (see `blackbox_es.neural.signs`):
    summed over the n_l numbers that are moved, the variance is about ``n_l / P_l - 1`` times the
    squared length of their gradient, and none if P_l is a power of two that tells them all apart.
    Layers do not disturb each other, and what comes before a layer is computed once. A convolution
    has many places and few weights, and these are often fewer than the units behind its pools.

    Parameters
    ----------
    network : Sequential
    center : ndarray of shape (n_parameters,), float32 or float64
    X : ndarray of shape (M, n_inputs), dtype of the center
        The examples of the generation.
    n_pairs : int
        P, mirrored pairs per example, which the layers share: see `stages_of`. Pair p of example i
        is at ``i P + p``.
    sigma : float
        How far each number is moved.
    threads : Threads
        Share the examples; no result depends on them.

    Examples
    --------
    >>> from blackbox_es.neural.layers import Conv2D, Dense, MaxPool2D
    >>> network = Sequential((4, 4, 1), (Conv2D(2, kernel=3), MaxPool2D(2), Dense(1)))
    >>> rng = np.random.default_rng(0)
    >>> theta, X, y = network.initial(rng), rng.normal(size=(2, 16)), np.array([0, 1])
    >>> noise = LayerNoise(network, theta, X, n_pairs=2000, sigma=0.01)
    >>> plus, minus = noise.losses((0, 0), "log_loss", y)
    >>> estimate = noise.gradient((0, 0), plus - minus)
    >>> _, gradient = network.gradient(theta, Data(X, y), "log_loss")
    >>> bool(np.corrcoef(estimate, gradient)[0, 1] > 0.95)
    True
    """

    network: Sequential
    center: Array
    X: Array
    n_pairs: int
    sigma: float
    threads: Threads = field(default=ALONE, repr=False)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """What is moved, by which pairs."""
        return stages_of(self.network, self.n_pairs)

    def signs(self, key: Key, stage: Stage) -> Signs:
        """The signs of a stage, by which what is moved is moved orthogonally."""
        fans, pairs = self.network.shapes[stage.which], range(self.n_pairs)[stage.pairs]
        numbers = of_units(stage.n_bits) if stage.on_units else of_factors(*fans)
        return Signs.drawn(key, pairs[0], len(pairs), numbers, len(self.X))

    def losses(self, key: Key, loss: Any, y: Array, weight: Array | None = None) -> Array:
        """Losses of each example by itself: as those of `ActivationNoise`, shape (2, M P)."""
        network, data, dtype = self.network, Data(self.X, y, weight), self.center.dtype
        check_center(network, self.center, self.X)
        targets, weights = targets_and_weights(network, loss, data, dtype)
        row, parameters = as_loss(loss), network.several(self.center[None])
        words = [self.signs(key, stage).words() for stage in self.stages]
        out = np.empty((2, len(data), self.n_pairs))

        def evaluate(block: int) -> None:
            rows = slice(block * LANES, (block + 1) * LANES)
            target, losses = blocks_of(targets[rows]), out[:, rows]
            for (stage, passed), bits in zip(self._walk(rows), words, strict=True):
                few = network.at_once(2, self.X.itemsize, stage.end - 1)
                for first in range(0, len(bits[block]), few):
                    some = np.ascontiguousarray(bits[block, first : first + few])
                    moved = self._moved(stage, passed, some)
                    raw = network.run(moved, *parameters, slice(stage.end, None))
                    values = np.empty((len(raw), LANES), dtype)
                    kernels.example_losses(values, raw, target, row.code, dtype.type(row.parameter))
                    start = stage.pairs.start + first
                    each = values.reshape(2, len(some), LANES)[:, :, : losses.shape[1]]
                    losses[:, :, start : start + len(some)] = each.swapaxes(1, 2)

        self.threads.map(evaluate, range(-(-len(data) // LANES)))
        if weights.size:
            out *= weights[:, None]
        return out.reshape(2, -1)

    def gradient(self, key: Key, differences: Array, n_valid: int | None = None) -> Array:
        """The estimate for all layers, packed: as that of `ActivationNoise`."""
        network, m = self.network, len(self.X)
        weights = differences.reshape(m, self.n_pairs) / (2.0 * self.sigma * m)
        weights *= differences.size / (n_valid or differences.size)
        drawn = [self.signs(key, stage) for stage in self.stages]

        def piece(block: int) -> Array:
            rows, total = slice(block * LANES, (block + 1) * LANES), np.zeros(network.n_parameters)
            parts = network.unpack(total)
            for (stage, passed), signs in zip(self._walk(rows), drawn, strict=True):
                w = weights[rows, stage.pairs] / (stage.pairs.stop - stage.pairs.start)
                estimate = self._by_units if stage.on_units else self._by_weights
                sums = estimate(stage, passed, signs, block, w)
                for part, s in zip(parts, sums, strict=True):
                    part[stage.which][:] = s
            return total

        total = np.zeros(network.n_parameters)
        for part in self.threads.map(piece, range(-(-m // LANES))):
            total += part
        return total.astype(self.X.dtype, copy=False)

    def _walk(self, rows: slice) -> Iterator[tuple[Stage, list[Array]]]:
        """Each stage, with what each of its steps is given and what comes out behind the last."""
        network, h, begin = self.network, blocks_of(self.X[rows])[None], 0
        parameters = network.several(self.center[None])
        for stage in self.stages:
            passed = [network.run(h, *parameters, slice(begin, stage.place))]
            for place in range(stage.place, stage.end):
                passed.append(network.run(passed[-1], *parameters, slice(place, place + 1)))
            yield stage, passed
            h, begin = passed[-1], stage.end

    def _moved(self, stage: Stage, passed: list[Array], words: Array) -> Array:
        """What comes out of a stage in both halves of some pairs, plus first, as networks."""
        h, z, step = passed[0][0, 0], passed[-1][0, 0], self.X.dtype.type(self.sigma)
        if stage.on_units:
            out = np.empty((2, len(words), *z.shape), z.dtype)
            products.move_units(out, z, words, step)
        else:
            layer, given, _ = self.network.steps[stage.place]
            assert isinstance(layer, Linear)
            out = layer.moved(z, h, words, step, given)
        return out.reshape(-1, 1, *z.shape)

    def _by_units(
        self, stage: Stage, passed: list[Array], signs: Signs, block: int, weights: Array
    ) -> tuple[Array, Array]:
        """``sum_{i,p} weights[i, p] xi_{i,p}``, carried on to weights and intercepts."""
        slopes = blocks_of(signs.sums(block, weights, self.X.dtype))
        steps = self.network.steps[stage.place : stage.end]
        for (layer, given, _), h in zip(steps[:0:-1], passed[-2:0:-1], strict=True):
            assert isinstance(layer, Map)
            slopes = layer.backward(slopes[None], h, given)[0]
        layer, given, which = steps[0]
        assert isinstance(layer, Weighted)
        coefs, intercepts = self.network.several(self.center[None])
        return layer.sums(slopes, passed[0][0], coefs[which][0], intercepts[which][0], given)

    def _by_weights(
        self, stage: Stage, passed: list[Array], signs: Signs, block: int, weights: Array
    ) -> tuple[Array, Array]:
        """``sum_{i,p} weights[i, p] (a b', c)``."""
        fan_in, fan_out = self.network.shapes[stage.which]
        xi = signs.values(block)[:, :, : len(weights)]
        a, b, c = np.split(xi, [fan_in, fan_in + fan_out], axis=1)
        b *= weights.T[:, None]
        W = np.tensordot(a, b, axes=([0, 2], [0, 2]))
        return W, np.einsum("pje,ep->j", c, weights)
