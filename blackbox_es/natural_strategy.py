"""Strategies that follow the natural gradient of a normal distribution's parameters."""

from __future__ import annotations

import math
from typing import ClassVar

from blackbox_es._config import config
from blackbox_es._validation import check_positive
from blackbox_es.shaping import Shaping
from blackbox_es.strategy import EvolutionStrategy


def usual_pairs(n: int) -> int:
    """Half of the population size ``4 + floor(3 ln n)``, rounded up."""
    return (5 + math.floor(3.0 * math.log(n))) // 2


@config
class NaturalStrategy(EvolutionStrategy):
    """Strategies that follow the natural gradient of a normal distribution's parameters.

    They find the scale of the search themselves, and learn from ranks.

    Parameters
    ----------
    sigma : float
        Standard deviation of each coordinate at the start.
    n_pairs : int or None
        P, mirrored pairs per generation: 2 P evaluations, the population size. None is half of
        ``4 + floor(3 ln n)``, rounded up.
    learning_rate : float or None
        Of the distribution's shape; None takes the paper's for n dimensions.
    """

    sigma: float = 0.1
    n_pairs: int | None = None  # type: ignore[assignment]
    shaping: str | Shaping = "nes"
    learning_rate: float | None = None

    at_start: ClassVar[tuple[str, ...]] = ("random_state", "sigma")

    def pairs(self, n: int) -> int:
        return usual_pairs(n) if self.n_pairs is None else super().pairs(n)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_positive("sigma", self.sigma)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate, also=" or None")
