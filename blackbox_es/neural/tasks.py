"""What the kernels compute, checked and laid out: losses of perturbed weights and activations.

How parameters and examples lie before the kernels is in `layout`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural import kernels
from blackbox_es.neural.activations import as_activation
from blackbox_es.neural.data import Data, writeable
from blackbox_es.neural.kernels import BLOCK, GROUP, WORD, NodeTask, Task
from blackbox_es.neural.layout import (
    aligned,
    check_array,
    check_center,
    layout_of,
    padded,
    places_of,
    targets_and_weights,
)
from blackbox_es.neural.losses import Loss, as_loss
from blackbox_es.neural.network import Network

Array = npt.NDArray[Any]

# A field of tasks: a constant would tempt the compiler to unroll what it could vectorise.
_MASKS = np.uint32(1) << np.arange(WORD, dtype=np.uint32)


# -- perturbed weights -----------------------------------------------------------------------------


class Population(NamedTuple):
    """Pairs of networks with perturbed weights, and which of some examples each of them sees.

    Pair p are ``theta + d_p`` and ``theta - d_p`` with ``d_p = sigma * signs_p + coefs[p] @
    subspace``, where `signs_p` has the outer product of a and b in place of the weights of a hidden
    layer. It sees the slice ``starts[p] <= i < starts[p] + batch`` of the examples.

    Parameters
    ----------
    network : Network
    theta : ndarray of shape (n_parameters,), float32 or float64
    sigma : float
        How far a sign moves a weight.
    words : ndarray of shape (P, ceil(n_factors / 32)), uint32
        The signs of each pair, 32 to a word, lowest bit first: 1 is +1, 0 is -1. For each hidden
        layer a (fan_in), b and c (fan_out); then E (fan_in, fan_out), c (fan_out).
    coefs : ndarray of shape (P, k), dtype of theta
    subspace : ndarray of shape (k, n_parameters)
    starts : ndarray of shape (P,), int
        Pairs with the same start share work if they are neighbours.
    batch : int
    """

    network: Network
    theta: Array
    sigma: float
    words: Array
    coefs: Array
    subspace: Array
    starts: Array
    batch: int

    def losses(self, loss: str | Loss, data: Data) -> tuple[Array, Array]:
        """`population_losses` of it."""
        return population_losses(self, loss, data)

    def outputs(self, X: Array) -> Array:
        """`population_outputs` of it."""
        return population_outputs(self, X)


def population_losses(population: Population, loss: str | Loss, data: Data) -> tuple[Array, Array]:
    """Losses of ``theta + d_p`` and ``theta - d_p``, summed over the examples of pair ``p``.

    ``sum_i w_i l(y_i, f(theta +- d_p, x_i))`` over the slice of the pair. A pair's losses are the
    same to the last bit whatever other pairs the call has. Calls may run in threads: they share
    nothing and release the GIL.

    Parameters
    ----------
    population : Population
    loss : str or Loss
        A row of `LOSSES` or its name.
    data : Data
        M examples; X of the dtype of theta. Indices of classes are not checked.

    Returns
    -------
    losses : ndarray of shape (2, P), float64
        Not finite where an output is not: NaN is never hidden by an activation or a maximum.
    squares : ndarray of shape (M,), float64
        For each example ``sum_p (l(y_i, f(theta + d_p, x_i)) - l(y_i, f(theta - d_p, x_i)))^2``
        over the pairs that see it, without its weight: how much the directions change its loss.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, a slice leaves the examples, or there is no such loss.
    """
    targets, weights = targets_and_weights(population.network, loss, data, population.theta.dtype)
    task = _task(population, data.X, targets)
    row = as_loss(loss)
    parameter = population.theta.dtype.type(row.parameter)
    kernels.evaluate(task._replace(loss=row.code, loss_parameter=parameter, weights=weights))
    return task.losses, task.squares


def population_outputs(population: Population, X: Array) -> Array:
    """Raw outputs at ``theta + d_p`` and ``theta - d_p`` for the examples of each pair.

    Parameters
    ----------
    population : Population
    X : ndarray of shape (M, n_inputs), dtype of theta

    Returns
    -------
    outputs : ndarray of shape (2, P, batch, n_outputs), dtype of theta

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or a slice leaves the examples.
    """
    network, dtype = population.network, population.theta.dtype
    task = _task(population, X, np.empty((len(X), 0), dtype))
    shape = 2, len(population.words), population.batch, network.layer_sizes[-1]
    outputs = np.empty(shape, dtype)
    kernels.evaluate(task._replace(outputs=outputs))
    return outputs


def _task(population: Population, X: Array, targets: Array) -> Task:
    """A checked task without a loss. The kernel itself looks at no bounds."""
    network, theta, sigma, words, coefs, subspace, starts, batch = population
    check_center(network, theta, X)
    n, k, starts = network.n_parameters, len(subspace), np.array(starts, np.int64)
    check_array("words", words, (starts.size, -(-network.n_factors // WORD)), np.uint32)
    check_array("coefs", coefs, (starts.size, k), theta.dtype)
    check_array("subspace", subspace, (k, n), subspace.dtype)
    lowest, highest = starts.min(initial=0), starts.max(initial=0)
    if not (starts.ndim == 1 and lowest >= 0 and 0 < batch <= len(X) - highest):
        raise ValueError(f"starts={starts} with batch={batch} leave the pool of {len(X)} examples")
    layout, at = layout_of(network), places_of(network, k, targets.shape[1])
    n_factors = words.shape[1] * WORD
    return Task(
        fan_in=layout.fan_in,
        fan_out=layout.fan_out,
        in_parameters=layout.in_parameters,
        in_signs=layout.in_signs,
        n_parameters=layout.size,
        n_factors=n_factors,
        n_guides=k,
        activation=as_activation(network.activation).code,
        loss=kernels.NO_LOSS,
        loss_parameter=theta.dtype.type(0),
        parameters=padded(network, (theta, *subspace), theta.dtype),
        sigma=theta.dtype.type(sigma),
        words=writeable(words),
        masks=_MASKS,
        signs=aligned((GROUP if len(layout.fan_in) > 1 else 1) * n_factors, theta.dtype),
        coefs=np.array(coefs).ravel(),
        X=writeable(X),
        targets=targets,
        weights=np.empty(0),
        starts=starts,
        batch=batch,
        at=at,
        rows=aligned(at.end * BLOCK, theta.dtype),
        row_weights=np.empty(BLOCK),
        losses=np.zeros((2, starts.size)),
        squares=np.zeros(len(X)),
        outputs=np.empty((0, 0, 0, 0), theta.dtype),
    )


# -- moved activations -----------------------------------------------------------------------------


def activation_losses(
    network: Network,
    loss: str | Loss,
    theta: Array,
    sigma: float,
    words: Array,
    data: Data,
    threads: Threads = ALONE,
) -> Array:
    """Losses of each example by itself, with every unit of the network moved by ``+-sigma``.

    ``w_i l(y_i, z_L)`` with ``z_l = h_{l-1} W_l + b_l +- sigma xi_l`` in all layers, where the
    signs xi are of an example and a pair of their own, ``h_0 = x_i`` and ``h_l = activation(z_l)``.
    A loss is the same to the last bit whatever other examples and pairs the call has.

    Parameters
    ----------
    network : Network
    loss : str or Loss
        A row of `LOSSES` or its name.
    theta : ndarray of shape (n_parameters,), float32 or float64
    sigma : float
    words : ndarray of shape (P, 2 U ceil(M / BLOCK)), uint32
        One bit for each sign, where U is the number of units, outputs included: see `NodeTask`.
    data : Data
        M examples; X of the dtype of theta. Indices of classes are not checked.
    threads : Threads
        Take a block of examples each.

    Returns
    -------
    losses : ndarray of shape (2, M, P), float64
        Those of ``+sigma`` first. Not finite where an output is not: NaN is never hidden.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or if the loss is no name but a function, which has no value
        for each example.
    """
    check_center(network, theta, data.X)
    n_examples, n_pairs = len(data), len(words)
    n_blocks = -(-n_examples // BLOCK)
    check_array("words", words, (n_pairs, 2 * network.n_units * n_blocks), np.uint32)
    targets, weights = targets_and_weights(network, loss, data, theta.dtype)
    layout, at = layout_of(network), places_of(network, 0, targets.shape[1])
    row = as_loss(loss)
    task = NodeTask(
        fan_in=layout.fan_in,
        fan_out=layout.fan_out,
        in_parameters=layout.in_parameters,
        activation=as_activation(network.activation).code,
        loss=row.code,
        loss_parameter=theta.dtype.type(row.parameter),
        parameters=padded(network, (theta,), theta.dtype),
        sigma=theta.dtype.type(sigma),
        words=writeable(words),
        X=writeable(data.X),
        targets=targets,
        weights=weights,
        at=at,
        rows=aligned(0, theta.dtype),
        row_weights=np.empty(0),
        losses=np.empty((2, n_examples, n_pairs)),
    )

    def evaluate_block(block: int) -> None:
        rows = aligned(at.end * BLOCK, theta.dtype)
        kernels.evaluate_nodes(task._replace(rows=rows, row_weights=np.empty(BLOCK)), block)

    threads.map(evaluate_block, range(n_blocks))
    return task.losses
