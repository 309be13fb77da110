"""Optimizers: how a gradient estimate moves the center.

``init(x)`` makes a state, ``step(x, gradient, state, rate)`` returns the next center and the next
state. States are tuples of arrays and integers. A step may write into the arrays of the state it is
given, so a caller that may still need that state hands it copies; it never writes into x or the
gradient, and the next center is a new array.

The learning rate is a parameter of the optimizer, or ``None`` for that of the strategy, so that
``GuidedES(optimizer=SGD(momentum=0.9), learning_rate=0.2)`` means what it says.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._config import Configurable, config
from blackbox_es._validation import check_fraction, check_positive
from blackbox_es.schedules import Schedule, value_at

Array = npt.NDArray[Any]
State = tuple[Any, ...]


@config
class Optimizer(Configurable, ABC):
    """A rule that moves the center; see `SGD`, `Adam` and `ClipUp`.

    Parameters
    ----------
    learning_rate : float, schedule or None
        ``None`` takes the strategy's.
    """

    learning_rate: float | Schedule | None = field(default=None, kw_only=False)

    def check(self) -> None:
        """Raise ValueError for invalid parameters."""
        if self.learning_rate is not None and not callable(self.learning_rate):
            check_positive("learning_rate", self.learning_rate, also=", a schedule or None")
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError for the parameters of this rule."""

    @abstractmethod
    def init(self, x: Array) -> State:
        """The state before the first step from ``x``: a tuple of arrays and integers."""

    @abstractmethod
    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        """The next center, a new array, and the next state; may overwrite this one's arrays."""


@config
class SGD(Optimizer):
    """``v <- momentum v + g``, ``x <- x - rate v``: gradient descent with heavy-ball momentum.

    Parameters
    ----------
    momentum : float in [0, 1)

    Examples
    --------
    >>> sgd = SGD(momentum=0.5)
    >>> x = np.zeros(1)
    >>> state = sgd.init(x)
    >>> for _ in range(2):
    ...     x, state = sgd.step(x, np.ones(1), state, 0.1)
    >>> x
    array([-0.25])
    """

    momentum: float = 0.0

    def _check(self) -> None:
        check_fraction("momentum", self.momentum)

    def init(self, x: Array) -> State:
        return (np.zeros_like(x),) if self.momentum else ()

    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        velocity = gradient
        if state:
            (velocity,) = state
            velocity *= float(self.momentum)
            velocity += gradient
        move = velocity * float(rate)  # NumPy's float64 would make float64 of float32
        return np.subtract(x, move, out=move), state  # one new vector, since they may be huge


@config
class Adam(Optimizer):
    """``x <- x - rate m^ / (sqrt(v^) + epsilon)`` with bias-corrected moments m^ and v^.

    Kingma, Ba 2015, "Adam: a method for stochastic optimization". The scale of the gradient does
    not matter, so neither do ``beta`` of the strategy and the scale of the objective.

    Parameters
    ----------
    beta_1, beta_2 : float in [0, 1)
        Decay of the first and the second moment.
    epsilon : float
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def _check(self) -> None:
        check_fraction("beta_1", self.beta_1)
        check_fraction("beta_2", self.beta_2)
        check_positive("epsilon", self.epsilon)

    def init(self, x: Array) -> State:
        return np.zeros_like(x), np.zeros_like(x), 0

    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        first, second, t = state
        t += 1
        # Python floats, so that float32 stays float32
        beta_1, beta_2, epsilon = float(self.beta_1), float(self.beta_2), float(self.epsilon)
        work = gradient * (1.0 - beta_1)
        first *= beta_1
        first += work
        np.multiply(gradient, gradient, out=work)
        work *= 1.0 - beta_2
        second *= beta_2
        second += work
        # sqrt(v / c2) + epsilon, both bias corrections folded into the rate
        root = math.sqrt(1.0 - beta_2**t)
        np.sqrt(second, out=work)
        work += epsilon * root
        np.divide(first, work, out=work)
        work *= rate * root / (1.0 - beta_1**t)
        return np.subtract(x, work, out=work), (first, second, t)


@config
class ClipUp(Optimizer):
    """``v <- momentum v + rate g/|g|``, ``|v|`` clipped to ``max_speed``, ``x <- x - v``.

    Toklu, Liskowski, Srivastava 2020, "ClipUp: a simple and powerful optimizer for
    distribution-based policy evolution". Steps are lengths in the space of x.

    Parameters
    ----------
    momentum : float in [0, 1)
    max_speed : float or None
        ``None`` is twice the learning rate, the paper's rule of thumb.
    """

    momentum: float = 0.9
    max_speed: float | None = None

    def _check(self) -> None:
        check_fraction("momentum", self.momentum)
        if self.max_speed is not None:
            check_positive("max_speed", self.max_speed, also=" or None")

    def init(self, x: Array) -> State:
        return (np.zeros_like(x),)

    def step(self, x: Array, gradient: Array, state: State, rate: float) -> tuple[Array, State]:
        (velocity,) = state
        velocity *= float(self.momentum)
        length = _length(gradient)
        if length > 0.0:
            velocity += gradient * (rate / length)
        limit = 2.0 * rate if self.max_speed is None else float(self.max_speed)
        speed = _length(velocity)
        if speed > limit:
            velocity *= limit / speed
        return x - velocity, state


def _length(x: Array) -> float:
    # Not by BLAS, whose sum depends on the number of its threads.
    return math.sqrt(float(np.sum(x * x, dtype=np.float64)))


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "clipup": ClipUp}
_DEFAULTS = {name: cls() for name, cls in OPTIMIZERS.items()}


def resolve(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of that name with its defaults, which is not to be changed, or the one given.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise ValueError(
            f"optimizer={optimizer!r} is unknown: take {', '.join(map(repr, OPTIMIZERS))} or an "
            "Optimizer such as SGD(momentum=0.9)"
        )
    return _DEFAULTS[optimizer]


def follow(
    optimizer: Optimizer,
    x: Array,
    gradient: Array,
    state: State,
    learning_rate: float | Schedule,
    t: int,
) -> tuple[Array, State]:
    """The center and the optimizer's state after the step of generation t.

    The optimizer's own learning rate counts, if it has one. It is given copies of its arrays: the
    state stays as it is.

    Raises
    ------
    ValueError
        For a learning rate that is negative or not finite.
    """
    own = optimizer.learning_rate
    rate = float(value_at(learning_rate if own is None else own, t))
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"learning_rate={rate} in generation {t}: expected >= 0")
    owned = tuple(part.copy() if isinstance(part, np.ndarray) else part for part in state)
    return optimizer.step(x, gradient, owned, rate)
