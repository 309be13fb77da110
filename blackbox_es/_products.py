"""Matrix products in a fixed order: their bits depend on no BLAS library and no thread count."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import inline, jit

Array = npt.NDArray[Any]

_CHUNK = 512  # columns at a time, which stay in the first-level cache
_LANES = 32  # partial sums side by side: four registers of float64, enough to hide their latency
_PAIRS = 8  # outer products added between two visits to a row of the sum


@jit(contract=True)
def _add_outer(out, weights, rows, left, right):
    height, width = out.shape
    for p in range(0, weights.size - _PAIRS + 1, _PAIRS):
        b0, b1, b2, b3, b4, b5, b6, b7 = _eight(rows, p, right, width)
        w0, w1, w2, w3 = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        w4, w5, w6, w7 = weights[p + 4], weights[p + 5], weights[p + 6], weights[p + 7]
        a0, a1, a2, a3, a4, a5, a6, a7 = _eight(rows, p, left, height)
        for i in range(height):
            v0, v1, v2, v3 = w0 * a0[i], w1 * a1[i], w2 * a2[i], w3 * a3[i]
            v4, v5, v6, v7 = w4 * a4[i], w5 * a5[i], w6 * a6[i], w7 * a7[i]
            row = out[i]
            for j in range(width):
                even = v0 * b0[j] + v2 * b2[j] + v4 * b4[j] + v6 * b6[j]
                row[j] += even + (v1 * b1[j] + v3 * b3[j] + v5 * b5[j] + v7 * b7[j])
    for p in range(weights.size - weights.size % _PAIRS, weights.size):
        for i in range(height):
            for j in range(width):
                out[i, j] += weights[p] * rows[p, left + i] * rows[p, right + j]


@inline(contract=True)
def _eight(rows, p, start, size):
    """The same columns of eight rows."""
    stop = start + size
    a, b, c, d = rows[p], rows[p + 1], rows[p + 2], rows[p + 3]
    e, f, g, h = rows[p + 4], rows[p + 5], rows[p + 6], rows[p + 7]
    a, b, c, d = a[start:stop], b[start:stop], c[start:stop], d[start:stop]
    return a, b, c, d, e[start:stop], f[start:stop], g[start:stop], h[start:stop]


@jit(contract=True)
def _gram(out, rows):
    n = rows.shape[1]
    whole = n - n % _LANES
    lanes = np.empty(_LANES)
    for i in range(rows.shape[0]):
        for j in range(i + 1):
            total = _dot(rows[i], rows[j], lanes, whole)
            out[i, j] = out[j, i] = total


@jit(contract=True)
def _mix(out, matrix, rows):
    for start in range(0, rows.shape[1], _CHUNK):
        for i in range(matrix.shape[0]):
            target = out[i, start : start + _CHUNK]
            for j in range(matrix.shape[1]):
                m, row = matrix[i, j], rows[j, start : start + _CHUNK]
                for e in range(target.size):
                    target[e] += m * row[e]


@jit(contract=True)
def _weighted_sum(out, weights, rows, scale):
    for p in range(weights.size):
        for j in range(out.size):
            out[j] += weights[p] * (np.float64(rows[p, j]) * scale)


@jit()
def _unit(out, vector):
    largest = 0.0
    for e in range(vector.size):
        size = abs(vector[e])
        if size > largest:
            largest = size
        elif size != size:
            return False
    if not 0.0 < largest < np.inf:
        return False
    for e in range(vector.size):
        out[e] = vector[e] / largest
    sums = np.zeros(8)  # one register of float64
    whole = vector.size - vector.size % 8
    for start in range(0, whole, 8):
        x = out[start : start + 8]
        for lane in range(8):
            sums[lane] += np.float64(x[lane] * x[lane])
    total = sums[0] + sums[1] + (sums[2] + sums[3])
    total += sums[4] + sums[5] + (sums[6] + sums[7])
    for e in range(whole, vector.size):
        total += np.float64(out[e] * out[e])
    length = out.dtype.type(np.sqrt(total))
    for e in range(out.size):
        out[e] /= length
    return True


@jit(contract=True)
def _orthonormalize(rows, first):
    n = rows.shape[1]
    whole = n - n % _LANES
    lanes = np.empty(_LANES)
    for i in range(first, rows.shape[0]):
        row = rows[i]
        for _ in range(2):  # twice is enough
            for j in range(i):
                other = rows[j]
                product = _dot(row, other, lanes, whole)
                for e in range(n):
                    row[e] -= product * other[e]
        length = np.sqrt(_dot(row, row, lanes, whole))
        for e in range(n):
            row[e] /= length


@inline(contract=True)
def _dot(a, b, lanes, whole):
    lanes[:] = 0.0
    for start in range(0, whole, _LANES):
        x, y = a[start : start + _LANES], b[start : start + _LANES]
        for lane in range(_LANES):
            lanes[lane] += np.float64(x[lane]) * np.float64(y[lane])
    total = lanes.sum()
    for e in range(whole, a.size):
        total += np.float64(a[e]) * np.float64(b[e])
    return total


@jit()
def _regress(residuals, differences, latent):
    n_pairs, k = latent.shape
    largest, n_known = 0.0, 0
    for p in range(n_pairs):
        largest = max(largest, abs(differences[p]))
        n_known += differences[p] != 0.0
    total, excess = 0.0, 0.0
    slopes = np.zeros(k)
    if not 0.0 < largest < np.inf:
        return n_known, largest, total, excess
    for p in range(n_pairs):
        y, length = differences[p] / largest, 0.0
        total += y * y
        for i in range(k):
            slopes[i] += y * latent[p, i]
            length += np.float64(latent[p, i]) * latent[p, i]
        excess += y * y * (length - k)
    left = np.empty(k)
    for p in range(n_pairs):
        y = differences[p] / largest
        if y != 0.0:
            for i in range(k):
                left[i] = latent[p, i] - y * (slopes[i] / total)
                for j in range(i + 1):
                    residuals[i, j] += left[i] * left[j]
    for i in range(k):
        for j in range(i):
            residuals[j, i] = residuals[i, j]
    return n_known, largest, total, excess


def regress(differences: Array, latent: Array) -> tuple[Array, int, float, float, float]:
    """What a regression of the latents on y, the differences in units of the largest, leaves.

    Parameters
    ----------
    differences : ndarray of shape (n_pairs,), float64
        Pairs with a difference of zero are left out.
    latent : ndarray of shape (n_pairs, k), float32

    Returns
    -------
    residuals : ndarray of shape (k, k)
        ``Z^T Z - Z^T y y^T Z / |y|^2``.
    n_known : int
        Differences that are not zero.
    largest, total, excess : float
        The largest size, ``sum y^2``, and ``sum y^2 (|z|^2 - k)``.
    """
    residuals = np.zeros((latent.shape[1], latent.shape[1]))
    return residuals, *_regress(residuals, differences, latent)


def weighted_sum(weights: Array, rows: Array, scale: float) -> Array:
    """``sum_p weights[p] scale rows[p]`` in float64, in the order of p, for few columns."""
    out = np.zeros(rows.shape[1])
    _weighted_sum(out, weights, rows, scale)
    return out


def unit(vector: Array, dtype: npt.DTypeLike) -> Array | None:
    """The vector at length 1, or None if it is zero or not finite; safe for every scale."""
    out = np.empty(vector.size, dtype)
    return out if _unit(out, vector.astype(np.float64)) else None  # one type, so compiled once


def orthonormalized(rows: Array, first: int) -> Array:
    """The rows, each from ``first`` on made orthogonal to all before it, of length 1.

    Those before are orthonormal. A row is a function of itself and those before it.
    """
    out = rows.copy()
    _orthonormalize(out, first)
    return out


def outer_sum(weights: Array, rows: Array, left: slice, right: slice) -> Array:
    """``sum_p weights[p] outer(rows[p, left], rows[p, right])`` in float64, in the order of p."""
    out = np.zeros((left.stop - left.start, right.stop - right.start))
    _add_outer(out, weights, rows, left.start, right.start)
    return out


def gram(rows: Array) -> Array:
    """``rows @ rows.T`` of a C-contiguous matrix, in float64."""
    out = np.empty((len(rows), len(rows)))
    _gram(out, rows)
    return out


def mix(matrix: Array, rows: Array) -> Array:
    """``matrix @ rows``: each row of the result is a mixture of rows."""
    dtype = max(matrix.dtype, rows.dtype)  # the one that holds both
    out = np.zeros((len(matrix), rows.shape[1]), dtype)
    _mix(out, np.ascontiguousarray(matrix), np.ascontiguousarray(rows))
    return out
