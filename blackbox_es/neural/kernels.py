"""Losses of a whole population of antithetic perturbations of one network, pair by pair.

A pair moves every hidden layer by a matrix of rank one and the last layer by a full matrix, all of
random signs: ``W +- s a b'`` and ``W +- s E``, intercepts by ``+- s c``. The first hidden layer of
a pair then needs no product with weights of its own,

    X (W +- s a b') + bias +- s c = (X W + bias) +- s ((X a) b' + c),

and the bracket on the left is shared by all pairs that see the same examples.

How it is laid out: examples pass in blocks of `BLOCK`. All that depends on them lies in one array
of rows of `BLOCK` examples, in which a layer is the number of its first row; every loop runs over
neighbouring examples, with weights as scalars. The products are computed here rather than by a BLAS
library: each entry is the same chain of fused multiply-adds whatever else the call computes, and so
a pair's losses keep their bits however a population is divided among calls and threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import inline, jit
from blackbox_es.neural.network import Network

Array = npt.NDArray[Any]

BLOCK = 64  # examples: whole registers, and the units of a layer stay in the nearest caches
GROUP = 16  # pairs whose X a are computed together
TILE = 8  # inputs added up in registers between two visits to an output
ALIGNMENT = 64  # bytes, the widest register: no load or store straddles two cache lines

# Not an int, of whose type Numba would compile a version of its own.
LAYER = np.intp(-1)

RELU, TANH, LOGISTIC, IDENTITY, STEP, SIGN = range(6)
ACTIVATION_CODES = {
    "relu": RELU,
    "tanh": TANH,
    "logistic": LOGISTIC,
    "identity": IDENTITY,
    "step": STEP,
    "sign": SIGN,
}
NO_LOSS, LOG_LOSS, SQUARED_ERROR, ZERO_ONE, HINGE = range(5)
LOSS_CODES = {
    "log_loss": LOG_LOSS,
    "squared_error": SQUARED_ERROR,
    "zero_one": ZERO_ONE,
    "hinge": HINGE,
}


class Places(NamedTuple):
    """The first row of each thing that depends on examples, and how many rows there are."""

    examples: int  # D rows: X transposed
    targets: int  # T
    shared: int  # (1 + k) N1: X W + bias of the first layer, with theta and each of the subspace
    projected: (
        int  # GROUP: X a of some pairs; or K: X E + c of one pair if there is no hidden layer
    )
    line: int  # 1: h a of a deeper layer
    hidden: int  # widest layer: h
    linear: int  # widest layer: h W + bias, and finally the raw outputs
    values: int  # TILE: the losses first, then what they are made of; where X is transposed
    n_rows: int


class Task(NamedTuple):
    """What a call computes, from what and where. Flat arrays of one dtype unless said."""

    fan_in: Array  # (L,) int64
    fan_out: Array  # (L,) int64
    first_parameter: Array  # (L,) int64: where the layer is in theta
    first_factor: Array  # (L,) int64: where the layer is in the signs of a pair
    activation: int
    loss: int
    parameters: Array  # theta, the k rows of the subspace, room for the largest layer, perturbed
    n_parameters: int
    scale: Any  # scalar of that dtype
    signs: Array  # (P, F)
    coefs: Array  # (P, k)
    X: Array  # (M, D), not flat
    targets: Array  # (M, T), not flat: labels or regression targets
    weights: Array  # (M,) float64, or empty for weights of one
    starts: Array  # (P,) int64
    batch: int
    at: Places
    rows: Array  # (n_rows, BLOCK)
    row_weights: Array  # (BLOCK,) float64
    losses: Array  # (2, P) float64, not flat: the result, zero at first
    outputs: Array  # (2, P, batch, K), not flat: the result if loss is NO_LOSS, else empty


def population_losses(
    network: Network,
    loss: str,
    theta: Array,
    scale: float,
    signs: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    y: Array,
    sample_weight: Array | None,
    starts: Array,
    batch: int,
) -> Array:
    """``sum_i w_i l_i`` of both halves of each pair, over the examples the pair sees.

    Half 0 has the parameters ``theta + d_p``, half 1 ``theta - d_p``, with ``d_p`` the signs of the
    pair times `scale`, arranged as the module says, plus ``coefs[p] @ subspace``.

    Parameters
    ----------
    network : Network
    loss : str
        A name in `LOSSES`.
    theta : ndarray of shape (n,), float32 or float64
    scale : float
        Size of each coordinate's move.
    signs : ndarray of shape (n_pairs, n_factors), dtype of theta
        See `blackbox_es.samplers.LowRank.factors`.
    coefs : ndarray of shape (n_pairs, k), dtype of theta
    subspace : ndarray of shape (k, n), dtype of theta; k may be 0
    X : ndarray of shape (n_samples, n_inputs), dtype of theta, C-contiguous
    y : ndarray of shape (n_samples,) of class indices, or (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,) or None
        None weighs every example by 1.
    starts : ndarray of shape (n_pairs,), int
        Pair p sees the examples ``starts[p] : starts[p] + batch``; fastest if pairs that see the
        same ones are neighbours.
    batch : int

    Returns
    -------
    ndarray of shape (2, n_pairs), float64
        A pair's losses have the same bits in any call and any thread.
    """
    targets = np.ascontiguousarray(y, theta.dtype).reshape(len(X), -1)
    weights = np.empty(0) if sample_weight is None else np.ascontiguousarray(sample_weight, float)
    task = _task(network, theta, scale, signs, coefs, subspace, X, targets, starts, batch)
    task = task._replace(loss=LOSS_CODES[loss], weights=weights)
    evaluate(task)
    return task.losses


def population_outputs(
    network: Network,
    theta: Array,
    scale: float,
    signs: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    starts: Array,
    batch: int,
) -> Array:
    """The raw outputs of both halves of each pair: shape (2, n_pairs, batch, n_outputs).

    Parameters as in `population_losses`.
    """
    task = _task(network, theta, scale, signs, coefs, subspace, X, X[:, :1], starts, batch)
    outputs = np.empty((2, len(signs), batch, network.layer_sizes[-1]), theta.dtype)
    evaluate(task._replace(outputs=outputs))
    return outputs


def _task(
    network: Network,
    theta: Array,
    scale: float,
    signs: Array,
    coefs: Array,
    subspace: Array,
    X: Array,
    targets: Array,
    starts: Array,
    batch: int,
) -> Task:
    fan_in, fan_out = np.array(network.shapes).T.copy()
    at = _places(network, len(subspace), targets.shape[1])
    largest = max((fan_in + 1) * fan_out for fan_in, fan_out in network.shapes)
    parameters = _aligned(theta.size + subspace.size + largest, theta.dtype)
    parameters[: theta.size] = theta
    parameters[theta.size : -largest] = subspace.ravel()
    return Task(
        fan_in=fan_in,
        fan_out=fan_out,
        first_parameter=np.cumsum((fan_in + 1) * fan_out) - (fan_in + 1) * fan_out,
        first_factor=np.cumsum(fan_in + 2 * fan_out) - (fan_in + 2 * fan_out),
        activation=ACTIVATION_CODES[network.activation],
        loss=NO_LOSS,
        parameters=parameters,
        n_parameters=theta.size,
        scale=theta.dtype.type(scale),
        signs=signs.ravel(),
        coefs=coefs.ravel(),
        X=X,
        targets=np.ascontiguousarray(targets),
        weights=np.empty(0),
        starts=np.ascontiguousarray(starts, np.int64),
        batch=batch,
        at=at,
        rows=_aligned(at.n_rows * BLOCK, theta.dtype),
        row_weights=np.empty(BLOCK),
        losses=np.zeros((2, len(signs))),
        outputs=np.empty((0, 0, 0, 0), theta.dtype),
    )


def _places(network: Network, n_guides: int, n_targets: int) -> Places:
    first, widest = network.layer_sizes[1], max(network.layer_sizes[1:])
    projected = GROUP if len(network.shapes) > 1 else first
    n_rows = (
        network.layer_sizes[0],
        n_targets,
        (1 + n_guides) * first,
        projected,
        1,
        widest,
        widest,
        TILE,
    )
    return Places(*(sum(n_rows[:i]) for i in range(len(n_rows) + 1)))


def _aligned(n: int, dtype: npt.DTypeLike) -> Array:
    """An uninitialised array whose first element has an address divisible by ALIGNMENT."""
    spare = np.empty(n * np.dtype(dtype).itemsize + ALIGNMENT, np.uint8)
    skip = -spare.ctypes.data % ALIGNMENT
    return spare[skip : skip + n * np.dtype(dtype).itemsize].view(dtype)


@jit(contract=True)
def evaluate(task):
    """Losses or raw outputs of both halves of all pairs, written to the arrays of the task."""
    n_pairs = len(task.starts)
    group = GROUP if len(task.fan_in) > 1 else 1
    first = 0
    while first < n_pairs:
        last = first + 1
        while last < n_pairs and task.starts[last] == task.starts[first]:
            last += 1
        for row in range(0, task.batch, BLOCK):
            count = min(BLOCK, task.batch - row)
            _load(task, task.starts[first] + row, count)
            for pair in range(first, last):
                member = (pair - first) % group
                if member == 0:
                    _project(task, pair, min(group, last - pair))
                for half in range(2):
                    _forward(task, pair, member, half)
                    _finish(task, pair, half, row, count)
        first = last


@inline()
def _load(task, first, count):
    """A block of examples, and what all pairs share of its first layer."""
    rows, at, n = task.rows, task.at, task.n_parameters
    n_in, n_out = task.fan_in[0], task.fan_out[0]
    _transpose(rows, at.examples, at.values, task.X, first, count)
    _copy(rows, at.targets, task.row_weights, task.targets, task.weights, first, count)
    for g in range(1 + len(task.coefs) // len(task.starts)):
        _product(
            rows, at.shared + g * n_out, at.examples, task.parameters, g * n, n_in, n_out, LAYER
        )


@inline()
def _project(task, pair, count):
    """X a for `count` pairs, or X E + c for one pair of a model without hidden layers."""
    n_factors = len(task.signs) // len(task.starts)
    n_out, stride = count, n_factors
    if len(task.fan_in) == 1:
        n_out, stride = task.fan_out[0], LAYER
    _product(
        task.rows,
        task.at.projected,
        task.at.examples,
        task.signs,
        pair * n_factors,
        task.fan_in[0],
        n_out,
        stride,
    )


@inline()
def _forward(task, pair, member, half):
    """The raw outputs of one half of a pair for a block of examples, left in at.linear."""
    at, rows, parameters, signs = task.at, task.rows, task.parameters, task.signs
    n_pairs, n_layers = len(task.starts), len(task.fan_in)
    k = len(task.coefs) // n_pairs
    sign = rows.dtype.type(1 - 2 * half)
    step = sign * task.scale
    n_in, n_out = task.fan_in[0], task.fan_out[0]
    pair_factors = pair * (len(signs) // n_pairs)
    base = at.shared
    if k > 0 or n_layers == 1:
        base = at.linear
        n = n_out * BLOCK
        _perturb(
            rows,
            base * BLOCK,
            at.shared * BLOCK,
            n,
            n,
            rows,
            at.projected * BLOCK,
            n if n_layers == 1 else 0,
            step,
            task.coefs,
            pair * k,
            k,
            sign,
        )
    if n_layers > 1:
        _rank_one(
            rows,
            at.hidden,
            base,
            at.projected + member,
            signs,
            pair_factors + n_in,
            step,
            task.activation,
            n_out,
        )
    for layer in range(1, n_layers):
        n_in, n_out = task.fan_in[layer], task.fan_out[layer]
        own, factors = task.first_parameter[layer], pair_factors + task.first_factor[layer]
        last = layer == n_layers - 1
        if k > 0 or last:
            n = (n_in + 1) * n_out
            base = own
            own = (1 + k) * task.n_parameters
            _perturb(
                parameters,
                own,
                base,
                task.n_parameters,
                n,
                signs,
                factors,
                n if last else 0,
                step,
                task.coefs,
                pair * k,
                k,
                sign,
            )
        _product(rows, at.linear, at.hidden, parameters, own, n_in, n_out, LAYER)
        if not last:
            _product(rows, at.line, at.hidden, signs, factors, n_in, np.intp(1), n_in)
            _rank_one(
                rows,
                at.hidden,
                at.linear,
                at.line,
                signs,
                factors + n_in,
                step,
                task.activation,
                n_out,
            )


@inline()
def _finish(task, pair, half, row, count):
    rows, at = task.rows, task.at
    n_out = task.fan_out[-1]
    if task.loss == NO_LOSS:
        for e in range(count):
            for j in range(n_out):
                task.outputs[half, pair, row + e, j] = rows[(at.linear + j) * BLOCK + e]
    else:
        _losses(rows, at.values, at.linear, at.targets, task.loss, n_out)
        task.losses[half, pair] += _total(rows, at.values, task.row_weights, count)


@jit()
def _transpose(rows, out, spare, X, first, count):
    """Examples first ... first + count as columns of rows out ..., zero beyond.

    Eight examples are interleaved and then copied: both loops become moves of whole registers.
    """
    n = X.shape[1]
    columns = rows[out * BLOCK : (out + n) * BLOCK]
    whole = count if count == BLOCK else 0
    octet = rows[spare * BLOCK : (spare + 8) * BLOCK]
    for left in range(0, n, BLOCK):
        width = min(BLOCK, n - left)
        for e in range(0, whole, 8):
            x = X[first + e : first + e + 8, left : left + width]
            for i in range(width):
                octet[8 * i] = x[0, i]
                octet[8 * i + 1] = x[1, i]
                octet[8 * i + 2] = x[2, i]
                octet[8 * i + 3] = x[3, i]
                octet[8 * i + 4] = x[4, i]
                octet[8 * i + 5] = x[5, i]
                octet[8 * i + 6] = x[6, i]
                octet[8 * i + 7] = x[7, i]
            corner = columns[left * BLOCK + e :]
            for i in range(width):
                source = octet[8 * i : 8 * i + 8]
                target = corner[i * BLOCK : i * BLOCK + 8]
                a, b, c, d = source[0], source[1], source[2], source[3]
                p, q, r, s = source[4], source[5], source[6], source[7]
                target[0], target[1], target[2], target[3] = a, b, c, d
                target[4], target[5], target[6], target[7] = p, q, r, s
    if whole < count:
        columns[:] = 0
        for e in range(count):
            for i in range(n):
                columns[i * BLOCK + e] = X[first + e, i]


@jit()
def _copy(rows, out, row_weights, targets, weights, first, count):
    """Targets and weights of a block, zero beyond `count`."""
    n = targets.shape[1]
    columns = rows[out * BLOCK : (out + n) * BLOCK]
    columns[:] = 0
    row_weights[:] = 0
    for e in range(count):
        for j in range(n):
            columns[j * BLOCK + e] = targets[first + e, j]
        row_weights[e] = weights[first + e] if len(weights) > 0 else 1.0


@jit(contract=True)
def _product(rows, out, x, weights, start, n_in, n_out, stride):
    """out[j] = sum_i weights[start + j * stride + i] x[i], or x W + b for a LAYER at `start`."""
    down, right = (n_out, 1) if stride == LAYER else (1, stride)
    for j in range(n_out):
        b = weights[start + n_in * n_out + j] if stride == LAYER else rows.dtype.type(0)
        rows[(out + j) * BLOCK : (out + j + 1) * BLOCK] = b
    whole = n_in - n_in % TILE
    for i in range(0, whole, TILE):
        tile = rows[(x + i) * BLOCK : (x + i + TILE) * BLOCK]
        for j in range(0, n_out - 1, 2):
            v = weights[start + i * down + j * right :]
            w = weights[start + i * down + (j + 1) * right :]
            _add_tile_2(rows[(out + j) * BLOCK : (out + j + 2) * BLOCK], tile, v, w, down)
        if n_out % 2 == 1:
            j = n_out - 1
            v = weights[start + i * down + j * right :]
            _add_tile_1(rows[(out + j) * BLOCK : (out + j + 1) * BLOCK], tile, v, down)
    for i in range(whole, n_in):
        tile = rows[(x + i) * BLOCK : (x + i + 1) * BLOCK]
        for j in range(n_out):
            o = rows[(out + j) * BLOCK : (out + j + 1) * BLOCK]
            w0 = weights[start + i * down + j * right]
            for e in range(BLOCK):
                o[e] += w0 * tile[e]


@inline(contract=True)
def _add_tile_2(out, x, v, w, down):
    """Add a tile of inputs to two outputs."""
    v0, v1, v2, v3 = v[0], v[down], v[2 * down], v[3 * down]
    v4, v5, v6, v7 = v[4 * down], v[5 * down], v[6 * down], v[7 * down]
    w0, w1, w2, w3 = w[0], w[down], w[2 * down], w[3 * down]
    w4, w5, w6, w7 = w[4 * down], w[5 * down], w[6 * down], w[7 * down]
    for e in range(BLOCK):
        x0, x1, x2, x3 = x[e], x[BLOCK + e], x[2 * BLOCK + e], x[3 * BLOCK + e]
        x4, x5, x6, x7 = x[4 * BLOCK + e], x[5 * BLOCK + e], x[6 * BLOCK + e], x[7 * BLOCK + e]
        p = out[e] + v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4 + v5 * x5 + v6 * x6 + v7 * x7
        q = (
            out[BLOCK + e]
            + w0 * x0
            + w1 * x1
            + w2 * x2
            + w3 * x3
            + w4 * x4
            + w5 * x5
            + w6 * x6
            + w7 * x7
        )
        out[e] = p
        out[BLOCK + e] = q


@inline(contract=True)
def _add_tile_1(out, x, v, down):
    """Add a tile of inputs to one output."""
    v0, v1, v2, v3 = v[0], v[down], v[2 * down], v[3 * down]
    v4, v5, v6, v7 = v[4 * down], v[5 * down], v[6 * down], v[7 * down]
    for e in range(BLOCK):
        x0, x1, x2, x3 = x[e], x[BLOCK + e], x[2 * BLOCK + e], x[3 * BLOCK + e]
        x4, x5, x6, x7 = x[4 * BLOCK + e], x[5 * BLOCK + e], x[6 * BLOCK + e], x[7 * BLOCK + e]
        out[e] += v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4 + v5 * x5 + v6 * x6 + v7 * x7


@jit(contract=True)
def _perturb(numbers, out, base, stride, n, moves, move, n_moves, step, coefs, c, k, sign):
    """out = base + step * moves + sign * sum_g coefs[g] guides[g], guides lying behind base."""
    o = numbers[out : out + n]
    z = numbers[base : base + n]
    if n_moves == 0:
        for i in range(n):
            o[i] = z[i]
    else:
        m = moves[move : move + n]
        for i in range(n):
            o[i] = z[i] + step * m[i]
    for g in range(k):
        base += stride
        guide = numbers[base : base + n]
        coef = sign * coefs[c + g]
        for i in range(n):
            o[i] += coef * guide[i]


@jit(contract=True)
def _rank_one(rows, out, base, u, signs, start, step, activation, n):
    """out[j] = activation(base[j] + step * (b[j] u + c[j])), with b, c in signs from `start` on."""
    # What is not a relu passes this bound, infinite as it is, unharmed.
    floor = rows.dtype.type(0 if activation == RELU else -np.inf)
    v = rows[u * BLOCK : (u + 1) * BLOCK]
    for j in range(n):
        b = step * signs[start + j]
        c = step * signs[start + n + j]
        z = rows[(base + j) * BLOCK : (base + j + 1) * BLOCK]
        o = rows[(out + j) * BLOCK : (out + j + 1) * BLOCK]
        for e in range(BLOCK):
            value = z[e] + (b * v[e] + c)
            o[e] = floor if value < floor else value
    _activate(rows[out * BLOCK : (out + n) * BLOCK], activation)


@inline(contract=True)
def _activate(h, activation):
    """Apply an activation that is not piecewise linear; NaN stays NaN."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    if activation == TANH:
        for i in range(len(h)):
            h[i] = _tanh(h[i])
    elif activation == LOGISTIC:
        for i in range(len(h)):
            h[i] = _logistic(h[i])
    elif activation == STEP:
        for i in range(len(h)):
            h[i] = one if h[i] > zero else (zero if h[i] <= zero else h[i])
    elif activation == SIGN:
        for i in range(len(h)):
            h[i] = one if h[i] >= zero else (-one if h[i] < zero else h[i])


@jit(contract=True)
def _losses(rows, values, raw, targets, loss, n_out):
    """The loss of each example, in row `values`."""
    v = rows[values * BLOCK : (values + 3) * BLOCK]
    raw = rows[raw * BLOCK : (raw + n_out) * BLOCK]
    y = rows[targets * BLOCK :]
    if loss == LOG_LOSS and n_out == 1:
        _binary_log_loss(v, raw, y)
    elif loss == LOG_LOSS:
        _log_loss(v, raw, y, n_out)
    elif loss == SQUARED_ERROR:
        _squared_error(v, raw, y, n_out)
    elif loss == ZERO_ONE:
        _zero_one(v, raw, y, n_out)
    elif n_out == 1:
        _binary_hinge(v, raw, y)
    else:
        _hinge(v, raw, y, n_out)


@inline(contract=True)
def _binary_log_loss(v, raw, label):
    zero = raw.dtype.type(0)
    for e in range(BLOCK):
        x = raw[e] if label[e] == zero else -raw[e]
        v[e] = (zero if x < zero else x) + _log1p(_exp(-abs(x)))


@inline(contract=True)
def _log_loss(v, raw, label, n_out):
    """log sum_k exp(raw_k - raw_y), of full relative accuracy however small it is."""
    zero, one = raw.dtype.type(0), raw.dtype.type(1)
    v[:BLOCK] = zero
    v[BLOCK : 2 * BLOCK] = raw.dtype.type(-np.inf)  # the largest output
    v[2 * BLOCK :] = zero  # that of the class
    for k in range(n_out):
        z = raw[k * BLOCK : (k + 1) * BLOCK]
        y = raw.dtype.type(k)
        for e in range(BLOCK):
            x, top, own = z[e], v[BLOCK + e], v[2 * BLOCK + e]
            v[BLOCK + e] = x if x > top else top
            v[2 * BLOCK + e] = x if label[e] == y else own
    for k in range(n_out):
        z = raw[k * BLOCK : (k + 1) * BLOCK]
        y = raw.dtype.type(k)
        for e in range(BLOCK):
            v[e] += zero if label[e] == y else _exp(z[e] - v[BLOCK + e])
    for e in range(BLOCK):
        margin = v[BLOCK + e] - v[2 * BLOCK + e]
        v[e] = margin + _log1p(v[e] + (_exp(-margin) - one))


@inline(contract=True)
def _squared_error(v, raw, targets, n_out):
    half_mean = raw.dtype.type(0.5 / n_out)
    v[:BLOCK] = raw.dtype.type(0)
    for j in range(n_out):
        z = raw[j * BLOCK : (j + 1) * BLOCK]
        y = targets[j * BLOCK : (j + 1) * BLOCK]
        for e in range(BLOCK):
            v[e] += half_mean * ((z[e] - y[e]) * (z[e] - y[e]))


@inline(contract=True)
def _zero_one(v, raw, label, n_out):
    """0 where the first of the largest outputs is that of the class; with one output, raw > 0."""
    zero, one = raw.dtype.type(0), raw.dtype.type(1)
    # the largest output so far; class 0 has none if there is only one, that of class 1
    v[BLOCK : 2 * BLOCK] = zero if n_out == 1 else raw.dtype.type(-np.inf)
    v[2 * BLOCK :] = zero  # its class
    for k in range(n_out):
        z = raw[k * BLOCK : (k + 1) * BLOCK]
        y = raw.dtype.type(max(k, 2 - n_out))
        for e in range(BLOCK):
            x, top, winner = z[e], v[BLOCK + e], v[2 * BLOCK + e]
            v[BLOCK + e] = x if (x > top) | (x != x) else top  # once NaN, always NaN
            v[2 * BLOCK + e] = y if x > top else winner
    for e in range(BLOCK):
        top = v[BLOCK + e]
        v[e] = top if top != top else (zero if v[2 * BLOCK + e] == label[e] else one)


@inline(contract=True)
def _binary_hinge(v, raw, label):
    zero, one = raw.dtype.type(0), raw.dtype.type(1)
    for e in range(BLOCK):
        x = one + (raw[e] if label[e] == zero else -raw[e])
        v[e] = zero if x < zero else x


@inline(contract=True)
def _hinge(v, raw, label, n_out):
    """max(0, 1 + max_{k != y} raw_k - raw_y), Crammer and Singer's."""
    zero, one = raw.dtype.type(0), raw.dtype.type(1)
    v[BLOCK : 2 * BLOCK] = raw.dtype.type(-np.inf)  # the largest output of another class
    v[2 * BLOCK : 3 * BLOCK] = zero  # that of the class
    for k in range(n_out):
        z = raw[k * BLOCK : (k + 1) * BLOCK]
        y = raw.dtype.type(k)
        for e in range(BLOCK):
            x, rival, own = z[e], v[BLOCK + e], v[2 * BLOCK + e]
            mine = label[e] == y
            v[2 * BLOCK + e] = x if mine else own
            v[BLOCK + e] = rival if mine else (x if (x > rival) | (x != x) else rival)
    for e in range(BLOCK):
        x = one + (v[BLOCK + e] - v[2 * BLOCK + e])
        v[e] = zero if x < zero else x


@jit(contract=True)
def _total(rows, values, weights, count):
    """sum_e weights[e] values[e] in float64, over the examples that there are."""
    v = rows[values * BLOCK : (values + 1) * BLOCK]
    for e in range(count, BLOCK):
        v[e] = 0
    total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0  # four chains of additions at once
    for e in range(0, BLOCK, 4):
        total0 += weights[e] * v[e]
        total1 += weights[e + 1] * v[e + 1]
        total2 += weights[e + 2] * v[e + 2]
        total3 += weights[e + 3] * v[e + 3]
    return (total0 + total1) + (total2 + total3)


# -- exp and log -----------------------------------------------------------------------------------
# Without branches, tables and calls, so that they become a part of the vector loops above. They are
# computed in the precision of their argument and right to 2 or 3 units in the last place.

# (exp(r) - 1) / r = sum_n r^n / (n + 1)!  for |r| <= log(2) / 2, highest power first
EXPM1_32 = tuple(np.float32(1 / math.factorial(n + 1)) for n in range(5, -1, -1))
EXPM1_64 = tuple(1 / math.factorial(n + 1) for n in range(12, -1, -1))
# log((1 + t) / (1 - t)) / t = sum_n 2 t^2n / (2 n + 1)  for |t| <= 3 - sqrt(8)
LOG_32 = tuple(np.float32(2 / (2 * n + 1)) for n in range(4, -1, -1))
LOG_64 = tuple(2 / (2 * n + 1) for n in range(10, -1, -1))
LOG2_E_32, LOG2_E_64 = np.float32(1 / math.log(2)), 1 / math.log(2)
# log(2) in two parts, the first so short that its product with an exponent is exact
LN2_HIGH_32, LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.1219444005469057e-4)
LN2_HIGH_64, LN2_LOW_64 = 0.6931471803691238, 1.9082149292705877e-10
# 1.5 * 2^23 is so large that adding it rounds to a whole number k, and leaves k in the lowest bits
# of the sum. With the bias of exponents added as well, a shift of the bits makes 2^k of the sum.
ROUND_32, ROUND_64 = np.float32(1.5 * 2**23 + 127), 1.5 * 2**52 + 1023
SHIFT_32, SHIFT_64 = 23, 52
LEAST_32, LEAST_64 = np.float32(-88), -709.0  # where k becomes minus the bias, 2^k and exp zero
ROOT_HALF_32 = np.float32(math.sqrt(0.5)).view(np.int32)
ROOT_HALF_64 = np.float64(math.sqrt(0.5)).view(np.int64)


@inline(contract=True)
def _tanh(x):
    real = type(x)
    q, s = _split_exp(-abs(x + x))
    m = s * q + (s - real(1))  # exp(-2 |x|) - 1
    t = -m / (real(2) + m)
    return t if x >= real(0) else -t


@inline(contract=True)
def _logistic(x):
    one = type(x)(1)
    e = _exp(-abs(x))
    return (one if x >= one - one else e) / (one + e)


@inline(contract=True)
def _exp(x):
    """exp(x) for x <= 0."""
    q, s = _split_exp(x)
    return s + s * q


@inline(contract=True)
def _split_exp(x):
    """(q, s) with exp(x) = s + s q, s a power of two and |q| < 1/2, for x <= 0."""
    real = type(x)
    if np.finfo(real).bits == 32:
        q, s = _split_exp_32(np.float32(x))
    else:
        q, s = _split_exp_64(np.float64(x))
    return real(q), real(s)


@inline(contract=True)
def _split_exp_32(x):
    x = LEAST_32 if x < LEAST_32 else x
    t = x * LOG2_E_32 + ROUND_32
    k = t - ROUND_32
    r = (x - k * LN2_HIGH_32) - k * LN2_LOW_32
    s = np.int32(np.float32(t).view(np.int32) << SHIFT_32).view(np.float32)
    return r * _polynomial(EXPM1_32, r), s


@inline(contract=True)
def _split_exp_64(x):
    x = LEAST_64 if x < LEAST_64 else x
    t = x * LOG2_E_64 + ROUND_64
    k = t - ROUND_64
    r = (x - k * LN2_HIGH_64) - k * LN2_LOW_64
    s = np.int64(np.float64(t).view(np.int64) << SHIFT_64).view(np.float64)
    return r * _polynomial(EXPM1_64, r), s


@inline(contract=True)
def _log1p(x):
    """log(1 + x) for x >= 0, of full relative accuracy near 0."""
    real = type(x)
    u = real(1) + x
    rest = (x - (u - real(1))) / u  # what rounding 1 + x cost
    if np.finfo(real).bits == 32:
        return real(_log_32(np.float32(u))) + rest
    return real(_log_64(np.float64(u))) + rest


@inline(contract=True)
def _log_32(u):
    """log(u) = k log(2) + log(m) with m between the roots of 1/2 and 2."""
    bits = np.float32(u).view(np.int32)
    k = np.int32(np.int32(bits - ROOT_HALF_32) >> SHIFT_32)
    f = np.int32(bits - np.int32(k << SHIFT_32)).view(np.float32) - np.float32(1)
    t = f / (np.float32(2) + f)
    k = np.float32(k)
    return k * LN2_HIGH_32 + (t * _polynomial(LOG_32, t * t) + k * LN2_LOW_32)


@inline(contract=True)
def _log_64(u):
    bits = np.float64(u).view(np.int64)
    k = (bits - ROOT_HALF_64) >> SHIFT_64
    f = np.int64(bits - (k << SHIFT_64)).view(np.float64) - 1.0
    t = f / (2.0 + f)
    k = np.float64(k)
    return k * LN2_HIGH_64 + (t * _polynomial(LOG_64, t * t) + k * LN2_LOW_64)


@inline(contract=True)
def _polynomial(coefs, x):
    """Horner's rule; the number of coefficients is fixed, so that the loop is unrolled."""
    value = coefs[0]
    for i in range(1, len(coefs)):
        value = value * x + coefs[i]
    return value
