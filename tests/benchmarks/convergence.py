"""Evaluations until the center of a search is at 1e-8, on convex quadratics and two that are not.

    python tests/benchmarks/convergence.py --out results            # hours, resumed where it ended
    python tests/benchmarks/convergence.py --out results --dimensions 10 --solver ours --solver cma
    python tests/benchmarks/convergence.py --out results --table

Peers need ``pip install '.[bench]'``. Searches start in the ones (Rosenbrock's: in the zeros) with
a standard deviation of 0.3. What has to reach 1e-8 is the center of the search distribution, which
all of these solvers have, looked at after each generation without being counted. A run ends after
1e6 evaluations or ten minutes, too; it has not reached the target then. The random rotation of a
problem depends on the seed only. The table has medians over seeds; if not all of them have reached
the target, how many have.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import records

from blackbox_es import AdaptiveES

TARGET = 1e-8
SIGMA = 0.3
Objective = Callable[[Any], float]


def powers(n: int, largest: float) -> Any:
    """From 1 to ``largest`` in equal ratios."""
    return largest ** (np.arange(n) / (n - 1))


def quadratic(weights: Any) -> Objective:
    """``sum_i w_i x_i^2``."""
    return lambda x: float(weights @ (x * x))


def rotated(objective: Objective, n: int, seed: int) -> Objective:
    """In coordinates that are turned at random."""
    rng = np.random.default_rng([seed, n])
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    q = np.ascontiguousarray(q * np.sign(np.diag(r)))
    return lambda x: objective(q @ x)


def rosenbrock(x: Any) -> float:
    """Of Rosenbrock, in n dimensions; the minimum is in the ones."""
    head = x[:-1]
    return float(100.0 * np.square(x[1:] - head * head).sum() + np.square(1.0 - head).sum())


def step_ellipsoid(n: int) -> Objective:
    """Plateaus of an ellipsoid, f7 of BBOB without its rotations."""
    weights = powers(n, 1e2)

    def objective(x: Any) -> float:
        steps = np.where(np.abs(x) > 0.5, np.floor(0.5 + x), np.floor(0.5 + 10.0 * x) / 10.0)
        return 0.1 * max(abs(float(x[0])) / 1e4, float(weights @ (steps * steps)))

    return objective


def spike(n: int, first: float, others: float) -> Any:
    """One weight that differs from the others."""
    return np.where(np.arange(n) == 0, first, others)


PROBLEMS: dict[str, Callable[[int, int], Objective]] = {
    "sphere": lambda n, seed: quadratic(np.ones(n)),
    "ellipsoid": lambda n, seed: quadratic(powers(n, 1e6)),
    "discus": lambda n, seed: quadratic(spike(n, 1e6, 1.0)),
    "cigar": lambda n, seed: quadratic(spike(n, 1.0, 1e6)),
    "rotated ellipsoid": lambda n, seed: rotated(quadratic(powers(n, 1e6)), n, seed),
    "rotated cigar": lambda n, seed: rotated(quadratic(spike(n, 1.0, 1e6)), n, seed),
    "rosenbrock": lambda n, seed: rosenbrock,
    "step ellipsoid": lambda n, seed: step_ellipsoid(n),
}


class Run:
    """An objective that counts, and ends the run when its budget is spent or the target reached."""

    def __init__(self, objective: Objective, max_evals: float, max_seconds: float) -> None:
        self.objective = objective
        self.max_evals = max_evals
        self.count = 0
        self.value = math.inf  # of the center
        self.end = time.monotonic() + max_seconds
        self.stop = "solver"

    def __call__(self, x: Any) -> float:
        if self.count >= self.max_evals or time.monotonic() > self.end:
            self.stop = "evaluations" if self.count >= self.max_evals else "time"
            raise records.Spent
        self.count += 1
        return self.objective(x)

    def center(self, x: Any) -> None:
        """To be called after each generation."""
        self.value = self.objective(x)
        if self.value <= TARGET or math.isnan(self.value):
            self.stop = "nan" if math.isnan(self.value) else "target"
            raise records.Spent


def ours(run: Run, x0: Any, seed: int, **options: Any) -> None:
    """AdaptiveES."""
    es = AdaptiveES(sigma=SIGMA, max_iter=10**9, random_state=seed).set_params(**options)
    es.fit(run, x0, callback=lambda x: run.center(x))


def cma(run: Run, x0: Any, seed: int, **options: Any) -> None:
    """CMA-ES of cma, which ends by itself only where numbers fail."""
    import cma

    never = {"tolfun": 0, "tolfunhist": 0, "tolx": 0, "tolstagnation": 10**9, "tolflatfitness": 1e9}
    given = {"seed": seed, "verbose": -9, "verb_log": 0, "maxiter": math.inf, **never, **options}
    es = cma.CMAEvolutionStrategy(x0, SIGMA, given)
    while not es.stop():
        points = es.ask()
        es.tell(points, [run(x) for x in points])
        run.center(es.mean)


def sepcma(run: Run, x0: Any, seed: int, **options: Any) -> None:
    """SepCMA of cmaes, its own ends of a search not asked for."""
    from cmaes import SepCMA

    es = SepCMA(mean=x0, sigma=SIGMA, seed=seed, **options)
    while True:
        points = [es.ask() for _ in range(es.population_size)]
        es.tell([(x, run(x)) for x in points])
        run.center(es.mean)


def crfmnes(run: Run, x0: Any, seed: int, **options: Any) -> None:
    """CR-FM-NES, with the population size of its paper made even, and without constraints."""
    from crfmnes import CRFMNES

    size = 4 + math.floor(3.0 * math.log(x0.size))
    es = CRFMNES(
        x0.size, lambda x: run(x[:, 0]), x0[:, None].copy(), SIGMA, size + size % 2,
        seed=seed, use_constraint_violation=False, **options,
    )  # fmt: skip
    while True:
        es.one_iteration()
        run.center(es.m[:, 0])


def pypop7(name: str) -> Callable[..., None]:
    """A strategy of pypop7, without restarts."""

    def solve(run: Run, x0: Any, seed: int, **options: Any) -> None:
        from pypop7.optimizers.es import lmmaes, rmes

        class Watched({"lmmaes": lmmaes.LMMAES, "rmes": rmes.RMES}[name]):
            def _update_distribution(self, *args: Any, **kwargs: Any) -> Any:
                updated = super()._update_distribution(*args, **kwargs)
                run.center(updated[0])
                return updated

        problem = {
            "fitness_function": run,
            "ndim_problem": x0.size,
            "lower_boundary": np.full(x0.size, -5.0),  # not heeded
            "upper_boundary": np.full(x0.size, 5.0),
        }
        given = {"mean": x0, "sigma": SIGMA, "seed_rng": seed, "is_restart": False, "verbose": 0}
        Watched(problem, {**given, **options}).optimize()

    return solve


SOLVERS: dict[str, Callable[..., None]] = {
    "ours": ours,
    "cma": cma,
    "cma-diagonal": lambda run, x0, seed: cma(run, x0, seed, CMA_diagonal=True),
    "sepcma": sepcma,
    "crfmnes": crfmnes,
    "lmmaes": pypop7("lmmaes"),
    "rmes": pypop7("rmes"),
}


def result(solver: str, problem: str, n: int, seed: int, limits: argparse.Namespace) -> dict:
    """One run as a row."""
    name, options = records.split_solver(solver)
    run = Run(PROBLEMS[problem](n, seed), limits.max_evals, limits.max_seconds)
    x0 = np.zeros(n) if problem == "rosenbrock" else np.ones(n)
    begun = time.monotonic()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            SOLVERS[name](run, x0, seed, **options)
        except records.Spent:
            pass
        except Exception as error:  # of a peer: the run has failed
            run.stop = type(error).__name__
            print(f"{solver} on {problem}: {error!r}")
    return {
        "solver": solver,
        "problem": problem,
        "dimension": n,
        "seed": seed,
        "evaluations": run.count,
        "stop": run.stop,
        "value": f"{run.value:.3g}",
        "seconds": f"{time.monotonic() - begun:.1f}",
    }


def cell(rows: list[dict[str, str]]) -> str:
    """The median of the evaluations, if all have reached the target; else how many have."""
    counts = [int(row["evaluations"]) for row in rows if row["stop"] == "target"]
    if not rows:
        return ""
    if len(counts) < len(rows):
        return f"{len(counts)}/{len(rows)}"
    few = f" ({len(counts)})" if len(counts) < 5 else ""
    return f"{statistics.median_low(counts):,}{few}"


def report(rows: list[dict[str, str]], solvers: list[str]) -> str:
    """A table for each dimension."""
    runs = defaultdict(list)
    for row in rows:
        runs[int(row["dimension"]), row["problem"], row["solver"]].append(row)
    parts = []
    for n in sorted({key[0] for key in runs}):
        shown = [solver for solver in solvers if any(k[0] == n and k[2] == solver for k in runs)]
        lines = [[p, *(cell(runs[n, p, solver]) for solver in shown)] for p in PROBLEMS]
        parts.append(f"n = {n}\n\n" + records.table(["problem", *shown], lines))
    return "\n\n".join(parts) + "\n\n(k): of k seeds if fewer than 5. k/m: k of m runs reached it."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the CSV files")
    parser.add_argument(
        "--solver", action="append", help=f'{", ".join(SOLVERS)}, or name:{{"option": value}}'
    )
    parser.add_argument("--problem", action="append", choices=PROBLEMS)
    parser.add_argument("--dimensions", type=records.numbers, default=[10, 100, 1000])
    parser.add_argument("--seeds", type=records.numbers, default=[1, 2, 3, 4, 5])
    parser.add_argument("--max-evals", type=float, default=1e6)
    parser.add_argument("--max-seconds", type=float, default=600.0)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    given = parser.parse_args()
    found = list(records.rows(given.out))
    if given.table:
        print(report(found, given.solver or list(dict.fromkeys(row["solver"] for row in found))))
        return
    keys = ("solver", "problem", "dimension", "seed")
    done = {tuple(row[key] for key in keys) for row in found}
    for n in given.dimensions:
        for seed in given.seeds:
            for problem in given.problem or PROBLEMS:
                for solver in given.solver or SOLVERS:
                    if (solver, problem, str(n), str(seed)) not in done:
                        row = result(solver, problem, n, seed, given)
                        records.append(given.out / f"{records.slug(solver)}.csv", row)
                        print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
