"""Node perturbation: noise on the activations of a network instead of on its weights.

Where the loss is a sum over examples, every example can have directions of its own, and a
direction in the space of units tells more than one in the far larger space of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._threads import ALONE, Threads
from blackbox_es.generation import Generation
from blackbox_es.neural.kernels import BLOCK
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.tasks import activation_losses, activation_sums
from blackbox_es.noise import Key, Range
from blackbox_es.samplers import Base, Sampler
from blackbox_es.strategies.vanilla import VanillaES

Array = npt.NDArray[Any]

_EXAMPLES_PER_TASK = 2 * BLOCK  # fixed, so that the sums keep their bits


@dataclass(frozen=True, eq=False)
class ActivationNoise:
    """Random signs on all units of a network, of each example and pair their own.

    Each of the P pairs of example i moves all linear maps, hidden layers and outputs alike, by

        z_l = h_{l-1} W_l + b_l +- sigma xi_{l,i,p},    h_0 = x_i,    h_l = activation(z_l)

    with independent signs xi, which gives two losses of that example. `Generation.gradient` with
    ``beta = 1`` and all ``M P`` pairs is then the estimate

        dL/dW_l = 1/(M P) sum_{i,p} (l_{i,p}^+ - l_{i,p}^-) / (2 sigma) h_{l-1,i} xi_{l,i,p}^T

    of the gradient of the mean loss, and that without h of dL/db_l, where h is not perturbed. Only
    a layer's linear map is differentiated; activations and loss may be anything. As sigma goes to 0
    the estimate is unbiased; its variance grows with the number of units instead of the number of
    weights (Werfel, Xie, Seung 2005). Independent signs of the units of all layers are the summed
    weight neuron perturbation of Flower and Jabri; perturbing one weight at a time is Jabri and
    Flower's.

    It has no directions in the space of weights, so `perturb` and with it the points of a
    generation do not exist: losses come from `generation_losses`.

    Parameters
    ----------
    network : Network
    center : ndarray of shape (n_parameters,), float32 or float64
        The weights and intercepts to which the noise is added: the center of the generation.
    X : ndarray of shape (M, n_inputs), dtype of the center
        The examples of the generation.
    n_pairs : int
        P, antithetic pairs per example; the generation has ``M P``, pair p of example i at
        ``i P + p``.
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
    >>> sampler = ActivationNoise(network, theta, X, n_pairs=500, sigma=0.1)
    >>> generation = Generation(theta, sampler, seed=0, index=0, n_pairs=2 * 500)
    >>> plus, minus = generation_losses(generation, "log_loss", np.array([0, 1]), None)
    >>> estimate = generation.gradient(plus - minus, beta=1.0, n_valid=2 * 500)
    >>> _, gradient = network.gradient(theta, X, np.array([0, 1]), None, "log_loss")
    >>> bool(np.corrcoef(estimate, gradient)[0, 1] > 0.95)
    True
    """

    network: Network
    center: Array
    X: Array
    n_pairs: int
    sigma: float = 1.0
    threads: Threads = field(default=ALONE, repr=False)

    @property
    def n(self) -> int:
        """Number of weights and intercepts."""
        return self.network.n_parameters

    def with_sigma(self, sigma: float) -> ActivationNoise:
        """The same distribution at another scale."""
        return replace(self, sigma=sigma)

    def words(self, key: Key) -> Array:
        """The signs of all pairs as `activation_losses` takes them, one bit each."""
        n_blocks = -(-len(self.X) // BLOCK)
        return noise.sign_words(key, (0, self.n_pairs), 2 * self.network.n_units * n_blocks)

    def perturb(self, center: Array, key: Key, pairs: Range) -> NoReturn:
        """Raise TypeError: no point in the space of weights is evaluated."""
        raise TypeError(
            "ActivationNoise perturbs activations: there are no perturbed weights to evaluate; "
            "take the losses from generation_losses, or perturb weights by LowRank"
        )

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_{i,p} weights[i P + p] sigma h_{l-1,i} xi_{l,i,p}^T`` of all layers, packed.

        Parameters
        ----------
        weights : ndarray of shape (M P,), float64
        key : (seed, generation)
        dtype : float32 or float64

        Returns
        -------
        ndarray of shape (n_parameters,)
            Products are those of the BLAS library, in pieces that do not depend on the threads.
        """
        words, weights = self.words(key), weights.reshape(len(self.X), self.n_pairs)

        def piece(start: int) -> Array:
            rows = slice(start, start + _EXAMPLES_PER_TASK)
            bits = slice(*(2 * self.network.n_units * (i // BLOCK) for i in (start, rows.stop)))
            sums = activation_sums(words[:, bits], weights[rows], self.sigma, self.X.dtype)
            return self._outer(self.X[rows], sums)

        total = np.zeros(self.n, self.X.dtype)
        for part in self.threads.map(piece, range(0, len(self.X), _EXAMPLES_PER_TASK)):
            total += part
        return total.astype(dtype, copy=False)

    def _outer(self, X: Array, sums: Array) -> Array:
        """``sum_i h_{l-1,i} sums_{l,i}^T`` of all layers, packed."""
        total = np.empty(self.n, X.dtype)
        ends = np.cumsum(self.network.layer_sizes[1:-1])
        layers = zip(
            self.network.inputs(self.center, X),
            np.split(sums, ends, axis=1),
            *self.network.unpack(total),
            strict=True,
        )
        for h, g, W, b in layers:
            np.matmul(h.T, g, out=W)
            np.sum(g, axis=0, out=b)
        return total


def generation_losses(
    generation: Generation, loss: Any, y: Array, sample_weight: Array | None
) -> Array:
    """Losses of each example by itself, at both halves of each of its pairs.

    ``v_i l(y_i, z_L)``; with ``v = sample_weight / mean(sample_weight)``, their mean and the
    gradient made of them are those of ``sum_i v_i l_i / sum_i v_i``, and an example of weight zero
    changes nothing. What an example gives depends on no other one, but for where it stands.

    Parameters
    ----------
    generation : Generation
        Of `ActivationNoise`.
    loss : str
        A name in `blackbox_es.neural.network.LOSSES`.
    y : ndarray
        (M,) class indices, or (M, n_outputs) of regression targets.
    sample_weight : ndarray of shape (M,) or None

    Returns
    -------
    losses : ndarray of shape (2, M P), float64
        NaN or infinite where an output is: never hidden.

    Raises
    ------
    TypeError
        If the generation perturbs weights.
    ValueError
        If the loss is a function, which has no value for each example; if shapes or dtypes do not
        fit, or the noise was made for another center or number of pairs.
    """
    sampler = generation.sampler
    if not isinstance(sampler, ActivationNoise):
        raise TypeError(f"activations are perturbed by ActivationNoise, not by {sampler!r}")
    if generation.n_pairs != len(sampler.X) * sampler.n_pairs:
        raise ValueError(
            f"the generation has {generation.n_pairs} pairs: expected {sampler.n_pairs} for each "
            f"of {len(sampler.X)} examples"
        )
    if not np.array_equal(generation.center, sampler.center, equal_nan=True):
        raise ValueError("the noise was made for another center: make a sampler per generation")
    losses = activation_losses(
        sampler.network,
        loss,
        sampler.center,
        sampler.sigma,
        sampler.words(generation.key),
        sampler.X,
        y,
        sample_weight,
        sampler.threads,
    )
    return losses.reshape(2, -1)


class ActivationObjective(NetworkObjective):
    """The mean loss of a network over a batch of examples, whose activations are perturbed.

    Parameters are those of `NetworkObjective`, but for ``n_pairs``, which are pairs per example: a
    generation has ``batch_size`` times as many, and its sampler is `noise`.
    """

    def __init__(self, *data: Any, n_pairs: int, **options: Any) -> None:
        super().__init__(*data, n_pairs=1, **options)
        self.n_pairs, self.examples_per_loss = n_pairs, 1

    def noise(self, center: Array, sigma: float, key: Key) -> ActivationNoise:
        """The sampler of a generation: noise for the examples drawn for it."""
        X = self.X[self.examples.pool(key).rows]
        return ActivationNoise(self.network, center, X, self.n_pairs, sigma, self.threads)

    def evaluate_generation(self, generation: Generation) -> Array:
        """The loss of each example at each of its pairs: shape (2, batch_size n_pairs)."""
        rows, weight = self.examples.pool(generation.key)
        losses = generation_losses(generation, self.loss, self.y[rows], weight)
        differences = (losses[0] - losses[1]).reshape(-1, self.n_pairs)
        if weight is not None:
            differences /= weight[:, None]
        if len(differences) < len(self.X):
            squares = np.einsum("ip,ip->i", differences, differences)
            self.examples.learn(rows, squares / generation.sampler.sigma**2)
        return losses


class ActivationES(VanillaES):
    """Descent along the estimates of `ActivationNoise`; `noise` makes that of a generation."""

    pairs_per_example: int
    noise: Callable[[Array, float, Key], ActivationNoise]

    def _sampler(self, base: Base, surrogate: Any) -> Sampler:
        return self.noise(self.x_, base.sigma, (self._seed, self.n_iter_))

    def _stalled(self, generation: Generation, weights: Array) -> None:
        """Never: the losses of one batch may well be all zero, and no point can be looked at."""
