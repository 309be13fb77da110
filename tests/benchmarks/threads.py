"""Threads that tell the trials of one search, changing over as often as Python lets them.

    python tests/benchmarks/threads.py

Each run is a generation of 500 pairs told by four threads at a switch interval of 1e-6 s. Counted
are the values that are lost, and the runs in which a generation ended twice or not at all, or with
another state than that of one thread.
"""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

import numpy as np

from blackbox_es import VanillaES


def bowl(x: Any) -> float:
    return float(((x - 0.3) ** 2).sum())


def told_by_threads(es: Any, n_threads: int) -> None:
    trials = list(es.ask_trials())

    def worker() -> None:
        while True:
            try:
                trial = trials.pop()
            except IndexError:
                return
            es.tell_trial(trial.id, bowl(trial.x))

    threads = [threading.Thread(target=worker) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--threads", type=int, default=4)
    given = parser.parse_args()
    sys.setswitchinterval(1e-6)
    lost = wrong = 0
    for seed in range(given.runs):
        es, alone = (VanillaES(n_pairs=given.pairs, random_state=seed) for _ in range(2))
        told_by_threads(es.start(np.zeros(5)), given.threads)
        alone.start(np.zeros(5))
        X = alone.ask()
        alone.tell(X, [bowl(x) for x in X])
        lost += 2 * given.pairs - es.n_evaluations_
        wrong += not (es.n_iter_ == 1 and np.array_equal(es.x_, alone.x_))
    print(f"{given.runs} runs of {given.pairs} pairs, {given.threads} threads")
    print(f"{lost} values lost, {wrong} runs that end otherwise than with one thread")


if __name__ == "__main__":
    main()
