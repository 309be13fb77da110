"""How the weights of a network move in a generation: two ways of the same form.

Weights are perturbed by a strategy of the package; activations by `ActivationNoise`, whose estimate
an optimizer follows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import optimizers, shaping, steps
from blackbox_es.descent_strategy import GradientState
from blackbox_es.neural.nodes import ActivationObjective
from blackbox_es.neural.objective import NetworkObjective, PooledLoss
from blackbox_es.optimizers import Optimizer
from blackbox_es.samplers import LowRank
from blackbox_es.schedules import Schedule, value_at
from blackbox_es.shaping import Shaping
from blackbox_es.strategies import GuidedES, VanillaES

Array = npt.NDArray[Any]


class Step(NamedTuple):
    """What a generation was like.

    Attributes
    ----------
    loss : float
        The mean of the losses that are finite.
    n_losses, n_failed : int
        Losses evaluated, and those that are NaN or infinite.
    stop : bool
        Nothing more can be learnt.
    tells : bool
        The losses told one direction from its opposite, and the weights followed.
    note : str or None
        Of the strategy's, for the user: each one once.
    """

    loss: float
    n_losses: int
    n_failed: int
    stop: bool
    tells: bool
    note: str | None = None


class Descent(ABC):
    """What trains a network.

    Attributes
    ----------
    seed : int
    state : GradientState
        The weights, the generations done, the last estimate, and what the optimizer remembers.
        Frozen: a step replaces it as a whole, once it is finished.
    """

    seed: int
    state: GradientState

    @property
    def x(self) -> Array:
        """The weights and intercepts."""
        return self.state.x

    @property
    def key(self) -> tuple[int, int]:
        """That of the next generation."""
        return self.seed, self.state.t

    @abstractmethod
    def objective(self, *args: Any, **options: Any) -> PooledLoss:
        """What `step` minimises, with as many pairs as it has, from this generation on."""

    @abstractmethod
    def step(self, objective: Any, surrogate: Array | None) -> Step:
        """Do one generation."""


class WeightDescent(Descent):
    """A strategy whose directions are those of `LowRank`."""

    def __init__(self, es: VanillaES | GuidedES, seed: int, x: Array) -> None:
        state = steps.init(es, x)
        assert isinstance(state, GradientState)
        self.es, self.seed, self.state, self._n_flat = es, seed, state, 0
        self._noted: tuple[str | None, ...] = (None,)

    def objective(self, *args: Any, **options: Any) -> NetworkObjective:
        n_pairs, first = self.es.n_pairs, self.state.t
        return NetworkObjective(*args, n_pairs=n_pairs, first=first, **options)

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is not taken
    def step(self, objective: NetworkObjective, surrogate: Array | None) -> Step:
        self.es.sampler = LowRank(objective.network.shapes, threads=objective.threads)
        asked, generation = steps.ask(self.es, self.state, self.seed, surrogate)
        values = objective.evaluate_generation(generation)
        state, info = steps.tell(self.es, asked, generation, values)
        assert isinstance(state, GradientState)
        note = self.es.note(self.state, asked) or self.es.note(asked, state)
        if note in self._noted:
            note = None
        else:
            self._noted = (*self._noted, note)
        self.state, self._n_flat = state, self._n_flat + 1 if info.flat else 0
        stop = info.stop is not None or self._n_flat >= steps.FLAT_GENERATIONS
        tells = info.stop is None and not info.flat
        return Step(info.mean, values.size, info.n_failed, stop, tells, note)


class ActivationDescent(Descent):
    """Node perturbation: the estimates of `ActivationNoise`, followed by an optimizer."""

    def __init__(
        self,
        seed: int,
        x: Array,
        *,
        n_pairs: int,
        sigma: float | Schedule,
        shape: Shaping,
        optimizer: Optimizer,
        learning_rate: float | Schedule,
    ) -> None:
        optimizer.check()
        self.seed, self.state = seed, GradientState(x, 0, np.zeros_like(x), optimizer.init(x))
        self.n_pairs, self.sigma, self.shape = n_pairs, sigma, shape
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def objective(self, *args: Any, **options: Any) -> ActivationObjective:
        n_pairs, first = self.n_pairs, self.state.t
        return ActivationObjective(*args, n_pairs=n_pairs, first=first, **options)

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is not taken
    def step(self, objective: ActivationObjective, surrogate: Array | None) -> Step:
        state, key, sigma = self.state, self.key, float(value_at(self.sigma, self.state.t))
        if not 0.0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma} in generation {state.t}: it must be positive")
        noise = objective.noise(state.x, sigma, key)
        losses = objective.losses(noise, key)
        utilities, n_valid, _, n_failed, mean = shaping.shaped(self.shape, losses, state.t)
        after, stop, odd = replace(state, t=state.t + 1), True, utilities[0] - utilities[1]
        if n_valid:
            gradient = noise.gradient(key, odd, n_valid)
            x, memory = optimizers.follow(
                self.optimizer, state.x, gradient, state.optimizer, self.learning_rate, state.t
            )
            if steps.is_finite(x):
                after, stop = GradientState(x, state.t + 1, gradient, memory), False
        self.state = after
        return Step(mean, losses.size, n_failed, stop, not stop and bool(odd.any()))
