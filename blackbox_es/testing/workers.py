"""What becomes of an objective in other threads and processes."""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.testing.bench import Function, ObjectiveBench, close, pickled, same, worst
from blackbox_es.testing.checks import Check, Findings, broken, enrol, kept_world, skip
from blackbox_es.testing.objective_laws import SAME

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

WORKER_CHECKS: list[Check] = []
_check = enrol(WORKER_CHECKS)


@_check(
    cost=4,
    needs=SAME,
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


_STEPS = 4.0 ** -np.arange(8, 0, -1)  # of the neighbours, in sigma, from the nearest one outwards


@_check(
    applies=lambda bench: bench.repeatable,
    cost=38,
    needs=(*SAME, "check_pickle"),
    advice="key a cache by the bytes of x, `x.tobytes()`, not by x rounded, printed or in float32; "
    "take no value for that of a point nearby",
)
def check_neighbours(bench: ObjectiveBench) -> None:
    """A value does not depend on neighbours evaluated before.

    The same points are evaluated here outwards, from each center to its farthest neighbour, and
    inwards by a copy as it was before its first evaluation, in another process.
    """
    if bench.unused is None:
        skip("the objective cannot be pickled")
    centers = bench.points(3, "neighbours")[1:, None]
    z = bench.rng("steps").standard_normal((2, len(_STEPS), bench.n))
    around = bench.inside(centers + bench.sigma * _STEPS[:, None] * z)
    points = np.vstack([bench.x0, *np.concatenate([centers, around], axis=1)])
    (there,) = _in_workers(bench, pickle.loads(bench.unused), [points[::-1]])
    here, there = bench.values(points), there[::-1]
    if close(there, here, single=1e-6):
        return
    if not close(there[0], here[0]) and there[0] not in there[1:]:
        return  # it is another process that makes the difference: see check_processes
    i = worst(here, there)
    others = np.flatnonzero((here == here[i]) | (there == there[i]))
    broken(
        x=points[i],
        value_if_the_nearest_ones_came_first=here[i],
        value_if_the_farthest_ones_came_first=there[i],
        the_same_value_as_at=points[next((j for j in others if j != i), i)],
        share_of_ties=f"{1 - len(np.unique(here)) / len(here):.0%} of {len(here)} points",
    )


@_check(
    cost=48,
    needs=(*SAME, "check_result_is_fresh", "check_global_state", "check_neighbours"),
    advice="keep what a call computes in local variables, not in self, globals or a shared buffer",
)
def check_threads(bench: ObjectiveBench) -> None:
    """Called from several threads at once, it gives the same values."""
    points = bench.points(4)
    expected = bench.values(points)
    values = _together(bench, points)
    for row in values:
        if bench.repeatable and not close(row, expected):
            i = worst(row, expected)
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
_NOT_ITS_OWN = {*sys.stdlib_module_names, "numpy", "scipy", "sklearn", "pandas"} - {"__main__"}
_PATIENCE = 0.05  # seconds, in which the other thread may be waiting for a lock of the first


def _interrupted(
    bench: ObjectiveBench, x: Array, y: Array, at_line: int | None
) -> tuple[float, int]:
    """The value at x if y's is computed in another thread at one of the lines; lines seen.

    Which is what an unlucky switch between threads does, but at will. Lines are the objective's
    own, not those of libraries: nothing of it is kept there.
    """
    seen, others = 0, []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal seen
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in _NOT_ITS_OWN or module == Function.__module__:
            return None
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
    needs=(*SAME, "check_pickle", "check_neighbours"),
    advice="give it all it needs (no globals set at run time, no files that move); noise from a "
    "parameter `seed`",
)
def check_processes(bench: ObjectiveBench) -> None:
    """Worker processes give the same values, but each its own noise."""
    points = bench.points(4) if bench.repeatable else np.repeat(bench.x0[None], 10, axis=0)
    here, there = _in_workers(bench, bench.function, [points, points])
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
    for values in (here, there):
        if not close(values, expected):
            i = worst(values, expected)
            broken(x=points[i], value=expected[i], value_in_a_worker=values[i])


def _in_workers(bench: ObjectiveBench, function: Function, tasks: list[Array]) -> list[Array]:
    """The values of the points of each task, in other processes."""
    import joblib

    def run() -> list[Any]:
        workers = joblib.Parallel(n_jobs=2, backend="loky")
        calls = [joblib.delayed(_values)(function, points) for points in tasks]
        try:
            return list(workers(calls))
        except BrokenProcessPool:  # workers live on: older ones may not find a new module
            return list(workers(calls))

    results = bench.guarded(tasks[0][0], run, sum(map(len, tasks)), advice=None)
    for result in results:
        if isinstance(result, str):
            broken(raised_in_a_worker=result)
    return list(results)


def _values(function: Function, points: Array) -> Array | str:
    """The values, or what was raised: its traceback would mostly be joblib's."""
    try:
        with kept_world(None):  # workers live on: what one objective did must not meet the next
            return np.array([function(x.copy()) for x in points])
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{error!r} in line {place.lineno} of {place.filename}"
