"""The cost of ask + tell, objective excluded, as a multiple of the three-line NumPy version.

Run it with nothing else running, on one core: ``taskset -c 0 python tests/benchmarks/overhead.py``.
Both are timed in turns in this process; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np

from blackbox_es import GuidedES, VanillaES

SIZES = {10: 20, 100: 100, 1_000: 100, 10_000: 100, 100_000: 100, 1_000_000: 200}
NORMALS_TIMED = 2e8  # in all, for each size


def plain(n: int, n_points: int):
    """Isotropic search with plain descent in float32, in three lines of NumPy."""
    rng = np.random.default_rng(0)
    x, values = np.zeros(n, np.float32), rng.standard_normal(n_points, dtype=np.float32)
    n_pairs, scale, rate = n_points // 2, np.float32(0.1 / np.sqrt(n)), np.float32(0.01)

    def generation() -> None:
        nonlocal x
        d = scale * rng.standard_normal((n_pairs, n), dtype=np.float32)
        X = np.concatenate([x + d, x - d])  # noqa: F841
        x = x - rate * ((values[:n_pairs] - values[n_pairs:]) @ d)

    return generation


def strategy(cls: type, n: int, n_points: int, **options):
    """The same with a strategy of the package."""
    rng = np.random.default_rng(0)
    values, surrogate = rng.standard_normal(n_points), rng.standard_normal(n).astype(np.float32)
    es = cls(n_pairs=n_points // 2, optimizer="sgd", max_iter=10**9, random_state=0, **options)
    es.start(np.zeros(n, np.float32))
    guide = {"surrogate_grad": surrogate} if cls is GuidedES else {}

    def generation() -> None:
        es.tell(es.ask(**guide), values)

    return generation


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, metavar="N")
    largest = parser.parse_args().largest
    warnings.simplefilter("ignore")
    print("        n points  NumPy, ms  VanillaES  GuidedES k=1   k=10")
    for n, n_points in SIZES.items():
        if n > largest:
            break
        contestants = [
            plain(n, n_points),
            strategy(VanillaES, n, n_points),
            strategy(GuidedES, n, n_points),
            strategy(GuidedES, n, n_points, n_guides=min(10, n)),
        ]
        times: list[list[float]] = [[] for _ in contestants]
        for turn in range(int(np.clip(NORMALS_TIMED / (n * n_points), 4, 2000))):
            for generation, seconds in zip(contestants, times, strict=True):
                begun = time.perf_counter()
                generation()
                if turn >= 2:  # the first ones compile
                    seconds.append(time.perf_counter() - begun)
        base, *others = map(statistics.median, times)
        ratios = [f"{other / base:.2f}" for other in others]
        print(
            f"{n:9,} {n_points:6} {base * 1e3:10.3f} {ratios[0]:>10} {ratios[1]:>13} {ratios[2]:>6}"
        )


if __name__ == "__main__":
    main()
