"""Examples side by side, as layers take them, and as everybody else has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.neural.layers.products import LANES

Array = npt.NDArray[Any]


def blocks_of(X: Array) -> Array:
    """Rows (m, U) as blocks (G, U, LANES), with examples of zeros at the end."""
    n_blocks = -(-len(X) // LANES)
    out = np.zeros((n_blocks, X.shape[1], LANES), X.dtype)
    for block in range(n_blocks):
        rows = X[block * LANES : (block + 1) * LANES]
        out[block, :, : len(rows)] = rows.T
    return out


def rows_of(h: Array, m: int) -> Array:
    """Blocks (..., G, U, LANES) as rows (..., m, U)."""
    rows = np.moveaxis(h, -1, -2)
    return rows.reshape(*h.shape[:-3], -1, h.shape[-2])[..., :m, :]
