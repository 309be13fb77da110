"""Strategies that estimate a gradient, and follow it by an optimizer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es import shaping, steps
from blackbox_es._config import config
from blackbox_es._validation import check_positive
from blackbox_es.descent_strategy import DescentStrategy, GradientState
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Base, Diagonal, Guided, Isotropic
from blackbox_es.schedules import Schedule, value_at
from blackbox_es.shaping import EvaluationError
from blackbox_es.theory import mean_squared_error
from blackbox_es.tree import Into

Array = npt.NDArray[Any]


@config
class GradientStrategy(DescentStrategy):
    """Strategies that estimate a gradient, and follow it by an optimizer.

    Parameters
    ----------
    sigma : float or schedule
        Standard deviation of each coordinate of a direction.

    Attributes
    ----------
    gradient_ : ndarray of shape (n,)
        The last estimate.
    """

    sigma: float | Schedule = 0.1

    def _errors(self, state: GradientState, told: Told, r: float) -> tuple[float, float] | None:
        """Squared bias and variance of the estimate over ``|grad|^2``, if there is a closed form.

        For raw values of a linear or quadratic objective, r being that of the guides.
        """
        return None

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        self._check_rate("sigma")

    def _sigma_at(self, t: int) -> float:
        sigma = float(value_at(self.sigma, t))
        if not 0.0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma} in generation {t}: it must be positive")
        return sigma


@config
class AntitheticStrategy(GradientStrategy):
    """Strategies whose estimate is the antithetic one, along directions of a base distribution.

    Parameters
    ----------
    beta : float or "auto"
        Length of the estimate; "auto" has the least mean squared error.
    sampler : Isotropic, LowRank or None
        The distribution in the full space; its sigma is replaced. None is isotropic.

    Attributes
    ----------
    gradient_ : ndarray of shape (n,)
        The last estimate; with raw shaping ``E[gradient_] = beta Sigma grad f``.
    """

    beta: float | str = "auto"
    sampler: Base | Diagonal | None = None

    takes_scales: ClassVar[bool] = False  # whether the sampler may be Diagonal

    @abstractmethod
    def _auto_beta(self, state: GradientState, told: Told) -> float:
        """The value of ``beta="auto"``."""

    def estimate(self, state: GradientState, told: Told) -> Array:
        return told.gradient(self._beta(state, told))

    def _beta(self, state: GradientState, told: Told) -> float:
        return self._auto_beta(state, told) if isinstance(self.beta, str) else self.beta

    def _errors(self, state: GradientState, told: Told, r: float) -> tuple[float, float] | None:
        sampler = told.generation.sampler
        alpha, k, base = 1.0, 0, sampler
        if isinstance(sampler, Guided):
            alpha, k, base = sampler.alpha, len(sampler.rows), sampler.base
        if not isinstance(base, Isotropic):
            return None  # signs and directions that are held vary otherwise than normals
        beta = self._beta(state, told)
        error, bias = (
            mean_squared_error(alpha, beta, r, n=sampler.n, k=k, n_pairs=n_pairs)
            for n_pairs in (told.n_valid, math.inf)
        )
        return bias, error - bias

    def _sigma(self, state: GradientState) -> float:
        """The scale of the search in the generation to come."""
        return self._sigma_at(state.t)

    def _base(self, state: GradientState) -> Any:
        sigma = self._sigma(state)
        if self.sampler is None:
            return Isotropic(state.x.size, sigma)
        if isinstance(self.sampler, Diagonal):
            return self.sampler.scaled(sigma, state.x.dtype)
        return self.sampler.with_sigma(sigma)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        if self.beta != "auto":
            check_positive("beta", self.beta, also=' or "auto"')
        self._check_sampler(n)

    def _check_sampler(self, n: int) -> None:
        sampler = self.sampler
        if sampler is None:
            return
        if not isinstance(sampler, (Base, Diagonal) if self.takes_scales else Base):
            kinds = "Isotropic, LowRank, Diagonal" if self.takes_scales else "Isotropic, LowRank"
            raise TypeError(f"sampler={sampler!r}: take {kinds} or None")
        if sampler.n != n:
            raise ValueError(f"sampler is for {sampler.n} coordinates, but x0 has {n}")
        if isinstance(sampler, Diagonal):
            sigmas = sampler.sigmas
            if not (np.isfinite(sigmas).all() and (sigmas > 0.0).all()):
                raise ValueError(f"sampler={sampler!r}: expected positive scales")


def estimated(
    es: AntitheticStrategy,
    state: GradientState,
    seed: int,
    surrogate: Any,
    evaluate: Callable[[Generation], Array],
    into: Into | None = None,
) -> tuple[Array, GradientState, float]:
    """The estimate around a center that others move, the state that has learnt, the mean value.

    Raises
    ------
    EvaluationError
        If more than half of the pairs failed, or a value is minus infinity.
    """
    asked, generation = steps.ask(es, state, seed, surrogate, into)
    assert isinstance(asked, GradientState)
    values = evaluate(generation)
    of_values = shaping.shaped(shaping.resolve(es.shaping), values, generation.index)
    told = Told(generation, *of_values[:3], values)
    if told.n_valid == 0:
        raise EvaluationError("the objective is minus infinity at a point: there is no gradient")
    gradient = es.estimate(asked, told)
    memory = es._learn(asked.memory, told)
    return gradient, replace(asked, t=state.t + 1, memory=memory), of_values.mean
