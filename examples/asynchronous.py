"""Workers that are slow, unequal and lose jobs; a driver that is killed and started again.

The objective is the heating of examples/ask_tell.py, made as unreliable as a cluster: a simulation
takes 10 ms in the middle and ten times as long now and then, and 15 of 100 jobs are lost: their
worker is gone and no value comes. Eight workers of `concurrent.futures` take a trial whenever they
are free. A generation does not wait for its last tenth, and who finds nothing to do in it takes
further pairs of the same center (``ahead``).

The driver saves the search after every few values. In the middle it is killed (SIGKILL) and begun
again: what had been told is there, what was under way is given out once more.

Expect each driver to say how much of the time its workers were busy, and the cost to fall.

    python examples/asynchronous.py
    python examples/asynchronous.py --generations 10                     # a few seconds
"""

import argparse
import multiprocessing
import runpy
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from blackbox_es import VanillaES

WORKERS, LOST = 8, 0.15
START = np.log([0.05, 0.05])
simulate = runpy.run_path(str(Path(__file__).with_name("ask_tell.py")))["simulate"]


class JobLostError(Exception):
    """What a queue says when a worker has vanished."""


def job(trial, attempt):
    """A simulation somewhere else: returns its value and how long it took."""
    rng, begun = np.random.default_rng([trial.id, attempt]), time.monotonic()
    time.sleep(0.01 * float(np.exp(rng.standard_normal())))
    if rng.random() < LOST:
        raise JobLostError(trial.id)
    return simulate(trial.x), time.monotonic() - begun


def drive(path, generations):
    """The driver: goes on with the search in the file, or begins one."""
    if path.exists():
        es = VanillaES.load(path)
    else:
        es = VanillaES(
            sigma=0.2, n_pairs=16, learning_rate=0.1, shaping="centered_ranks", random_state=0,
            max_iter=generations, min_fraction=0.9, max_retries=10,
        ).start(START)  # fmt: skip
    print(f"driver begins in generation {es.n_iter_}, {es.n_evaluations_} values told", flush=True)
    n_told, n_lost, busy, begun = 0, 0, 0.0, time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        running = {}
        while not es.stop_reason_:
            while len(running) < WORKERS and (trial := next(es.ask_trials(ahead=4), None)):
                running[pool.submit(job, trial, n_told + n_lost)] = trial
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(future)
                try:
                    value, seconds = future.result()
                except JobLostError:
                    es.tell_failed(trial.id)
                    n_lost += 1
                    continue
                es.tell_trial(trial.id, value)
                n_told, busy = n_told + 1, busy + seconds
                if n_told % 10 == 0:
                    es.save(path)
        share = busy / (1 - LOST) / WORKERS / (time.monotonic() - begun)
    es.save(path)
    print(f"{n_told} values, {n_lost} jobs lost, {es.n_late_} values late", flush=True)
    print(f"workers busy {share:.0%} of the time", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heating.npz"
        VanillaES(max_iter=1, random_state=0).fit(simulate, START)  # compiles what both need
        first = multiprocessing.Process(target=drive, args=(path, args.generations))
        first.start()
        while not path.exists() or VanillaES.load(path).n_iter_ < args.generations // 2:
            time.sleep(0.01)
        first.kill()
        first.join()
        print(f"driver killed: exit code {first.exitcode}")
        drive(path, args.generations)
        es = VanillaES.load(path)
    print(f"cost {simulate(START):.3f} at the start, {simulate(es.x_):.3f} at the end")
    print(f"{es.n_iter_} generations, {es.n_failed_} evaluations given up")


if __name__ == "__main__":
    main()
