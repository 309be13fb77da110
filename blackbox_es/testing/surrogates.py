"""Checks of surrogate gradients: is it one, and does it help?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import check_function
from blackbox_es.testing.bench import ObjectiveBench, array_of, call_and_compare, same
from blackbox_es.testing.checks import (
    Check,
    CheckReport,
    Course,
    Expected,
    Findings,
    broken,
    enrol,
    skip,
)

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

SURROGATE_CHECKS: list[Check] = []
_check = enrol(SURROGATE_CHECKS)
_VALUE = ("check_surrogate_value",)
_GUIDES = ("check_surrogate_value", "check_surrogate_not_zero")
_RAISED = "fix the surrogate; where it has no gradient, let it return zeros: they mean no guide"


@_check(
    advice="return an array of shape (n,), or (n, k) with one guide a column: transpose a (k, n)"
)
def check_surrogate_value(bench: ObjectiveBench) -> None:
    """The surrogate returns n finite real numbers, or n rows of k."""
    x = bench.x0
    value = _call(bench, x)
    if value is None:
        broken(x=x, returned=value, advice="there is no `return`: return the gradient")
    try:
        array = array_of(value)
    except ValueError:
        broken(x=x, returned=value, type=type(value).__name__)
    if array.dtype.kind not in "fiub":
        broken(x=x, returned=value, type=type(value).__name__, dtype=str(array.dtype))
    if array.ndim not in (1, 2) or len(array) != bench.n or array.size == 0:
        broken(shape=array.shape, expected=f"({bench.n},) or ({bench.n}, k)")
    if not np.isfinite(array).all():
        i = int(np.argmin(np.isfinite(array.reshape(bench.n, -1)).all(axis=1)))
        broken(x=x, coordinate=i, returned_there=array[i])


@_check(needs=_VALUE, advice="see that the gradient reaches x: a detached graph gives zeros")
def check_surrogate_not_zero(bench: ObjectiveBench) -> Findings:
    """The surrogate has a direction at x0."""
    columns = _columns(bench, bench.x0)
    rank = len(_basis(columns))
    if rank == 0:
        broken(x=bench.x0, returned=columns.T.squeeze())
    return {} if len(columns) == 1 else {"rank of the surrogate": f"{rank} of {len(columns)}"}


@_check(needs=_VALUE, advice="work on a copy: `x = x.copy()`")
def check_surrogate_argument_untouched(bench: ObjectiveBench) -> None:
    """The surrogate does not write into its argument."""
    x = bench.x0.copy()
    bench.guarded(bench.x0, lambda: _surrogate(bench)(x), 0, advice=_RAISED)
    if not same(x, bench.x0):
        broken(x_before=bench.x0, x_after=x)


@_check(needs=_VALUE, advice="use a generator of your own, `with np.errstate(...)`, absolute paths")
def check_surrogate_global_state(bench: ObjectiveBench) -> None:
    """Random generators and all else that is global stay as they are."""
    call_and_compare(lambda: _call(bench, bench.x0))


@_check(
    cost=lambda bench: _alignment_cost(bench),
    needs=_GUIDES,
    advice="compare it with finite differences of the objective: it may be of another function, of "
    "another x, or in another order; search without it until it helps",
)
def check_surrogate_informative(bench: ObjectiveBench) -> Findings:
    """The surrogate is closer to the gradient than a random direction would be."""
    found = alignment(bench)
    if found.useful is False:
        broken(
            squared_cosine=str(found),
            a_random_one_has_less_than=f"{found.by_chance:.2g} in 99 of 100 cases",
            verdict=found.verdict,
        )
    return {"surrogate": f"{found}: {found.verdict}"}


@_check(
    cost=lambda bench: _alignment_cost(bench),
    needs=(*_GUIDES, "check_surrogate_informative"),
    advice="change its sign: a surrogate gradient points uphill, as the gradient does",
)
def check_surrogate_sign(bench: ObjectiveBench) -> None:
    """The surrogate points uphill."""
    found = alignment(bench)
    if found.points_downhill:
        broken(squared_cosine=str(found), slope_along_it=found.slope, verdict=found.verdict)


# -- how close it is to the gradient ---------------------------------------------------------------

_POINTS, _PAIRS = 4, 8


@dataclass(frozen=True)
class Alignment:
    """``r = |U^T grad|^2 / |grad|^2``, the squared cosine between gradient and guides.

    Attributes
    ----------
    r, low, high : float
        The estimate and its 95 % interval.
    n, k : int
        A random subspace has ``k/n`` in the mean.
    by_chance : float
        What a random subspace has less than in 99 of 100 cases.
    slope : float
        Mean slope along the guide, for one guide.
    """

    r: float
    low: float
    high: float
    n: int
    k: int
    by_chance: float
    slope: float

    @property
    def useful(self) -> bool | None:
        """Whether r is above chance; None if in so few dimensions nobody can tell."""
        return True if self.low > self.by_chance else None if self.by_chance > 0.5 else False

    @property
    def points_downhill(self) -> bool:
        """One guide along which the objective falls, and not by chance."""
        return self.k == 1 and self.slope < 0.0 and self.low > min(self.by_chance, 0.5)

    @property
    def verdict(self) -> str:
        """helps, neutral or misleading."""
        if self.points_downhill or self.high < self.k / self.n / 10:
            return "misleading"
        return "helps" if self.useful else "neutral"

    def __str__(self) -> str:
        return (
            f"r = cos^2 = {self.r:.2g}, 95 % interval {self.low:.2g} to {self.high:.2g}, "
            f"chance k/n = {self.k / self.n:.2g}"
        )


def _alignment_cost(bench: ObjectiveBench) -> int:
    """Evaluations: none if it is known; else k is seen by calling the surrogate."""
    if bench.alignment is not None:
        return 0
    return _POINTS * 2 * (len(_columns(bench, bench.x0)) + _PAIRS)


def alignment(bench: ObjectiveBench) -> Alignment:
    """The squared cosine near x0, measured once.

    Slopes along the guides are measured one by one, those across them by random directions: for a
    linear objective the squares of these are chi-squared, which gives the interval. Noise of the
    objective adds to both, which moves r to chance.
    """
    if bench.alignment is None:
        bench.alignment = _aligned(bench)
    found: Alignment = bench.alignment
    return found


def _aligned(bench: ObjectiveBench) -> Alignment:
    along = across = slope = 0.0
    subspaces = []
    for i, x in enumerate(bench.points(_POINTS, "surrogate")):
        guides = _columns(bench, x)
        rows = _basis(guides)
        if not len(rows):
            continue
        k = len(rows)
        if k >= bench.n:
            skip(f"{k} guides span all {bench.n} coordinates: there is nothing to compare with")
        slopes = _slopes(bench, x, rows)
        z = bench.rng(f"across {i}").standard_normal((_PAIRS, bench.n))
        z -= (z @ rows.T) @ rows
        others = _slopes(bench, x, z / np.linalg.norm(z, axis=1, keepdims=True))
        along += float(slopes @ slopes)
        across += (bench.n - k) * float(others @ others) / _PAIRS
        slope += float(slopes[0]) * float(np.sign(guides[0] @ rows[0]))  # of one guide
        subspaces.append(rows)
    if not along + across > 0.0:
        skip("the objective is flat near x0")
    from scipy.special import betaincinv, chdtri

    m, k = len(subspaces), len(subspaces[0])
    df = m * _PAIRS
    r, low, high = (
        along / (along + across * df / quantile)
        for quantile in (df, chdtri(df, 0.975), chdtri(df, 0.025))
    )
    # Guides that are the same at all points are one chance of being right, not m.
    alike = [float(((a @ b.T) ** 2).sum()) / k for a in subspaces for b in subspaces]
    chances = 1.0 / float(np.mean(alike))
    by_chance = float(betaincinv(chances * k / 2, chances * (bench.n - k) / 2, 0.99))
    return Alignment(r, low, high, bench.n, k, by_chance, slope / m)


def _slopes(bench: ObjectiveBench, x: Array, rows: Array) -> Array:
    """Slopes of the objective along unit rows, by central differences as long as a step."""
    length = bench.sigma * math.sqrt(bench.n)
    steps = bench.inside(x + np.stack([rows, -rows]) * length)
    plus, minus = bench.values(steps)
    lengths = np.linalg.norm(steps[0] - steps[1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = (plus - minus) / lengths
    return np.where(np.isfinite(slopes), slopes, 0.0)


# -- calls -----------------------------------------------------------------------------------------


def _surrogate(bench: ObjectiveBench) -> Callable[[Array], Any]:
    assert bench.surrogate_fn is not None
    return bench.surrogate_fn


def _call(bench: ObjectiveBench, x: Array) -> Any:
    return bench.guarded(x, lambda: _surrogate(bench)(x.copy()), 0, advice=_RAISED)


def _columns(bench: ObjectiveBench, x: Array) -> Array:
    """The guides at x, one a row."""
    return np.array(_call(bench, x), np.float64).reshape(bench.n, -1).T


def _basis(columns: Array) -> Array:
    """Orthonormal rows that span the guides; as many as their rank."""
    largest = np.abs(columns).max(axis=1)
    guides = columns[largest > 0.0] / largest[largest > 0.0, None]
    if not len(guides):
        return np.empty((0, columns.shape[1]))
    _, values, rows = np.linalg.svd(guides, full_matrices=False)
    return np.asarray(rows[values > 1e-6 * values[0]])


# -- the way in ------------------------------------------------------------------------------------


def check_surrogate(
    f: Callable[..., Any],
    surrogate_fn: Callable[[Array], Any],
    x0: npt.ArrayLike,
    *,
    sigma: float = 0.1,
    bounds: Any = None,
    vectorized: bool = False,
    stochastic: bool = False,
    budget: int = 500,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    on_fail: str | None = "raise",
    callback: Callable[..., Any] | None = None,
) -> CheckReport:
    """Find out whether a surrogate gradient is one, and whether it helps.

    The squared cosine ``r = |U^T grad|^2 / |grad|^2`` between its span and the gradient of the
    objective, smoothed over sigma, is measured near x0 and compared with that of random
    directions, ``k/n`` in the mean: the surrogate *helps* if it is above what 99 of 100 of these
    have, is *misleading* if it points downhill or is far below, and otherwise *neutral*. In so few
    dimensions that a random direction may be as good, neutral is no failure.

    Parameters
    ----------
    f : callable
        The objective, see `check_objective`; it is evaluated 4 (2 k + 16) times.
    surrogate_fn : callable
        ``surrogate_fn(x) -> (n,) or (n, k)``.
    x0 : array-like of shape (n,)
    sigma, bounds, vectorized, stochastic, budget, seed, checks, expected_failed_checks
        As in `check_objective`.
    on_fail, callback
        As in `check_objective`.

    Returns
    -------
    CheckReport

    Raises
    ------
    CheckFailed
        If a check failed unexpectedly and ``on_fail="raise"``.
    TypeError, ValueError
        For invalid arguments; nothing was evaluated then.

    Examples
    --------
    >>> report = check_surrogate(lambda x: x @ x, lambda x: 2 * x + 0.5, [1.0] * 100)
    >>> report.findings["surrogate"][-5:]
    'helps'
    """
    if surrogate_fn is None:
        raise TypeError("surrogate_fn=None is not callable: expected surrogate_fn(x) -> (n,)")
    check_function("surrogate_fn", surrogate_fn)
    bench = ObjectiveBench(
        f, x0, sigma=sigma, bounds=bounds, vectorized=vectorized, stochastic=stochastic,
        surrogate_fn=surrogate_fn, seed=seed,
    )  # fmt: skip
    course = Course(bench, SURROGATE_CHECKS, checks, budget, expected_failed_checks)
    return course.run("check_surrogate", on_fail, callback, surrogate_fn)
