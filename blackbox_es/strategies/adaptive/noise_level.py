"""How much of a population's spread is noise, and the population it asks for: pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Count, replace, value

Array = npt.NDArray[Any]

EVERY = 8  # generations between two looks at the noise
_KEPT = 0.8  # of what was known, at each look
_MUCH, _LITTLE = 0.6, 0.2  # of the spread; where all of it is normal noise the ratio is 0.84
_MOST = 4  # times the population at the start; more pays off only after 2,000 n evaluations


@value
class NoiseLevel:
    """What is known of the noise.

    Parameters
    ----------
    noise, spread : float
        Running means: the difference of two values of a point, and that of the quartiles of a
        population.
    n_since : int
        Generations since the last look.
    growth : int
        The population is that at the start times ``2^growth``.
    """

    noise: float = 0.0
    spread: float = 0.0
    n_since: Count = 0
    growth: Count = 0

    @property
    def is_due(self) -> bool:
        """Whether a point is to be evaluated twice now."""
        return self.n_since >= EVERY and self.noise > 0.0


def seen(level: NoiseLevel, ordered: Array) -> NoiseLevel:
    """After the values of a population, in order."""
    spread = float(ordered[3 * ordered.size // 4] - ordered[ordered.size // 4])
    if np.isfinite(spread):
        old = level.spread or spread
        level = replace(level, spread=_KEPT * old + (1.0 - _KEPT) * spread)
    return replace(level, n_since=level.n_since + 1)


def looked(level: NoiseLevel, difference: float) -> NoiseLevel:
    """After two values of one point."""
    if not np.isfinite(difference):
        return replace(level, n_since=0)
    noise = difference if level.noise == 0.0 else _KEPT * level.noise + (1.0 - _KEPT) * difference
    level = replace(level, noise=noise, n_since=0)
    if noise > _MUCH * level.spread and 2 ** (level.growth + 1) <= _MOST:
        return replace(level, growth=level.growth + 1)
    if noise < _LITTLE * level.spread and level.growth > 0:
        return replace(level, growth=level.growth - 1)
    return level
