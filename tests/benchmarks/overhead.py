"""The cost of ask + tell, objective excluded, as a multiple of the three-line NumPy version.

Run it on one core: ``taskset -c 0 python tests/benchmarks/overhead.py``. The first table has the
contestants in turns in this process, medians. The second has
`fit` with an objective that costs nothing, in a fresh process each, with the memory that process
took at most, interpreter and compiler included. ``--huge`` adds a `fit` in 1e8 dimensions, which
takes 2 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from timing import header, in_turns, numpy_generation, strategy_generation

from blackbox_es import GuidedES, VanillaES

SIZES = {10: 20, 100: 100, 1_000: 100, 10_000: 100, 100_000: 100, 1_000_000: 200}
NORMALS_TIMED = 2e8  # in all, for each size
HUGE, HUGE_POINTS = 100_000_000, 2
FIT_GENERATIONS = 4


def fit(n: int, n_points: int) -> None:
    """Print the milliseconds of a generation of `fit` and the peak of this process in MB."""
    options = {"n_pairs": n_points // 2, "optimizer": "sgd", "random_state": 0}
    VanillaES(max_iter=1, **options).fit(lambda x: x[0], np.zeros(1, np.float32))  # compiles
    begun = time.perf_counter()
    es = VanillaES(max_iter=FIT_GENERATIONS, **options)
    es.fit(lambda x: x[0], np.zeros(n, np.float32))
    milliseconds = (time.perf_counter() - begun) / FIT_GENERATIONS * 1e3
    print(milliseconds, peak_memory() / 1e6)


def peak_memory() -> int:
    """Bytes this process had at most; resource.getrusage counts its parent's, too."""
    status = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def fit_in_fresh_process(n: int, n_points: int) -> list[float]:
    """Milliseconds and megabytes; the second of two, since the first may have to compile."""
    command = [sys.executable, __file__, "--fit", str(n), str(n_points)]
    for _ in range(2):
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--huge", action="store_true", help="fit in 1e8 dimensions, too")
    parser.add_argument("--fit", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.fit:
        fit(*arguments.fit)
        return
    print(header())
    print("                     ms of NumPy |  multiples of NumPy    |  of Vanilla   | of guided")
    print("        n points   plain  guided | Vanilla  k=1  Guided k=10 |   k=1   k=10 |   k=1")
    base = {}
    for n, n_points in SIZES.items():
        if n > arguments.largest:
            break
        contestants = [
            numpy_generation(n, n_points),
            numpy_generation(n, n_points, guided=True),
            strategy_generation(VanillaES, n, n_points),
            strategy_generation(GuidedES, n, n_points),
            strategy_generation(GuidedES, n, n_points, n_guides=min(10, n)),
        ]
        in_turns(contestants, min(10, n))  # compiles, and fills the deque of guides
        turns = int(np.clip(NORMALS_TIMED / (n * n_points), 4, 2000))
        times = in_turns(contestants, turns)
        base[n], guided, vanilla, one, ten = (1e3 * seconds for seconds in times)
        print(
            f"{n:9,} {n_points:6} {base[n]:7.3f} {guided:7.3f} | {vanilla / base[n]:7.2f} "
            f"{one / base[n]:5.2f} {ten / base[n]:11.2f} | {one / vanilla:5.2f} "
            f"{ten / vanilla:6.2f} | {one / guided:5.2f}"
        )
    print("\n          n points  ms of fit  of NumPy  peak MB")
    sizes = {n: SIZES[n] for n in base if n >= 1000}
    for n, n_points in sizes.items():
        milliseconds, peak = fit_in_fresh_process(n, n_points)
        print(
            f"{n:11,} {n_points:6} {milliseconds:10.3f} {milliseconds / base[n]:9.2f} {peak:8.0f}"
        )
    if arguments.huge:
        milliseconds, peak = fit_in_fresh_process(HUGE, HUGE_POINTS)
        print(f"{HUGE:11,} {HUGE_POINTS:6} {milliseconds:10.0f} {'':9} {peak:8.0f}")


if __name__ == "__main__":
    main()
