"""The L2 penalty, outside the noise."""

from __future__ import annotations

from blackbox_es._config import config
from blackbox_es.optimizers import Array, Optimizer, State, resolve


@config
class Penalized(Optimizer):
    """An optimizer of ``f(x) + sum_i penalty_i x_i^2 / 2``.

    The gradient of the penalty is known: it is added to the estimate exactly, instead of being
    measured together with f and its noise.

    Parameters
    ----------
    optimizer : Optimizer
    penalty : ndarray of shape (n,), dtype of x
    """

    optimizer: Optimizer
    penalty: Array

    def _check(self) -> None:
        self.optimizer.check()

    def init(self, x: Array) -> State:
        """The state of the optimizer."""
        return self.optimizer.init(x)

    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        """A step of the optimizer with the penalty's gradient added."""
        penalized = self.penalty * x
        penalized += gradient
        return self.optimizer.step(x, penalized, state, rate)


def penalized(optimizer: str | Optimizer, penalty: Array) -> Penalized:
    """The optimizer with this penalty, and with the learning rate of its own if it has one."""
    inner = resolve(optimizer)
    return Penalized(inner.learning_rate, optimizer=inner, penalty=penalty)
