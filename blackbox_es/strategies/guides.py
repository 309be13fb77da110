"""Surrogate gradients as guides: unit vectors, the last few of them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from blackbox_es._validation import as_surrogate
from blackbox_es.samplers import unit_guide

Array = npt.NDArray[Any]
Guides = tuple[Array | None, ...]  # None in place of a surrogate that was rejected


def seen(guides: Guides, surrogate: Any, x: Array, most: int) -> tuple[Guides, Guides, bool]:
    """The guides after a surrogate, those to keep for the next one, and whether it is rejected.

    Parameters
    ----------
    guides : tuple of ndarray or None
        Known so far.
    surrogate : None, or array-like of shape (n,) or (n, k)
        Columns given at once are all the guides there are: nothing is kept for the next one.
        Zero and not finite ones are rejected.
    x : ndarray of shape (n,)
    most : int
        How many of the last ones there are.
    """
    given = [] if surrogate is None else _columns(as_surrogate(surrogate, x.size))
    units = tuple(unit_guide(guide, x.dtype) for guide in given) or (None,)
    rejected = any(unit is None for unit in units)
    if len(units) > 1:
        return units, (), rejected
    guides = (*guides, *units)[-most:]
    return guides, guides, rejected


def known(guides: Guides) -> list[Array]:
    """Those that are there."""
    return [guide for guide in guides if guide is not None]


def _columns(array: Array) -> list[Array]:
    return [array] if array.ndim == 1 else list(array.T)
