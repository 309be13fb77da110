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
    later_layers,
    layout_of,
    node_places_of,
    padded,
    places_of,
    targets_and_weights,
)
from blackbox_es.neural.losses import Loss, as_loss
from blackbox_es.neural.network import Network
from blackbox_es.neural.signs import Signs, walsh

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


def first_layer(network: Network, theta: Array, X: Array, threads: Threads = ALONE) -> Array:
    """``X W_1 + b_1`` in blocks of examples, the last one filled up: shape (blocks, N1, BLOCK)."""
    check_center(network, theta, X)
    (W, *_), (b, *_) = network.unpack(theta)
    out = np.zeros((-(-len(X) // BLOCK), W.shape[1], BLOCK), theta.dtype)

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite makes losses that are not
    def fill(block: int) -> None:
        rows = X[block * BLOCK : (block + 1) * BLOCK]
        if len(rows) < BLOCK:  # a product of another shape might be rounded otherwise
            rows = np.concatenate([rows, np.zeros((BLOCK - len(rows), X.shape[1]), X.dtype)])
        np.matmul(W.T, rows.T, out=out[block])
        out[block] += b[:, None]

    threads.map(fill, range(len(out)))
    return out


def activation_losses(
    network: Network,
    loss: str | Loss,
    theta: Array,
    sigma: float,
    signs: Signs,
    data: Data,
    linear: Array | None = None,
    threads: Threads = ALONE,
) -> Array:
    """Losses of each example by itself, with every unit of the network moved by ``+-sigma``.

    ``w_i l(y_i, z_L)`` with ``z_l = h_{l-1} W_l + b_l +- sigma xi_l`` in all layers, where the
    signs xi are of an example and a pair of their own, ``h_0 = x_i`` and ``h_l = activation(z_l)``.
    A loss is the same to the last bit whatever other examples the call has.

    Parameters
    ----------
    network : Network
    loss : str or Loss
        A row of `LOSSES` or its name.
    theta : ndarray of shape (n_parameters,), float32 or float64
    sigma : float
    signs : Signs
        Of the units, layer after layer, outputs included.
    data : Data
        M examples; X of the dtype of theta. Indices of classes are not checked.
    linear : ndarray, optional
        What `first_layer` returns.
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
    if linear is None:
        linear = first_layer(network, theta, data.X, threads)
    n_blocks, n_units = len(linear), network.n_units
    check_array("signs.own", signs.own, (n_blocks, n_units, 2), np.uint32)
    targets, weights = targets_and_weights(network, loss, data, theta.dtype)
    at, row = node_places_of(network, signs.n_pairs, targets.shape[1]), as_loss(loss)
    later = later_layers(network, theta)
    room = BLOCK * later.fan_out[0] if later.fan_out.size else 0
    task = NodeTask(
        **later._asdict(),
        activation=as_activation(network.activation).code,
        loss=row.code,
        loss_parameter=theta.dtype.type(row.parameter),
        sigma=theta.dtype.type(sigma),
        own=writeable(signs.own),
        numbers=np.array(signs.numbers, dtype=np.int64),
        walsh=walsh(signs.n_pairs, signs.numbers).astype(theta.dtype),
        linear=linear,
        targets=targets,
        weights=weights,
        at=at,
        rows=theta,
        parts=np.empty((0, 0), theta.dtype),
        row_weights=weights,
        losses=np.empty((2, len(data), signs.n_pairs)),
    )

    def evaluate_block(block: int) -> None:
        rows = aligned(at.end * BLOCK, theta.dtype)
        parts = aligned(signs.n_pairs * room, theta.dtype).reshape(signs.n_pairs, room)
        own = task._replace(rows=rows, parts=parts, row_weights=np.empty(BLOCK))
        kernels.evaluate_nodes(own, block)

    threads.map(evaluate_block, range(n_blocks))
    return task.losses
