"""Workers killed in mid-generation: no run is lost, every bit is that of a run in peace.

``python tests/benchmarks/workers.py loky dask ray`` kills a worker in each of 20 runs, at random
moments of random generations, and compares. Ray has to be installed for the last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from blackbox_es import GuidedES

GENERATIONS, N = 8, 50


def target(x: np.ndarray) -> float:
    """A bowl that takes a millisecond."""
    time.sleep(1e-3)
    return float(((x - 1.0) ** 2).sum())


class Dies:
    """`target`, whose process kills itself at the call after so many, once for a file there is."""

    def __init__(self, path: Path, calls: int) -> None:
        self.path, self.calls = str(path), calls

    def __call__(self, x: np.ndarray) -> float:
        self.calls -= 1
        if self.calls < 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
                os.kill(os.getpid(), signal.SIGKILL)
        return target(x)


@contextlib.contextmanager
def workers(backend: str) -> Iterator[None]:
    """Two workers of a backend."""
    with contextlib.ExitStack() as stack:
        if backend == "dask":
            from distributed import Client, LocalCluster

            cluster = LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
            )
            stack.enter_context(cluster)
            stack.enter_context(Client(cluster))
        elif backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            register_ray()
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            stack.callback(ray.shutdown)
        stack.enter_context(joblib.parallel_config(backend, n_jobs=2))
        yield


def whole(backend: str) -> None:
    """Wait until a worker that died in the run before has its successor."""
    if backend == "dask":
        from distributed import Client

        Client.current().wait_for_workers(2, timeout=60)
        time.sleep(1.0)  # a nanny gives up a worker that dies before it has been seen to run


def search(run: int) -> GuidedES:
    """A short one with a guide."""
    return GuidedES(n_pairs=8, max_iter=GENERATIONS, random_state=run)


def bits(es: Any) -> list[bytes]:
    """All that a search has found."""
    return [es.x_.tobytes(), *(values.tobytes() for values in es.history_.values())]


def main() -> None:
    """Print a row for each backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backends", nargs="+", choices=["loky", "dask", "ray"])
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    print("backend  runs  killed  finished  same bits  seconds a run (median)")
    for backend in arguments.backends:
        killed = finished = same = 0
        times = []
        with workers(backend), tempfile.TemporaryDirectory() as folder:
            for run in range(arguments.runs):
                whole(backend)
                path = Path(folder, "kill")
                path.write_text("", "utf-8")
                objective = Dies(path, int(rng.integers(GENERATIONS * 8)))
                begun = time.perf_counter()
                with contextlib.suppress(RuntimeError):
                    es = search(run).fit(objective, np.zeros(N), lambda x: x - 0.9)
                    finished += 1
                times.append(time.perf_counter() - begun)
                killed += not path.exists()
                with joblib.parallel_config("sequential"):
                    same += bits(es) == bits(
                        search(run).fit(target, np.zeros(N), lambda x: x - 0.9)
                    )
        row = f"{backend:8} {arguments.runs:4} {killed:7} {finished:9} {same:10}"
        print(f"{row} {np.median(times):8.1f}", flush=True)


if __name__ == "__main__":
    main()
