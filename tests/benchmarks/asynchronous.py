"""Workers that never wait: a simulation of durations with a heavy tail and of lost jobs.

    python tests/benchmarks/asynchronous.py
    python tests/benchmarks/asynchronous.py --workers 64 --pairs 512 --evaluations 60000

No time passes: events are simulated. A job takes as long as a log-normal number says, with standard
deviation ``--spread`` of its logarithm; 15 per cent of the jobs are lost at their end and are done
again. Whenever a worker is free it takes the next trial. Four ways to drive the same search:

- in turn: a generation waits for its last value, workers without a trial wait, too;
- early: ``min_fraction=0.95``, the last ones are not waited for;
- ahead: ``ask_trials(ahead=...)``, workers take further pairs rather than wait;
- both: further pairs, and ``min_fraction=0.95``.

The table has medians over seeds: the share of the time that workers are busy, the time for the same
number of evaluations, generations, the value of the last center over that of `fit` with as many
evaluations, all done and none lost, and how many values came too late to be of use. Evaluations are
values told, late ones included; jobs that were lost are none.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterable
from typing import Any

import numpy as np

from blackbox_es import VanillaES


def simulate(
    es: Any, objective: Any, n_workers: int, ahead: int, rng: Any, spread: float, lost: float
) -> tuple[float, float]:
    """Drive a search until it ends: share of the time that workers were busy, and the time."""
    now, busy, waiting = 0.0, 0.0, n_workers
    running: list[tuple[float, int, Any, bool]] = []
    while True:
        while waiting and (trial := next(es.ask_trials(ahead=ahead), None)) is not None:
            duration = float(np.exp(spread * rng.standard_normal()))
            heapq.heappush(running, (now + duration, trial.id, trial, rng.random() < lost))
            busy += duration
            waiting -= 1
        if es.stop_reason_:
            left = sum(end - now for end, *_ in running)
            return (busy - left) / (n_workers * now), now
        now, _, trial, is_lost = heapq.heappop(running)
        waiting += 1
        if is_lost:
            es.tell_failed(trial.id)
        else:
            es.tell_trial(trial.id, objective(trial.x))


def quadratic(n: int, seed: int) -> Any:
    """Of condition 100 in a random basis, and its minimum somewhere at a distance of about 1."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    scales, best = 10.0 ** np.linspace(0, 2, n), rng.standard_normal(n) / np.sqrt(n)
    return lambda x: float(0.5 * (scales * np.square(basis @ (x - best))).sum())


WAYS = {
    "in turn": (1.0, False), "early": (0.95, False), "ahead": (1.0, True), "both": (0.95, True),
}  # fmt: skip


def table(given: argparse.Namespace, seeds: Iterable[int]) -> dict[str, np.ndarray]:
    """For each way the medians: busy, time, generations, value over that of `fit`, late values."""
    rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    for seed in seeds:
        objective = quadratic(given.n, seed)
        options = {
            "n_pairs": given.pairs, "sigma": 0.1, "learning_rate": 0.02, "max_iter": 10**6,
            "max_evals": given.evaluations, "max_retries": 20, "random_state": seed,
        }  # fmt: skip
        plain = objective(VanillaES(**options).fit(objective, np.zeros(given.n)).x_)
        for way, (min_fraction, further) in WAYS.items():
            es = VanillaES(min_fraction=min_fraction, **options).start(np.zeros(given.n))
            busy, time = simulate(
                es, objective, given.workers, given.ahead if further else 0,
                np.random.default_rng(seed), given.spread, given.lost,
            )  # fmt: skip
            rows[way].append((busy, time, es.n_iter_, objective(es.x_) / plain, es.n_late_))
    return {way: np.median(row, axis=0) for way, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--ahead", type=int, default=8, help="pairs")
    parser.add_argument("--evaluations", type=int, default=20_000)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--lost", type=float, default=0.15)
    given = parser.parse_args()
    print(f"{given.workers} workers, {given.pairs} pairs, {given.evaluations:,} evaluations\n")
    print(f"{'':10}{'busy':>8}{'time':>10}{'generations':>13}{'value':>8}{'late':>8}")
    for way, (busy, time, n_iter, value, late) in table(
        given, range(given.first_seed, given.first_seed + given.seeds)
    ).items():
        print(f"{way:10}{busy:8.1%}{time:10,.0f}{n_iter:13,.0f}{value:8.3f}{late:8,.0f}")


if __name__ == "__main__":
    main()
