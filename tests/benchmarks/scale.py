"""How far workers scale: the cost of a generation for 10 to 1e6 of them, on paper and simulated.

    T(W) = W task + evaluate(2 P / W points) + tell(P pairs)

A worker gets one task: a key, a range of pairs and the center. It makes its points anew from the
key, and nothing but values comes back. One process sends, receives and makes the step, for which it
makes all P directions once more: that is where the limit lies. The simulation draws log-normal
durations: the generation ends with the slowest worker. ``--sigma 0`` has them all alike.

``python tests/benchmarks/scale.py --figure docs/scale.png``; ``--measure`` prints what the two
constants of noise and step are on this machine.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from blackbox_es import VanillaES
from blackbox_es.generation import Generation
from blackbox_es.samplers import Isotropic

TASK = 0.5e-3  # seconds for a task to be sent and answered, of the process that sends
TASK_BYTES = 400  # beside the center: measured
NETWORK = 1.25e8  # bytes a second: 1 Gbit
NORMAL = 2.2e-9  # seconds for a coordinate of a direction to be made
TELL = 1.8e-9  # seconds for a coordinate of a pair in the step
VALUES_BYTES = 16  # of a pair


def costs(n: int, workers: int, pairs_each: int, evaluation: float, sigma: float) -> dict:
    """Seconds and bytes of a generation."""
    sent = workers * (TASK_BYTES + 4 * n)
    received = workers * pairs_each * VALUES_BYTES
    work = pairs_each * (n * NORMAL + 2 * evaluation)
    rng = np.random.default_rng(0)
    durations = rng.lognormal(-(sigma**2) / 2, sigma, size=(9, workers)) * work
    begins = np.arange(workers) * max(TASK, (TASK_BYTES + 4 * n) / NETWORK)
    simulated = float(np.median((begins + durations).max(axis=1)))
    tell = workers * pairs_each * n * TELL
    dispatch = max(workers * TASK, sent / NETWORK)
    total = simulated + tell
    return {
        "sent": sent, "received": received, "dispatch": dispatch, "work": work, "tell": tell,
        "paper": dispatch + work + tell, "simulated": total, "busy": work / total,
    }  # fmt: skip


def measure(n: int = 100_000, n_pairs: int = 64) -> None:
    """Print the constants of noise and step."""
    generation = Generation(np.zeros(n, np.float32), Isotropic(n, 0.1), 0, 0, n_pairs)
    es = VanillaES(n_pairs=n_pairs, max_iter=99, optimizer="sgd", random_state=0)
    es.start(np.zeros(n, np.float32))
    noise, tell = [], []
    for _ in range(9):
        begun = time.perf_counter()
        for pair in range(n_pairs):
            generation.pairs(pair, pair + 1)
        noise.append(time.perf_counter() - begun)
        points = es.ask()
        values = points[:, 0].astype(float)
        begun = time.perf_counter()
        es.tell(points, values)
        tell.append(time.perf_counter() - begun)
    scale = 1e9 / (n * n_pairs)
    print(f"a coordinate of a pair made: {min(noise) * scale:.2f} ns, ", end="")
    print(f"of a pair in the step: {min(tell) * scale:.2f} ns")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluation", type=float, default=0.05, help="seconds")
    parser.add_argument("--pairs-each", type=int, default=8, help="pairs of a worker")
    parser.add_argument("--sigma", type=float, default=0.25, help="of the logarithm of durations")
    parser.add_argument("--figure", metavar="PATH")
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if arguments.measure:
        measure()
        return
    options = arguments.pairs_each, arguments.evaluation, arguments.sigma
    curves = {}
    for n in (100, 10_000, 1_000_000):
        print(f"\nn={n:,}, {arguments.pairs_each} pairs a worker, {arguments.evaluation} s each")
        print(
            "  workers  sent MB  recvd MB  dispatch s   work s   tell s  paper s  simulated  busy"
        )
        rows = {w: costs(n, w, *options) for w in (10, 100, 1_000, 10_000, 100_000, 1_000_000)}
        for w, c in rows.items():
            print(
                f"{w:9,} {c['sent'] / 1e6:8.2f} {c['received'] / 1e6:9.2f} {c['dispatch']:11.3f} "
                f"{c['work']:8.3f} {c['tell']:8.3f} {c['paper']:8.2f} {c['simulated']:10.2f} "
                f"{c['busy']:5.0%}"
            )
        curves[n] = rows
        one = max(TASK, (TASK_BYTES + 4 * n) / NETWORK) + arguments.pairs_each * n * TELL
        limit = math.floor(next(iter(rows.values()))["work"] / one)
        print(f"  as long to hand out and tell as to evaluate: {limit:,} workers")
    if arguments.figure:
        import matplotlib as mpl

        mpl.use("agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
        for n, rows in curves.items():
            axes.loglog(
                list(rows), [c["busy"] for c in rows.values()], marker="o", label=f"n={n:,}"
            )
        axes.set(xlabel="workers", ylabel="share of time spent evaluating", ylim=(None, 1.3))
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(arguments.figure, dpi=120)


if __name__ == "__main__":
    main()
