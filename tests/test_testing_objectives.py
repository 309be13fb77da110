"""check_objective: each planted bug is found by the check that names its law, and nothing else is.

``BUGS`` are objectives as people write them, each with one mistake; ``HEALTHY`` are objectives
without one, of all kinds that people have.
"""

import json
import os
import random
import re
import threading
import time
import warnings
from functools import lru_cache, partial

import numpy as np
import pytest
import scipy.optimize
import scipy.special
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from blackbox_es.neural.data import Data
from blackbox_es.neural.network import Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.problems import PerturbedQuadratic
from blackbox_es.testing import (
    check_objective,
    parametrize_with_objective_checks,
)
from blackbox_es.testing.objectives import OBJECTIVE_CHECKS

X0 = np.array([0.5, -1.0, 2.0, 0.25])


def sphere(x):
    return float(x @ x)


def rows_sphere(X):
    return (X * X).sum(axis=-1)


# -- planted bugs --------------------------------------------------------------------------------


def writes_into_x(x):
    x -= 1.0
    return float(x @ x)


def sorts_x(x):
    x.sort()
    return float(x @ np.arange(1.0, 5.0))


def normalises_rows(X):
    X /= np.abs(X).max(axis=1, keepdims=True) + 1.0
    return (X * X).sum(axis=1)


class Counter:
    """Adds something small for each call before."""

    calls = 0

    def __call__(self, x):
        self.calls += 1
        return sphere(x) + 1e-6 * self.calls


class WarmStart:
    """Begins its inner optimisation where the last one ended."""

    def __init__(self):
        self.inner = np.zeros(4)

    def __call__(self, x):
        self.inner = self.inner + 0.5 * (x - self.inner)
        return float(self.inner @ self.inner)


class BestSoFar:
    """Returns the best value seen: a log that became the value."""

    best = np.inf

    def __call__(self, x):
        self.best = min(self.best, sphere(x))
        return self.best


class CacheByAddress:
    """A cache whose key is where x lies in memory."""

    def __init__(self):
        self.seen = {}

    def __call__(self, x):
        key = x.__array_interface__["data"][0]
        if key not in self.seen:
            self.seen[key] = (x, sphere(x))
        return self.seen[key][1]


class CacheByReference:
    """Remembers the last point by reference, and its value."""

    last = value = None

    def __call__(self, x):
        if self.last is None or not np.array_equal(x, self.last):
            self.last, self.value = x, sphere(x)
        return self.value


class RoundedKeys:
    """A cache whose key is the point rounded: the first point of a cell decides for all."""

    def __init__(self, key, f=sphere):
        self.key, self.f, self.seen = key, f, {}

    def __call__(self, x):
        return self.seen.setdefault(self.key(x), self.f(x))


def digits(x, count=2):
    return np.round(x, count).tobytes()


def printed(x):
    with np.printoptions(precision=3):
        return str(x)


def half_floats(x):
    return x.astype(np.float16).tobytes()


def single(x):
    return np.float32(sphere(x))


def closure_with_rounded_keys():
    cache = RoundedKeys(digits)
    return lambda x: cache(x)


CACHE = RoundedKeys(digits)


def cache_of_the_module(x):
    return CACHE(x)


class NearEnough:
    """Takes its last value again unless x has moved."""

    last = None

    def __call__(self, x):
        if self.last is None or np.abs(x - self.last).max() > 1e-3:
            self.last, self.value = x.copy(), sphere(x)
        return self.value


class Hysteresis:
    """A simulator that is not reset: its value depends on where it comes from."""

    x = None

    def __call__(self, x):
        before, self.x = self.x, x.copy()
        far = before is not None and not np.array_equal(before, x) and before[0] > x[0]
        return sphere(x) + (0.01 if far else 0.0)


def forgets_return(x):
    sphere(x)


def returns_matrix(x):
    return x[None] @ x[:, None]


def returns_complex(x):
    return complex(sphere(x), 0.0)


def returns_text(x):
    return f"{sphere(x)}"


def returns_vector(x):
    return x * x


def returns_tuple(x):
    return sphere(x), {"info": 1}


def raises(x):
    return sphere(x) + x[7]


def column_of_values(X):
    return (X * X).sum(axis=1, keepdims=True)


def sum_over_all(X):
    return np.full(len(X), (X * X).sum() / len(X))


def centers_batch(X):
    return ((X - X.mean(axis=0)) ** 2).sum(axis=1) + X[:, 0]


def one_short(X):
    return (X * X).sum(axis=1)[: max(1, len(X) - 1)]


class OwnBuffer:
    """Returns the same array each time."""

    def __init__(self):
        self.out = np.zeros(64)

    def __call__(self, X):
        np.sum(X * X, axis=1, out=self.out[: len(X)])
        return self.out[: len(X)]


def unseeded_noise(x):
    return sphere(x) + 0.1 * np.random.default_rng().standard_normal()


def ignores_seed_and_draws(x, seed):
    return sphere(x) + 0.1 * np.random.default_rng().standard_normal()


def ignores_seed(x, seed):
    return sphere(x)


def global_noise(x):
    return sphere(x) + 0.1 * np.random.normal()  # noqa: NPY002


def reseeds_numpy(x):
    np.random.seed(0)  # noqa: NPY002
    return sphere(x) + 0.01 * np.random.normal()  # noqa: NPY002


def reseeds_python(x):
    random.seed(1)
    return sphere(x) + 0.01 * random.random()


def silences_numpy(x):
    np.seterr(all="ignore" if np.geterr()["over"] == "warn" else "warn")
    return sphere(x)


def changes_directory(x):
    os.chdir("/" if os.getcwd() != "/" else os.path.expanduser("~"))
    return sphere(x)


def filters_warnings(x):
    warnings.filterwarnings("ignore", message=f"call {time.perf_counter_ns()}")
    return sphere(x)


def sets_environment(x):
    os.environ["OBJECTIVE_CALLS"] = str(int(os.environ.get("OBJECTIVE_CALLS", "0")) + 1)
    return sphere(x)


class Shared:
    """Keeps x in self while it computes."""

    def __call__(self, x):
        self.x = x
        squares = self._squares()
        return float(squares.sum())

    def _squares(self):
        return self.x * self.x


class SharedBuffer:
    """Works in one array for all threads."""

    def __init__(self):
        self.buffer = np.zeros(4)

    def __call__(self, x):
        self.buffer[:] = x
        self.buffer *= self.buffer
        return float(self.buffer.sum())


class Busy:
    """Refuses to be called while it is being called."""

    busy = False

    def __call__(self, x):
        if self.busy:
            raise RuntimeError("busy")
        self.busy = True
        value = sphere(x)
        self.busy = False
        return value


class Locked:
    """Holds a lock, which no process can receive."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            return sphere(x)


class LosesScale:
    """Its pickle forgets a parameter."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def __getstate__(self):
        return {"unused": 0}

    def __setstate__(self, state):
        self.scale = 1.0

    def __call__(self, x):
        return self.scale * sphere(x)


def knows_its_process(x, home):
    return sphere(x) + float(os.getpid() != home)


HERE = partial(partial, knows_its_process, home=os.getpid())


class OneStream:
    """One generator for all calls: every worker gets a copy."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return sphere(x) + 0.1 * self.rng.standard_normal()


def huge_constant(x):
    return 1e15 + sphere(x)


def half_precision(x):
    return float(np.float32(1e6 + np.float32(sphere(x))))


def flat(x):
    return 1.0


def rounded(x):
    return float(np.round(sphere(x) / 50.0))


def raw_memory(x):
    address, size = x.__array_interface__["data"][0], x.size
    import ctypes

    return sphere(np.array((ctypes.c_double * size).from_address(address)))


def wants_writeable(x):
    if not x.flags.writeable:
        raise ValueError("buffer source array is read-only")
    return sphere(x)


def nan_at_start(x):
    return float(np.log(x[0] - 0.5)) if x[0] > 0.5 else float("nan")


def mostly_nan(x):
    return sphere(x) if np.array_equal(x, X0) or abs(x[0] - 0.5) < 1e-3 else float("nan")


def domain_error(x):
    if x[0] < 0.45:
        raise ArithmeticError("outside the domain")
    return sphere(x)


def exits_far_away(x):
    if abs(x).max() > 1e6:
        raise SystemExit("diverged")
    return sphere(x)


def complex_far_away(x):
    return sphere(x) if x[1] > -1e3 else float(x[0]) + (-1.0) ** 0.5


class BreaksFarAway:
    """Once diverged, a simulator that never recovers."""

    broken = False

    def __call__(self, x):
        self.broken = self.broken or bool(np.abs(x).max() > 1e6)
        return float("inf") if self.broken else sphere(x)


# name of the check that must find it, the objective, options
BUGS = {
    "writes into x": ("check_argument_untouched", writes_into_x, {}),
    "sorts x": ("check_argument_untouched", sorts_x, {}),
    "normalises rows": ("check_argument_untouched", normalises_rows, {"vectorized": True}),
    "counts calls": ("check_deterministic", Counter, {}),
    "warm start": ("check_deterministic", WarmStart, {}),
    "unseeded noise": ("check_deterministic", unseeded_noise, {}),
    "seed ignored, noise drawn": ("check_deterministic", ignores_seed_and_draws, {}),
    "hidden generator": ("check_deterministic", OneStream, {}),
    "rounded keys": ("check_neighbours", partial(RoundedKeys, digits), {}),
    "printed keys": ("check_neighbours", partial(RoundedKeys, printed), {}),
    "float16 keys": ("check_neighbours", partial(RoundedKeys, half_floats), {}),
    "rounded keys, float32 values": ("check_neighbours", partial(RoundedKeys, digits, single), {}),
    "rounded keys in a closure": ("check_neighbours", partial(closure_with_rounded_keys), {}),
    "rounded keys in a module": ("check_neighbours", cache_of_the_module, {}),
    "near enough": ("check_neighbours", NearEnough, {}),
    "best so far": ("check_call_order", BestSoFar, {}),
    "cache by address": ("check_call_order", CacheByAddress, {}),
    "cache by reference": ("check_call_order", CacheByReference, {}),
    "hysteresis": ("check_deterministic", Hysteresis, {}),
    "no return": ("check_return_value", forgets_return, {}),
    "matrix": ("check_return_value", returns_matrix, {}),
    "complex": ("check_return_value", returns_complex, {}),
    "text": ("check_return_value", returns_text, {}),
    "vector": ("check_return_value", returns_vector, {}),
    "tuple": ("check_return_value", returns_tuple, {}),
    "raises": ("check_return_value", raises, {}),
    "column": ("check_return_value", column_of_values, {"vectorized": True}),
    "scalar for rows": ("check_return_value", lambda X: float((X * X).sum()), {"vectorized": True}),
    "sum over all": ("check_batch", sum_over_all, {"vectorized": True}),
    "centers the batch": ("check_batch", centers_batch, {"vectorized": True}),
    "one value short": ("check_batch", one_short, {"vectorized": True}),
    "its own buffer": ("check_result_is_fresh", OwnBuffer, {"vectorized": True}),
    "seed makes no difference": ("check_noise", ignores_seed, {"stochastic": True}),
    "NumPy's global noise": ("check_global_state", global_noise, {"stochastic": True}),
    "reseeds NumPy": ("check_global_state", reseeds_numpy, {}),
    "reseeds Python": ("check_global_state", reseeds_python, {}),
    "np.seterr": ("check_global_state", silences_numpy, {}),
    "os.chdir": ("check_global_state", changes_directory, {}),
    "warning filters": ("check_global_state", filters_warnings, {}),
    "environment": ("check_global_state", sets_environment, {}),
    "x kept in self": ("check_threads", Shared, {}),
    "refuses a second caller": ("check_threads", Busy, {}),
    "shared buffer": ("check_threads", SharedBuffer, {}),
    "a lock in it": ("check_pickle", Locked, {}),
    "pickle forgets": ("check_pickle", partial(LosesScale, 3.0), {}),
    "another process, another value": (
        "check_processes",
        HERE,
        {},
    ),
    "one stream for all workers": ("check_processes", OneStream, {"stochastic": True}),
    "a huge constant": ("check_resolution", huge_constant, {}),
    "single precision": ("check_resolution", half_precision, {}),
    "flat": ("check_resolution", flat, {}),
    "rounded": ("check_resolution", rounded, {}),
    "memory read as it lies": ("check_memory_layout", raw_memory, {}),
    "refuses read-only": ("check_read_only", wants_writeable, {}),
    "NaN at x0": ("check_finite_nearby", nan_at_start, {}),
    "NaN nearly everywhere": ("check_finite_nearby", mostly_nan, {}),
    "raises nearby": ("check_finite_nearby", domain_error, {"sigma": 0.5}),
    "exits far away": ("check_far_away", exits_far_away, {}),
    "complex far away": ("check_far_away", complex_far_away, {}),
    "breaks far away": ("check_far_away", BreaksFarAway, {}),
}


def make(objective):
    """A fresh object of a class, or a function as it is."""
    maker = isinstance(objective, (type, partial))
    return objective() if maker else objective


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug):
    """By the check that names the law, and it alone: what follows from it is skipped."""
    name, objective, options = BUGS[bug]
    report = check_objective(make(objective), X0, on_fail=None, **options)
    assert report.failed == [name], report
    text = str(report[name]["exception"])
    law = next(check.law for check in OBJECTIVE_CHECKS if check.name == name)
    assert text.startswith(f"{name}: {law}")
    assert "what to do: " in text
    assert report.spent <= 500


def test_at_points_that_hide_a_bug():
    """Sorting leaves zeros as they are: other points are tried as well."""
    report = check_objective(sorts_x, np.zeros(4), on_fail=None)
    assert report.failed == ["check_argument_untouched"]


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("n", [1, 4, 30])
def test_rounded_keys_are_found_at_any_scale(n, count):
    """Cells from ten times sigma to a thousandth of it, in few and in many dimensions."""
    for seed in range(4):
        f = RoundedKeys(partial(digits, count=count))
        report = check_objective(f, np.linspace(0.3, 1.2, n), seed=seed, on_fail=None)
        assert report.failed == ["check_neighbours"]


def test_the_share_of_ties_is_told():
    """With the point whose value was given to another."""
    report = check_objective(RoundedKeys(digits), X0, on_fail=None)
    text = str(report["check_neighbours"]["exception"])
    assert re.search(r"share of ties: \d\d% of 19 points", text)
    assert "the same value as at: [" in text
    assert "not by x rounded, printed or in float32" in text


def test_another_process_is_not_another_neighbour():
    """What depends on the process is left to the check that says so."""
    report = check_objective(make(HERE), X0, checks=["check_neighbours"])
    assert report["check_neighbours"]["status"] == "passed"


def test_exits_are_failures():
    """An objective that ends the process does not end the checks."""

    def exits(x):
        raise SystemExit(3)

    report = check_objective(exits, X0, on_fail=None)
    assert report.failed == ["check_return_value"]
    assert "raised: SystemExit(3)" in repr(report)


def test_every_check_has_found_a_bug():
    """No check is there that nothing fails, but the one that only reports."""
    found = {name for name, _, _ in BUGS.values()}
    assert {check.name for check in OBJECTIVE_CHECKS} - found == {"check_roughness"}


# -- healthy objectives --------------------------------------------------------------------------

A = np.random.default_rng(0).normal(size=(20, 4))
B = A @ [1.0, 2.0, -1.0, 0.5] + 0.1
DATA, LABELS = make_classification(120, 4, n_informative=3, n_redundant=0, random_state=0)


def least_squares(x):
    return 0.5 * np.linalg.norm(A @ x - B) ** 2


def ellipsoid(x):
    return np.sum(np.logspace(0, 6, x.size) * x**2)


def rastrigin(x):
    return 10 * x.size + np.sum(x**2 - 10 * np.cos(2 * np.pi * x))


def loop(x):
    total = 0.0
    for value in x:
        total += abs(value) ** 1.5
    return total


def zero_one_loss(w):
    return np.mean((DATA @ w > 0) != LABELS)


def log_loss(w):
    return np.logaddexp(0, -(2 * LABELS - 1) * (DATA @ w)).mean()


def regularised(x):
    model = LogisticRegression(C=float(np.exp(np.clip(x[0], -5, 5))), tol=1e-8, max_iter=500)
    return -float(model.fit(DATA, LABELS).predict_log_proba(DATA)[:, 1] @ LABELS) / len(LABELS)


def half_space(x):
    return float("nan") if x[0] < 0.4 else sphere(x)


def strict(x):
    if np.abs(x).max() > 1e3:
        raise ValueError("x is out of range")
    return sphere(x)


def on_a_grid(x):
    return sphere(np.round(x, 2))


@lru_cache
def _remembered(point):
    return sphere(np.array(point))


def remembered_on_a_grid(x):
    return _remembered(tuple(np.round(x, 2).tolist()))


def integral(x):
    grid = np.linspace(0, 1, 50)
    return float(np.trapezoid((np.polyval(x, grid) - np.sin(grid)) ** 2, grid))


def from_scipy(x):
    return scipy.special.logsumexp(x) + scipy.special.xlogy(x[0] ** 2, x[0] ** 2 + 1)


def by_json(x):
    return sum(value**2 for value in json.loads(json.dumps(x.tolist())))


def fresh_noise(x):
    return sphere(x) + 0.1 * np.random.default_rng().standard_normal()


def seeded_noise(x, seed):
    return sphere(x) + 0.1 * np.random.default_rng(seed).standard_normal()


def minibatch(w, seed=0):
    rows = np.random.default_rng(seed).integers(0, len(DATA), 20)
    return float(np.logaddexp(0, -(2 * LABELS[rows] - 1) * (DATA[rows] @ w)).mean())


def seeded_rows(X, seed=0):
    return rows_sphere(X) + 0.1 * np.random.RandomState(seed).standard_normal()


def closure(scale):
    memory = {}

    def objective(x):
        key = x.tobytes()
        if key not in memory:
            memory[key] = scale * sphere(x)
        return memory[key]

    return objective


class Model:
    """A class with data, which computes in local variables."""

    def __init__(self):
        self.data = A

    def loss(self, x):
        residuals = self.data @ x - B
        return float(residuals @ residuals)


class Careful:
    """Keeps a lock out of its pickle, and uses it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.work = np.zeros(4)

    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        self.__init__()

    def __call__(self, x):
        with self.lock:
            self.work[:] = x
            return float(self.work @ self.work)


BOX = [(0.0, 1.0), (-1.5, 0.0), (None, 2.0), (-1.0, 1.0)]


def only_in_the_box(x):
    if x[0] < 0 or x[0] > 1 or x[1] > 0 or x[1] < -1.5 or x[2] > 2 or abs(x[3]) > 1:
        raise ValueError(f"{x} is not in the box")
    return sphere(x)


HEALTHY = {
    "sphere": (sphere, X0, {}),
    "at its minimum": (sphere, np.zeros(4), {}),
    "numpy scalar": (least_squares, X0, {}),
    "size one": (lambda x: np.array([x @ x]), X0, {}),
    "0-d": (lambda x: np.sum(x**2, keepdims=True).squeeze(), X0, {}),
    "integer": (lambda x: int(np.sum(np.floor(20 * x) ** 2)), X0, {"sigma": 0.5}),
    "ellipsoid": (ellipsoid, np.ones(10), {}),
    "rastrigin": (rastrigin, X0, {}),
    "rosenbrock of scipy": (scipy.optimize.rosen, np.zeros(6), {}),
    "python loop": (loop, X0, {}),
    "zero-one loss": (zero_one_loss, X0, {"sigma": 0.5}),
    "zero-one loss, many ties": (zero_one_loss, X0, {}),
    "on a grid": (on_a_grid, X0, {}),
    "on a grid, remembered": (remembered_on_a_grid, X0, {}),
    "log loss": (log_loss, X0, {}),
    "scikit-learn model": (regularised, np.array([0.3]), {"sigma": 0.5}),
    "NaN in a half space": (half_space, X0, {}),
    "raises out of range": (strict, X0, {}),
    "integral": (integral, X0, {}),
    "scipy.special": (from_scipy, X0, {}),
    "json": (by_json, X0, {}),
    "closure with a cache": (closure(2.0), X0, {}),
    "lambda": (lambda x: float(np.abs(x).sum()), X0, {}),
    "partial": (partial(np.linalg.norm, ord=1), X0, {}),
    "bound method": (Model().loss, X0, {}),
    "a lock": (Careful(), X0, {}),
    "package's problem": (PerturbedQuadratic(20, 40), np.zeros(20), {}),
    "package's network": (
        NetworkObjective(
            Network((4, 3, 1), "tanh"), "log_loss", Data(DATA, LABELS), n_pairs=8, batch_size=16
        ),
        np.linspace(-1, 1, 19),
        {},
    ),
    "noise of its own": (fresh_noise, X0, {"stochastic": True}),
    "noise from a seed": (seeded_noise, X0, {"stochastic": True}),
    "noise from a seed, not declared": (seeded_noise, X0, {}),
    "mini-batches": (minibatch, X0, {"stochastic": True}),
    "rows": (rows_sphere, X0, {"vectorized": True}),
    "rows by matrix product": (lambda X: ((X @ A.T - B) ** 2).sum(1), X0, {"vectorized": True}),
    "rows with a seed": (seeded_rows, X0, {"vectorized": True, "stochastic": True}),
    "float32": (sphere, X0.astype(np.float32), {}),
    "float32 inside": (lambda x: np.float32(x) @ np.float32(x), X0, {}),
    "one coordinate": (lambda x: (x[0] - 1) ** 2, np.array([0.2]), {}),
    "10,000 coordinates": (ellipsoid, np.linspace(-1, 1, 10_000), {"sigma": 0.01}),
    "bounds": (only_in_the_box, X0, {"bounds": BOX, "sigma": 0.5}),
    "scipy bounds": (
        only_in_the_box,
        X0,
        {"bounds": scipy.optimize.Bounds([0, -1.5, -9, -1], [1, 0, 2, 1]), "sigma": 0.5},
    ),
}


@parametrize_with_objective_checks(
    {name: (f, x0) for name, (f, x0, options) in HEALTHY.items() if not options}
)
def test_healthy_objectives(objective, check):
    """One test for each objective and check, as a user would write it."""
    check(objective)


@pytest.mark.parametrize("name", [name for name, (*_, options) in HEALTHY.items() if options])
def test_healthy_objectives_with_options(name):
    """Nothing is found where there is nothing."""
    f, x0, options = HEALTHY[name]
    report = check_objective(f, x0, **options)
    assert not report.failed
    assert report.spent <= 500


# -- what is found -------------------------------------------------------------------------------


def found(f, name, **options):
    """What the report says under the name that begins so."""
    findings = check_objective(f, X0, on_fail=None, **options).findings
    return next(value for key, value in findings.items() if key.startswith(name))


@pytest.mark.parametrize(
    ("f", "sigma", "reason"),
    [
        (lambda x: float(x.sum()), "0.05", "slopes agree"),
        (lambda x: float(((x - X0) ** 2).sum()), "0.05", "near an optimum"),
        (lambda x: float(np.round(x.sum())), "0.2", "too many ties"),
        (lambda x: float(x.sum() + np.sin(1e4 * x).sum()), "0.2", "rough"),
        (lambda x: float(np.sin(40 * x).sum()), "0.0", "smaller"),
    ],
)
def test_a_sigma_is_suggested(f, sigma, reason):
    """Larger on plateaus and where it is rough, smaller where slopes change within sigma."""
    text = found(f, "suggested sigma", sigma=0.05)
    assert reason in text or (reason == "smaller" and float(text.split()[0]) < 0.05)
    assert text.startswith(sigma)


def test_noise_asks_for_a_larger_sigma():
    """Noise of 5 where differences are .2, and common random numbers take all of it away."""

    def noisy(x, seed):
        return float(x.sum()) + 5.0 * np.random.default_rng(seed).standard_normal()

    assert "noise exceeds" in found(noisy, "suggested sigma", stochastic=True)
    assert 2.0 < float(found(noisy, "noise", stochastic=True)) < 10.0
    assert found(noisy, "common", stochastic=True).startswith("help: ")


def test_smoothness_and_resolution():
    """A linear function has smoothness 1; adding 2^22 to values of about 5 costs 20 bits."""
    assert found(lambda x: float(x.sum()), "smoothness") == "1.00, 1.00"
    bits, fewer = (
        int(found(lambda x, c=c: float(x @ x) + c, "resolution").split()[0]) for c in (0.0, 2.0**22)
    )
    assert 19 <= bits - fewer <= 21
