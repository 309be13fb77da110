"""Laws of optimizers with ask and tell."""

from __future__ import annotations

import pickle
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.testing.bench import array_of, call_and_compare, pickled, same
from blackbox_es.testing.checks import Check, broken, enrol
from blackbox_es.testing.search_bench import REFUSED, SearchBench, table

Array = npt.NDArray[Any]

SEARCH_CHECKS: list[Check] = []
_check = enrol(SEARCH_CHECKS)
_ASK = ("check_points_asked",)
_SAME = ("check_points_asked", "check_same_seed")


def _compare(expected: list[Array], found: list[Array], **example: Any) -> None:
    """The law is broken at the first generation with other points."""
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        if not same(a, b):
            row = int(np.argmax((a != b).any(axis=1))) if a.shape == b.shape else 0
            broken(**example, generation=i, point=row, expected=a[row], asked=b[row])


# -- ask -----------------------------------------------------------------------------------------


@_check(cost=3, advice="return an array of shape (m, n), or m arrays of n finite numbers")
def check_points_asked(bench: SearchBench) -> None:
    """ask gives m points of n finite real numbers."""
    optimizer = bench.make()
    for generation in range(3):
        X = bench.ask(optimizer)
        array = array_of(X)
        if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != bench.x0.size:
            broken(
                generation=generation,
                shape=array.shape,
                dtype=str(array.dtype),
                expected=f"(m, {bench.x0.size}) of floats",
            )
        if not len(array) or not np.isfinite(array).all():
            broken(generation=generation, asked=array)
        bench.tell(optimizer, X, [bench.sphere(x) for x in table(X)])


@_check(
    applies=lambda bench: bench.bounded,
    cost=20,
    needs=_ASK,
    advice="draw again, reflect or clip before a point is handed out",
)
def check_bounds(bench: SearchBench) -> None:
    """Points lie within the bounds, also if the objective pulls them out."""
    for sign in (1.0, -1.0):
        optimizer = bench.make()
        for X in bench.generations(optimizer, 10, lambda x, sign=sign: float(sign * x.sum())):  # type: ignore[misc]
            outside = (bench.low > X) | (bench.high < X)
            if outside.any():
                row, i = np.argwhere(outside)[0]
                limits = f"({bench.low[i]}, {bench.high[i]})"
                broken(point=X[row], coordinate=int(i), bounds=limits)


@_check(cost=3, needs=_ASK, advice="return a copy, not an array that the next generation fills")
def check_points_stay(bench: SearchBench) -> None:
    """Points that were asked stay as they are when the search goes on."""
    optimizer = bench.make()
    X = bench.ask(optimizer)
    before = table(X)
    bench.tell(optimizer, deepcopy(X), [bench.sphere(x) for x in before])
    bench.generations(optimizer, 2)
    if not same(before, table(X)):
        row = int(np.argmax((before != table(X)).any(axis=1)))
        broken(point=row, asked=before[row], two_generations_later=table(X)[row])


@_check(
    cost=2, needs=_ASK, advice="draw new noise for each generation; advance the generator's state"
)
def check_new_generation(bench: SearchBench) -> None:
    """Each generation has points of its own."""
    first, second = (X - X.mean(axis=0) for X in bench.generations(bench.make(), 2))
    if first.shape == second.shape and _parallel(first.ravel(), second.ravel()):
        broken(
            first_point_less_the_mean=first[0],
            in_the_next_generation=second[0],
            of_all_points="parallel",
        )


def _parallel(a: Array, b: Array) -> bool:
    return bool(a @ b > (1.0 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(b))


# -- seeds ---------------------------------------------------------------------------------------


def _same_seed(bench: SearchBench, seed: int) -> None:
    expected = bench.generations(bench.make(seed), 3)
    np.random.seed(99)  # noqa: NPY002 - somebody else's business in the meantime
    _compare(expected, bench.generations(bench.make(seed), 3), seed=seed)


@_check(
    cost=6,
    needs=_ASK,
    advice="derive all randomness from the seed, none from generators that are global",
)
def check_same_seed(bench: SearchBench) -> None:
    """The same seed gives the same search."""
    _same_seed(bench, bench.seed + 1)


@_check(cost=6, needs=_SAME, advice="test `seed is None`, not `not seed`")
def check_seed_zero(bench: SearchBench) -> None:
    """Zero is a seed like any other."""
    _same_seed(bench, 0)


@_check(cost=4, needs=_ASK, advice="use the seed")
def check_other_seed(bench: SearchBench) -> None:
    """Another seed gives another search."""
    seen = {seed: bench.generations(bench.make(seed), 1)[0] for seed in range(4)}
    for seed in range(1, 4):
        for other in range(seed):
            if same(seen[seed], seen[other]):
                broken(seeds=f"{other} and {seed}", first_point_of_both=seen[seed][0])


# -- what belongs to the caller --------------------------------------------------------------------


@_check(cost=6, needs=_SAME, advice="hand out a copy, or an array that is read-only")
def check_points_are_yours(bench: SearchBench) -> None:
    """What is written into points after they were told changes nothing."""
    expected = bench.generations(bench.make(), 3)
    optimizer = bench.make()
    X = bench.ask(optimizer)
    bench.tell(optimizer, X, [bench.sphere(x) for x in table(X)])
    for x in X:
        if x.flags.writeable:
            x[:] = np.nan
    _compare(expected[1:], bench.generations(optimizer, 2))


@_check(cost=3, needs=_ASK, advice="copy x0 when the search begins: `self.mean = np.array(x0)`")
def check_x0_not_written(bench: SearchBench) -> None:
    """The caller's x0 is not written to."""
    x0 = bench.x0.copy()
    bench.generations(bench.make(x0=x0), 3)
    if not same(x0, bench.x0):
        broken(x0_before=bench.x0, x0_after_three_generations=x0)


@_check(
    cost=6,
    needs=(*_SAME, "check_x0_not_written"),
    advice="copy x0 when the search begins: `self.mean = np.array(x0)`",
)
def check_x0_not_aliased(bench: SearchBench) -> None:
    """What the caller writes into x0 later changes nothing."""
    expected = bench.generations(bench.make(), 3)
    x0 = bench.x0.copy()
    optimizer = bench.make(x0=x0)
    x0[:] = 1e3
    _compare(expected, bench.generations(optimizer, 3), x0_was_overwritten_with=1e3)


@_check(cost=4, needs=_ASK, advice="sort or change a copy: `values = np.array(values, float)`")
def check_told_untouched(bench: SearchBench) -> None:
    """What is told is neither written to nor sorted."""
    for bad in (None, np.nan):
        for kind in (list, np.array):
            optimizer = bench.make()
            X = bench.ask(optimizer)
            before = table(X)
            plain = [bench.sphere(x) for x in before]
            if bad is not None:
                plain[0] = bad
            values: Any = kind(sorted(plain, reverse=True))
            told = np.array(values)
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    optimizer.tell(X, values)
            except Exception as error:  # it may refuse NaN, but not tamper with it
                if bad is None:
                    broken(values_told=values, raised=error, cause=error, advice=REFUSED)
            if not same(np.array(values), told):
                broken(values_told=told, values_afterwards=np.array(values))
            if not same(table(X), before):
                broken(points_told=before, points_afterwards=table(X))


@_check(
    cost=3,
    needs=_SAME,
    advice="use a generator of the optimizer's own: `np.random.default_rng(seed)`",
)
def check_global_state(bench: SearchBench) -> None:
    """Random generators and all else that is global stay as they are."""
    call_and_compare(lambda: bench.generations(bench.make(), 3))


@_check(
    cost=12,
    needs=(*_SAME, "check_global_state"),
    advice="keep all state in the object: no class attributes, no globals, no shared generator",
)
def check_independent(bench: SearchBench) -> None:
    """Two searches at once do not disturb each other."""
    seeds = (bench.seed + 1, bench.seed + 2)
    expected = [bench.generations(bench.make(seed), 3) for seed in seeds]
    pair = [bench.make(seed) for seed in seeds]
    seen: list[list[Array]] = [[], []]
    for _ in range(3):
        for which in (0, 1):
            seen[which] += bench.generations(pair[which], 1)
    for which in (0, 1):
        _compare(expected[which], seen[which], seed=seeds[which])


# -- interruptions -------------------------------------------------------------------------------


@_check(
    cost=12,
    needs=_SAME,
    advice="compare the number of values with the number of points before anything is changed",
)
def check_wrong_length(bench: SearchBench) -> None:
    """tell rejects a wrong number of values and leaves the search as it was."""
    expected = bench.generations(bench.make(), 3)
    for wrong in (-1, 1):
        optimizer = bench.make()
        X = bench.ask(optimizer)
        values = [bench.sphere(x) for x in table(X)]
        bad = values[:-1] if wrong < 0 else [*values, 1.0]
        try:
            optimizer.tell(X, bad)
        except Exception:
            bench.tell(optimizer, X, values)
        else:
            broken(points=len(X), values=len(bad), raised="nothing")
        _compare(expected[1:], bench.generations(optimizer, 2), after_a_refused_tell_of=len(bad))


@_check(
    cost=9,
    needs=(*_SAME, "check_global_state", "check_independent"),
    advice="keep generator and pending points in what is pickled, locks and files out of it",
)
def check_pickle(bench: SearchBench) -> None:
    """Pickled between ask and tell, a search and its copy go on identically."""
    expected = bench.generations(bench.make(), 3)
    optimizer = bench.make()
    X = bench.ask(optimizer)
    values = [bench.sphere(x) for x in table(X)]
    copy = bench.guarded(lambda: pickle.loads(pickled(optimizer)))
    for name, one in (("the search", optimizer), ("its copy", copy)):
        bench.tell(one, X, list(values))  # it may sort them
        _compare(expected[1:], bench.generations(one, 2), which=name)


# -- values of all kinds -------------------------------------------------------------------------


@_check(cost=6, needs=_ASK, advice="divide by no standard deviation that may be zero")
def check_constant_objective(bench: SearchBench) -> None:
    """With a constant objective points stay finite."""
    for generation, X in enumerate(bench.generations(bench.make(), 6, lambda x: 1.0)):
        if not np.isfinite(X).all():
            broken(generation=generation, values="all 1.0", asked=X[0])


def _survives(bench: SearchBench, bad: float) -> None:
    for share in ("the first value", "all values"):
        optimizer = bench.make()
        X = bench.ask(optimizer)
        good = [bench.sphere(x) for x in table(X)]
        values = [bad] * len(good) if share == "all values" else [bad, *good[1:]]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                optimizer.tell(X, values)
        except Exception:  # refused, which is one way of surviving: others can be told
            bench.tell(optimizer, X, good)
        for generation, later in enumerate(bench.generations(optimizer, 3), start=1):
            if not np.isfinite(later).all():
                broken(value_told=bad, told_for=share, generation=generation, asked=later[0])


@_check(
    cost=8,
    needs=(*_ASK, "check_constant_objective"),
    advice="leave out points whose value is NaN, or refuse them by an error",
)
def check_nan_values(bench: SearchBench) -> None:
    """NaN values are left out or refused: points stay finite."""
    _survives(bench, np.nan)


@_check(
    cost=8,
    needs=(*_ASK, "check_constant_objective", "check_nan_values"),
    advice="treat infinity as the worst value, or refuse it by an error",
)
def check_infinite_values(bench: SearchBench) -> None:
    """Infinite values are accepted or refused: points stay finite."""
    _survives(bench, np.inf)


_RUNS, _GENERATIONS = 5, 30


@_check(
    cost=_RUNS * _GENERATIONS,
    needs=_ASK,
    advice="see that it minimises: best is least; see that steps are not too long",
)
def check_sphere_gets_better(bench: SearchBench) -> None:
    """On a sphere it comes closer to the minimum.

    Which is ten spreads of the first generation away.
    """
    ratios = []
    for run in range(1, _RUNS + 1):
        optimizer = bench.make(bench.seed + run)
        X = bench.ask(optimizer)
        points = table(X)
        spread = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
        far = 10.0 * spread / np.sqrt(bench.x0.size)
        minimum = np.clip(bench.x0 + far, bench.low, bench.high)

        def sphere(x: Array, minimum: Array = minimum) -> float:
            return float(((x - minimum) ** 2).sum())

        bench.tell(optimizer, X, [sphere(x) for x in points])
        last = bench.generations(optimizer, _GENERATIONS - 1, sphere)[-1]
        ratios.append(np.sqrt(sphere(last.mean(axis=0)) / sphere(bench.x0)))
    if np.median(ratios) >= 1.0:
        broken(distance_after_30_generations_relative_to_that_of_x0=np.array(ratios))
