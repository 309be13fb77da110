"""Linear maps of images in blocks of examples: kernels that dense layers and convolutions share.

Values lie as (V, G, U, LANES): for each of V networks and each block of LANES examples U units,
those of an image row by row, pixel by pixel, channel by channel. Inner loops run over neighbouring
examples and take weights as scalars, so that a convolution is as fast as a matrix product and needs
no copy of its patches. A dense layer is a convolution whose image is one pixel. Every entry is the
same chain of fused multiply-adds, whatever else a call computes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import inline, jit

Array = npt.NDArray[Any]

LANES = 64  # examples in a block, as in `blackbox_es.neural.kernels`
TILE = 8  # inputs added up in registers between two visits to an output
HALF = np.uintp(LANES // 2)  # examples whose signs are in one word


class Window(NamedTuple):
    """Which inputs a linear map sees from each place of an image; see `window`."""

    height: int
    width: int
    channels: int
    radius: int  # zeros around the image
    offsets: Array  # (K,) int64: the K inputs of a place, from its first one on
    padded: Array  # offsets padded by the first one to whole tiles


@lru_cache
def window(height: int, width: int, channels: int, kernel: int) -> Window:
    """The window of ``kernel x kernel`` pixels around each pixel of an image."""
    radius = kernel // 2
    rows = np.arange(kernel)[:, None] * (width + 2 * radius) * channels
    offsets = (rows + np.arange(kernel * channels)).ravel()
    padded = np.concatenate([offsets, np.full(-offsets.size % TILE, offsets[0])])
    return Window(height, width, channels, radius, offsets, padded)


@inline()
def _framed(frame, x, view):
    """The image x with zeros around it, in `frame` if there are any."""
    if view.radius == 0:
        return x
    wide = view.width + 2 * view.radius
    size = view.width * view.channels * LANES
    for row in range(view.height):
        start = ((row + view.radius) * wide + view.radius) * view.channels * LANES
        frame[start : start + size] = x[row * size : (row + 1) * size]
    return frame


@inline()
def _frame(like, view):
    """Room for an image with zeros around it."""
    edge = 2 * view.radius
    size = (view.height + edge) * (view.width + edge) * view.channels if edge else 0
    return np.zeros(size * LANES, like.dtype)


@inline()
def _corner(view, row, column):
    """Where the window of a place begins."""
    return (row * (view.width + 2 * view.radius) + column) * view.channels * LANES


@jit(contract=True)
def product(out, x, weights, intercepts, view):
    """out[v, g, place n + j] = intercepts[v, j] + sum_k weights[v, k, j] x[v, g, place + k].

    Parameters
    ----------
    out : ndarray of shape (V, G, n places, LANES)
    x : ndarray of shape (1 or V, G, U, LANES)
    weights : ndarray of shape (1 or V, whole tiles of K, n)
        With zeros beyond K.
    intercepts : ndarray of shape (1 or V, n)
    view : Window
    """
    frame, n, n_tiles = _frame(x, view), weights.shape[2], weights.shape[1] // TILE
    for v in range(out.shape[0]):
        w = weights[v if weights.shape[0] > 1 else 0].ravel()
        bias = intercepts[v if intercepts.shape[0] > 1 else 0]
        for g in range(out.shape[1]):
            image = _framed(frame, x[v if x.shape[0] > 1 else 0, g].ravel(), view)
            rows = out[v, g].ravel()
            for row in range(view.height):
                for column in range(view.width):
                    seen = image[_corner(view, row, column) :]
                    place = (row * view.width + column) * n * LANES
                    units = rows[place : place + n * LANES]
                    for j in range(n):
                        units[j * LANES : (j + 1) * LANES] = bias[j]
                    _add_product(units, seen, w, view.padded, n, n_tiles)


@inline(contract=True)
def _add_product(units, seen, w, offsets, n, n_tiles):
    j = 0
    while j + 4 <= n:
        for tile in range(2 * n_tiles):
            k = 4 * tile
            _add_4_by_4(units[j * LANES : (j + 4) * LANES], seen, offsets[k:], w[k * n + j :], n)
        j += 4
    while j + 2 <= n:
        for tile in range(n_tiles):
            k = 8 * tile
            _add_8_to_2(units[j * LANES : (j + 2) * LANES], seen, offsets[k:], w[k * n + j :], n)
        j += 2
    while j < n:
        for tile in range(n_tiles):
            k = 8 * tile
            _add_8(units[j * LANES : (j + 1) * LANES], seen, offsets[k:], w[k * n + j :], n)
        j += 1


@inline()
def _row(x, offset):
    return x[offset * LANES : (offset + 1) * LANES]


@inline(contract=True)
def _add_4_by_4(out, x, at, w, n):
    """Add four inputs to four outputs."""
    x0, x1, x2, x3 = _row(x, at[0]), _row(x, at[1]), _row(x, at[2]), _row(x, at[3])
    a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
    b0, b1, b2, b3 = w[n], w[n + 1], w[n + 2], w[n + 3]
    c0, c1, c2, c3 = w[2 * n], w[2 * n + 1], w[2 * n + 2], w[2 * n + 3]
    d0, d1, d2, d3 = w[3 * n], w[3 * n + 1], w[3 * n + 2], w[3 * n + 3]
    for e in range(LANES):
        a, b, c, d = x0[e], x1[e], x2[e], x3[e]
        p, q, r, s = out[e], out[LANES + e], out[2 * LANES + e], out[3 * LANES + e]
        out[e] = p + a0 * a + b0 * b + c0 * c + d0 * d
        out[LANES + e] = q + a1 * a + b1 * b + c1 * c + d1 * d
        out[2 * LANES + e] = r + a2 * a + b2 * b + c2 * c + d2 * d
        out[3 * LANES + e] = s + a3 * a + b3 * b + c3 * c + d3 * d


@inline(contract=True)
def _add_8_to_2(out, x, at, w, n):
    """Add eight inputs to two outputs."""
    x0, x1, x2, x3 = _row(x, at[0]), _row(x, at[1]), _row(x, at[2]), _row(x, at[3])
    x4, x5, x6, x7 = _row(x, at[4]), _row(x, at[5]), _row(x, at[6]), _row(x, at[7])
    v0, v1, v2, v3 = w[0], w[n], w[2 * n], w[3 * n]
    v4, v5, v6, v7 = w[4 * n], w[5 * n], w[6 * n], w[7 * n]
    w = w[1:]
    w0, w1, w2, w3 = w[0], w[n], w[2 * n], w[3 * n]
    w4, w5, w6, w7 = w[4 * n], w[5 * n], w[6 * n], w[7 * n]
    for e in range(LANES):
        a, b, c, d, f, g, h, i = x0[e], x1[e], x2[e], x3[e], x4[e], x5[e], x6[e], x7[e]
        p, q = out[e], out[LANES + e]
        p = p + v0 * a + v1 * b + v2 * c + v3 * d + v4 * f + v5 * g + v6 * h + v7 * i
        q = q + w0 * a + w1 * b + w2 * c + w3 * d + w4 * f + w5 * g + w6 * h + w7 * i
        out[e] = p
        out[LANES + e] = q


@inline(contract=True)
def _add_8(out, x, at, w, n):
    """Add eight inputs to one output."""
    x0, x1, x2, x3 = _row(x, at[0]), _row(x, at[1]), _row(x, at[2]), _row(x, at[3])
    x4, x5, x6, x7 = _row(x, at[4]), _row(x, at[5]), _row(x, at[6]), _row(x, at[7])
    w0, w1, w2, w3 = w[0], w[n], w[2 * n], w[3 * n]
    w4, w5, w6, w7 = w[4 * n], w[5 * n], w[6 * n], w[7 * n]
    for e in range(LANES):
        low = out[e] + w0 * x0[e] + w1 * x1[e] + w2 * x2[e] + w3 * x3[e]
        out[e] = low + w4 * x4[e] + w5 * x5[e] + w6 * x6[e] + w7 * x7[e]


# -- gradients -------------------------------------------------------------------------------------


@jit(contract=True)
def weight_sums(weights, intercepts, x, slopes, view):
    """weights[k, j] += sum of x[g, place + k] slopes[g, place n + j], and intercepts of slopes.

    Over blocks, places and examples, in float64 over examples.

    Parameters
    ----------
    weights, intercepts : ndarray of shape (K, n) and (n,), float64
    x : ndarray of shape (G, U, LANES)
    slopes : ndarray of shape (G, n places, LANES)
    view : Window
    """
    n_inputs, n = weights.shape
    frame, total = _frame(x, view), np.empty((n_inputs + 1) * n * LANES, x.dtype)
    for g in range(x.shape[0]):
        image, slope = _framed(frame, x[g].ravel(), view), slopes[g].ravel()
        total[:] = 0
        for row in range(view.height):
            seen = image[_corner(view, row, 0) :]
            told = slope[row * view.width * n * LANES : (row + 1) * view.width * n * LANES]
            j = 0
            while j < n:  # few outputs at a time, whose slopes stay in the nearest cache
                width = 4 if j + 4 <= n else (2 if j + 2 <= n else 1)
                d = told[j * LANES :]
                for k in range(n_inputs):
                    h, sums = seen[view.offsets[k] * LANES :], total[(k * n + j) * LANES :]
                    if width == 4:
                        _add_places_to_4(sums, h, d, view.width, view.channels, n)
                    elif width == 2:
                        _add_places_to_2(sums, h, d, view.width, view.channels, n)
                    else:
                        _add_places(sums, h, d, view.width, view.channels, n)
                j += width
            for j in range(n):
                sums = _row(total, n_inputs * n + j)
                for column in range(view.width):
                    d = _row(told, column * n + j)
                    for e in range(LANES):
                        sums[e] += d[e]
        for j in range(n):
            intercepts[j] += _sum(_row(total, n_inputs * n + j))
            for k in range(n_inputs):
                weights[k, j] += _sum(_row(total, k * n + j))


@inline(contract=True)
def _add_places_to_4(sums, h, slope, width, channels, n):
    """Add the products of the inputs and four slopes each of the pixels of a row."""
    out, column = sums[: 4 * LANES], 0
    while column + 4 <= width:
        h0, h1 = _row(h, column * channels), _row(h, (column + 1) * channels)
        h2, h3 = _row(h, (column + 2) * channels), _row(h, (column + 3) * channels)
        d0, d1 = slope[column * n * LANES :], slope[(column + 1) * n * LANES :]
        d2, d3 = slope[(column + 2) * n * LANES :], slope[(column + 3) * n * LANES :]
        for e in range(LANES):
            a, b, c, d = h0[e], h1[e], h2[e], h3[e]
            f, g = e + LANES, e + 2 * LANES
            i = e + 3 * LANES
            out[e] = out[e] + a * d0[e] + b * d1[e] + c * d2[e] + d * d3[e]
            out[f] = out[f] + a * d0[f] + b * d1[f] + c * d2[f] + d * d3[f]
            out[g] = out[g] + a * d0[g] + b * d1[g] + c * d2[g] + d * d3[g]
            out[i] = out[i] + a * d0[i] + b * d1[i] + c * d2[i] + d * d3[i]
        column += 4
    while column < width:
        h0, d0 = _row(h, column * channels), slope[column * n * LANES :]
        for e in range(LANES):
            a = h0[e]
            out[e] += a * d0[e]
            out[e + LANES] += a * d0[e + LANES]
            out[e + 2 * LANES] += a * d0[e + 2 * LANES]
            out[e + 3 * LANES] += a * d0[e + 3 * LANES]
        column += 1


@inline(contract=True)
def _add_places_to_2(sums, h, slope, width, channels, n):
    """Add the products of the inputs and two slopes each of the pixels of a row."""
    left, right, column = _row(sums, 0), _row(sums, 1), 0
    while column + 4 <= width:
        h0, h1 = _row(h, column * channels), _row(h, (column + 1) * channels)
        h2, h3 = _row(h, (column + 2) * channels), _row(h, (column + 3) * channels)
        d0, d1 = _row(slope, column * n), _row(slope, (column + 1) * n)
        d2, d3 = _row(slope, (column + 2) * n), _row(slope, (column + 3) * n)
        g0, g1 = _row(slope, column * n + 1), _row(slope, (column + 1) * n + 1)
        g2, g3 = _row(slope, (column + 2) * n + 1), _row(slope, (column + 3) * n + 1)
        for e in range(LANES):
            a, b, c, d = h0[e], h1[e], h2[e], h3[e]
            left[e] = left[e] + a * d0[e] + b * d1[e] + c * d2[e] + d * d3[e]
            right[e] = right[e] + a * g0[e] + b * g1[e] + c * g2[e] + d * g3[e]
        column += 4
    while column < width:
        h0, d0, g0 = (
            _row(h, column * channels),
            _row(slope, column * n),
            _row(slope, column * n + 1),
        )
        for e in range(LANES):
            left[e] += h0[e] * d0[e]
            right[e] += h0[e] * g0[e]
        column += 1


@inline(contract=True)
def _add_places(sums, h, slope, width, channels, n):
    """Add the products of the inputs and the slopes of the pixels of a row."""
    sums, column = _row(sums, 0), 0
    while column + 4 <= width:
        h0, h1 = _row(h, column * channels), _row(h, (column + 1) * channels)
        h2, h3 = _row(h, (column + 2) * channels), _row(h, (column + 3) * channels)
        d0, d1 = _row(slope, column * n), _row(slope, (column + 1) * n)
        d2, d3 = _row(slope, (column + 2) * n), _row(slope, (column + 3) * n)
        for e in range(LANES):
            sums[e] = sums[e] + h0[e] * d0[e] + h1[e] * d1[e] + h2[e] * d2[e] + h3[e] * d3[e]
        column += 4
    while column < width:
        h0, d0 = _row(h, column * channels), _row(slope, column * n)
        for e in range(LANES):
            sums[e] += h0[e] * d0[e]
        column += 1


@inline()
def _sum(x):
    value = 0.0
    for e in range(LANES):
        value += x[e]
    return value


@jit(contract=True)
def input_slopes(out, slopes, weights, view):
    """out[g, place + k] = sum_j weights[k, j] slopes[g, place n + j]: the gradient by the inputs.

    Parameters
    ----------
    out : ndarray of shape (G, U, LANES)
    slopes : ndarray of shape (G, n places, LANES)
    weights : ndarray of shape (K, n)
    view : Window
    """
    frame, (n_inputs, n) = _frame(out, view), weights.shape
    size = view.width * view.channels * LANES
    for g in range(out.shape[0]):
        image, slope = out[g].ravel() if view.radius == 0 else frame, slopes[g].ravel()
        image[:] = 0
        for row in range(view.height):
            for column in range(view.width):
                first = _corner(view, row, column) // LANES
                place = (row * view.width + column) * n
                for k in range(n_inputs):
                    target = _row(image, first + view.offsets[k])
                    for j in range(n):
                        w, d = weights[k, j], _row(slope, place + j)
                        for e in range(LANES):
                            target[e] += w * d[e]
        if view.radius > 0:
            inside = out[g].ravel()
            for row in range(view.height):
                start = _corner(view, row + view.radius, view.radius)
                inside[row * size : (row + 1) * size] = image[start : start + size]


# -- noise of each example -------------------------------------------------------------------------


@jit(contract=True)
def move_units(out, base, words, step):
    """out[0, p] = base + step xi_p and out[1, p] = base - step xi_p, signs of 32 examples a word.

    Parameters
    ----------
    out : ndarray of shape (2, P, U, LANES)
    base : ndarray of shape (U, LANES)
    words : ndarray of shape (P, 2 U), uint32
    step : scalar of that dtype
    """
    z = base.ravel()
    for pair in range(out.shape[1]):
        plus, minus, bits = out[0, pair].ravel(), out[1, pair].ravel(), words[pair]
        for i in range(len(bits)):
            word, first = bits[i], i * HALF
            for e in range(HALF):
                move = step if (word >> np.uint32(e)) & np.uint32(1) else -step
                plus[first + e] = z[first + e] + move
                minus[first + e] = z[first + e] - move


@jit(contract=True)
def move_weights(out, base, x, words, step, view):
    """out[0, p] = base + step xi_p and out[1, p] = base - step xi_p, where xi_p is a linear map.

    ``xi_p[place n + j] = b_j sum_k a_k x[place + k] + c_j`` with signs a, b, c of each example.

    Parameters
    ----------
    out : ndarray of shape (2, P, n places, LANES)
    base : ndarray of shape (n places, LANES)
    x : ndarray of shape (U, LANES)
    words : ndarray of shape (P, 2 (K + 2 n)), uint32
        The signs of a, then b, then c.
    step : scalar of that dtype
    view : Window
    """
    n_inputs, n_tiles, n_words = len(view.offsets), len(view.padded) // TILE, 2 * len(view.offsets)
    n = (words.shape[1] // 2 - n_inputs) // 2
    image = _framed(_frame(x, view), x.ravel(), view)
    a = np.zeros(n_tiles * TILE * LANES, x.dtype)
    bc, total = np.empty(2 * n * LANES, x.dtype), np.empty(LANES, x.dtype)
    z = base.ravel()
    for pair in range(out.shape[1]):
        _expand(a, words[pair, :n_words])
        _expand(bc, words[pair, n_words:])
        plus, minus = out[0, pair].ravel(), out[1, pair].ravel()
        for row in range(view.height):
            for column in range(view.width):
                seen = image[_corner(view, row, column) :]
                place = (row * view.width + column) * n
                total[:] = 0
                for k in range(0, n_tiles * TILE, TILE):
                    _add_8_signs(total, seen, view.padded[k:], a[k * LANES :])
                for j in range(n):
                    b, c, unit = _row(bc, j), _row(bc, n + j), _row(z, place + j)
                    up, down = _row(plus, place + j), _row(minus, place + j)
                    for e in range(LANES):
                        move = step * (b[e] * total[e] + c[e])
                        up[e] = unit[e] + move
                        down[e] = unit[e] - move


@inline()
def _expand(signs, words):
    one = signs.dtype.type(1)
    for i in range(len(words)):
        word, some = words[i], signs[i * HALF : (i + 1) * HALF]
        for e in range(HALF):
            some[e] = one if (word >> np.uint32(e)) & np.uint32(1) else -one


@inline(contract=True)
def _add_8_signs(out, x, at, s):
    """Add eight inputs, times signs of each example."""
    x0, x1, x2, x3 = _row(x, at[0]), _row(x, at[1]), _row(x, at[2]), _row(x, at[3])
    x4, x5, x6, x7 = _row(x, at[4]), _row(x, at[5]), _row(x, at[6]), _row(x, at[7])
    s0, s1, s2, s3 = _row(s, 0), _row(s, 1), _row(s, 2), _row(s, 3)
    s4, s5, s6, s7 = _row(s, 4), _row(s, 5), _row(s, 6), _row(s, 7)
    for e in range(LANES):
        low = out[e] + s0[e] * x0[e] + s1[e] * x1[e] + s2[e] * x2[e] + s3[e] * x3[e]
        out[e] = low + s4[e] * x4[e] + s5[e] * x5[e] + s6[e] * x6[e] + s7[e] * x7[e]
