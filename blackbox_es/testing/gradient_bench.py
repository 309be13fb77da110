"""What checks of gradient estimators work on: an estimator, what its objective sees, costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_between, check_choice, check_count, check_positive
from blackbox_es.testing.bench import as_seed
from blackbox_es.testing.checks import broken

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours
Function = Callable[[Array], Array]  # of rows of points around x, a direction being about 1 long

PAIRS_SEEN = 4096  # by statistical checks


class Recorder:
    """An objective ``f((points - x) / unit)`` that remembers where it was called."""

    def __init__(self, f: Function, x: Array, unit: float) -> None:
        self.f, self.x, self.unit = f, x, unit
        self.seen: list[tuple[Array, Array, float]] = []  # offsets, values, precision of points

    def __call__(self, points: Any) -> Any:
        points = np.asarray(points)
        if points.shape[-1:] != self.x.shape or points.dtype.kind not in "fiu":
            raise ValueError(
                f"the objective was called with shape {points.shape} and dtype {points.dtype}: "
                f"expected one point, ({self.x.size},), or rows of points, of real numbers"
            )
        offsets = points.reshape(-1, self.x.size).astype(float) - self.x
        values = self.f(offsets / self.unit)
        self.seen.append((offsets, values, precision(points)))
        return float(values[0]) if points.ndim == 1 else values.reshape(points.shape[:-1])


def precision(array: Array) -> float:
    """The spacing at 1 of floats as the array has."""
    return float(np.finfo(array.dtype if array.dtype.kind == "f" else float).eps)


@dataclass(frozen=True)
class Estimate:
    """What an estimator returned, and what its objective saw: points ``x + offset``, values."""

    gradient: Array
    offsets: Array
    values: Array
    eps_of_points: float  # the spacing of floats at 1
    x: Array

    @property
    def eps(self) -> float:
        """The precision of points and gradient, whichever is worse."""
        return max(self.eps_of_points, precision(self.gradient))

    @cached_property
    def _pairs(self) -> tuple[Array, Array]:
        """Offsets and values, shape (2, P, ...): ``+d`` and ``-d`` of a pair face each other."""
        moved = (self.offsets != 0.0).any(axis=1)  # x itself may be evaluated too
        offsets, values = self.offsets[moved] + 0.0, self.values[moved]  # no -0.0
        # In the order of a projection, the first point and the last one are a pair, and so on.
        order = np.argsort((offsets * _axis(offsets.shape[1])).sum(axis=1))
        half = len(order) // 2
        sides = np.stack([order[::-1][:half], order[:half]])
        return offsets[sides], values[sides]

    @property
    def directions(self) -> Array:
        """One of each pair, shape (P, n); its sign is that of a fixed projection."""
        return np.asarray(self._pairs[0][0])

    @property
    def total(self) -> Array:
        """``sum_p d_p (f(x + d_p) - f(x - d_p))``."""
        plus, minus = self._pairs[1]
        return np.asarray((plus - minus) @ self.directions)

    @property
    def rounding(self) -> Array:
        """What rounding may change in each coordinate of the total."""
        sizes = np.abs(self._pairs[1]).sum(axis=0)
        reach = np.abs(self.directions) + np.abs(self.x)
        return np.asarray((len(sizes) + 16) * self.eps * (sizes @ reach))


@lru_cache(maxsize=1)
def _axis(n: int) -> Array:
    """No two different offsets are at the same place along it, not even on a lattice."""
    return np.random.default_rng(n).standard_normal(n)


class GradientBench:
    """An estimator, the law it is to follow, and how often it was called.

    Most estimates are made at x = 0, where x + d and x - d are exact, so that directions are seen
    and matched to the last bit.
    """

    unit = "estimates"

    def __init__(
        self,
        estimator: Callable[..., Any],
        n: int = 6,
        *,
        k: int = 0,
        sigma: float = 0.1,
        alpha: float = 0.5,
        beta: float | None = None,
        shaping: str = "raw",
        seed: int = 0,
    ) -> None:
        if not callable(estimator):
            raise TypeError(f"estimator={estimator!r} is not callable: expected (objective, x)")
        check_count("n", n)
        check_positive("sigma", sigma)
        if beta is not None:
            check_positive("beta", beta)
        if not (isinstance(k, int) and 0 <= k <= n):
            raise ValueError(f"k={k!r}: expected an integer between 0 and n={n}")
        check_between("alpha", alpha, 0.0, 1.0)
        check_choice("shaping", shaping, ("raw", "ranks"))
        self.subject = estimator
        self.n, self.k, self.sigma = n, k, float(sigma)
        self.alpha = float(alpha) if k else 1.0
        self.beta, self.shaping, self.seed, self.spent = beta, shaping, as_seed(seed), 0
        self.n_pairs = 1  # of an estimate, as soon as one was seen
        self.length = self.sigma * math.sqrt(n)  # of a direction, root mean squared
        self.scale = 2.0 ** round(math.log2(self.length))  # dyadic: dividing by it is exact
        self.x = self.scale / 2.0 * self.rng("x").permuted(np.resize([1, -2, 3, -4, 5, -6], n))
        slope = self.rng("slope").standard_normal(n)
        self.slope = 2.0 * slope / np.linalg.norm(slope)
        # Far from orthonormal for any seed, so that taking it for a basis is found.
        columns = np.linalg.qr(self.rng("surrogate").standard_normal((n, k)))[0]
        self.surrogate = 3.0 * (columns[:, :1] + 0.5 * columns)

    def rng(self, name: str) -> np.random.Generator:
        """A generator for one purpose."""
        return np.random.default_rng([self.seed, *name.encode()])

    def seeds(self, name: str, count: int) -> range:
        """Consecutive seeds, as people use them."""
        first = int(self.rng(name).integers(1, 2**30))
        return range(first, first + count)

    # -- the law of the directions -----------------------------------------------------------------

    @cached_property
    def span(self) -> Array:
        """U: an orthonormal basis of the surrogate's span, shape (n, k)."""
        return np.linalg.qr(self.surrogate)[0]

    @cached_property
    def complement(self) -> Array:
        """An orthonormal basis of what is orthogonal to it, shape (n, n - k)."""
        return np.linalg.qr(self.surrogate, mode="complete")[0][:, self.k :]

    @cached_property
    def covariance(self) -> Array:
        """``Sigma = alpha / n I + (1 - alpha) / k U U^T``."""
        guided = (1.0 - self.alpha) / max(self.k, 1) * self.span @ self.span.T
        return np.asarray(self.alpha / self.n * np.eye(self.n) + guided)

    # -- calls -------------------------------------------------------------------------------------

    def call(self, objective: Any, x: Array, seed: int, surrogate: Array) -> Any:
        """What the estimator returns; the law is broken if it raises."""
        self.spent += 1
        guides = {"surrogate": surrogate} if self.k else {}
        try:
            return self.subject(objective, x, seed=seed, **guides)
        except Exception as error:
            broken(seed=seed, raised=error, cause=error, advice="fix the estimator")

    def estimate(
        self, f: Function, seed: int, *, x: Array | None = None, surrogate: Array | None = None
    ) -> Estimate:
        """The estimate for f around x (0 by default), from copies of all that is given."""
        x = np.zeros(self.n) if x is None else x
        surrogate = self.surrogate if surrogate is None else surrogate
        objective = Recorder(f, x, self.scale)
        gradient = np.asarray(self.call(objective, x.copy(), seed, surrogate.copy()))
        if not objective.seen:
            advice = "it is to call what it is given, in this process"
            broken(seed=seed, calls_of_the_objective=0, advice=advice)
        offsets, values, precisions = map(list, zip(*objective.seen, strict=True))
        found = Estimate(
            gradient, np.concatenate(offsets), np.concatenate(values), max(precisions), x
        )
        self.n_pairs = max(len(found.directions), 1)
        return found

    def sample(self, n_pairs: int, surrogate: Array | None = None) -> tuple[Array, Array]:
        """Directions of so many pairs at least, and the estimates for `linear` along them."""
        directions: list[Array] = []
        gradients: list[Array] = []
        for seed in self.seeds("sample", n_pairs):
            found = self.estimate(self.linear, seed, surrogate=surrogate)
            directions.extend(found.directions)
            gradients.append(found.gradient)
            if not directions:
                broken(seed=seed, evaluated="x only", advice="evaluate f(x + d) and f(x - d)")
            if len(directions) >= n_pairs:
                break
        return np.array(directions), np.array(gradients, float)

    def calls(self, n_pairs: int) -> int:
        """Estimates to see so many pairs, as far as one knows yet."""
        return -(-n_pairs // self.n_pairs)

    @cached_property
    def large_sample(self) -> tuple[Array, Array]:
        """One for all statistical checks."""
        return self.sample(PAIRS_SEEN)

    def factor(self, estimate: Estimate) -> float:
        """``beta / (2 n sigma^2 P)``, or what it seems to be if beta is unknown."""
        if self.beta is not None:
            return self.beta / 2.0 / self.length**2 / len(estimate.directions)
        total = estimate.total / np.linalg.norm(estimate.total)
        return float(estimate.gradient @ total / np.linalg.norm(estimate.total))

    # -- objectives: rows of u = (point - x) / scale -----------------------------------------------

    def linear(self, u: Array) -> Array:
        """Its gradient in x is ``slope / scale``."""
        return np.asarray((u * self.slope).sum(axis=1))

    def rough(self, u: Array) -> Array:
        """Curved, with kinks, neither odd nor even."""
        s = self.linear(u)
        return np.asarray(8.0 + s + s**3 + np.abs(s - 0.25) + np.abs(u).sum(axis=1))

    def whole(self, u: Array) -> Array:
        """The same in whole numbers, so that sums are exact."""
        return np.asarray(np.round(100.0 * self.rough(u)))

    def even(self, u: Array) -> Array:
        """Whole numbers, the same at u and -u."""
        return np.asarray(np.round(1000.0 * np.abs(u).sum(axis=1)))
