"""The scale of an objective: how steep and how curved it is where the search is."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from blackbox_es._value import Positive, Range, value
from blackbox_es.generation import Told

Array = npt.NDArray[Any]
Amount = Annotated[float, Range(0.0, sys.float_info.max)]

FEWEST = 4  # pairs that tell a variance: with three, one in a hundred would be off by ten
LARGEST = 1e150  # sigma, whose square is in range
_MEMORY = 40.0  # pairs over which slope and curvature are averaged
_AT_ODDS = 10.0  # a factor by which no generation differs from the average by chance
_SHRINKAGE, _GROWTH = 100.0, 10.0  # of sigma in a generation; a line would make it infinite


@value
class Scale:
    """Slope and curvature of an objective, and the sigma at which they count alike.

    For a quadratic f with Hessian H and directions ``d = sigma sqrt(n) v``, ``v ~ N(0, Sigma)``,
    ``tr Sigma = 1``, the halves of the odd and of the even differences of a pair have

        var (f+ - f-) / 2 = n sigma^2 grad^T Sigma grad
        var (f+ + f-) / 2 = (n sigma^2)^2 tr (H Sigma)^2 / 2

    so that a generation tells ``slope^2 = grad^T Sigma grad`` and ``tr (H Sigma)^2``. With m axes,
    ``1 / m = tr Sigma^2``, the latter is ``curvature^2 / m``, where ``curvature`` is that of the
    sphere with the same variance. Both variances are equal at ``sigma = slope / curvature
    sqrt(2 m / n)``: directions are about as long as the distance to the minimum. Noise of the
    objective adds the same to both, so it does not move a sigma at which they are equal, and makes
    the curvature larger and the steps smaller.

    Parameters
    ----------
    sigma : float
        Of the next generation.
    slope, curvature : float
        Averages over the last pairs; 0 at the start.
    steepest : float
        The larger one of the average curvature and that of the last generation.
    weight : float
        Pairs in the averages.
    """

    sigma: Positive
    slope: Amount = 0.0
    curvature: Amount = 0.0
    steepest: Amount = 0.0
    weight: Amount = 0.0

    def after(self, told: Told, axes: float) -> Scale:
        """With what one more generation tells; ``axes`` is ``1 / tr Sigma^2``."""
        generation = told.generation
        sigma, n = generation.sampler.sigma, generation.center.size
        odd, even = told.odd, told.even
        if told.valid is not None:
            odd, even = odd[told.valid], even[told.valid]
        if odd.size < FEWEST:
            return self
        size = sigma * math.sqrt(n)
        slope = deviation(odd, odd.size) / 2.0 / size
        curvature = deviation(even - even.mean(), even.size - 1) / 2.0 / size / size
        curvature *= math.sqrt(2.0 * axes)
        if not 0.0 < slope + curvature < math.inf:
            return self
        kept = math.exp(-odd.size / _MEMORY) * self.weight
        if _at_odds(slope, self.slope) or _at_odds(curvature, self.curvature):
            kept = 0.0
        weight = kept + odd.size
        share = odd.size / weight
        slope = (1.0 - share) * self.slope + share * slope
        average = (1.0 - share) * self.curvature + share * curvature
        low, high = sigma / _SHRINKAGE, min(sigma * _GROWTH, LARGEST)
        balance = slope / average * math.sqrt(2.0 * axes / n) if average > 0.0 else high
        balance = min(max(balance, low, 1.0 / LARGEST), high)
        return Scale(balance, slope, average, max(average, curvature), weight)

    def step(self, axes: float, n_pairs: int) -> float:
        """The a with the largest sure decrease by ``x - a s``, infinite for a line.

        With ``s = 1 / (2 n sigma^2 P) sum_p odd_p d_p`` and the eigenvalues l of
        ``Sigma^1/2 H Sigma^1/2`` the expected decrease is at least ``slope^2 (a - a^2 / (2 P)
        ((P + 1) max l + sum l))``. All H with the same ``sum l^2 = curvature^2 / m`` have ``(P + 1)
        max l + sum l <= sqrt(sum l^2 ((P + 2)^2 + m - 1))`` if there are m of them, and one has
        that.
        """
        if self.steepest == 0.0:
            return math.inf
        most = math.sqrt(((n_pairs + 2.0) ** 2 + axes - 1.0) / axes)
        return n_pairs / most / self.steepest


def start(x: Array) -> Scale:
    """Before the first generation: a tenth of the largest coordinate, or 1 if there is none."""
    largest = float(np.abs(x).max())
    return Scale(min(max(largest / 10.0, 1.0 / LARGEST), LARGEST) if largest > 0.0 else 1.0)


def deviation(values: Array, freedom: float) -> float:
    """``sqrt(sum values^2 / freedom)``, for normal values without bias, safe for every scale."""
    return length(values) / math.sqrt(freedom) / (1.0 - 0.25 / freedom)


def length(vector: Array) -> float:
    """Of a vector, whatever its scale."""
    largest = float(np.abs(vector).max())
    if not 0.0 < largest < math.inf:
        return largest
    return largest * math.sqrt(float(np.square(vector / largest, dtype=float).sum()))


def _at_odds(new: float, old: float) -> bool:
    return not old / _AT_ODDS <= new <= old * _AT_ODDS
