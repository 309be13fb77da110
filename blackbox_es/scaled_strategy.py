"""Strategies that can find the scale of the search and the length of a step themselves."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy.typing as npt

from blackbox_es import optimizers
from blackbox_es._config import config
from blackbox_es._scale import FEWEST, LARGEST, Scale, length, start
from blackbox_es.descent_strategy import GradientState
from blackbox_es.generation import Told
from blackbox_es.gradient_strategy import AntitheticStrategy
from blackbox_es.samplers import Isotropic, Sampler
from blackbox_es.schedules import Schedule
from blackbox_es.steps import State

Array = npt.NDArray[Any]


@config
class ScaledStrategy(AntitheticStrategy):
    """Antithetic strategies that can find the scale of the search and the length of a step.

    Parameters
    ----------
    sigma : float, schedule or "auto"
        Standard deviation of a coordinate, root mean squared over the coordinates. "auto" makes
        slope and curvature contribute alike to the differences of a generation: directions are
        about as long as the distance to the minimum. It begins at a tenth of the largest coordinate
        of ``x0``, or at 1 if all are zero, and may be off by any factor.
    optimizer : {"auto", "adam", "sgd", "clipup"} or Optimizer
        "auto" is "adam", but "sgd" with ``learning_rate="auto"``.
    learning_rate : float, schedule or "auto"
        For an optimizer that has none of its own. "auto", for "sgd", follows from the curvature
        that is measured; no step is longer than the root mean square of the directions.
    """

    sigma: float | str | Schedule = 0.1  # type: ignore[assignment]
    optimizer: str | optimizers.Optimizer = "auto"
    learning_rate: float | str | Schedule = 0.01  # type: ignore[assignment]

    finds_scale: ClassVar[bool] = True

    @abstractmethod
    def _axes(self, sampler: Sampler) -> float:
        """``1 / tr Sigma^2``: among how many axes the search is spread."""

    @property
    def _rule(self) -> optimizers.Optimizer:
        if isinstance(self.optimizer, str) and self.optimizer == "auto":
            return optimizers.resolve("sgd" if _is_auto(self.learning_rate) else "adam")
        return optimizers.resolve(self.optimizer)

    def _scale(self, x: Array) -> Scale | None:
        return start(x) if _is_auto(self.sigma) or _is_auto(self.learning_rate) else None

    def _sigma(self, state: GradientState) -> float:
        scale = state.scale
        return scale.sigma if scale and _is_auto(self.sigma) else self._sigma_at(state.t)

    def _step(
        self, state: GradientState, told: Told, gradient: Array
    ) -> tuple[float | Schedule, Scale | None]:
        sampler, scale = told.generation.sampler, state.scale
        if scale is not None:
            scale = scale.after(told, self._axes(sampler))
        if scale is None or not _is_auto(self.learning_rate):
            return self.learning_rate, scale  # type: ignore[return-value]
        size = length(gradient)
        if not 0.0 < size < math.inf:
            return 0.0, scale
        # The estimate is beta times what the step is for.
        rate = scale.step(self._axes(sampler), told.n_valid) / self._beta(state, told)
        rate = min(rate, sampler.sigma * math.sqrt(sampler.n) / size, LARGEST**2)
        rule = self._rule
        momentum = float(rule.momentum) if isinstance(rule, optimizers.SGD) else 0.0
        return rate * (1.0 - momentum), scale

    def _stop(self, state: State) -> str | None:
        scale = state.scale if isinstance(state, GradientState) else None
        return "diverged" if scale and scale.sigma >= LARGEST else None

    # -- checks ----------------------------------------------------------------------------------

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        found = [name for name in ("sigma", "learning_rate") if _is_auto(getattr(self, name))]
        if found and self.pairs(n) < FEWEST:
            raise ValueError(
                f'n_pairs={self.n_pairs}: {found[0]}="auto" measures curvature, which takes at '
                f"least {FEWEST}"
            )
        if found and not (self.sampler is None or isinstance(self.sampler, Isotropic)):
            # Directions of one length, as signs have, show nothing of a sphere's curvature.
            raise ValueError(
                f'sampler={self.sampler!r}: {found[0]}="auto" measures curvature by normal '
                "directions; leave sampler=None"
            )
        rule = self._rule
        if "learning_rate" in found and not (
            isinstance(rule, optimizers.SGD) and rule.learning_rate is None
        ):
            raise ValueError(
                f'optimizer={self.optimizer!r}: learning_rate="auto" is for "sgd" or SGD(momentum)'
                " without a rate of its own; take it, or give a learning rate"
            )

    def _check_state(self, state: State) -> None:
        super()._check_state(state)
        assert isinstance(state, GradientState)
        for name in ("sigma", "learning_rate"):
            if _is_auto(getattr(self, name)) and state.scale is None:
                raise ValueError(f'{name}="auto" is found from the start on: call start(x0)')


def _is_auto(given: Any) -> bool:
    return isinstance(given, str) and given == "auto"
