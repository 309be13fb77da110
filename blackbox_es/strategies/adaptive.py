"""An evolution strategy that finds its own scale and metric."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es._config import config
from blackbox_es._products import mix
from blackbox_es._validation import as_values, check_choice, check_positive
from blackbox_es._value import Matrix, Positive, Vector, value
from blackbox_es.generation import Told
from blackbox_es.samplers import Affine, Elongated, Sampler
from blackbox_es.shaping import RANK_BASED, Shaping, resolve
from blackbox_es.steps import Plan, State
from blackbox_es.strategy import EvolutionStrategy

Array = npt.NDArray[Any]

_FEW = 64  # dimensions up to which a full matrix is learnt by default
_LARGEST = 1e60  # times sigma: where nothing gets better any more, it would grow for ever


@value
class AdaptiveState(State):
    """A center, the scale, the metric, and three paths.

    Parameters
    ----------
    sigma : float
    metric : ndarray of shape (n, n) or (n,)
        A root A of the covariance matrix over sigma^2, or the diagonal D of one.
    path : ndarray of shape (n,)
        Of whitened steps, slow: is the scale too small or too large?
    fast : ndarray of shape (n,)
        The same, faster: which way does the search keep going?
    moved : ndarray of shape (n,)
        Of steps over sigma: the axis along which a diagonal metric is elongated.
    """

    sigma: Positive
    metric: Matrix | Vector
    path: Vector
    fast: Vector
    moved: Vector


@config
class AdaptiveES(EvolutionStrategy):
    """Search with ``d ~ N(0, sigma^2 C)``, sigma and C learnt from ranks: nothing has to be tuned.

    With weights w of the better half, steps ``s = sum_p (w_p^+ - w_p^-) z_p`` of mirrored pairs
    over ``sqrt(sum_p (w_p^+ - w_p^-)^2)`` are standard normal if the values say nothing. A path of
    them that is longer than that, or shorter, makes sigma larger or smaller; what the squares
    ``z z^T`` of good and bad points and the path have in excess of I goes into C (after Hansen
    2016, "The CMA evolution strategy: a tutorial", with the multiplicative update of a root of C
    of Beyer and Sendhoff 2017, "Simplify your covariance matrix adaptation evolution strategy").

    In few dimensions C is a full matrix. In many it is ``D (I + r r^T) D`` with a diagonal D and
    one row r, the path of the center: time and memory O(n).

    Parameters
    ----------
    sigma : float
        Standard deviation of each coordinate at the start. A hundred times too small or too large
        costs some evaluations, no more.
    covariance : {"auto", "full", "diagonal"}
        "auto" is full up to 64 dimensions.
    n_pairs : int or None
        P, mirrored pairs a generation: 2 P evaluations, the population size; more of them see more
        of a rough or noisy objective. None is half of ``4 + 3 ln n``, at least 3.
    shaping : {"log_ranks", "nes", "centered_ranks"}
    tol : float
        The search has converged when all standard deviations are below ``tol sigma``.
    min_sigma : float, array-like of shape (n,) or None
        Standard deviations of coordinates never fall below these: rows of A, or of D, are
        lengthened after each step. Keeps integers from freezing (see `blackbox_es.Space`).

    Examples
    --------
    >>> from scipy.optimize import rosen
    >>> es = AdaptiveES(random_state=0).fit(rosen, [0.0, 0.0, 0.0])
    >>> bool(es.fun_ < 1e-12)
    True
    """

    sigma: float = 0.3
    covariance: str = "auto"
    n_pairs: int | None = None  # type: ignore[assignment]
    shaping: str | Shaping = "log_ranks"
    max_iter: int = 10_000
    tol: float = 1e-9
    min_sigma: Any = None

    at_start: ClassVar[tuple[str, ...]] = ("random_state", "sigma", "covariance")

    def pairs(self, n: int) -> int:
        if self.n_pairs is None:
            return max(3, math.floor((4.0 + 3.0 * math.log(n)) / 2.0))
        return super().pairs(n)

    def check_parameters(self, n: int) -> None:
        super().check_parameters(n)
        check_positive("sigma", self.sigma)
        check_choice("covariance", self.covariance, ("auto", "full", "diagonal"))
        check_positive("tol", self.tol)
        if resolve(self.shaping) not in RANK_BASED:
            raise ValueError(f"shaping={self.shaping!r}: AdaptiveES learns from ranks; take one")
        if self.min_sigma is not None:
            given = self.min_sigma if np.ndim(self.min_sigma) else [self.min_sigma] * n
            least = as_values(given, (n,), "min_sigma")
            if not ((least >= 0.0) & (least < math.inf)).all():
                raise ValueError(
                    f"min_sigma={self.min_sigma!r}: expected numbers of at least 0, one or n={n}"
                )

    # -- the three functions ---------------------------------------------------------------------

    def _init(self, x: Array) -> AdaptiveState:
        full = self.covariance == "full" or (self.covariance == "auto" and x.size <= _FEW)
        metric = np.eye(x.size, dtype=x.dtype) if full else np.ones_like(x)
        zero = np.zeros_like(x)
        return AdaptiveState(x, 0, float(self.sigma), metric, zero, zero, zero)

    def _ask(self, state: Any, surrogate: Any) -> tuple[State, Plan]:
        n, sigma, metric = state.x.size, state.sigma, state.metric
        sampler: Sampler
        if metric.ndim == 2:
            sampler = Affine(metric * sigma)
        else:
            share = _row_share(n)
            row = state.moved * (sigma * math.sqrt(share))
            sampler = Elongated(metric * (sigma * math.sqrt(1.0 - share)), row[None])
        return state, Plan(sampler, self.pairs(n))

    def _tell(self, state: Any, told: Told) -> AdaptiveState:
        full = state.metric.ndim == 2
        rates = _rates(told, full)
        if rates is None:  # no direction was better than its opposite
            return AdaptiveState(state.x, state.t + 1, *_learnt(state))
        step = told.combine(rates.odd)
        moved = step / (state.sigma * rates.size)
        z = (_mean_latent if full else _whitened)(state, told, rates, moved)
        n, dtype = z.size, state.x.dtype
        path = _towards(state.path, z, rates.slow)
        length = math.sqrt(float(np.square(path).sum())) / _mean_length(n)
        # A long path says that sigma is far too small: let it grow before C follows.
        fast = _towards(state.fast, z if length < 1.4 + 2.0 / (n + 1) else 0.0 * z, rates.fast)
        sigma = state.sigma * math.exp(min(1.0, rates.slow / rates.damping * (length - 1.0)))
        sigma = min(max(sigma, 5e-324), _LARGEST * self.sigma)
        metric = (_full if full else _diagonal)(state.metric, told, rates, fast)
        if self.min_sigma is not None:
            metric = _at_least(metric, np.asarray(self.min_sigma, float) / sigma)
        return AdaptiveState(
            state.x + step,
            state.t + 1,
            sigma,
            metric.astype(dtype),
            path.astype(dtype),
            fast.astype(dtype),
            _towards(state.moved, moved, 2.0 / (n + 7)).astype(dtype),
        )

    def _stop(self, state: Any) -> str | None:
        if state.sigma >= _LARGEST * self.sigma:
            return "diverged"
        limit = self.tol * self.sigma
        if state.sigma > limit:
            return None  # most often: the largest of the scales is about 1
        scales = state.sigma * _lengths(state.metric)
        if self.min_sigma is not None:  # where it holds, there is nothing to wait for
            scales[scales <= np.multiply(self.min_sigma, 1.001)] = 0.0
        return "tol" if scales.max() <= limit else None


def _learnt(state: AdaptiveState) -> tuple[Any, ...]:
    return state.sigma, state.metric, state.path, state.fast, state.moved


def _lengths(metric: Array) -> Array:
    """Standard deviations of the coordinates over sigma: the lengths of the rows."""
    return np.asarray(np.sqrt(np.square(metric, dtype=float).reshape(len(metric), -1).sum(axis=1)))


def _at_least(metric: Array, least: Array) -> Array:
    """The metric with rows lengthened to ``least``, a standard deviation over sigma."""
    factors = np.maximum(least / _lengths(metric), 1.0)
    return metric * (factors[:, None] if metric.ndim == 2 else factors)


def _towards(path: Array, step: Array, rate: float) -> Array:
    """A path whose variance stays that of its steps."""
    return (1.0 - rate) * path + math.sqrt(rate * (2.0 - rate)) * step


def _mean_length(n: int) -> float:
    """``E |N(0, I)|``, to the third order."""
    return math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n))


def _row_share(n: int) -> float:
    """How much of a step is along the row of a diagonal metric."""
    return 1.0 / (6.0 * math.sqrt(n) + 10.0)


class _Rates(NamedTuple):
    """Weights of a generation, and the rates that follow from their number."""

    odd: Array  # w+ - w- of each pair
    even: Array  # (halves, n_pairs): of the squares, positive for the better half
    size: float  # |odd|
    slow: float
    fast: float
    damping: float
    one: float  # of the path's square in C
    many: float  # of the squares of all points


def _rates(told: Told, full: bool) -> _Rates | None:
    n, u = told.generation.center.size, told.utilities
    better, worse = np.maximum(-u, 0.0), np.maximum(u, 0.0)
    if not better.any():
        return None
    better /= better.sum()
    mu = 1.0 / float(np.square(better).sum())
    odd = better[0] - better[1]
    size = math.sqrt(float(np.square(odd).sum()))
    if size == 0.0:
        return None
    slow = (mu + 2.0) / (n + mu + 5.0)
    damping = 0.7 * (1.0 + slow + 2.0 * max(0.0, math.sqrt((mu - 1.0) / (n + 1.0)) - 1.0))
    faster, boost = (1.4, 2.0) if full else ((n + 2.0) / 6.0, 2.0 * (n + 2.0) / 3.0)
    one = min(0.5, 2.0 * faster / ((n + 1.3) ** 2 + mu))
    many = 2.0 * boost * (mu - 2.0 + 1.0 / mu) / ((n + 2.0) ** 2 + boost * mu)
    many = max(0.0, min(1.0 - one, many))
    worse /= worse.sum()
    if full and many > 0.0:  # C stays positive definite
        against = 1.0 / float(np.square(worse).sum())
        worse *= min(
            1.0 + one / many, 1.0 + 2.0 * against / (mu + 2.0), (1.0 - one - many) / (n * many)
        )
    fast = (4.0 + mu / n) / (n + 4.0 + 2.0 * mu / n) if full else 4.0 / (n + 4.0)
    return _Rates(odd, better - worse, size, slow, fast, damping, one, many)


# -- the full metric -----------------------------------------------------------------------------


def _mean_latent(state: AdaptiveState, told: Told, rates: _Rates, moved: Array) -> Array:
    """The whitened step: what was drawn, recombined."""
    total = np.zeros(moved.size)
    for (start, stop), z in told.latents():
        total += mix(rates.odd[None, start:stop], z)[0]
    return total / rates.size


def _full(metric: Array, told: Told, rates: _Rates, fast: Array) -> Array:
    """``A exp(G / 2)`` to the second order, G what the squares have in excess of I."""
    n = fast.size
    excess = rates.one * (np.outer(fast, fast) - np.eye(n))
    good, bad = np.maximum(rates.even, 0.0), np.maximum(-rates.even, 0.0)
    lengths = np.concatenate([np.square(z, dtype=float).sum(axis=1) for _, z in told.latents()])
    # A bad point counts by its direction: a long one would make C indefinite.
    weights = good.sum(axis=0) - bad.sum(axis=0) * (n / lengths)
    total = float(good.sum() - bad.sum())
    excess += rates.many * (told.products(weights) - total * np.eye(n))
    half = mix(metric, excess) / 2.0
    return np.asarray(metric + half + mix(half, excess) / 4.0)


# -- the diagonal metric -------------------------------------------------------------------------


def _whitened(state: AdaptiveState, told: Told, rates: _Rates, moved: Array) -> Array:
    """The step in coordinates in which the search distribution is round."""
    share = _row_share(moved.size)
    z = moved / (state.metric * math.sqrt(1.0 - share))
    row = state.moved * math.sqrt(share / (1.0 - share)) / state.metric
    square = float(np.square(row).sum())
    if square > 0.0:
        z -= row * (float((row * z).sum()) / square * (1.0 - 1.0 / math.sqrt(1.0 + square)))
    return np.asarray(z)


def _diagonal(metric: Array, told: Told, rates: _Rates, fast: Array) -> Array:
    """``D exp(G / 2)``, G what the squares of each coordinate have in excess of 1."""
    even = rates.even.sum(axis=0)
    half = told.squares(even)  # in place from here on: there may be many coordinates
    half -= even.sum()
    half *= rates.many / 2.0
    half += rates.one / 2.0 * (np.square(fast) - 1.0)
    np.exp(np.clip(half, -0.5, 0.5, out=half), out=half)
    return np.asarray(metric * half.astype(metric.dtype))
