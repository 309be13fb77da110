"""What the checks of objectives and surrogates work on: a function, points near x0, a count."""

from __future__ import annotations

import os
import pickle
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import (
    as_center,
    as_value,
    as_values,
    check_function,
    check_positive,
    parameters,
)
from blackbox_es.testing.checks import broken

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours


_RAISED = "fix the objective; where it cannot have a value, let it return NaN"


@dataclass(frozen=True)
class Function:
    """The objective as a function of one point: what is sent to threads and processes."""

    objective: Callable[..., Any]
    vectorized: bool
    takes_seed: bool

    def raw(self, points: Array, noise: int = 0) -> Any:
        """What the objective returns for a point, or for rows of points if it is vectorized."""
        if self.takes_seed:
            return self.objective(points, seed=noise)
        return self.objective(points)

    def __call__(self, x: Array, noise: int = 0) -> float:
        if self.vectorized:
            return float(
                as_values(self.raw(x[None], noise), (1,), "what the objective returned")[0]
            )
        return as_value(self.raw(x, noise), "what the objective returned")


class ObjectiveBench:
    """An objective, where to look at it, and how often it was evaluated.

    Points are those of an isotropic search: ``x0 + sigma z``. All randomness is a function of the
    seed and of a name.
    """

    unit = "evaluations"

    def __init__(
        self,
        f: Callable[..., Any],
        x0: npt.ArrayLike,
        *,
        sigma: float = 0.1,
        bounds: Any = None,
        vectorized: bool = False,
        stochastic: bool = False,
        surrogate_fn: Callable[[Array], Any] | None = None,
        seed: int = 0,
    ) -> None:
        if not callable(f):
            raise TypeError(f"f={f!r} is not callable: expected f(x) -> float")
        check_function("surrogate_fn", surrogate_fn)
        check_positive("sigma", sigma)
        self.subject = f
        self.x0 = as_center(x0)
        self.sigma = float(sigma)
        self.low, self.high = as_bounds(bounds, self.x0)
        self.stochastic = stochastic
        self.surrogate_fn = surrogate_fn
        self.seed = as_seed(seed)
        self.spent = 0
        self.first_value: float | None = None  # at x0, before anything else was evaluated
        self.alignment: Any = None  # of the surrogate with the gradient, once it is measured
        self.function = Function(f, vectorized, "seed" in parameters(f))

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return self.x0.size

    @property
    def repeatable(self) -> bool:
        """Values can be compared: there is no noise, or a seed decides it."""
        return self.function.takes_seed or not self.stochastic

    @cached_property
    def unused(self) -> bytes | None:
        """The function, pickled before the first evaluation; None if that cannot be done."""
        try:
            return pickle_of(self.function)
        except Exception:  # check_pickle says why
            return None

    # -- points ------------------------------------------------------------------------------------

    def rng(self, name: str) -> np.random.Generator:
        """A generator for one purpose."""
        return np.random.default_rng([self.seed, *name.encode()])

    def points(self, count: int, name: str = "points") -> Array:
        """Rows near x0, x0 itself first: the simplest example of a broken law is seen first."""
        z = self.rng(name).standard_normal((count, self.n))
        z[0] = 0.0
        return self.inside(self.x0 + self.sigma * z)

    def pairs(self, count: int, name: str = "pairs", scale: float = 1.0) -> Array:
        """Antithetic points, shape (2, count, n); the same directions for every scale."""
        z = self.rng(name).standard_normal((count, self.n))
        d = scale * self.sigma * z
        return self.inside(np.stack([self.x0 + d, self.x0 - d]))

    def inside(self, points: Array) -> Array:
        """Points moved into the bounds, in the dtype of x0."""
        return np.clip(points, self.low, self.high).astype(self.x0.dtype)

    # -- calls -------------------------------------------------------------------------------------

    def guarded(
        self, x: Array, call: Callable[[], Any], evaluations: int, advice: str | None = _RAISED
    ) -> Any:
        """What ``call`` returns; the law is broken if it raises."""
        _ = self.unused
        self.spent += evaluations
        try:
            return call()
        except (Exception, SystemExit) as error:
            broken(x=x, raised=error, cause=error, advice=advice)

    def raw(self, points: Array, noise: int = 0) -> Any:
        """What the objective returns for a copy of a point, or of rows of points."""
        rows = len(points) if points.ndim == 2 else 1
        return self.guarded(points, lambda: self.function.raw(points.copy(), noise), rows)

    def value(self, x: Array, noise: int = 0) -> float:
        """The value at a copy of a point."""
        return float(self.guarded(x, lambda: self.function(x.copy(), noise), 1))

    def values(self, points: Array, noise: int = 0) -> Array:
        """The values at points of shape (..., n), one after the other."""
        flat = [self.value(x, noise) for x in points.reshape(-1, self.n)]
        return np.array(flat).reshape(points.shape[:-1])


def array_of(value: Any) -> Array:
    """The value as an array; one of objects if it has no shape."""
    try:
        return np.asarray(float(value) if isinstance(value, int) else value)  # of any size
    except (ValueError, OverflowError):  # lists of unequal lengths; integers beyond float's
        return np.asarray(None)


def pickle_of(value: Any) -> bytes:
    """As joblib does: by cloudpickle, which knows lambdas and closures, if not by pickle."""
    try:
        return pickle.dumps(value)
    except Exception:
        import joblib

        return pickle.dumps(joblib.wrap_non_picklable_objects(value))


def pickled(value: Any) -> bytes:
    """Its pickle; the law is broken if there is none."""
    try:
        return pickle_of(value)
    except Exception as error:
        broken(raised=error, cause=error)


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit; NaN is NaN."""
    return bool(np.array_equal(a, b, equal_nan=True))


def close(a: Any, b: Any, single: float = 1e-4) -> bool:
    """Equal but for what another order of summation may change: 1e-9 of the largest.

    Where all values are float32's, as computed in single precision, it is ``single``.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    tolerance = single if single_precision(a) and single_precision(b) else 1e-9
    return bool(np.allclose(a, b, rtol=0.0, atol=tolerance * largest, equal_nan=True))


def worst(a: Any, b: Any) -> int:
    """Where two rows of values differ most; NaN is NaN."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)
    apart[np.isnan(apart)] = np.inf
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return int(np.argmax(apart))


def single_precision(values: Array) -> bool:
    """All values are numbers that float32 can represent."""
    with np.errstate(over="ignore"):
        return same(values, values.astype(np.float32))


def call_and_compare(call: Callable[[], Any]) -> None:
    """The law is broken if what is global changes in a call."""
    before = global_state()
    call()
    after = global_state()
    for name, value in before.items():
        if value != after[name]:
            broken(changed=name)


def global_state() -> dict[str, Any]:
    """What code should leave alone, by name."""
    return {
        "the state of NumPy's global generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "the state of Python's random module": random.getstate(),
        "NumPy's error handling (np.seterr)": np.geterr(),
        "the way NumPy prints (np.set_printoptions)": repr(np.get_printoptions()),
        "the filters of warnings": list(warnings.filters),
        "the working directory": os.getcwd(),
        "the environment (os.environ)": dict(os.environ),
    }


def as_seed(seed: Any) -> int:
    """An integer that is not negative: no entropy, so that reports can be repeated."""
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected an integer of at least 0")
    return int(seed)


def as_bounds(bounds: Any, x0: Array) -> tuple[Array, Array]:
    """Lower and upper bounds from pairs (low, high) or a `scipy.optimize.Bounds`."""
    if bounds is None:
        return np.full(x0.size, -np.inf), np.full(x0.size, np.inf)
    if hasattr(bounds, "lb"):
        low, high = np.broadcast_to(bounds.lb, x0.shape), np.broadcast_to(bounds.ub, x0.shape)
    else:
        table = np.array([(-np.inf if a is None else a, np.inf if b is None else b)
                          for a, b in bounds], float)  # fmt: skip
        if table.shape != (x0.size, 2):
            raise ValueError(
                f"bounds has {len(table)} pairs: expected {x0.size}, one (low, high) a coordinate"
            )
        low, high = table.T
    outside = np.flatnonzero((x0 < low) | (x0 > high))
    if outside.size:
        i = int(outside[0])
        raise ValueError(f"x0[{i}]={x0[i]} is not within its bounds ({low[i]}, {high[i]})")
    return np.asarray(low, float), np.asarray(high, float)
