"""What is unrolled: an inner computation of many steps that depends on parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_values

Array = npt.NDArray[Any]
Inner = tuple[Array, ...]  # an inner state: arrays with one row for each particle


class UnrolledProblem(ABC):
    """An inner computation of ``horizon`` steps, ``s <- step(theta, s)``, each with a loss.

    The objective is the mean of the losses of an episode, averaged over the seeds. Everything has
    one row for each particle, and no row depends on another: particles are at different steps of
    episodes with different seeds. What is given is not written to.

    A problem that has `truncated_gradient` can guide a search; `DifferentiableProblem` makes it of
    the adjoint of one step.

    Attributes
    ----------
    horizon : int
        T, steps of an episode.

    Examples
    --------
    >>> class Decay(UnrolledProblem):  # s <- s - theta s, the loss is s^2
    ...     horizon = 10
    ...
    ...     def init(self, seeds):
    ...         return (np.ones(len(seeds)),)
    ...
    ...     def step(self, theta, state, t, seeds):
    ...         s = state[0] * (1.0 - theta[:, 0])
    ...         return (s,), s**2
    >>> unroll(Decay(), [[0.0], [0.5]], seeds=[0, 1]).round(3)
    array([1.   , 0.033])
    """

    horizon: int

    @abstractmethod
    def init(self, seeds: Array) -> Inner:
        """The states before the first step of episodes with these seeds.

        Parameters
        ----------
        seeds : ndarray of shape (m,), int64
            Below 2**31. Both particles of a pair have the same one.

        Returns
        -------
        tuple of ndarrays of shape (m, ...)
        """

    @abstractmethod
    def step(self, theta: Array, state: Inner, t: Array, seeds: Array) -> tuple[Inner, Array]:
        """The states after a step, and its losses.

        Parameters
        ----------
        theta : ndarray of shape (m, n)
        state : tuple of ndarrays of shape (m, ...)
        t : ndarray of shape (m,), int64
            How many steps have been done, from 0 to ``horizon - 1``.
        seeds : ndarray of shape (m,), int64

        Returns
        -------
        tuple of ndarrays of shape (m, ...), ndarray of shape (m,)
        """

    def truncated_gradient(
        self, theta: Array, state: Inner, t: Array, seeds: Array, n_steps: int
    ) -> tuple[Inner, Array]:
        """The states after some steps, and the gradient of their mean loss by theta.

        The states before them are taken for constants, which they are not: what the gradient is
        truncated by.

        Returns
        -------
        tuple of ndarrays of shape (m, ...), ndarray of shape (m, n)
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no truncated_gradient, which guides: take alpha=1.0, or "
            "make it a DifferentiableProblem"
        )


class DifferentiableProblem(UnrolledProblem):
    """A problem whose steps have adjoints: the truncated gradient is made by reverse mode."""

    @abstractmethod
    def forward(
        self, theta: Array, state: Inner, t: Array, seeds: Array
    ) -> tuple[Inner, Array, Any]:
        """As `step`, and whatever `backward` needs of it."""

    @abstractmethod
    def backward(
        self, theta: Array, taped: Any, slopes: Inner, weight: float
    ) -> tuple[Inner, Array]:
        """The adjoint of a step.

        Parameters
        ----------
        theta : ndarray of shape (m, n)
        taped : Any
            From `forward`.
        slopes : tuple of ndarrays of shape (m, ...)
            The gradient by the states after the step.
        weight : float
            The derivative by the losses of the step.

        Returns
        -------
        tuple of ndarrays of shape (m, ...), ndarray of shape (m, n)
            The gradients by the states before the step, and by theta.
        """

    def step(self, theta: Array, state: Inner, t: Array, seeds: Array) -> tuple[Inner, Array]:
        state, losses, _ = self.forward(theta, state, t, seeds)
        return state, losses

    def truncated_gradient(
        self, theta: Array, state: Inner, t: Array, seeds: Array, n_steps: int
    ) -> tuple[Inner, Array]:
        tape = []
        for k in range(n_steps):
            state, _, taped = self.forward(theta, state, t + k, seeds)
            tape.append(taped)
        slopes, gradient = tuple(np.zeros_like(part) for part in state), np.zeros_like(theta)
        for taped in reversed(tape):
            slopes, slope = self.backward(theta, taped, slopes, 1.0 / n_steps)
            gradient += slope
        return state, gradient


def window(
    problem: UnrolledProblem, theta: Array, state: Inner, t: Array, seeds: Array, n_steps: int
) -> tuple[Inner, Array]:
    """The states after some steps, and their mean losses: shape (m,), float64."""
    total = np.zeros(len(theta))
    for k in range(n_steps):
        state, losses = problem.step(theta, state, t + k, seeds)
        total += as_values(losses, total.shape, "the losses of a step")
    return state, total / n_steps


def unroll(problem: UnrolledProblem, theta: npt.ArrayLike, seeds: npt.ArrayLike) -> Array:
    """The objective for each seed: the mean loss of a whole episode, shape (m,), float64.

    Parameters
    ----------
    problem : UnrolledProblem
    theta : array-like of shape (n,) or (m, n)
    seeds : array-like of shape (m,)
    """
    given, of = np.asarray(theta), np.asarray(seeds, np.int64)
    rows = np.broadcast_to(given, (len(of), given.shape[-1]))
    start = np.zeros(len(of), np.int64)
    return window(problem, rows, problem.init(of), start, of, problem.horizon)[1]
