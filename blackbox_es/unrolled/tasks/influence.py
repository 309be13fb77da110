"""Influence balancing: what helps at once does harm later."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.unrolled.problem import DifferentiableProblem, Inner, unroll

Array = npt.NDArray[Any]


class InfluenceBalancing(DifferentiableProblem):
    """``s' = A s + theta (1, .., 1, -1, .., -1)``, with the loss ``(s'_0 - 1)^2 / 2``.

    A has 1/2 on the diagonal and above it, so that the signs reach ``s_0`` one after the other:
    first the positive ones, then the negative ones, which are more. A window sees the former only
    (Tallec, Ollivier 2018, "Unbiased online recurrent optimization"; Vicol, Metz, Sohl-Dickstein
    2021).

    Parameters
    ----------
    n : int
        States.
    n_positive : int
    horizon : int

    Attributes
    ----------
    minimum : float
        The theta of the least mean loss, which is quadratic.
    """

    def __init__(self, n: int = 23, n_positive: int = 10, *, horizon: int = 500) -> None:
        self.horizon = horizon
        self._a = 0.5 * (np.eye(n) + np.eye(n, k=1))
        self._signs = np.where(np.arange(n) < n_positive, 1.0, -1.0)
        low, middle, high = unroll(self, [[-1.0], [0.0], [1.0]], [0, 0, 0])
        self.minimum = float((low - high) / (2.0 * (low + high - 2.0 * middle)))

    def init(self, seeds: Array) -> Inner:
        return (np.zeros((len(seeds), self._signs.size)),)

    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        # Not by BLAS, whose bits may depend on the number of rows
        s = np.einsum("mj,ij->mi", state[0], self._a) + theta * self._signs
        error = s[:, 0] - 1.0
        return (s,), 0.5 * error**2, error

    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        slope = slopes[0].copy()
        slope[:, 0] += weight * taped
        return (slope @ self._a,), (slope @ self._signs)[:, None]
