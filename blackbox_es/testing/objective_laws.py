"""What an optimizer relies on without looking: laws that every objective should keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.testing.bench import ObjectiveBench, array_of, call_and_compare, close, same, worst
from blackbox_es.testing.checks import Check, Findings, broken, enrol

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

LAWS: list[Check] = []
_check = enrol(LAWS)


# What later checks need: what follows from a law that is broken is not reported again.
VALUE = ("check_return_value", "check_finite_nearby")
SAME = (*VALUE, "check_deterministic", "check_call_order")


def _repeatable(bench: ObjectiveBench) -> bool:
    return bench.repeatable


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
    needs=("check_return_value",),
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
    needs=VALUE,
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
    needs=(*VALUE, "check_deterministic"),
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
            i = worst(forward, values)
            broken(x=points[i], value=forward[i], **{f"value {way}": values[i]})


# -- arguments and results -----------------------------------------------------------------------


@_check(
    cost=2, needs=VALUE, advice="work on a copy: `x = x.copy()`; write `x = x + d`, not `x += d`"
)
def check_argument_untouched(bench: ObjectiveBench) -> None:
    """The objective does not write into its argument."""
    points = bench.points(2)  # x0 may be of a kind that sorting, say, leaves as it is
    for given in [points] if bench.function.vectorized else points:
        x = given.copy()
        bench.guarded(given, lambda x=x: bench.function.raw(x), x.size // bench.n)  # type: ignore[misc]
        if not same(x, given):
            broken(x_before=given, x_after=x)


@_check(
    cost=4,
    needs=(*VALUE, "check_argument_untouched"),
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
    cost=8, needs=VALUE, advice="return a new array, or a float, not a buffer that is used again"
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
    needs=SAME,
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
    needs=(*SAME, "check_result_is_fresh"),
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
            i = worst(values, together)
            broken(row=i, x=X[i], value_together=together[i], **{f"value {way}": values[i]})


# -- the world around it -------------------------------------------------------------------------


@_check(
    cost=2,
    needs=VALUE,
    advice="use a generator of your own, `with np.errstate(...)`, absolute paths",
)
def check_global_state(bench: ObjectiveBench) -> None:
    """Random generators and all else that is global stay as they are."""
    for x in bench.points(2):
        call_and_compare(lambda x=x: bench.value(x))  # type: ignore[misc]
