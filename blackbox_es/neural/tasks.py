"""What the kernels compute, checked and laid out: losses of perturbed weights and activations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._threads import ALONE, Threads
from blackbox_es.neural import kernels
from blackbox_es.neural.kernels import BLOCK, CHUNK, GROUP, TILE, WORD
from blackbox_es.neural.network import Network

Array = npt.NDArray[Any]

ALIGNMENT = 64  # bytes, the widest register: no load or store straddles two cache lines
# A field of tasks: a constant would tempt the compiler to unroll what it could vectorise.
_MASKS = np.uint32(1) << np.arange(WORD, dtype=np.uint32)
_BLOCKS_PER_TASK = 2  # of examples with moved activations: half a millisecond of work for a thread

ACTIVATION_CODES = {
    "relu": kernels.RELU,
    "tanh": kernels.TANH,
    "logistic": kernels.LOGISTIC,
    "identity": kernels.IDENTITY,
    "step": kernels.STEP,
    "sign": kernels.SIGN,
}
LOSS_CODES = {
    "log_loss": kernels.LOG_LOSS,
    "squared_error": kernels.SQUARED_ERROR,
    "zero_one": kernels.ZERO_ONE,
    "hinge": kernels.HINGE,
}


# -- perturbed weights -----------------------------------------------------------------------------


def population_losses(
    network: Network,
    loss: str,
    theta: Array,
    scale: float,
    words: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    y: Array,
    sample_weight: Array | None,
    starts: Array,
    batch: int,
) -> tuple[Array, Array]:
    """Losses of ``theta + d_p`` and ``theta - d_p``, summed over the examples of pair ``p``.

    ``sum_i w_i l(y_i, f(theta +- d_p, x_i))`` over ``starts[p] <= i < starts[p] + batch``, where
    ``d_p = scale * signs_p + coefs[p] @ subspace`` and `signs_p` has the outer product of a and b
    in place of the weights of a hidden layer. A pair's losses are the same to the last bit whatever
    other pairs the call has. Calls may run in threads: they share nothing and release the GIL.

    Parameters
    ----------
    network : Network
    loss : str
        A name in `LOSS_CODES`.
    theta : ndarray of shape (n_parameters,), float32 or float64
    scale : float
    words : ndarray of shape (P, ceil(n_factors / 32)), uint32
        The signs of each pair, 32 to a word, lowest bit first: 1 is +1, 0 is -1. For each hidden
        layer a (fan_in), b and c (fan_out); then E (fan_in, fan_out), c (fan_out).
    coefs : ndarray of shape (P, k), dtype of theta
    subspace : ndarray of shape (k, n_parameters)
    X : ndarray of shape (M, n_inputs), C-contiguous, dtype of theta
    y : ndarray
        (M,) class indices, not checked, or (M, n_outputs). See `blackbox_es.neural.network.LOSSES`.
    sample_weight : ndarray of shape (M,) or None
    starts : ndarray of shape (P,), int
        Pairs with the same start share work if they are neighbours.
    batch : int

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
        If shapes or dtypes do not fit, or a slice leaves the pool.
    """
    if loss not in LOSS_CODES:
        raise ValueError(f"loss={loss!r} is unknown: take one of {', '.join(LOSS_CODES)}")
    targets = _targets(network, loss, y, len(X), theta.dtype)
    weights = _example_weights(sample_weight, len(X))
    task = _task(network, theta, scale, words, coefs, subspace, X, targets, starts, batch)
    kernels.evaluate(task._replace(loss=LOSS_CODES[loss], weights=weights))
    return task.losses, task.squares


def population_outputs(
    network: Network,
    theta: Array,
    scale: float,
    words: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    starts: Array,
    batch: int,
) -> Array:
    """Raw outputs at ``theta + d_p`` and ``theta - d_p`` for the examples of each pair.

    Parameters are those of `population_losses`.

    Returns
    -------
    outputs : ndarray of shape (2, P, batch, n_outputs), dtype of theta
    """
    targets = np.empty((len(X), 0), theta.dtype)
    task = _task(network, theta, scale, words, coefs, subspace, X, targets, starts, batch)
    outputs = np.empty((2, len(words), batch, network.layer_sizes[-1]), theta.dtype)
    kernels.evaluate(task._replace(outputs=outputs))
    return outputs


class Places(NamedTuple):
    """The first row of each thing that depends on the examples, and two numbers of rows."""

    examples: int  # D rows: X transposed, padded
    targets: int  # T
    shared: int  # (1 + k) N1: X W + bias of the first layer, at theta and each of the subspace
    projected: int  # X a of GROUP pairs, or X E + c of one pair if there is no hidden layer
    line: int  # 2: h a of one layer, and of the next
    hidden: int  # CHUNK: h, some units at a time
    linear: int  # 2 stride: h W + bias of one layer, and of the next
    values: int  # TILE: the losses first, then what they are made of; and where X is transposed
    first: int  # 1: the losses of the first half
    end: int
    stride: int  # units of the widest layer, and a row in front for `_losses`


class Task(NamedTuple):
    """What a call computes, from what and where. Flat, of the dtype of theta unless said."""

    fan_in: Array  # (L,) int64
    fan_out: Array  # (L,) int64
    in_parameters: Array  # (L,) int64: where a layer starts
    in_signs: Array  # (L,) int64: where a layer starts in the signs of a pair
    n_parameters: int  # padded
    n_factors: int  # padded
    n_guides: int
    activation: int
    loss: int
    parameters: Array  # theta, the rows of the subspace and room for a perturbed layer, all padded
    scale: Any  # scalar of that dtype
    words: Array  # (P, n_factors / WORD) uint32, two-dimensional
    masks: Array  # (WORD,) uint32: one bit each
    signs: Array  # (GROUP, n_factors), of the pairs at hand; of one if there is no hidden layer
    coefs: Array  # (P, k)
    X: Array  # (M, D), two-dimensional
    targets: Array  # (M, T), two-dimensional: labels or regression targets
    weights: Array  # (M,) float64, or empty for weights of one
    starts: Array  # (P,) int64
    batch: int
    at: Places
    rows: Array  # (at.end, BLOCK)
    row_weights: Array  # (BLOCK,) float64
    losses: Array  # (2, P), float64, two-dimensional: the result, zero at first
    squares: Array  # (M,), float64: the result by example, zero at first
    outputs: Array  # (2, P, batch, K), four-dimensional: the result if loss is NO_LOSS, or empty


def _task(
    network: Network,
    theta: Array,
    scale: float,
    words: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    targets: Array,
    starts: Array,
    batch: int,
) -> Task:
    """A checked task without a loss. The kernel itself looks at no bounds."""
    if theta.dtype not in (np.float32, np.float64):
        raise ValueError(f"theta has dtype {theta.dtype}: expected float32 or float64")
    n, k = network.n_parameters, len(subspace)
    starts = np.array(starts, np.int64)
    _check("theta", theta, (n,), theta.dtype)
    _check("words", words, (starts.size, -(-network.n_factors // WORD)), np.uint32)
    _check("coefs", coefs, (starts.size, k), theta.dtype)
    _check("subspace", subspace, (k, n), subspace.dtype)
    _check("X", X, (len(X), network.layer_sizes[0]), theta.dtype)
    lowest, highest = starts.min(initial=0), starts.max(initial=0)
    if not (starts.ndim == 1 and lowest >= 0 and 0 < batch <= len(X) - highest):
        raise ValueError(f"starts={starts} with batch={batch} leave the pool of {len(X)} examples")
    (fan_in, fan_out, in_parameters, in_signs), _, n_padded, _ = _layout(network)
    at, n_factors = _places(network, k, targets.shape[1]), words.shape[1] * WORD
    return Task(
        fan_in=fan_in,
        fan_out=fan_out,
        in_parameters=in_parameters,
        in_signs=in_signs,
        n_parameters=n_padded,
        n_factors=n_factors,
        n_guides=k,
        activation=ACTIVATION_CODES[network.activation],
        loss=kernels.NO_LOSS,
        parameters=_padded(network, (theta, *subspace), theta.dtype),
        scale=theta.dtype.type(scale),
        words=writeable(words),
        masks=_MASKS,
        signs=_aligned((GROUP if len(fan_in) > 1 else 1) * n_factors, theta.dtype),
        coefs=np.array(coefs).ravel(),
        X=writeable(X),
        targets=targets,
        weights=np.empty(0),
        starts=starts,
        batch=batch,
        at=at,
        rows=_aligned(at.end * BLOCK, theta.dtype),
        row_weights=np.empty(BLOCK),
        losses=np.zeros((2, starts.size)),
        squares=np.zeros(len(X)),
        outputs=np.empty((0, 0, 0, 0), theta.dtype),
    )


# -- moved activations -----------------------------------------------------------------------------


class NodeTask(NamedTuple):
    """What a call of `evaluate_nodes` computes; its fields are those of `Task`, but for the noise.

    Unit j, counted over all layers, of examples 64 b ... 64 b + 63 has the signs of words
    ``2 (b U + j)`` and the next of a pair, with U the number of units.
    """

    fan_in: Array
    fan_out: Array
    in_parameters: Array
    activation: int
    loss: int
    parameters: Array
    step: Any
    words: Array  # (P, 2 U blocks) uint32
    X: Array
    targets: Array
    weights: Array
    at: Places
    rows: Array
    row_weights: Array
    losses: Array  # (2, M, P) float64, the result


def activation_losses(
    network: Network,
    loss: str,
    theta: Array,
    step: float,
    words: Array,
    X: Array,
    y: Array,
    sample_weight: Array | None,
    threads: Threads = ALONE,
) -> Array:
    """Losses of each example by itself, with every unit of the network moved by ``+-step``.

    ``w_i l(y_i, z_L)`` with ``z_l = h_{l-1} W_l + b_l +- step xi_l`` in all layers, where the signs
    xi are of an example and a pair of their own, ``h_0 = x_i`` and ``h_l = activation(z_l)``. A
    loss is the same to the last bit whatever other examples and pairs the call has.

    Parameters
    ----------
    network : Network
    loss : str
        A name in `LOSS_CODES`.
    theta : ndarray of shape (n_parameters,), float32 or float64
    step : float
    words : ndarray of shape (P, 2 U ceil(M / BLOCK)), uint32
        One bit for each sign, where U is the number of units, outputs included: see `NodeTask`.
    X : ndarray of shape (M, n_inputs), dtype of theta
    y : ndarray
        (M,) class indices, not checked, or (M, n_outputs). See `blackbox_es.neural.network.LOSSES`.
    sample_weight : ndarray of shape (M,) or None
    threads : Threads
        Take a few blocks of examples each.

    Returns
    -------
    losses : ndarray of shape (2, M, P), float64
        Those of ``+step`` first. Not finite where an output is not: NaN is never hidden.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or if the loss is a function, which has no value for each
        example.
    """
    if loss not in LOSS_CODES:
        raise ValueError(
            f"loss={loss!r}: moved activations need a loss of each example by itself: take one of "
            f"{', '.join(LOSS_CODES)}, or perturb the weights"
        )
    if theta.dtype not in (np.float32, np.float64):
        raise ValueError(f"theta has dtype {theta.dtype}: expected float32 or float64")
    n_examples, n_pairs = len(X), len(words)
    n_blocks = -(-n_examples // BLOCK)
    _check("theta", theta, (network.n_parameters,), theta.dtype)
    _check("X", X, (n_examples, network.layer_sizes[0]), theta.dtype)
    _check("words", words, (n_pairs, 2 * network.n_units * n_blocks), np.uint32)
    targets = _targets(network, loss, y, n_examples, theta.dtype)
    (fan_in, fan_out, in_parameters, _), *_ = _layout(network)
    at = _places(network, 0, targets.shape[1])
    task = NodeTask(
        fan_in=fan_in,
        fan_out=fan_out,
        in_parameters=in_parameters,
        activation=ACTIVATION_CODES[network.activation],
        loss=LOSS_CODES[loss],
        parameters=_padded(network, (theta,), theta.dtype),
        step=theta.dtype.type(step),
        words=writeable(words),
        X=writeable(X),
        targets=targets,
        weights=_example_weights(sample_weight, n_examples),
        at=at,
        rows=_aligned(0, theta.dtype),
        row_weights=np.empty(0),
        losses=np.empty((2, n_examples, n_pairs)),
    )

    def evaluate_blocks(first: int) -> None:
        rows = _aligned(at.end * BLOCK, theta.dtype)
        last = min(first + _BLOCKS_PER_TASK, n_blocks)
        kernels.evaluate_nodes(task._replace(rows=rows, row_weights=np.empty(BLOCK)), first, last)

    threads.map(evaluate_blocks, range(0, n_blocks, _BLOCKS_PER_TASK))
    return task.losses


def activation_sums(words: Array, weights: Array, scale: float, dtype: npt.DTypeLike) -> Array:
    """``scale sum_p weights[i, p] xi_{i,j,p}`` for each example i and unit j, summed in float64.

    Parameters
    ----------
    words : ndarray of shape (P, 2 U ceil(M / BLOCK)), uint32
        As `activation_losses` takes them.
    weights : ndarray of shape (M, P), float64
    scale : float
    dtype : float32 or float64

    Returns
    -------
    ndarray of shape (M, U)
    """
    n_examples, n_pairs = weights.shape
    n_units = words.shape[1] // (2 * -(-n_examples // BLOCK))
    _check("words", words, (n_pairs, 2 * n_units * -(-n_examples // BLOCK)), np.uint32)
    out = np.empty((n_examples, n_units), dtype)
    weights = writeable(np.asarray(weights, np.float64))
    kernels.sum_signs(out, writeable(words), weights, scale)
    return out


# -- what both need --------------------------------------------------------------------------------


def _targets(network: Network, loss: str, y: Array, n_examples: int, dtype: Any) -> Array:
    """Labels or regression targets, of shape (n_examples, 1 or n_outputs)."""
    targets = writeable(np.asarray(y, dtype))
    outputs = (network.layer_sizes[-1],) if loss == "squared_error" else ()
    _check("y", targets, (n_examples, *outputs), dtype)
    return targets if targets.ndim == 2 else targets[:, None]


def _example_weights(sample_weight: Array | None, n_examples: int) -> Array:
    """Weights in float64, or none for weights of one."""
    if sample_weight is None:
        return np.empty(0)
    weights = writeable(np.asarray(sample_weight, np.float64))
    _check("sample_weight", weights, (n_examples,), np.float64)
    return weights


def _check(name: str, array: Array, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}: expected {shape} and {dtype}"
        )


def writeable(array: Array) -> Array:
    """The array, or a copy if it is read-only, for which a kernel would be compiled anew."""
    return np.require(array, requirements=("C", "W"))


@lru_cache
def _layout(
    network: Network,
) -> tuple[tuple[Array, Array, Array, Array], list[tuple[int, int, int]], int, int]:
    """The arrays by layer of a task, how to pad a vector, its padded size and that of a layer.

    The layer is the largest of those whose weights are perturbed, of which the first is none.

    Weights are padded by rows of zeros to whole tiles of inputs. A vector is padded by moving
    numbers ``start ... stop`` to ``target`` for each (start, stop, target).
    """
    fan_in, fan_out = np.array(network.shapes).T.copy()
    sizes, factors = (_whole(fan_in) + 1) * fan_out, fan_in + 2 * fan_out
    firsts = np.cumsum(sizes) - sizes
    moves, start = [], 0
    for (n_in, n_out), first in zip(network.shapes, firsts.tolist(), strict=True):
        moves.append((start, start + n_in * n_out, first))
        start += n_in * n_out
        moves.append((start, start + n_out, first + _whole(n_in) * n_out))
        start += n_out
    layers = fan_in, fan_out, firsts, np.cumsum(factors) - factors
    return layers, moves, int(sizes.sum()), int(sizes[1:].max(initial=0))


def _padded(network: Network, vectors: tuple[Array, ...], dtype: npt.DTypeLike) -> Array:
    """These vectors of parameters, padded, and room for a perturbed layer."""
    _, moves, n_padded, room = _layout(network)
    out = _aligned(len(vectors) * n_padded + room, dtype)
    out[: len(vectors) * n_padded] = 0
    for g, vector in enumerate(vectors):
        for start, stop, target in moves:
            first = target + g * n_padded
            out[first : first + stop - start] = vector[start:stop]
    return out


@lru_cache
def _places(network: Network, n_guides: int, n_targets: int) -> Places:
    n_in, n_out = network.shapes[0]
    projected = GROUP if len(network.shapes) > 1 else n_out
    stride = 1 + max(network.layer_sizes[1:])
    heights = [_whole(n_in), n_targets, (1 + n_guides) * n_out, projected]
    heights += [2, CHUNK, 2 * stride, TILE, 1]
    places = Places._make([*np.cumsum([0, *heights]).tolist(), stride])
    return places._replace(linear=places.linear + 1)


def _whole(n: Any) -> Any:
    """The next multiple of TILE."""
    return -(-n // TILE) * TILE


def _aligned(n: int, dtype: npt.DTypeLike) -> Array:
    """An uninitialised array whose address is a multiple of ALIGNMENT."""
    n_bytes = n * np.dtype(dtype).itemsize
    spare = np.empty(n_bytes + ALIGNMENT, np.uint8)
    skip = -spare.ctypes.data % ALIGNMENT
    return spare[skip : skip + n_bytes].view(dtype)
