"""What `check_objective` costs beyond the objective's own time, in 100 dimensions.

    python tests/benchmarks/kit.py

Each run is a fresh process: the first report pays for imports and for the two worker processes of
`check_processes`, the second does not. An evaluation that takes 5 ms shows that the rest is small.
"""

import subprocess
import sys
import time

import numpy as np

from blackbox_es.testing import check_objective

N = 100


class Timed:
    """Rosenbrock's function, and the seconds spent in it in this process."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def __call__(self, x):
        end = time.perf_counter() + self.seconds
        value = float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())
        while time.perf_counter() < end:
            pass
        return value


def main():
    if sys.argv[1:]:
        f = Timed(float(sys.argv[1]))
        for _ in range(2):
            begun = time.perf_counter()
            report = check_objective(f, np.zeros(N))
            print(report.spent, report.spent * f.seconds, time.perf_counter() - begun)
        return
    print(f"{'seconds a value':>16} {'report':>8} {'values':>7} {'in f':>7} {'beyond':>7}")
    for seconds in (0.0, 0.005):
        rows = [
            subprocess.run(
                [sys.executable, __file__, str(seconds)], capture_output=True, text=True, check=True
            ).stdout.splitlines()
            for _ in range(5)
        ]
        for which, name in enumerate(("first", "second")):
            spent, own, total = np.median(
                [[float(word) for word in row[which].split()] for row in rows], axis=0
            )
            print(f"{seconds:16} {name:>8} {spent:7.0f} {own:7.2f} {total - own:7.2f}")


if __name__ == "__main__":
    main()
