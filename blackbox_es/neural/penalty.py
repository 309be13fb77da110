"""The L2 penalty, outside the noise."""

from __future__ import annotations

from blackbox_es.optimizers import Array, Optimizer, State, resolve
from blackbox_es.schedules import Schedule


class Penalized(Optimizer):
    """An optimizer of ``f(x) + sum_i penalty_i x_i^2 / 2``.

    The gradient of the penalty is known: it is added to the estimate exactly, instead of being
    measured together with f and its noise.

    Parameters
    ----------
    optimizer : str or Optimizer
    penalty : ndarray of shape (n,)
    """

    def __init__(self, optimizer: str | Optimizer, penalty: Array) -> None:
        self.optimizer = optimizer
        self.penalty = penalty

    @property
    def learning_rate(self) -> float | Schedule | None:  # type: ignore[override]
        """That of the optimizer."""
        return resolve(self.optimizer).learning_rate

    def _check(self) -> None:
        resolve(self.optimizer).check()

    def init(self, x: Array) -> State:
        """The state of the optimizer."""
        return resolve(self.optimizer).init(x)

    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        """A step of the optimizer with the penalty's gradient added."""
        penalized = gradient + (self.penalty * x).astype(x.dtype, copy=False)
        return resolve(self.optimizer).step(x, penalized, state, rate)
