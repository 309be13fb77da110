"""A layer of units each of which sees all inputs."""

from __future__ import annotations

from dataclasses import dataclass

from blackbox_es._validation import check_count
from blackbox_es.neural.layers.base import Linear, Shape
from blackbox_es.neural.layers.products import Window, window


@dataclass(frozen=True)
class Dense(Linear):
    """``h W + b`` with W of shape (n_inputs, n_units).

    Parameters
    ----------
    n_units : int

    Examples
    --------
    >>> Dense(10).shape((7, 7, 6)), Dense(10).matrix((7, 7, 6))
    ((1, 1, 10), (294, 10))
    """

    n_units: int

    def shape(self, given: Shape) -> Shape:
        """The units as an image of one pixel."""
        check_count("n_units", self.n_units)
        return 1, 1, self.n_units

    def window(self, given: Shape) -> Window:
        """All inputs, from one place."""
        height, width, channels = given
        return window(1, 1, height * width * channels, 1)

    def fans(self, given: Shape) -> tuple[int, int]:
        """All inputs, all units."""
        return self.matrix(given)
