"""Losses of a whole population of antithetic perturbations of one network.

A pair moves the weights of a hidden layer by a matrix of rank one and those of the last layer by a
full matrix, all of random signs: ``W +- s a b'`` and ``W +- s E``, and intercepts by ``+- s c``.
The first hidden layer of a pair then needs no product with weights of its own,

    X (W +- s a b') + bias +- s c = (X W + bias) +- s ((X a) b' + c),

as the part without a sign is shared by all pairs that see the same examples.

How it is laid out: examples pass in blocks of `BLOCK`. All that depends on them is in one array of
rows of `BLOCK` numbers, where a layer is known by the number of its first row (`Places`), so that
every inner loop runs over neighbouring examples and takes weights as scalars. Units of a hidden
layer pass in chunks, from rank-one move and activation straight to the product with the next layer.

Products are computed here rather than by a BLAS library. Every entry is the same chain of fused
multiply-adds, input after input, whatever else the call computes: that is why the losses of a pair
keep their bits however a population is divided among calls and threads, and at these sizes it is
also as fast.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import inline, jit

Array = npt.NDArray[Any]

BLOCK = 64  # examples per row: whole registers, and few enough to stay in the nearest cache
CHUNK = 16  # units that pass through a layer together, and stay in the nearest cache
GROUP = 16  # pairs whose X a are computed together
TILE = 8  # inputs added up in registers between two visits to an output
ROW = np.uintp(BLOCK)  # an index of unsigned numbers needs no test for being negative
HALF_ROW, BIT = np.uintp(BLOCK // 2), np.uint32(1)  # examples whose signs are in one word
ZERO, ONE = np.intp(0), np.intp(1)  # no literals: Numba would compile a version for each
WORD = 32  # signs, lowest bit first

# Rows of the tables in `activations` and `losses` name these; `_activate` and `_losses` branch.
RELU, TANH, LOGISTIC, IDENTITY, STEP, SIGN, QUANTISED = range(7)  # the last one plus bits
NO_LOSS, LOG_LOSS, ZERO_ONE, HINGE = range(4)
SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, PINBALL, POISSON = range(4, 9)  # of numbers


# -- what kernels are given ------------------------------------------------------------------------
# Here and not where it is filled in, because Numba's disk cache would not notice that fields of the
# same types have changed places.


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

    fan_in: Array  # (L,) int64, as the next three
    fan_out: Array
    in_parameters: Array  # where a layer starts
    in_signs: Array  # where a layer starts in the signs of a pair
    n_parameters: int  # padded
    n_factors: int  # padded
    n_guides: int
    activation: int
    loss: int
    loss_parameter: Any  # scalar of that dtype
    parameters: Array  # theta, the rows of the subspace and room for a perturbed layer, all padded
    sigma: Any  # scalar of that dtype
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


# -- from examples to outputs ----------------------------------------------------------------------


@jit(contract=True)
def evaluate(task):
    """Losses or raw outputs of both halves of all pairs, written to the arrays of the task."""
    rows, at, parameters, signs = task.rows, task.at, task.parameters, task.signs
    starts, n_pairs = task.starts, len(task.starts)
    n_in, n_out = task.fan_in[0], task.fan_out[0]
    is_linear = len(task.fan_in) == 1
    for first in range(n_pairs):
        if first > 0 and starts[first] == starts[first - 1]:
            continue
        last = first + 1
        while last < n_pairs and starts[last] == starts[first]:
            last += 1
        for row in range(0, task.batch, BLOCK):
            begin, count = starts[first] + row, min(BLOCK, task.batch - row)
            _transpose(rows, at.examples, at.values, task.X, begin, count)
            _copy_rows(rows, at.targets, task.targets, begin, count)
            _copy_weights(task.row_weights, task.weights, begin, count)
            for g in range(1 + task.n_guides):
                z, w = at.shared + g * n_out, g * task.n_parameters
                _set_rows(rows, z, parameters, w + _pad(n_in) * n_out, n_out)
                _add_product(rows, z, at.examples, parameters, w, _pad(n_in), n_out, n_out, ONE)
            group = 1 if is_linear else GROUP
            for pair in range(first, last, group):
                stop = min(pair + group, last)
                _expand(signs, task.words, pair, stop, task.masks)
                u, width, down, right = at.projected, stop - pair, ONE, task.n_factors
                if is_linear:
                    width, down, right = n_out, n_out, ONE
                    _set_rows(rows, u, signs, n_in * n_out, n_out)
                else:
                    rows[u * BLOCK : (u + width) * BLOCK] = 0
                _add_product(rows, u, at.examples, signs, ZERO, n_in, width, down, right)
                _evaluate_group(task, pair, stop, row, count)


# Longer than other functions, because cutting it costs: a call counts the references to its arrays.
@inline(contract=True)
def _evaluate_group(task, first, last, row, count):
    """Add the losses of pairs first ... last over the block of examples in the rows.

    Before each layer z is the first row of h W + bias and u the row of h a of the layer before;
    w, a, b and c are where the weights of the layer and those signs start.
    """
    rows, at, parameters, signs, coefs = task.rows, task.at, task.parameters, task.signs, task.coefs
    fan_in, fan_out, n_layers = task.fan_in, task.fan_out, len(task.fan_in)
    n, k = task.n_parameters, task.n_guides
    for pair in range(first, last):
        for half in range(2):
            sign = rows.dtype.type(1 - 2 * half)
            step = sign * task.sigma
            z, u = at.shared, at.projected + (pair - first)
            if k > 0 or n_layers == 1:
                z, size = at.linear, fan_out[0] * BLOCK
                _copy_guided(rows, z * BLOCK, at.shared * BLOCK, size, size, coefs, pair, k, sign)
            if n_layers == 1:
                _add_scaled(rows, z * BLOCK, rows, u * BLOCK, fan_out[0] * BLOCK, step)
            for layer in range(1, n_layers):
                n_in, n_out = fan_in[layer], fan_out[layer]
                w = task.in_parameters[layer]
                a = (pair - first) * task.n_factors + task.in_signs[layer]
                b, c = a - 2 * n_in, a - n_in  # of the layer before
                bias, inner = _pad(n_in) * n_out, layer < n_layers - 1
                if k > 0 or not inner:
                    _copy_guided(parameters, (1 + k) * n, w, n, bias + n_out, coefs, pair, k, sign)
                    w = (1 + k) * n
                if not inner:
                    _add_scaled(parameters, w, signs, a, n_in * n_out, step)
                    _add_scaled(parameters, w + bias, signs, a + n_in * n_out, n_out, step)
                out, line = at.linear + layer % 2 * at.stride, at.line + layer % 2
                h = at.hidden
                _set_rows(rows, out, parameters, w + bias, n_out)
                rows[line * BLOCK : (line + 1) * BLOCK] = 0
                for i in range(0, n_in, CHUNK):
                    units = min(CHUNK, n_in - i)
                    _rank_one(rows, h, z + i, u, signs, b + i, c + i, step, task.activation, units)
                    v = w + i * n_out
                    _add_product(rows, out, h, parameters, v, _pad(units), n_out, n_out, ONE)
                    if inner:
                        _add_product(rows, line, h, signs, a + i, units, ONE, ONE, ONE)
                z, u = out, line
            if task.loss == NO_LOSS:
                _store(task.outputs, half, pair, row, count, rows, z)
            else:
                n_outputs, parameter = fan_out[n_layers - 1], task.loss_parameter
                _losses(rows, at.values, z, at.targets, task.loss, parameter, n_outputs)
                task.losses[half, pair] += _total(rows, at.values, task.row_weights, count)
                begin = task.starts[pair] + row
                _compare(rows, at.values, at.first, half, task.squares[begin : begin + count])


@inline()
def _pad(n):
    """The next multiple of TILE."""
    return (n + TILE - 1) // TILE * TILE


@jit()
def _expand(signs, words, first, last, masks):
    """The signs of pairs first ... last, from their words."""
    one = signs.dtype.type(1)
    n, size = np.uintp(words.shape[1]), np.uintp(len(masks))
    for pair in range(first, last):
        bits, row = words[pair], signs[(pair - first) * n * size :]
        for w in range(n):
            for i in range(size):
                row[w * size + i] = one if bits[w] & masks[i] else -one


@jit()
def _transpose(rows, out, spare, X, begin, count):
    """out[j] = X[begin : begin + count, j], then zeros, padded by rows of zeros.

    Eight examples are interleaved and then copied: both loops become moves of whole registers.
    """
    n = X.shape[1]
    columns = rows[out * BLOCK : (out + _pad(n)) * BLOCK]
    octet = rows[spare * BLOCK : (spare + TILE) * BLOCK]
    columns[n * BLOCK :] = 0
    if count < BLOCK:
        _copy_rows(rows, out, X, begin, count)
        return
    for left in range(0, n, BLOCK):
        right = min(n, left + BLOCK)
        for e in range(0, BLOCK, 8):
            i = begin + e
            x0, x1, x2 = X[i, left:right], X[i + 1, left:right], X[i + 2, left:right]
            x3, x4, x5 = X[i + 3, left:right], X[i + 4, left:right], X[i + 5, left:right]
            x6, x7 = X[i + 6, left:right], X[i + 7, left:right]
            for i in range(right - left):
                octet[8 * i], octet[8 * i + 1] = x0[i], x1[i]
                octet[8 * i + 2], octet[8 * i + 3] = x2[i], x3[i]
                octet[8 * i + 4], octet[8 * i + 5] = x4[i], x5[i]
                octet[8 * i + 6], octet[8 * i + 7] = x6[i], x7[i]
            corner = columns[left * BLOCK + e :]
            for i in range(right - left):
                v, o = octet[8 * i : 8 * i + 8], corner[i * BLOCK : i * BLOCK + 8]
                o[0], o[1], o[2], o[3] = v[0], v[1], v[2], v[3]
                o[4], o[5], o[6], o[7] = v[4], v[5], v[6], v[7]


@jit()
def _copy_rows(rows, out, source, begin, count):
    """out[j] = source[begin : begin + count, j], then zeros."""
    n = source.shape[1]
    columns = rows[out * BLOCK : (out + n) * BLOCK]
    columns[:] = 0
    for e in range(count):
        for j in range(n):
            columns[j * BLOCK + e] = source[begin + e, j]


@jit()
def _copy_weights(row, weights, begin, count):
    for e in range(count):
        row[e] = weights[begin + e] if len(weights) > 0 else 1.0


@jit()
def _store(outputs, half, pair, row, count, rows, raw):
    for e in range(count):
        for j in range(outputs.shape[3]):
            outputs[half, pair, row + e, j] = rows[(raw + j) * BLOCK + e]


@jit()
def _set_rows(rows, out, numbers, start, n):
    """out[j] = numbers[start + j], the same for all examples."""
    for j in range(n):
        rows[(out + j) * BLOCK : (out + j + 1) * BLOCK] = numbers[start + j]


@jit(contract=True)
def _copy_guided(numbers, out, base, stride, n, coefs, pair, k, sign):
    """out = base + sign * coefs[pair] @ guides, where guide g is (1 + g) * stride after base."""
    o, z = numbers[out : out + n], numbers[base : base + n]
    for i in range(n):
        o[i] = z[i]
    for g in range(k):
        _add_scaled(numbers, out, numbers, base + (1 + g) * stride, n, sign * coefs[pair * k + g])


@jit(contract=True)
def _add_scaled(numbers, out, source, start, n, factor):
    """out += factor * source[start : start + n]."""
    o, x = numbers[out : out + n], source[start : start + n]
    for i in range(n):
        o[i] += factor * x[i]


@jit(contract=True)
def _add_product(rows, out, x, weights, start, n_in, n_out, down, right):
    """out[j] += sum_i weights[start + i * down + j * right] x[i], i = 0, 1, 2 and so on."""
    for first in range(0, n_in, CHUNK):
        last = min(n_in, first + CHUNK)
        whole = last - (last - first) % TILE
        for j in range(0, n_out - 1, 2):
            two = rows[(out + j) * BLOCK : (out + j + 2) * BLOCK]
            for i in range(first, whole, TILE):
                w = weights[start + i * down + j * right :]
                _add_tile_2(two, rows[(x + i) * BLOCK : (x + i + TILE) * BLOCK], w, w[right:], down)
        for j in range(n_out - n_out % 2, n_out):
            one = rows[(out + j) * BLOCK : (out + j + 1) * BLOCK]
            for i in range(first, whole, TILE):
                v = weights[start + i * down + j * right :]
                _add_tile_1(one, rows[(x + i) * BLOCK : (x + i + TILE) * BLOCK], v, down)
        for i in range(whole, last):
            single = rows[(x + i) * BLOCK : (x + i + 1) * BLOCK]
            for j in range(n_out):
                row = rows[(out + j) * BLOCK : (out + j + 1) * BLOCK]
                _add_one(row, single, weights[start + i * down + j * right])


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
        p, q = out[e], out[BLOCK + e]
        p = p + v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4 + v5 * x5 + v6 * x6 + v7 * x7
        q = q + w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + w4 * x4 + w5 * x5 + w6 * x6 + w7 * x7
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
        p = out[e]
        out[e] = p + v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4 + v5 * x5 + v6 * x6 + v7 * x7


@inline(contract=True)
def _add_one(out, x, weight):
    """Add one input to one output."""
    for e in range(BLOCK):
        out[e] += weight * x[e]


@jit(contract=True)
def _rank_one(rows, out, base, u, signs, b, c, step, activation, n):
    """out[j] = activation(base[j] + step * (b[j] u + c[j])), padded; b, c say where in signs."""
    h, z = rows[out * BLOCK : (out + _pad(n)) * BLOCK], rows[base * BLOCK : (base + n) * BLOCK]
    v = rows[u * BLOCK : (u + 1) * BLOCK]
    slopes, shifts = signs[b : b + n], signs[c : c + n]
    # What is not a relu passes this bound, infinite as it is, unharmed.
    floor = rows.dtype.type(0 if activation == RELU else -np.inf)
    for j in range(np.uintp(n)):
        slope, shift = step * slopes[j], step * shifts[j]
        for e in range(ROW):
            i = j * ROW + e
            value = z[i] + (slope * v[e] + shift)
            h[i] = floor if value < floor else value
    _activate(h[: n * BLOCK], activation)
    h[n * BLOCK :] = 0


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
    elif activation > QUANTISED:
        levels, half = h.dtype.type(2 ** (activation - QUANTISED) - 1), h.dtype.type(0.5)
        for i in range(len(h)):
            x = zero if h[i] < zero else (one if h[i] > one else h[i])
            h[i] = np.floor(x * levels + half) / levels


@jit(contract=True)
def _losses(rows, values, raw, targets, loss, parameter, n_out):
    """The loss of each example, in row `values`."""
    v = rows[values * BLOCK : (values + 3) * BLOCK]
    y = rows[targets * BLOCK :]
    if loss >= SQUARED_ERROR:
        _of_numbers(v, rows[raw * BLOCK : (raw + n_out) * BLOCK], y, loss, parameter, n_out)
        return
    if n_out == 1:
        raw -= 1
        n_out += 1
        rows[raw * BLOCK : (raw + 1) * BLOCK] = 0
    z = rows[raw * BLOCK : (raw + n_out) * BLOCK]
    if loss == LOG_LOSS:
        _log_loss(v, z, y, n_out)
    elif loss == ZERO_ONE:
        _zero_one(v, z, y, n_out)
    else:
        _hinge(v, z, y, n_out)


@jit(contract=True)
def example_losses(out, raw, targets, loss, parameter):
    """Losses of raw outputs that are in blocks of examples already.

    Parameters
    ----------
    out : ndarray of shape (V, G BLOCK)
    raw : ndarray of shape (V, G, K, BLOCK)
    targets : ndarray of shape (G, T, BLOCK)
    loss, parameter
        As in `Task`.
    """
    n_outputs, n_targets = raw.shape[2], targets.shape[1]
    rows = np.empty((4 + n_outputs + n_targets) * BLOCK, raw.dtype)
    first, last = 4 * BLOCK, (4 + n_outputs) * BLOCK  # a row in front of them is for `_losses`
    for g in range(raw.shape[1]):
        rows[last:] = targets[g].ravel()
        for v in range(raw.shape[0]):
            rows[first:last] = raw[v, g].ravel()
            _losses(rows, 0, 4, 4 + n_outputs, loss, parameter, n_outputs)
            out[v, g * BLOCK : (g + 1) * BLOCK] = rows[:BLOCK]


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
def _of_numbers(v, raw, targets, loss, parameter, n_out):
    """The loss of each output by itself, averaged over the outputs."""
    zero, one, half = raw.dtype.type(0), raw.dtype.type(1), raw.dtype.type(0.5)
    mean = raw.dtype.type(1.0 / n_out)
    v[:BLOCK] = zero
    for j in range(n_out):
        z = raw[j * BLOCK : (j + 1) * BLOCK]
        y = targets[j * BLOCK : (j + 1) * BLOCK]
        if loss == SQUARED_ERROR:
            for e in range(BLOCK):
                v[e] += mean * half * ((z[e] - y[e]) * (z[e] - y[e]))
        elif loss == ABSOLUTE_ERROR:
            for e in range(BLOCK):
                v[e] += mean * abs(z[e] - y[e])
        elif loss == HUBER:
            for e in range(BLOCK):
                r = abs(z[e] - y[e])
                line = parameter * (r - half * parameter)
                v[e] += mean * (half * r * r if r <= parameter else line)
        elif loss == PINBALL:
            for e in range(BLOCK):
                r = y[e] - z[e]
                v[e] += mean * (parameter * r if r > zero else (parameter - one) * r)
        else:
            for e in range(BLOCK):
                rate = _exp(-abs(z[e]))
                v[e] += mean * ((rate if z[e] <= zero else one / rate) - y[e] * z[e])


@inline(contract=True)
def _zero_one(v, raw, label, n_out):
    """0 where the first of the largest outputs is that of the class, else 1."""
    zero, one = raw.dtype.type(0), raw.dtype.type(1)
    v[BLOCK : 2 * BLOCK] = raw.dtype.type(-np.inf)  # the largest output
    v[2 * BLOCK :] = zero  # its class
    for k in range(n_out):
        z = raw[k * BLOCK : (k + 1) * BLOCK]
        y = raw.dtype.type(k)
        for e in range(BLOCK):
            x, top, winner = z[e], v[BLOCK + e], v[2 * BLOCK + e]
            v[BLOCK + e] = x if (x > top) | (x != x) else top  # once NaN, always NaN
            v[2 * BLOCK + e] = y if x > top else winner
    for e in range(BLOCK):
        top = v[BLOCK + e]
        v[e] = top if top != top else (zero if v[2 * BLOCK + e] == label[e] else one)


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
    v[count:] = 0
    weights[count:] = 0
    total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0  # four chains of additions at once
    for e in range(0, BLOCK, 4):
        total0 += weights[e] * v[e]
        total1 += weights[e + 1] * v[e + 1]
        total2 += weights[e + 2] * v[e + 2]
        total3 += weights[e + 3] * v[e + 3]
    return (total0 + total1) + (total2 + total3)


@inline(contract=True)
def _compare(rows, values, first, half, squares):
    """Keep the losses of the first half, and add the squared differences from the second."""
    v, kept = rows[values * BLOCK : (values + 1) * BLOCK], rows[first * BLOCK : (first + 1) * BLOCK]
    if half == 0:
        kept[:] = v
        return
    for e in range(len(squares)):
        squares[e] += (kept[e] - v[e]) * (kept[e] - v[e])


# -- moved activations -----------------------------------------------------------------------------


# Every unit of a pair takes one of two values, h(z + sigma) or h(z - sigma), whichever its sign xi
# says. With the mean m and half the difference d of the values at z + s sigma and z - s sigma, and
# signs xi = s w as in `signs`, what comes behind the first hidden layer in the halves of pair p is
#
#     h W + bias = (m W + bias) +- sum_j w_jp d_j W_j:
#
# one sum that all pairs share, and one that is a fast Walsh transform over the pairs. So a pair
# costs a few additions instead of two products with weights, whatever the activation is.


class NodePlaces(NamedTuple):
    """The first row of each thing that depends on the examples, and a number of rows."""

    targets: int  # T
    first: int  # z of the first layer
    mean: int  # m, padded
    half: int  # d, padded
    center: int  # m W + bias
    sums: int  # of the transform: as many as pairs, or the next power of two
    hidden: int  # CHUNK: h, some units at a time
    linear: int  # 2 stride: h W + bias of one layer, and of the next
    values: int  # TILE: as in `Places`
    end: int
    stride: int


class NodeTask(NamedTuple):
    """What a call of `evaluate_nodes` computes. Layers are all but the first, laid out as `Task`'s.

    Units, and with them signs, are counted over all layers, those of the first one included.
    """

    fan_in: Array
    fan_out: Array
    in_parameters: Array
    activation: int
    loss: int
    loss_parameter: Any  # scalar of that dtype
    parameters: Array
    sigma: Any
    own: Array  # (blocks, U, 2) uint32: the signs s
    numbers: Array  # (U,) int64
    walsh: Array  # (P, U): the functions w of these numbers
    linear: Array  # (blocks, N1, BLOCK): z of the first layer
    targets: Array
    weights: Array
    at: NodePlaces
    rows: Array
    parts: Array  # (P, N2 BLOCK): sums of the transform, if there is a hidden layer
    row_weights: Array
    losses: Array  # (2, M, P) float64, the result


@jit(contract=True)
def evaluate_nodes(task, block):
    """Losses of both halves of all pairs for a block of the examples."""
    rows, at, own, z = task.rows, task.at, task.own[block], task.linear[block].ravel()
    n_examples, n_pairs = task.losses.shape[1], task.losses.shape[2]
    n_outputs, parameter = task.walsh.shape[1] - task.fan_in.sum(), task.loss_parameter
    begin = block * BLOCK
    count = min(BLOCK, n_examples - begin)
    rows[at.first * BLOCK : at.first * BLOCK + len(z)] = z
    _copy_rows(rows, at.targets, task.targets, begin, count)
    _copy_weights(task.row_weights, task.weights, begin, count)
    if len(task.fan_in) > 0 and n_pairs > 0:
        _transform(task, own)
    for pair in range(n_pairs):
        for half in range(2):
            raw = _moved_outputs(task, own, pair, rows.dtype.type(1 - 2 * half))
            _losses(rows, at.values, raw, at.targets, task.loss, parameter, n_outputs)
            v = rows[at.values * BLOCK : (at.values + 1) * BLOCK]
            for e in range(count):
                task.losses[half, begin + e, pair] = task.row_weights[e] * v[e]


@jit(contract=True)
def _transform(task, own):
    """The sum that all pairs share, and those of each pair."""
    rows, at, parameters, parts = task.rows, task.at, task.parameters, task.parts
    n_in, n_out = task.fan_in[0], task.fan_out[0]
    ones = task.walsh[0]  # no number shares bits with 0
    half = rows.dtype.type(0.5)
    _move(rows, at.mean, at.first, own, ones, task.sigma, task.activation, n_in)
    _move(rows, at.half, at.first, own, ones, -task.sigma, task.activation, n_in)
    m, d = rows[at.mean * BLOCK : at.half * BLOCK], rows[at.half * BLOCK : at.center * BLOCK]
    m[n_in * BLOCK :] = 0
    for i in range(n_in * BLOCK):
        plus, minus = half * m[i], half * d[i]
        m[i], d[i] = plus + minus, plus - minus
    _set_rows(rows, at.center, parameters, _pad(n_in) * n_out, n_out)
    _add_product(rows, at.center, at.mean, parameters, ZERO, _pad(n_in), n_out, n_out, ONE)
    sums = rows[at.sums * BLOCK : at.hidden * BLOCK]
    last = at.hidden - at.sums - 1
    for k in range(n_out):
        sums[:] = 0
        for j in range(n_in):
            start = (task.numbers[j] & last) * BLOCK
            total, term = sums[start : start + BLOCK], d[j * BLOCK : (j + 1) * BLOCK]
            w = parameters[j * n_out + k]
            for e in range(ROW):
                total[e] += w * term[e]
        _walsh(sums)
        for pair in range(len(parts)):
            parts[pair, k * BLOCK : (k + 1) * BLOCK] = sums[pair * BLOCK : (pair + 1) * BLOCK]


@jit()
def _walsh(rows):
    """rows[p] = sum_j (-1)^(number of bits that j and p share) rows[j], of 2^m rows."""
    size = BLOCK
    while size < len(rows):
        for start in range(0, len(rows), 2 * size):
            left, right = rows[start : start + size], rows[start + size : start + 2 * size]
            for i in range(np.uintp(size)):
                u, v = left[i], right[i]
                left[i], right[i] = u + v, u - v
        size *= 2


@inline(contract=True)
def _moved_outputs(task, own, pair, sign):
    """The row with which the outputs of a half begin."""
    rows, at, parameters, step = task.rows, task.at, task.parameters, sign * task.sigma
    n_layers, h, z, unit = len(task.fan_in), at.hidden, at.first, 0
    for layer in range(n_layers):
        n_in, n_out, w = task.fan_in[layer], task.fan_out[layer], task.in_parameters[layer]
        out = at.linear + layer % 2 * at.stride
        if layer == 0:
            center = rows[at.center * BLOCK : (at.center + n_out) * BLOCK]
            total, part = rows[out * BLOCK : (out + n_out) * BLOCK], task.parts[pair]
            for i in range(np.uintp(n_out * BLOCK)):
                total[i] = center[i] + sign * part[i]
        else:
            _set_rows(rows, out, parameters, w + _pad(n_in) * n_out, n_out)
            for i in range(0, n_in, CHUNK):
                units, j = min(CHUNK, n_in - i), unit + i
                _move(rows, h, z + i, own[j:], task.walsh[pair, j:], step, task.activation, units)
                rows[(h + units) * BLOCK : (h + _pad(units)) * BLOCK] = 0
                v = w + i * n_out
                _add_product(rows, out, h, parameters, v, _pad(units), n_out, n_out, ONE)
        z, unit = out, unit + n_in
    raw = at.linear + n_layers % 2 * at.stride
    n_outputs = task.walsh.shape[1] - unit
    _move(rows, raw, z, own[unit:], task.walsh[pair, unit:], step, IDENTITY, n_outputs)
    return raw


@jit(contract=True)
def _move(rows, out, base, own, walsh, step, activation, n):
    """out[j] = activation(base[j] + step s_j walsh[j])."""
    h, z = rows[out * BLOCK : (out + n) * BLOCK], rows[base * BLOCK : (base + n) * BLOCK]
    # What is not a relu passes this bound, infinite as it is, unharmed.
    floor = rows.dtype.type(0 if activation == RELU else -np.inf)
    for j in range(np.uintp(n)):
        s = step * walsh[j]
        for part in range(np.uintp(2)):
            bits, begin = own[j, part], j * ROW + part * HALF_ROW
            for e in range(HALF_ROW):
                value = z[begin + e] + (s if (bits >> np.uint32(e)) & BIT else -s)
                h[begin + e] = floor if value < floor else value
    _activate(h, activation)


# -- exp and log -----------------------------------------------------------------------------------
# Without branches, tables and calls, so that they become a part of the vector loops above. They are
# computed in the precision of their argument and right to less than 4 units in the last place.

TINY = 1e-12  # vanishes beside a float32 1, but not beside a float64 1

# (exp(r) - 1) / r = sum_n r^n / (n + 1)!  for |r| <= log(2) / 2, highest power first
EXPM1_32 = tuple(np.float32(1 / math.factorial(n + 1)) for n in range(6, -1, -1))
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
    if real(1) + real(TINY) == real(1):
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
    if real(1) + real(TINY) == real(1):
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
