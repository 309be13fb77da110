"""Strategies that follow a direction by an optimizer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es import optimizers
from blackbox_es._config import config
from blackbox_es._scale import Scale
from blackbox_es._validation import check_positive
from blackbox_es._value import Vector, value
from blackbox_es.generation import Told
from blackbox_es.samplers import Sampler
from blackbox_es.schedules import Schedule
from blackbox_es.steps import Plan, State
from blackbox_es.strategy import EvolutionStrategy
from blackbox_es.tree import box_of, own, shown

Array = npt.NDArray[Any]


@value
class GradientState(State):
    """A center, the last estimate, the optimizer's state, and what the strategy has learnt.

    Parameters
    ----------
    gradient : ndarray of shape (n,)
    optimizer : tuple of arrays and integers
    memory : value or None
    scale : Scale or None
        Of a strategy that finds its own.
    """

    gradient: Vector
    optimizer: tuple[Any, ...]
    memory: Any = None
    scale: Scale | None = None


@config
class DescentStrategy(EvolutionStrategy):
    """Strategies that follow a direction by an optimizer.

    Parameters
    ----------
    optimizer : {"adam", "sgd", "clipup"} or Optimizer
    learning_rate : float or schedule
        For an optimizer that has none of its own.

    Attributes
    ----------
    gradient_ : ndarray of shape (n,)
        The direction followed last.
    """

    optimizer: str | optimizers.Optimizer = "adam"
    learning_rate: float | Schedule = 0.01

    finds_scale: ClassVar[bool] = False  # whether sigma and learning_rate may be "auto"

    # -- what a concrete strategy says -----------------------------------------------------------

    def _memory(self, x: Array) -> Any:
        """What is learnt beside the center, at the start: a value, or None."""
        return None

    @abstractmethod
    def _search_at(self, state: GradientState, surrogate: Any) -> tuple[Any, Sampler]:
        """The memory after the surrogate has been seen, and where to search."""

    @abstractmethod
    def estimate(self, state: GradientState, told: Told) -> Array:
        """The gradient estimate of a generation: shape (n,), dtype of the center."""

    def _plan(self, sampler: Sampler) -> Plan:
        """How many directions of the sampler are searched."""
        return Plan(sampler, self.pairs(sampler.n))

    def _learn(self, memory: Any, told: Told) -> Any:
        """The memory after a generation."""
        return memory

    def _scale(self, x: Array) -> Scale | None:
        """What is known of the objective's scale at the start, for a strategy that finds it."""
        return None

    def _step(
        self, state: GradientState, told: Told, gradient: Array
    ) -> tuple[float | Schedule, Scale | None]:
        """The learning rate of a step along the estimate, and the scale known after it."""
        return self.learning_rate, state.scale

    @property
    def _rule(self) -> optimizers.Optimizer:
        """How the estimate is followed."""
        return optimizers.resolve(self.optimizer)

    # -- the three functions ---------------------------------------------------------------------

    def _init(self, x: Array) -> GradientState:
        gradient = np.zeros_like(x)
        gradient.setflags(write=False)
        return GradientState(x, 0, gradient, self._rule.init(x), self._memory(x), self._scale(x))

    def _ask(self, state: State, surrogate: Any) -> tuple[State, Plan]:
        assert isinstance(state, GradientState)
        memory, sampler = self._search_at(state, surrogate)
        plan = self._plan(sampler)
        if memory is state.memory:
            return state, plan
        return replace(state, memory=memory), plan

    def _tell(self, state: State, told: Told) -> State:
        assert isinstance(state, GradientState)
        gradient = self.estimate(state, told)
        gradient.setflags(write=False)
        memory = self._learn(state.memory, told)
        rate, scale = self._step(state, told, gradient)
        x, moved = optimizers.follow(self._rule, state.x, gradient, state.optimizer, rate, state.t)
        return GradientState(x, state.t + 1, gradient, moved, memory, scale)

    # -- checks ----------------------------------------------------------------------------------

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        self._check_rate("learning_rate")
        self._rule.check()

    def _check_rate(self, name: str) -> None:
        """Raise unless a parameter is positive, a schedule, or "auto" where that is known."""
        given = getattr(self, name)
        found = self.finds_scale and isinstance(given, str) and given == "auto"
        if not callable(given) and not found:
            also = ', "auto" or a schedule' if self.finds_scale else " or a schedule"
            check_positive(name, given, also=also)

    def _check_state(self, state: State) -> None:
        assert isinstance(state, GradientState)
        if type(state.memory) is not type(self._memory(state.x)):
            raise ValueError(f"the memory is a {type(state.memory).__name__}")
        fresh = self._rule.init(state.x)
        if _outline(fresh) != _outline(state.optimizer):
            raise ValueError(
                f"optimizer={self.optimizer!r} cannot go on with the state of the one the search "
                "started with: call start(x0)"
            )

    @property
    def gradient_(self) -> Any:
        state, into = self.state_, self._started().box
        assert isinstance(state, GradientState)
        return state.gradient if box_of(into) else shown(into, state.gradient)

    def _extras(self) -> dict[str, Any]:
        return {"gradient": own(self.gradient_)}


def _outline(state: tuple[Any, ...]) -> list[Any]:
    """What distinguishes the states of optimizers: shapes and dtypes of arrays, types."""
    return [(a.shape, a.dtype) if isinstance(a, np.ndarray) else type(a) for a in state]
