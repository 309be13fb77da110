"""Checks of objectives: what an optimizer relies on without looking."""

from __future__ import annotations

import math
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.testing.bench import (
    Function,
    ObjectiveBench,
    array_of,
    call_and_compare,
    close,
    pickled,
    same,
    single_precision,
)
from blackbox_es.testing.checks import (
    Check,
    CheckReport,
    Course,
    Findings,
    Step,
    broken,
    enrol,
    kept_world,
    parametrize,
    skip,
)
from blackbox_es.testing.surrogates import SURROGATE_CHECKS

Array = npt.NDArray[Any]

OBJECTIVE_CHECKS: list[Check] = []
_check = enrol(OBJECTIVE_CHECKS)


def _repeatable(bench: ObjectiveBench) -> bool:
    return bench.repeatable


_VALUE = ("check_return_value",)
_SAME = ("check_return_value", "check_deterministic")


# -- values --------------------------------------------------------------------------------------


@_check(cost=1, advice="return a float: `return float(value)`, or one value a row if vectorized")
def check_return_value(bench: ObjectiveBench) -> None:
    """The objective returns one real number."""
    x = bench.x0[None] if bench.function.vectorized else bench.x0
    value = bench.raw(x)
    array = array_of(value)
    shapes: tuple[tuple[int, ...], ...] = ((1,),) if bench.function.vectorized else ((), (1,))
    if value is None:
        broken(x=bench.x0, returned=value, advice="there is no `return`: return the value")
    if array.dtype.kind not in "fiub" or array.shape not in shapes:
        broken(x=bench.x0, returned=value, type=type(value).__name__, shape=array.shape)
    bench.first_value = float(array.item())


@_check(
    cost=33,
    needs=_VALUE,
    advice="start where the objective is defined, lower sigma, or return a large finite value",
)
def check_finite_nearby(bench: ObjectiveBench) -> Findings:
    """Values are finite at x0 and at most pairs of points around it."""
    if not math.isfinite(value := bench.value(bench.x0)):
        broken(x0=bench.x0, value=value)
    pairs = bench.pairs(16)
    finite = np.isfinite(bench.values(pairs))
    if finite.all(axis=0).sum() < 8:
        half, pair = np.argwhere(~finite)[0]
        x = pairs[half, pair]
        broken(pairs_that_are_finite=f"{finite.all(axis=0).sum()} of 16", for_example_not_at=x)
    return {"finite values": f"{finite.sum()} of 32"}


@_check(
    applies=_repeatable,
    cost=8,
    needs=_VALUE,
    advice="keep nothing from one call to the next; for noise take a parameter `seed`, or pass "
    "stochastic=True",
)
def check_deterministic(bench: ObjectiveBench) -> None:
    """The same point, and seed if it takes one, gives the same value."""
    for x in bench.points(4):
        first, again = bench.value(x), bench.value(x)
        if not same(first, again):
            broken(x=x, first_value=first, second_value=again)


@_check(
    applies=_repeatable,
    cost=12,
    needs=_SAME,
    advice="keep nothing from one call to the next; key a cache by the bytes of x, not by x itself",
)
def check_call_order(bench: ObjectiveBench) -> None:
    """A value depends on the point, not on what was evaluated before."""
    points = bench.points(4)
    forward = bench.values(points)
    backward = bench.values(points[::-1])[::-1]
    if bench.first_value is not None and not same(bench.first_value, forward[0]):
        broken(x=points[0], value=bench.first_value, value_now=forward[0])
    buffer = np.empty_like(points[0])
    reused = np.empty(4)
    for i, x in enumerate(points):
        buffer[:] = x
        reused[i] = bench.guarded(x, lambda: bench.function(buffer), 1)
    for way, values in (("in reverse order", backward), ("in an array used again", reused)):
        if not same(forward, values):
            i = int(np.argmax(forward != values))
            broken(x=points[i], value=forward[i], **{f"value {way}": values[i]})


# -- arguments and results -----------------------------------------------------------------------


@_check(
    cost=4, needs=_VALUE, advice="work on a copy: `x = x.copy()`; write `x = x + d`, not `x += d`"
)
def check_argument_untouched(bench: ObjectiveBench) -> None:
    """The objective does not write into its argument."""
    given = bench.points(4) if bench.function.vectorized else bench.points(1)[0]
    x = given.copy()
    bench.guarded(given, lambda: bench.function.raw(x), x.size // bench.n)
    if not same(x, given):
        broken(x_before=given, x_after=x)


@_check(
    cost=4,
    needs=("check_return_value", "check_argument_untouched"),
    advice="`ask` gives read-only points: declare compiled arguments const",
)
def check_read_only(bench: ObjectiveBench) -> None:
    """Read-only points are accepted."""
    x = bench.points(4) if bench.function.vectorized else bench.points(1)[0]
    x.flags.writeable = False
    try:
        bench.function.raw(x)
    except Exception as error:
        broken(x=x, raised=error, cause=error)
    finally:
        bench.spent += x.size // bench.n


@_check(
    cost=8, needs=_VALUE, advice="return a new array, or a float, not a buffer that is used again"
)
def check_result_is_fresh(bench: ObjectiveBench) -> None:
    """A value that was returned stays as it is when others are computed."""
    points = bench.points(8)
    first, second = points[:4], points[4:]
    if not bench.function.vectorized:
        first, second = points[0], points[1]
    value = bench.raw(first)
    before = np.array(value)
    bench.raw(second)
    if not same(value, before):
        broken(x=first, returned=before, after_the_next_call=np.asarray(value))


@_check(
    applies=_repeatable,
    cost=20,
    needs=_SAME,
    advice="begin with `x = np.ascontiguousarray(x)` where compiled code takes its memory",
)
def check_memory_layout(bench: ObjectiveBench) -> Findings:
    """A value depends on the numbers in x, not on how they lie in memory."""
    points = bench.points(4)
    # One point, or all of them as rows.
    given = points if bench.function.vectorized else points[1]
    expected = bench.raw(given)
    wide = np.repeat(given, 2, axis=-1)
    layouts = {"strided": wide[..., ::2], "reversed": given[..., ::-1].copy()[..., ::-1]}
    if bench.function.vectorized:
        layouts["in Fortran's order"] = np.asfortranarray(given)
    refused = []
    for name, x in layouts.items():
        bench.spent += x.size // bench.n
        try:
            value = bench.function.raw(x)
        except Exception:  # it may, as long as it says so
            refused.append(name)
        else:
            if not close(value, expected):
                broken(layout=name, x=given, value=value, value_of_a_plain_array=expected)
    return {"layouts refused": ", ".join(refused)} if refused else {}


@_check(
    applies=lambda bench: bench.function.vectorized and bench.repeatable,
    cost=24,
    needs=_SAME,
    advice="reduce over the last axis only, `axis=-1`, and mix no two rows",
)
def check_batch(bench: ObjectiveBench) -> None:
    """A row's value is the same alone, among other rows, and in any order."""
    X = bench.points(8)
    together = np.asarray(bench.raw(X))
    if together.shape != (8,):
        broken(shape_of_X=X.shape, shape_of_values=together.shape, expected_shape=(8,))
    for way, values in (
        ("alone", bench.values(X)),
        ("with the rows reversed", np.asarray(bench.raw(X[::-1]))[::-1]),
    ):
        if not close(values, together):
            i = int(np.argmax(np.abs(values - together)))
            broken(row=i, x=X[i], value_together=together[i], **{f"value {way}": values[i]})


# -- the world around it -------------------------------------------------------------------------


@_check(
    cost=2,
    needs=_VALUE,
    advice="use a generator of your own, `with np.errstate(...)`, absolute paths",
)
def check_global_state(bench: ObjectiveBench) -> None:
    """Random generators and all else that is global stay as they are."""
    for x in bench.points(2):
        call_and_compare(lambda x=x: bench.value(x))  # type: ignore[misc]


# -- other threads and processes -----------------------------------------------------------------


@_check(
    cost=4,
    needs=_VALUE,
    advice="keep locks, open files and handles out of it, or open them in the call; else n_jobs "
    "works with joblib's threading backend only",
)
def check_pickle(bench: ObjectiveBench) -> Findings:
    """The objective can be sent to another process."""
    points = bench.points(2)
    data = pickled(bench.subject)
    objective = bench.guarded(points[0], lambda: pickle.loads(data), 0)
    copy = Function(objective, bench.function.vectorized, bench.function.takes_seed)
    expected = bench.values(points)
    values = [bench.guarded(x, lambda x=x: copy(x.copy()), 1) for x in points]  # type: ignore[misc]
    if bench.repeatable and not close(values, expected):
        broken(x=points[1], value=expected[1], value_of_the_copy=values[1])
    if len(data) < _LARGE:
        return {}
    return {"size for workers": f"{len(data) / 1e6:.1f} MB"}


_LARGE = 10**6  # bytes: worth to be told


@_check(
    cost=48,
    needs=(*_SAME, "check_global_state"),
    advice="keep what a call computes in local variables, not in self, globals or a shared buffer",
)
def check_threads(bench: ObjectiveBench) -> None:
    """Called from several threads at once, it gives the same values."""
    points = bench.points(4)
    expected = bench.values(points)
    values = _together(bench, points)
    for row in values:
        if bench.repeatable and not close(row, expected):
            i = int(np.argmax(np.abs(row - expected)))
            broken(x=points[i], value=expected[i], value_among_four_threads=row[i])
    if not bench.repeatable:
        return
    x, y = points[1], points[2]
    _, n_lines = _interrupted(bench, x, y, None)
    for line in sorted(set(np.linspace(0, max(n_lines - 1, 0), 12).astype(int).tolist())):
        value, _ = _interrupted(bench, x, y, line)
        if not close(value, expected[1]):
            broken(
                x=x,
                value=expected[1],
                value_if_another_thread_evaluates_meanwhile=value,
                what_it_evaluates=y,
            )


def _together(bench: ObjectiveBench, points: Array) -> list[Array]:
    """The values of the points in each of four threads, each beginning elsewhere."""
    barrier = threading.Barrier(4)

    def evaluate(first: int) -> Array:
        barrier.wait()
        values = [bench.function(x.copy()) for x in np.roll(points, -first, axis=0)]
        return np.roll(values, first)

    with ThreadPoolExecutor(4) as threads:
        tasks = [threads.submit(evaluate, first) for first in range(4)]
        return [bench.guarded(points[0], task.result, 4) for task in tasks]


_LINES = 2000  # traced at most: tracing is slow
_PATIENCE = 0.05  # seconds, in which the other thread may be waiting for a lock of the first


def _interrupted(
    bench: ObjectiveBench, x: Array, y: Array, at_line: int | None
) -> tuple[float, int]:
    """The value at x if y's is computed in another thread at one of the lines; lines seen.

    Which is what an unlucky switch between threads does, but at will.
    """
    seen, others = 0, []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            if seen == at_line:
                sys.settrace(None)
                others.append(threads.submit(bench.function, y.copy()))
                wait(others, _PATIENCE)
            seen += 1
        return trace if seen < _LINES else None

    def evaluate() -> float:
        own = x.copy()
        sys.settrace(trace)
        try:
            return bench.function(own)
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(2) as threads:
        result = bench.guarded(x, threads.submit(evaluate).result, 1)
        for other in others:
            bench.guarded(y, other.result, 1)
    return result, seen


@_check(
    cost=20,
    needs=(*_SAME, "check_pickle"),
    advice="give it all it needs (no globals set at run time, no files that move); noise from a "
    "parameter `seed`",
)
def check_processes(bench: ObjectiveBench) -> None:
    """Worker processes give the same values, but each its own noise."""
    import joblib

    points = bench.points(4) if bench.repeatable else np.repeat(bench.x0[None], 10, axis=0)
    tasks = [joblib.delayed(_values)(bench.function, points)] * 2
    parallel = joblib.Parallel(n_jobs=2, backend="loky")
    here, there = bench.guarded(points[0], lambda: parallel(tasks), 2 * len(points))
    if not bench.repeatable:
        if len(set(here.tolist())) == len(points) and same(here, there):
            broken(
                x=bench.x0,
                values_of_one_worker=here,
                values_of_the_other=there,
                advice="a generator that is copied to the workers gives all of them the same "
                "noise: take a parameter `seed`",
            )
        return
    expected = bench.values(points)
    if not close(here, expected):
        i = int(np.argmax(np.abs(here - expected)))
        broken(x=points[i], value=expected[i], value_in_a_worker=here[i])


def _values(function: Function, points: Array) -> Array:
    with kept_world(None):  # workers live on: what one objective did must not meet the next
        return np.array([function(x.copy()) for x in points])


# -- far away --------------------------------------------------------------------------------------


@_check(
    cost=10,
    needs=_SAME,
    advice="far away return inf, NaN or a large value, or raise an Exception",
)
def check_far_away(bench: ObjectiveBench) -> Findings:
    """Far away it gives a number or raises; then it is as before."""
    before = bench.value(bench.x0)
    direction = bench.rng("far").standard_normal(bench.n)
    raised = set()
    for size in (1e8, -1e8, 1e-8, -1e-8, 0.0):
        x = bench.inside(direction * size)
        bench.spent += 1
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = bench.function.raw(x[None] if bench.function.vectorized else x.copy())
        except Exception as error:
            raised.add(type(error).__name__)
        except BaseException as error:
            broken(x=x, raised=repr(error), cause=error)
        else:
            if array_of(value).dtype.kind not in "fiub":
                broken(x=x, returned=value)
    after = bench.value(bench.x0)
    if bench.repeatable and not same(before, after):
        broken(x0=bench.x0, value_before=before, value_after=after)
    return {"far away it raises": ", ".join(sorted(raised))} if raised else {}


# -- what can be seen of it ----------------------------------------------------------------------


@_check(
    applies=lambda bench: bench.stochastic or bench.function.takes_seed,
    cost=40,
    needs=_VALUE,
    advice="let `seed` decide all of the noise: `rng = np.random.default_rng(seed)`",
)
def check_noise(bench: ObjectiveBench) -> Findings:
    """A stochastic objective with a parameter seed changes with it."""
    seeds = range(1, 9)
    if not bench.function.takes_seed:
        values = [bench.value(bench.x0) for _ in seeds]
        return {"noise (standard deviation)": f"{np.std(values, ddof=1):.3g}"}
    plus, minus = bench.pairs(1)[:, 0]
    x = (bench.x0, plus, minus)
    noise = np.array([[bench.value(point, seed) for point in x] for seed in seeds])
    if bench.stochastic and not np.ptp(noise, axis=0).any():
        broken(x=bench.x0, seeds="1 to 8", value_for_all=noise[0, 0])
    paired = np.var(noise[:, 1] - noise[:, 2])
    independent = np.mean([np.var(noise[:, 1] - np.roll(noise[:, 2], i)) for i in range(1, 8)])
    gain = independent / paired if paired > 0.0 else math.inf if independent > 0.0 else 1.0
    verdict = "help" if gain > 2.0 else "do not matter much"
    if not np.ptp(noise):
        return {"noise (standard deviation)": "0"}
    return {
        "noise (standard deviation)": f"{np.std(noise[:, 0], ddof=1):.3g}",
        "common random numbers": f"{verdict}: variance of differences divided by {gain:.2g}",
    }


@_check(
    cost=32,
    needs=_VALUE,
    advice="raise sigma; subtract large constants from the objective; compute and return float64",
)
def check_resolution(bench: ObjectiveBench) -> Findings:
    """Values around x0 differ by much more than their rounding."""
    values = bench.values(bench.pairs(16))
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.size:
        skip("there are no finite values")
    largest = np.abs(values).max()
    step = float(np.spacing(np.float32(largest) if single_precision(values) else largest))
    size = float(values.std())
    bits = math.log2(size / step) if size > 0.0 else 0.0
    if bits < _FEWEST_BITS:
        broken(
            standard_deviation=size,
            rounding=step,
            bits=round(bits, 1),
            values="all the same" if size == 0.0 else f"about {largest:.3g}",
        )
    return {"resolution": f"{bits:.0f} bits"}


_FEWEST_BITS = 8  # the differences are then known to half a percent


@_check(cost=73 + 8, needs=_VALUE, advice="")
def check_roughness(bench: ObjectiveBench) -> Findings:
    """How it looks at sigma, sigma/2 and sigma/4; this check never fails."""
    center = bench.value(bench.x0)
    values = np.array([bench.values(bench.pairs(12, scale=scale)) for scale in (1.0, 0.5, 0.25)])
    values = values[..., np.isfinite(values).all(axis=(0, 1))]
    if not values.size or not math.isfinite(center):
        skip("there are no finite values")
    noise = 0.0
    if bench.stochastic:
        noise = float(np.std([bench.value(bench.x0, i) for i in range(8)]))
    odd = (values[:, 0] - values[:, 1]) / 2
    even = (values[:, 0] + values[:, 1]) / 2 - center
    change = np.sqrt((odd**2 + even**2).mean(axis=1))
    ties = (odd == 0.0).mean(axis=1)
    factor, reason = suggested(odd, even, noise)
    findings: Findings = {
        "ties, f(x+d) = f(x-d), at sigma, sigma/2, sigma/4": ", ".join(f"{t:.0%}" for t in ties),
    }
    if change.all():
        rough = np.log2(change[:-1] / change[1:])
        curved = np.sqrt((even[0] ** 2).mean() / (odd**2 + even**2)[0].mean())
        findings |= {
            "smoothness: 1 linear, 2 at an optimum, 0 noise": ", ".join(f"{r:.2f}" for r in rough),
            "share of curvature at sigma": f"{curved:.0%}",
        }
    return findings | {"suggested sigma": f"{bench.sigma * factor:.3g} ({reason})"}


def suggested(odd: Array, even: Array, noise: float) -> tuple[float, str]:
    """A factor for sigma, and why.

    Odd and even parts of ``f(x0 + d)`` along some directions at sigma, sigma/2 and sigma/4.
    """
    change = np.sqrt((odd**2 + even**2).mean(axis=1))
    slopes = odd * np.array([[1.0], [2.0], [4.0]])
    if (odd[0] == 0.0).mean() > 0.25:
        return 4.0, "larger: too many ties"
    if noise > change[0]:
        return min(10.0, 2.0 * noise / change[0]), "larger: noise exceeds the differences"
    if change[0] < 2**0.5 * change[1] and _cosine(slopes[0], slopes[1]) < 0.9:
        return 4.0, "larger: rough at this scale"
    if (odd[0] ** 2).mean() < 1e-2 * (even[0] ** 2).mean():
        return 1.0, "x0 is near an optimum"
    for factor, a, b in ((1.0, slopes[0], slopes[1]), (0.5, slopes[1], slopes[2])):
        if _cosine(a, b) > 0.9:
            return factor, "slopes agree with those at half of it"
    return 0.25, "smaller: slopes change within sigma"


def _cosine(a: Array, b: Array) -> float:
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length else 0.0


# -- the ways in ---------------------------------------------------------------------------------


def check_objective(
    f: Callable[..., Any],
    x0: npt.ArrayLike,
    *,
    sigma: float = 0.1,
    bounds: Any = None,
    vectorized: bool = False,
    stochastic: bool = False,
    surrogate_fn: Callable[[Array], Any] | None = None,
    budget: int = 500,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_fail: str | None = "raise",
    callback: Callable[..., Any] | None = None,
) -> CheckReport:
    """Find what is wrong with an objective before an optimizer does.

    The same call gives the same report: all randomness comes from ``seed``, and what the objective
    does to the global generators is undone.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, or ``f(X) -> (m,)`` if ``vectorized``. With a parameter ``seed`` it is
        given an integer that is to decide all of its noise.
    x0 : array-like of shape (n,)
        Where a search would begin.
    sigma : float
        How far it would look: root mean squared length of a step.
    bounds : sequence of n (low, high), or scipy.optimize.Bounds, optional
        No point outside is evaluated.
    vectorized : bool
        f takes rows of points.
    stochastic : bool
        Values may differ from call to call, or from seed to seed.
    surrogate_fn : callable, optional
        A surrogate gradient to check as well, see `check_surrogate`.
    budget : int
        The most evaluations; a check that would need more is skipped and says so.
    seed : int
    checks : iterable of str, optional
        Names of the checks to run; all by default.
    expected_failed_checks : dict of str to str, optional
        Name and reason of checks that may fail.
    on_fail : {"raise", "warn"} or None
        What to do about failures when all checks have run.
    callback : callable, optional
        Called with each result as keywords, see `CheckReport`.

    Returns
    -------
    CheckReport
        What passed, failed or was skipped, and ``findings``: finite values, noise, resolution,
        ties, roughness, and a sigma to begin with.

    Raises
    ------
    CheckFailed
        If a check failed unexpectedly and ``on_fail="raise"``: which law is broken, an example, and
        what to do, for all of them.
    TypeError, ValueError
        For arguments that are no good; nothing was evaluated then.

    Examples
    --------
    >>> report = check_objective(lambda x: (x**2).sum(), [1.0, 2.0], checks=["check_deterministic"])
    >>> report.spent, report[0]["status"]
    (8, 'passed')
    """
    bench = ObjectiveBench(
        f, x0, sigma=sigma, bounds=bounds, vectorized=vectorized, stochastic=stochastic,
        surrogate_fn=surrogate_fn, seed=seed,
    )  # fmt: skip
    course = _course(bench, checks, budget, expected_failed_checks)
    title = f"check_objective({getattr(f, '__name__', type(f).__name__)})"
    return course.run(title, on_fail, callback)


def _course(
    bench: ObjectiveBench,
    names: Iterable[str] | None,
    budget: int,
    expected: Mapping[str, str] | None,
) -> Course:
    every = OBJECTIVE_CHECKS + (SURROGATE_CHECKS if bench.surrogate_fn is not None else [])
    return Course(bench, every, names=names, budget=budget, expected_failed_checks=expected)


def objective_checks_generator(
    f: Callable[..., Any],
    x0: npt.ArrayLike,
    *,
    budget: int = 500,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[tuple[Any, Step]]:
    """Pairs ``(f, check)`` to run one by one: ``check(f)`` raises if the law is broken.

    Takes the arguments of `check_objective` that concern the objective. A check that cannot say
    anything raises `unittest.SkipTest`.

    Examples
    --------
    >>> for f, check in objective_checks_generator(sum, [1.0, 2.0], checks=["check_return_value"]):
    ...     check(f)
    """
    course = _course(ObjectiveBench(f, x0, **options), checks, budget, expected_failed_checks)
    return ((f, step) for step in course.steps())


def parametrize_with_objective_checks(
    objectives: Mapping[str, tuple[Callable[..., Any], npt.ArrayLike]],
    *,
    budget: int = 500,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """A pytest decorator: one test for each objective and check. Needs pytest.

    Parameters
    ----------
    objectives : dict of name to (f, x0)
    **options
        As in `check_objective`.

    Examples
    --------
    >>> def sphere(x):
    ...     return float(x @ x)
    >>> @parametrize_with_objective_checks({"sphere": (sphere, [1.0, 2.0])}, sigma=0.1)
    ... def test_objective(objective, check):
    ...     check(objective)
    """
    names = None if checks is None else list(checks)
    courses = {
        label: _course(ObjectiveBench(f, x0, **options), names, budget, expected_failed_checks)
        for label, (f, x0) in objectives.items()
    }
    return parametrize("objective", courses)
