"""What a search distribution is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from blackbox_es import noise
from blackbox_es._value import Range
from blackbox_es.noise import Key

Array = npt.NDArray[Any]
Offset = tuple[Array, Array]  # coefficients and rows: what is added to a base distribution
Size = Annotated[int, Range(1, 2**40)]


@runtime_checkable
class Sampler(Protocol):
    """What a generation needs of its search distribution."""

    @property
    def n(self) -> int:
        """Dimension of the space."""

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate, root mean squared over the coordinates."""

    def perturb(self, center: Array, key: Key, pairs: noise.Range) -> Array:
        """``center + d_p`` and ``center - d_p``: shape (2, pairs, n), dtype of the center."""

    def combine(self, weights: Array, key: Key, dtype: npt.DTypeLike) -> Array:
        """``sum_p weights[p] d_p``: shape (n,)."""


@runtime_checkable
class Base(Sampler, Protocol):
    """A sampler with ``Sigma = I / n``, which `Guided` can elongate along a subspace.

    With an offset (coefs, rows), ``coefs @ rows`` is added to each direction, or to their sum.
    """

    def with_sigma(self, sigma: float) -> Base:
        """The same distribution at another scale."""

    def perturb(
        self, center: Array, key: Key, pairs: noise.Range, offset: Offset | None = None
    ) -> Array:
        """Points ``center +- (d_p + coefs[p] @ rows)``."""

    def combine(
        self, weights: Array, key: Key, dtype: npt.DTypeLike, offset: Offset | None = None
    ) -> Array:
        """``sum_p weights[p] d_p + coefs @ rows``."""


def directions(sampler: Sampler, key: Key, pairs: noise.Range) -> Array:
    """The directions of some pairs, one row each, in float64."""
    return np.asarray(sampler.perturb(np.zeros(sampler.n), key, pairs)[0])
