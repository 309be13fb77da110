"""How often the test kit finds something where there is nothing.

    python tests/benchmarks/false_alarms.py --seeds 200

runs the checks on every healthy objective, surrogate and optimizer of the tests, and on those of
cma and cmaes if they are installed, with each seed, and prints what failed and how often.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import test_testing_gradients as gradients
import test_testing_objectives as objectives
import test_testing_searches as searches
import test_testing_surrogates as surrogates

from blackbox_es.testing import (
    check_gradient_estimator,
    check_objective,
    check_optimizer,
    check_surrogate,
)


def cases():
    """Name, and a function of the seed that returns a report."""
    for name, (f, x0, options) in objectives.HEALTHY.items():
        yield (
            f"objective: {name}",
            lambda seed, f=f, x0=x0, options=options: check_objective(
                f, x0, seed=seed, on_fail=None, **options
            ),
        )
    for name, surrogate in surrogates.HEALTHY.items():
        yield (
            f"surrogate: {name}",
            lambda seed, surrogate=surrogate: check_surrogate(
                surrogates.f, surrogate, surrogates.X0, seed=seed, on_fail=None
            ),
        )
    for name, (estimator, options) in gradients.SOUND.items():
        yield (
            f"estimator: {name}",
            lambda seed, estimator=estimator, options=options: check_gradient_estimator(
                estimator, seed=seed, on_fail=None, **{"beta": gradients.BETA} | options
            ),
        )
    for name, (factory, options) in searches.healthy().items():
        yield (
            f"optimizer: {name}",
            lambda seed, factory=factory, options=options: check_optimizer(
                factory, seed=seed, on_fail=None, **options
            ),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    warnings.simplefilter("error")
    alarms, n_checks, n_cases = Counter(), 0, 0
    begun = time.perf_counter()
    for name, check in cases():
        if args.only not in name:
            continue
        n_cases += 1
        for seed in range(args.seeds):
            report = check(seed)
            n_checks += sum(result["status"] == "passed" for result in report)
            for failed in report.failed:
                alarms[name, failed] += 1
                print(f"{name}, seed {seed}: {report[failed]['exception']}")
    seconds = time.perf_counter() - begun
    print(f"{n_cases} cases, {args.seeds} seeds, {n_checks:,} checks passed, {seconds:.0f} s")
    for (name, failed), count in alarms.items():
        print(f"  {name}: {failed} {count} times")
    print(f"{sum(alarms.values())} false alarms")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
