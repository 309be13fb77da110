"""The overhead of workers: milliseconds per generation of an objective that costs nothing.

``python tests/benchmarks/dispatch.py loky threading multiprocessing dask ray``: 100 coordinates, 8
pairs, two workers. Serial and parallel fits take turns in one process; the cost of a generation is
the difference of a long fit and a short one, so that starting workers does not count. Medians.
"""

from __future__ import annotations

import argparse
import time
import warnings

import joblib
import numpy as np
from workers import workers

from blackbox_es import VanillaES

SHORT, LONG, N = 5, 105, 100


def objective(x: np.ndarray) -> float:
    """Costs nothing."""
    return float(x[0])


def seconds(generations: int) -> float:
    """The time of a fit."""
    begun = time.perf_counter()
    VanillaES(n_pairs=8, max_iter=generations, random_state=0).fit(objective, np.zeros(N))
    return time.perf_counter() - begun


def per_generation() -> float:
    """Milliseconds of a generation."""
    short = seconds(SHORT)
    return (seconds(LONG) - short) / (LONG - SHORT) * 1e3


def main() -> None:
    """Print a row for each backend."""
    backends = ["loky", "threading", "multiprocessing", "dask", "ray"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backends", nargs="+", choices=backends)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("backend          ms a generation  lowest  serial")
    for backend in arguments.backends:
        serial, parallel = [], []
        with workers(backend):
            seconds(SHORT)  # starts the workers
            for _ in range(arguments.turns):
                parallel.append(per_generation())
                with joblib.parallel_config("sequential"):
                    serial.append(per_generation())
        print(
            f"{backend:16} {np.median(parallel):15.2f} {min(parallel):7.2f} "
            f"{np.median(serial):7.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
