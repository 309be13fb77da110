"""Matrix products in a fixed order: their bits depend on no BLAS library and no thread count."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._jit import jit

Array = npt.NDArray[Any]

_CHUNK = 512  # columns at a time, which stay in the first-level cache
_LANES = 32  # partial sums side by side: four registers of float64, enough to hide their latency
_PAIRS = 8  # outer products added between two visits to a row of the sum


@jit(contract=True)
def _add_outer(out, a, b):
    for p in range(0, a.shape[0] - _PAIRS + 1, _PAIRS):
        b0, b1, b2, b3 = b[p], b[p + 1], b[p + 2], b[p + 3]
        b4, b5, b6, b7 = b[p + 4], b[p + 5], b[p + 6], b[p + 7]
        for i in range(a.shape[1]):
            a0, a1, a2, a3 = a[p, i], a[p + 1, i], a[p + 2, i], a[p + 3, i]
            a4, a5, a6, a7 = a[p + 4, i], a[p + 5, i], a[p + 6, i], a[p + 7, i]
            row = out[i]
            for j in range(row.size):
                even = a0 * b0[j] + a2 * b2[j] + a4 * b4[j] + a6 * b6[j]
                row[j] += even + (a1 * b1[j] + a3 * b3[j] + a5 * b5[j] + a7 * b7[j])
    for p in range(a.shape[0] - a.shape[0] % _PAIRS, a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(out.shape[1]):
                out[i, j] += a[p, i] * b[p, j]


@jit(contract=True)
def _gram(out, rows):
    n = rows.shape[1]
    whole = n - n % _LANES
    lanes = np.empty(_LANES)
    for i in range(rows.shape[0]):
        for j in range(i + 1):
            lanes[:] = 0.0
            for start in range(0, whole, _LANES):
                x, y = rows[i, start : start + _LANES], rows[j, start : start + _LANES]
                for lane in range(_LANES):
                    lanes[lane] += x[lane] * y[lane]
            total = lanes.sum()
            for e in range(whole, n):
                total += rows[i, e] * rows[j, e]
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


def outer_sum(a: Array, b: Array) -> Array:
    """``sum_p outer(a[p], b[p])`` of float64 rows, added in the order of p."""
    out = np.zeros((a.shape[1], b.shape[1]))
    _add_outer(out, a, b)
    return out


def gram(rows: Array) -> Array:
    """``rows @ rows.T`` of a C-contiguous float64 matrix."""
    out = np.empty((len(rows), len(rows)))
    _gram(out, rows)
    return out


def mix(matrix: Array, rows: Array) -> Array:
    """``matrix @ rows``: each row of the result is a mixture of rows."""
    out = np.zeros((len(matrix), rows.shape[1]), rows.dtype)
    _mix(out, np.ascontiguousarray(matrix, rows.dtype), np.ascontiguousarray(rows))
    return out
