"""SIGKILL at random moments of ``fit(checkpoint=...)``, which is then started again.

    python tests/benchmarks/killed.py                       # 50 kills each: serial, loky, Dask
    python tests/benchmarks/killed.py --kills 5 --backend loky

A run is a script that begins, or goes on if there is a file. It is killed with all its workers at a
moment drawn evenly from the time that it takes undisturbed; half of the runs are killed again. The
strategies take turns; checkpoints are written after each generation, or every 20 ms. A run counts
as the same if a digest of all results, history and counts included, is that of a serial run in one
piece. The table tells as well how far the file was when the run was killed for the first time, in
generations of 25, and in how many cases it was being written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from blackbox_es.strategies import STRATEGIES

BACKENDS = ("serial", "loky", "dask")
OPTIONS: dict[str, Any] = {"n_pairs": 4, "max_iter": 25, "random_state": 3, "n_reevaluations": 5}
X0 = np.array([0.5, -1.0, 2.0, 0.3])
TIMEOUT = 120.0  # seconds, of one start


def objective(x: Any) -> float:
    """Of Rosenbrock; it takes a millisecond."""
    time.sleep(0.001)
    return float(100.0 * np.square(x[1:] - x[:-1] ** 2).sum() + np.square(1.0 - x[:-1]).sum())


def surrogate(x: Any) -> Any:
    """Something like a gradient."""
    return x - np.array([1.0, 0.8, 1.2, 1.0])


# -- the script that is killed -------------------------------------------------------------------


def run(name: str, path: Path, every: float, backend: str, address: str) -> None:
    """Begin, or go on; what is printed says when it is under way, and how it ended."""
    strategy = STRATEGIES[name]
    options = OPTIONS | {"n_jobs": None if backend == "serial" else 2}
    with ExitStack() as stack:
        if backend == "dask":
            from distributed import Client

            stack.enter_context(Client(address))
        if backend != "serial":
            stack.enter_context(joblib.parallel_config(backend))
        guide = surrogate if strategy.takes_surrogate else None
        strategy(**options | {"max_iter": 1}).fit(objective, X0, guide)  # kernels, workers
        print("under way", flush=True)
        resume = path.exists()
        es = strategy.load(path) if resume else strategy(**options)
        es.fit(
            objective,
            None if resume else X0,
            guide,
            checkpoint=path,
            checkpoint_every=every,
            resume=resume,
        )
    print(digest(es), flush=True)


def digest(es: Any) -> str:
    """Of all results, bit for bit."""
    result = dict(es.result_)
    history = {f"history {name}": column for name, column in result.pop("history").items()}
    gone = {name: getattr(es, name) for name in ("stop_reason_", "n_surrogate_calls_")}
    summed = hashlib.sha256()
    for name, value in sorted((result | history | gone).items()):
        is_array = isinstance(value, np.ndarray)
        summed.update(f"{name}: {value.dtype, value.shape}".encode() if is_array else b"")
        summed.update(value.tobytes() if is_array else f"{name}: {value!r}".encode())
    return summed.hexdigest()


# -- what kills it -------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a start ended: its digest, or None if it was killed; seconds since it was under way."""

    digest: str | None
    seconds: float


def start(arguments: list[str], kill_after: float = TIMEOUT) -> Ended:
    """Start the script, and kill it and its workers some seconds after it is under way."""
    command = [sys.executable, __file__, "--run", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"under way\n", f"{command} did not start"
        began = time.perf_counter()
        readable, _, _ = select.select([process.stdout], [], [], kill_after)
        seconds = time.perf_counter() - began
        if not readable:
            assert kill_after < TIMEOUT, f"{command} does not end"
            return Ended(None, seconds)
        last = process.stdout.readline().decode().strip()
        assert last, f"{command} failed"
        return Ended(last, seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


class Killed(NamedTuple):
    """A run that was killed: how often, and whether it has ended as if it had not been."""

    same: bool
    kills: int
    n_iter: int  # in the file after the first kill; -1 without one
    writing: bool  # whether a file was being written then


def killed(name: str, every: float, where: list[str], seconds: float, seed: Any,
           expected: str) -> Killed:  # fmt: skip
    """Kill a run at a random moment, maybe again, and see how it ends."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        while True:  # until a kill comes before the end
            path = Path(folder) / f"{rng.integers(2**40)}.npz"
            arguments = [name, str(path), str(every), *where]
            if start(arguments, rng.uniform(0.0, seconds)).digest is None:
                break
        n_iter = STRATEGIES[name].load(path).n_iter_ if path.exists() else -1
        writing, kills = any(path.parent.glob(f"{path.name}.*.tmp")), 1
        while rng.random() < 0.5:
            ended = start(arguments, rng.uniform(0.0, seconds))
            if ended.digest is not None:
                break
            kills += 1
        return Killed(start(arguments).digest == expected, kills, n_iter, writing)


@contextmanager
def cluster(backend: str) -> Iterator[str]:
    """The address of workers that outlive the runs, if the backend has such."""
    if backend != "dask":
        yield ""
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
        yield workers.scheduler_address


def table(backend: str, n_kills: int, names: list[str]) -> list[Killed]:
    """So many runs that are killed, and a line about them."""
    began = time.perf_counter()
    with cluster(backend) as address, tempfile.TemporaryDirectory() as folder:
        where, runs = [backend, address], []
        wholes = {
            name: start([name, str(Path(folder) / name), "1", "serial", ""]) for name in names
        }
        if backend == "serial":
            seconds = {name: whole.seconds for name, whole in wholes.items()}
        else:
            seconds = {
                name: start([name, str(Path(folder) / f"{name}-{backend}"), "1", *where]).seconds
                for name in names
            }
        for i in range(n_kills):
            name = names[i % len(names)]
            every, digest_of = 1 if i % 2 else 0.02, wholes[name].digest
            assert digest_of is not None
            run_of = killed(name, every, where, seconds[name], [i, BACKENDS.index(backend)],
                            digest_of)  # fmt: skip
            if not run_of.same:
                print(f"{backend} {name} {i}: {run_of}", file=sys.stderr)
            runs.append(run_of)
    reached = sorted(each.n_iter for each in runs)
    print(
        f"| {backend} | {sum(each.same for each in runs)} of {n_kills} "
        f"| {sum(each.kills for each in runs)} | {sum(n < 0 for n in reached)} "
        f"| {', '.join(str(n) for n in np.percentile(reached, [10, 50, 90]).astype(int))} "
        f"| {sum(n == OPTIONS['max_iter'] for n in reached)} "
        f"| {sum(each.writing for each in runs)} | {time.perf_counter() - began:.0f} s |",
        flush=True,
    )
    return runs


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", nargs=5, metavar=("STRATEGY", "PATH", "EVERY", "BACKEND", "AT"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    arguments = parser.parse_args()
    if arguments.run:
        name, path, every, backend, address = arguments.run
        run(name, Path(path), int(every) if every.isdigit() else float(every), backend, address)
        return
    print("| backend | the same bits | kills | no file yet | generations (10, 50, 90 %) | all done "
          "| while writing | time |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for backend in arguments.backend or BACKENDS:
        table(backend, arguments.kills, list(STRATEGIES))


if __name__ == "__main__":
    main()
