"""Node perturbation: noise on the activations of a network instead of on its weights.

Where the loss is a sum over examples, every example can have directions of its own, and a
direction in the space of units tells more than one in the far larger space of weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural.data import Data
from blackbox_es.neural.kernels import BLOCK
from blackbox_es.neural.layer_noise import LayerNoise
from blackbox_es.neural.losses import Loss
from blackbox_es.neural.metrics import Metric
from blackbox_es.neural.network import FlatNetwork, Network
from blackbox_es.neural.objective import PooledLoss
from blackbox_es.neural.sequential import Sequential
from blackbox_es.neural.signs import Signs, of_units
from blackbox_es.neural.tasks import activation_losses, first_layer
from blackbox_es.noise import Key

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ActivationNoise:
    """Random signs on all units of a network, of each example and pair their own.

    Each of the P pairs of example i moves all linear maps, hidden layers and outputs alike, by

        z_l = h_{l-1} W_l + b_l +- sigma xi_{l,i,p},    h_0 = x_i,    h_l = activation(z_l)

    with random signs xi, which gives two losses of that example. They are independent from unit to
    unit and from example to example, and as orthogonal across the pairs of an example as so many
    can be: see `blackbox_es.neural.signs`. `gradient` is the estimate

        dL/dW_l = 1/(M P) sum_{i,p} (l_{i,p}^+ - l_{i,p}^-) / (2 sigma) h_{l-1,i} xi_{l,i,p}^T

    of the gradient of the mean loss, and that without h of dL/db_l, where h is not perturbed. Only
    a layer's linear map is differentiated; activations and loss may be anything. As sigma goes to 0
    the estimate is unbiased; its variance grows with the number of units instead of the number of
    weights (Werfel, Xie, Seung 2005), and vanishes when P is a power of two that is not less than
    it. Signs on the units of all layers are the summed weight neuron perturbation of Flower and
    Jabri; perturbing one weight at a time is Jabri and Flower's.

    Parameters
    ----------
    network : Network
    center : ndarray of shape (n_parameters,), float32 or float64
        The weights and intercepts to which the noise is added: the center of the generation.
    X : ndarray of shape (M, n_inputs), dtype of the center
        The examples of the generation.
    n_pairs : int
        P, mirrored pairs per example: ``M P`` in all, pair p of example i at ``i P + p``.
    sigma : float
        How far each unit is moved.
    threads : Threads
        Share the examples; no result depends on them, and they are not pickled.

    References
    ----------
    Jabri, Flower (1992). "Weight perturbation: an optimal architecture and learning technique for
    analog VLSI feedforward and recurrent multilayer networks". IEEE Trans. Neural Networks 3(1).

    Flower, Jabri (1993). "Summed weight neuron perturbation: an O(N) improvement over weight
    perturbation". NIPS 5.

    Werfel, Xie, Seung (2005). "Learning curves for stochastic gradient descent in linear
    feedforward networks". Neural Computation 17(12).

    Examples
    --------
    >>> network, X = Network((2, 8, 1), "tanh"), np.array([[0.0, 0.0], [1.0, -1.0]])
    >>> theta = network.initial(np.random.default_rng(0))
    >>> noise, y = ActivationNoise(network, theta, X, n_pairs=500, sigma=0.1), np.array([0, 1])
    >>> plus, minus = noise.losses((0, 0), "log_loss", y)
    >>> estimate = noise.gradient((0, 0), plus - minus)
    >>> _, gradient = network.gradient(theta, Data(X, y), "log_loss")
    >>> bool(np.corrcoef(estimate, gradient)[0, 1] > 0.95)
    True
    """

    network: Network
    center: Array
    X: Array
    n_pairs: int
    sigma: float
    threads: Threads = field(default=ALONE, repr=False)

    @cached_property
    def linear(self) -> Array:
        """z of the first layer, by blocks of examples."""
        return first_layer(self.network, self.center, self.X, self.threads)

    def signs(self, key: Key) -> Signs:
        """The signs of all units."""
        units = of_units(self.network.n_units)
        return Signs.drawn(key, 0, self.n_pairs, units, len(self.X))

    def losses(self, key: Key, loss: Any, y: Array, weight: Array | None = None) -> Array:
        """Losses of each example by itself, at both halves of each of its pairs.

        ``v_i l(y_i, z_L)``; with weights v of mean 1, their mean and the gradient made of them are
        those of ``sum_i v_i l_i / sum_i v_i``, and an example of weight zero changes nothing. What
        an example gives depends on no other one, but for where it stands.

        Parameters
        ----------
        key : (seed, generation)
        loss : str or Loss
            A name in `blackbox_es.neural.losses.LOSSES`, or a row of it.
        y, weight : ndarray, ndarray or None
            Of the M examples, as in `Data`.

        Returns
        -------
        losses : ndarray of shape (2, M P), float64
            NaN or infinite where an output is: never hidden.

        Raises
        ------
        ValueError
            If the loss is a function, which has no value for each example; if shapes or dtypes do
            not fit.
        """
        losses = activation_losses(
            self.network,
            loss,
            self.center,
            self.sigma,
            self.signs(key),
            Data(self.X, y, weight),
            self.linear,
            self.threads,
        )
        return losses.reshape(2, -1)

    def gradient(self, key: Key, differences: Array, n_valid: int | None = None) -> Array:
        """The estimate for all layers, packed: shape (n_parameters,), dtype of the center.

        Parameters
        ----------
        key : (seed, generation)
        differences : ndarray of shape (M P,), float64
            ``l^+ - l^-``, or of utilities made of the losses.
        n_valid : int, optional
            The pairs that count; all by default.

        Returns
        -------
        ndarray of shape (n_parameters,)
            Products are those of the BLAS library, in pieces that do not depend on the threads.
        """
        weights = differences / (2.0 * self.sigma * (n_valid or differences.size))
        weights, signs = weights.reshape(len(self.X), self.n_pairs), self.signs(key)

        def piece(block: int) -> Array:
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            sums = signs.sums(block, weights[rows], self.X.dtype)
            return self._outer(self.X[rows], self.linear[block], sums)

        parts = self.threads.map(piece, range(len(self.linear)))
        total = parts[0] if parts else np.zeros_like(self.center)
        for part in parts[1:]:
            total += part
        return total

    def _outer(self, X: Array, linear: Array, sums: Array) -> Array:
        """``sum_i h_{l-1,i} sums_{l,i}^T`` of all layers, packed."""
        total = np.empty(self.network.n_parameters, X.dtype)
        ends = np.cumsum(self.network.layer_sizes[1:-1])
        layers = zip(
            self.network.inputs(self.center, X, linear.T[: len(X)]),
            np.split(sums, ends, axis=1),
            *self.network.unpack(total),
            strict=True,
        )
        for h, g, W, b in layers:
            np.matmul(h.T, g, out=W)
            np.sum(g, axis=0, out=b)
        return total


class ActivationObjective(PooledLoss):
    """The losses of single examples, those of a pool, whose activations are perturbed.

    Parameters are those of `NetworkObjective`, but for ``n_pairs``, which are pairs per example.
    """

    def __init__(
        self,
        network: FlatNetwork,
        loss: str | Loss | Metric,  # a metric is refused by `ActivationNoise.losses`
        data: Data,
        *,
        batch_size: int,
        n_pairs: int,
        first: int = 0,
        threads: Threads = ALONE,
    ) -> None:
        pool_size = min(batch_size, len(data))
        super().__init__(network, loss, data, pool_size=pool_size, first=first, threads=threads)
        self.n_pairs = n_pairs

    @property
    def examples_per_loss(self) -> int:
        return 1

    def noise(self, center: Array, sigma: float, key: Key) -> ActivationNoise | LayerNoise:
        """Noise for the examples drawn for a generation."""
        X = self.pool(key).X
        if isinstance(self.network, Sequential):
            return LayerNoise(self.network, center, X, self.n_pairs, sigma, self.threads)
        assert isinstance(self.network, Network)
        center, network = self.network.effective(center), replace(self.network, weights="float")
        return ActivationNoise(network, center, X, self.n_pairs, sigma, self.threads)

    def losses(self, noise: ActivationNoise | LayerNoise, key: Key) -> Array:
        """The loss of each example at each of its pairs: shape (2, batch_size n_pairs)."""
        data = self.pool(key)
        losses = noise.losses(key, self.loss, data.y, data.weight)
        differences = (losses[0] - losses[1]).reshape(-1, self.n_pairs)
        if data.weight is not None:
            differences /= data.weight[:, None]
        if len(data) < len(self.data):
            squares = np.einsum("ip,ip->i", differences, differences)
            self.examples.learn(self.examples.pool(key).rows, squares / noise.sigma**2)
        return losses
