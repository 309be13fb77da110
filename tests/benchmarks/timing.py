"""What the benchmarks share: timing in turns, the NumPy version to compare with, who is timed.

Other programs and the processor's clock disturb a time, but two things timed in turns in one
process are disturbed alike: their ratio is worth more than either time.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from blackbox_es import GuidedES

SIDE = 1024  # of the matrices whose product is timed


def seconds(function: Callable[[], object]) -> float:
    """The time of one call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def in_turns(functions: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """The median time of each function, called one after the other so many times."""
    times = [[seconds(function) for function in functions] for _ in range(turns)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def cores() -> int:
    """The cores this process may use: ``taskset -c 0`` makes it one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as the system has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def header(*packages: str) -> str:
    """The date, the versions of NumPy, Numba and these packages, the processor."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", *packages))
    return f"{time.strftime('%Y-%m-%d')}; {versions}; {processor()}, cores used: {cores()}"


def numpy_generation(n: int, n_points: int, guided: bool = False) -> Callable[[], None]:
    """Isotropic search with plain descent in float32, in three lines; a guide takes two more."""
    rng = np.random.default_rng(0)
    x, values = np.zeros(n, np.float32), rng.standard_normal(n_points, dtype=np.float32)
    n_pairs, sigma, rate = n_points // 2, np.float32(0.1), np.float32(0.01)
    surrogate, length = rng.standard_normal(n, dtype=np.float32), sigma * np.float32(np.sqrt(n))

    def generation() -> None:
        nonlocal x
        d = sigma * rng.standard_normal((n_pairs, n), dtype=np.float32)
        if guided:
            along = length * rng.standard_normal((n_pairs, 1), dtype=np.float32)
            d += along * (surrogate / np.linalg.norm(surrogate))
        X = np.concatenate([x + d, x - d])  # noqa: F841
        x = x - rate * ((values[:n_pairs] - values[n_pairs:]) @ d)

    return generation


def strategy_generation(cls: type, n: int, n_points: int, **options: Any) -> Callable[[], None]:
    """The same with a strategy of the package, through `ask` and `tell`.

    As many surrogate gradients as there are guides take turns: a repeated one would add no axis.
    """
    rng = np.random.default_rng(0)
    values = rng.standard_normal(n_points)
    surrogates = rng.standard_normal((options.get("n_guides", 1), n), dtype=np.float32)
    guides = cycle([{"surrogate_grad": row} for row in surrogates] if cls is GuidedES else [{}])
    es = cls(n_pairs=n_points // 2, optimizer="sgd", max_iter=10**9, random_state=0, **options)
    es.start(np.zeros(n, np.float32))

    def generation() -> None:
        es.tell(es.ask(**next(guides)), values)

    return generation


def sgemm() -> Callable[[], None]:
    """The product of two float32 matrices of `SIDE` rows and columns by one thread of BLAS."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32)
    out = np.empty_like(a)

    def product() -> None:
        with threadpool_limits(1, user_api="blas"):
            np.matmul(a, b, out=out)

    return product


def sgemm_gflops(time_of_one: float) -> float:
    """Its operations in a nanosecond, two to a multiply-add."""
    return 2e-9 * SIDE**3 / time_of_one
