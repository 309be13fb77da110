"""The perturbed quadratic of Guided Evolutionary Strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class PerturbedQuadratic:
    """``f(x) = |A x - b|^2 / (2 m)`` with a gradient that is biased and noisy.

    Figure 1b of Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, with the settings of
    its authors' notebooks: A and b standard normal, ``x0 = 0``.

    Parameters
    ----------
    n, m : int
        Coordinates and residuals, m >= n.
    bias, noise : float
        Lengths, relative to the gradient's, of a fixed and of a fresh random vector that are added
        to the gradient to give the surrogate. At the start its cosine with the gradient is about
        ``1 / sqrt(1 + bias^2 + noise^2)``.
    seed : int

    Attributes
    ----------
    x0 : ndarray of shape (n,)
    minimum : float
        The least value, ``f*``.

    Examples
    --------
    >>> problem = PerturbedQuadratic()
    >>> round(float(problem(problem.x0)), 6), round(problem.minimum, 6)
    (0.516843, 0.25628)
    """

    def __init__(
        self,
        n: int = 1000,
        m: int = 2000,
        *,
        bias: float = 1.0,
        noise: float = 1.5,
        seed: int = 2,
    ) -> None:
        rng = np.random.RandomState(seed)  # the notebooks' generator, for their numbers
        a, b = rng.randn(m, n), rng.randn(m)
        self.x0 = np.zeros(n)
        self._hessian = a.T @ a / m
        self._slope = a.T @ b / m
        self._offset = float(b @ b) / (2 * m)
        self.minimum = float(self(np.linalg.solve(self._hessian, self._slope)))
        self._bias = bias * _unit(rng.randn(n))
        self._noise = noise

    def __call__(self, x: Array) -> Any:
        """The value at a point of shape (n,), or at each row of shape (m, n)."""
        return ((0.5 * x) @ self._hessian * x).sum(axis=-1) - x @ self._slope + self._offset

    def gradient(self, x: Array) -> Array:
        """The true gradient at a point."""
        return np.asarray(self._hessian @ x - self._slope)

    def surrogate(self, seed: int = 0) -> Callable[[Array], Array]:
        """A function of x that gives the gradient, biased and each time with fresh noise."""
        rng = np.random.default_rng(seed)

        def surrogate_fn(x: Array) -> Array:
            gradient = self.gradient(x)
            error = self._bias + self._noise * _unit(rng.standard_normal(x.size))
            return gradient + error * np.linalg.norm(gradient)

        return surrogate_fn


def _unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v))
