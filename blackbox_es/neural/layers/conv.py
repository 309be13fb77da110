"""A convolution: the same small map at every place of an image."""

from __future__ import annotations

from dataclasses import dataclass

from blackbox_es._validation import check_count
from blackbox_es.neural.layers.base import Linear, Shape
from blackbox_es.neural.layers.products import Window, window


@dataclass(frozen=True)
class Conv2D(Linear):
    """``z[y, x, j] = b_j + sum_{u, v, c} W[u, v, c, j] h[y + u - r, x + v - r, c]``.

    The image keeps its size: beyond its edges are zeros. ``r = kernel // 2``.

    Parameters
    ----------
    channels : int
        Maps that come out.
    kernel : int
        Height and width of W, odd. W is a matrix (kernel kernel channels_in, channels).

    Examples
    --------
    >>> layer = Conv2D(6, kernel=5)
    >>> layer.shape((28, 28, 1)), layer.matrix((28, 28, 1))
    ((28, 28, 6), (25, 6))
    """

    channels: int
    kernel: int = 5

    def shape(self, given: Shape) -> Shape:
        """The same height and width."""
        check_count("channels", self.channels)
        check_count("kernel", self.kernel)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} has no middle: take an odd number")
        return *given[:2], self.channels

    def window(self, given: Shape) -> Window:
        """``kernel x kernel`` pixels around each pixel."""
        return window(*given, self.kernel)

    def fans(self, given: Shape) -> tuple[int, int]:
        """The inputs of a place, and the outputs that see one input."""
        return self.kernel**2 * given[2], self.kernel**2 * self.channels
