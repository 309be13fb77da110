"""Schedules: values that change with the generation. Every rate and sigma takes one or a float.

A schedule is any function ``t -> float`` of the generation's index, 0 for the first. Those here
are values: they compare, print and pickle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from blackbox_es._value import value

Schedule = Callable[[int], float]


@value
class Linear:
    """``start + (stop - start) min(t / n_steps, 1)``.

    Examples
    --------
    >>> [Linear(0.1, 0.0, 4)(t) for t in (0, 2, 4, 9)]
    [0.1, 0.05, 0.0, 0.0]
    """

    start: float
    stop: float
    n_steps: int

    def __call__(self, t: int) -> float:
        """Value at generation ``t``."""
        if t >= self.n_steps:
            return self.stop
        return self.start + (self.stop - self.start) * (t / self.n_steps)


@value
class Exponential:
    """``start * rate ** t``.

    Examples
    --------
    >>> Exponential(8.0, 0.5)(3)
    1.0
    """

    start: float
    rate: float

    def __call__(self, t: int) -> float:
        """Value at generation ``t``."""
        return self.start * self.rate**t


@value
class Cosine:
    """``stop + (start - stop) (1 + cos(pi t / n_steps)) / 2``, then ``stop``.

    Examples
    --------
    >>> Cosine(0.1, 0.0, 100)(0)
    0.1
    """

    start: float
    stop: float
    n_steps: int

    def __call__(self, t: int) -> float:
        """Value at generation ``t``."""
        if t >= self.n_steps:
            return self.stop
        fraction = math.sin(math.pi / 2.0 * (t / self.n_steps)) ** 2
        return self.start + (self.stop - self.start) * fraction


def value_at(rate: float | Schedule, t: int) -> float:
    """The value of a float or a schedule at generation ``t``."""
    return rate(t) if callable(rate) else rate
