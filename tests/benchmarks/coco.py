"""Shares of targets reached on the COCO suites bbob, bbob-largescale and bbob-noisy.

    python tests/benchmarks/coco.py --out results --solver ours --solver pycma      # run, or go on
    python tests/benchmarks/coco.py --out results --table --figure bbob.png
    python tests/benchmarks/coco.py --out results --solver 'ours:{"sigma": 2.0}' --instances 101-105

``pip install '.[bench]'`` first. A run is a solver on one instance of a function, from the zeros,
with a budget of so many evaluations times the dimension. Whatever a solver does, its run ends with
its budget: the next evaluation raises. 51 targets lie in equal ratios between 1e2 and 1e-8 above
the minimum; what counts is how many evaluations a run needed until each of them.

- Without noise a target is reached by the best point evaluated.
- With noise it is reached by the point that the solver recommends, judged without noise: the center
  of its search distribution after a generation, where it has one, else the point with the best
  value measured. It is looked at when the evaluations have grown by 5 per cent, and at the end.

Each run is one row of a CSV file in ``--out``: solver with options, suite, function, dimension,
instance, seed, evaluations to each target. Runs that are there are not run again, unless for a
larger budget. Several processes may run at once, with different solvers or ``--shard 1/2``,
``2/2``. After an edit of the source a mark makes another solver: ``--solver 'ours#edited'``. A
table says how much more others reach than the first solver named, with the standard error over
runs, which are paired. The constants of this package are chosen on other instances than 1-5.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coco_results
import numpy as np
import records
import scipy.optimize

from blackbox_es import minimize

DIMENSIONS = {
    "bbob": [2, 5, 10, 20],
    "bbob-largescale": [40, 80, 160],
    "bbob-noisy": [5, 20],
}
SIGMA = 2.0  # as is usual on these suites, whose domain is [-5, 5]; the minima are in [-4, 4]


# -- problems ------------------------------------------------------------------------------------


class Run:
    """An objective with a budget that remembers when its best value became better."""

    callback: Callable[..., None] | None = None  # of solvers, after each generation

    def __init__(self, problem: Callable[[Any], float], budget: int, suite: Any = None) -> None:
        self.problem = problem
        self.suite = suite  # kept alive: it owns the problem
        self.budget = budget
        self.count = 0
        self.best = np.inf
        self.found: list[tuple[int, Any]] = []  # evaluations, value

    def __call__(self, x: Any) -> float:
        if self.count >= self.budget:
            raise records.Spent
        self.count += 1
        value = self.problem(x)
        if value < self.best:
            self.best = value
            self.found.append((self.count, value))
        return value

    def recommend(self, x: Any) -> None:
        """What a solver would return now."""

    def values(self) -> tuple[list[int], list[float]]:
        """Evaluations, and the values that count then."""
        return [count for count, _ in self.found], [value for _, value in self.found]


class NoisyRun(Run):
    """Remembers points: those recommended, or else those with the best value measured."""

    def __init__(self, *args: Any, clean: Callable[[Any], float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clean = clean
        self.callback = lambda x: self.recommend(x)
        self.recommended: list[tuple[int, Any]] = []
        self.last: tuple[int, Any] | None = None

    def __call__(self, x: Any) -> float:
        before = self.best
        value = super().__call__(x)
        if value < before:
            self.found[-1] = self.count, np.array(x, float)
        return value

    def recommend(self, x: Any) -> None:
        self.last = self.count, np.array(x, float)
        if not self.recommended or self.count >= 1.05 * self.recommended[-1][0]:
            self.recommended.append(self.last)

    def values(self) -> tuple[list[int], list[float]]:
        points = self.found if self.last is None else [*self.recommended, self.last]
        return [count for count, _ in points], [self.clean(x) for _, x in points]


def start(suite: str, function: int, dimension: int, instance: int, budget: int) -> tuple[Run, Any]:
    """A run, and the minimum of its objective."""
    import cocoex

    # A new suite begins its noise anew, so that a run does not depend on those before it.
    problems = cocoex.Suite(suite, f"instances: {instance}", f"dimensions: {dimension}")
    find = problems.get_problem_by_function_dimension_instance
    problem = find(function, dimension, instance)
    noisy = suite == "bbob-noisy"
    # Minima do not depend on the dimension, and noisy functions have those of their partners.
    partner = (1, 8, 1, 8, 7, 10, 14, 17, 19, 21)[(function - 101) // 3] if noisy else function
    lowest = cocoex.BareProblem("bbob", partner, 2, instance).best_value()
    if not noisy:
        return Run(problem, budget, suite=problems), lowest
    # Three by three they are one function with Gaussian, uniform and Cauchy noise. The last is
    # added to few of the values, and a constant to all of them: what is seen twice is without it.
    cauchy = find(function + (103 - function) % 3, dimension, instance)
    constant = (10.0 if function <= 106 else 1000.0) + 1.01e-8

    def clean(x: Any) -> float:
        seen: set[float] = set()
        while (value := float(cauchy(x))) not in seen:
            seen.add(value)
        return value - constant

    return NoisyRun(problem, budget, suite=problems, clean=clean), lowest


# -- solvers: (run, x0, seed, **options) ---------------------------------------------------------


def starts(x0: Any, seed: int) -> Iterator[Any]:
    """The given point, then random ones for restarts."""
    yield x0
    rng = np.random.default_rng(seed)
    while True:
        yield rng.uniform(-4.0, 4.0, x0.size)


def ours(run: Run, x0: Any, seed: int, method: str = "auto", **options: Any) -> None:
    """What a user gets who has said nothing: no standard deviation either."""
    budget = {"max_evals": run.budget, "max_iter": run.budget}  # the first of them is met first
    given = {**budget, "random_state": seed, **options}
    minimize(run, x0, method=method, callback=run.callback, options=given)


def pycma(
    run: Run, x0: Any, seed: int, restarts: dict[str, Any] | None = None, **options: Any
) -> None:
    """CMA-ES of cma; with restarts, these are from random points."""
    import cma

    points = starts(x0, seed)
    given = {"seed": seed % 2**31 + 1, "maxfevals": run.budget, "verbose": -9, "verb_log": 0}
    cma.fmin2(
        run, (lambda: next(points)) if restarts else x0, SIGMA, {**given, **options},
        callback=lambda es: run.recommend(es.mean), **(restarts or {}),
    )  # fmt: skip


def cmaes(name: str) -> Callable[..., None]:
    """A strategy of cmaes."""

    def solve(run: Run, x0: Any, seed: int, **options: Any) -> None:
        import cmaes

        es = getattr(cmaes, name)(mean=x0, sigma=SIGMA, seed=seed, **options)
        while not es.should_stop():
            points = [es.ask() for _ in range(es.population_size)]
            es.tell([(x, run(x)) for x in points])
            run.recommend(es.mean)

    return solve


def scipys(method: str, options_of: Callable[[Any], dict[str, Any]]) -> Callable[..., None]:
    """A method of SciPy, from new random points until the budget is spent."""

    def solve(run: Run, x0: Any, seed: int, **options: Any) -> None:
        for x in starts(x0, seed):
            given = {**options_of(x), **options}
            scipy.optimize.minimize(run, x, method=method, options=given)

    return solve


def simplex(x: Any) -> dict[str, Any]:
    """Of the size of the first steps of the others: SciPy's own is 0.00025 wide at zero."""
    edges = np.vstack([x, x + SIGMA * np.eye(x.size)])
    return {"initial_simplex": edges, "adaptive": True, "maxfev": np.inf, "maxiter": np.inf}


def dual_annealing(run: Run, x0: Any, seed: int, **options: Any) -> None:
    """In the domain of the suites."""
    given = {"maxiter": 10**9, "maxfun": 10**9, "rng": np.random.default_rng(seed), **options}
    scipy.optimize.dual_annealing(run, [(-5.0, 5.0)] * x0.size, x0=x0, **given)


def ngopt(run: Run, x0: Any, seed: int, name: str = "NGOpt") -> None:
    """What nevergrad takes for the domain of the suites, the dimension and the whole budget.

    Version 1.0.12 needs numpy<2.4.
    """
    import nevergrad as ng

    array = ng.p.Array(init=x0, lower=-5.0, upper=5.0)
    array.random_state.seed(seed % 2**32)
    optimizer = ng.optimizers.registry[name](array, budget=run.budget)
    due = 1.0
    while True:
        point = optimizer.ask()
        optimizer.tell(point, run(point.value))
        if run.callback and run.count >= due:
            run.recommend(optimizer.provide_recommendation().value)
            due *= 1.05


SOLVERS: dict[str, Callable[..., None]] = {
    "ours": ours,
    "pycma": pycma,
    "pycma-bipop": lambda *run, **options: pycma(
        *run, restarts={"bipop": True, "restarts": 9}, **options
    ),
    "cmaes": cmaes("CMA"),
    "sepcma": cmaes("SepCMA"),
    "l-bfgs-b": scipys("L-BFGS-B", lambda x: {"maxfun": 10**9, "maxiter": 10**9}),
    "nelder-mead": scipys("Nelder-Mead", simplex),
    "cobyqa": scipys("COBYQA", lambda x: {"maxfev": 10**9, "maxiter": 10**9}),
    "dual-annealing": dual_annealing,
    "ngopt": ngopt,
}


# -- runs ----------------------------------------------------------------------------------------


def result(
    solver: str, suite: str, case: tuple[int, int, int, int], per_dimension: int
) -> dict[str, Any]:
    """One run as a row."""
    function, dimension, instance, seed = case
    run, lowest = start(suite, function, dimension, instance, per_dimension * dimension)
    name, options = records.split_solver(solver)
    # Other numbers in each run: one lucky direction must not count in all of them.
    number = int(np.random.SeedSequence([seed, *case]).generate_state(1)[0] >> 1)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with contextlib.suppress(records.Spent):
            SOLVERS[name](run, np.zeros(dimension), number, **options)
    counts, values = run.values()
    hits = coco_results.first_hits(counts, np.array(values) - lowest)
    return {
        **dict(zip(coco_results.KEY, (solver, suite, *case), strict=True)),
        "budget": run.budget,
        "evaluations": run.count,
        **{f"t{i}": "" if hit == np.inf else int(hit) for i, hit in enumerate(hits)},
    }


def cases(given: argparse.Namespace) -> Iterator[tuple[int, int, int, int]]:
    """Function, dimension, instance, seed: the quick ones first."""
    functions = range(101, 131) if given.suite == "bbob-noisy" else range(1, 25)
    for dimension in given.dimensions or DIMENSIONS[given.suite]:
        for seed in given.seeds:
            for instance in given.instances:
                for function in given.functions or functions:
                    yield function, dimension, instance, seed


def shard(text: str) -> tuple[int, int]:
    first, _, of = text.partition("/")
    return int(first), int(of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the CSV files")
    parser.add_argument("--suite", choices=DIMENSIONS, default="bbob")
    parser.add_argument(
        "--solver", action="append", help=f'{", ".join(SOLVERS)}, or name#mark:{{"option": value}}'
    )
    parser.add_argument("--functions", type=records.numbers)
    parser.add_argument("--dimensions", type=records.numbers)
    parser.add_argument("--instances", type=records.numbers, default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=records.numbers, default=[1])
    parser.add_argument("--budget", type=int, default=1000, help="evaluations / dimension")
    parser.add_argument("--shard", type=shard, default=(1, 1), help="i/k: of k processes the i-th")
    parser.add_argument("--table", action="store_true", help="print shares, run nothing")
    parser.add_argument("--figure", type=Path, help="draw shares over evaluations, run nothing")
    given = parser.parse_args()
    chosen = set(cases(given))
    if given.table or given.figure:
        found = coco_results.load(given.out, given.suite, given.solver, chosen)
        if given.table:
            print(coco_results.report(found, given.suite))
        if given.figure:
            coco_results.draw(found, given.suite, given.figure)
        return
    done = coco_results.budgets(given.out)
    share, shares = given.shard
    for solver in given.solver or ["ours"]:
        name = f"{records.slug(solver)}-{given.suite}-{share}-of-{shares}.csv"
        for i, case in enumerate(cases(given)):
            enough = done.get((solver, given.suite, *case), 0) >= given.budget * case[1]
            if i % shares == share - 1 and not enough:
                try:
                    row = result(solver, given.suite, case, given.budget)
                except Exception as error:  # it is to be run again
                    print(f"{solver}, {given.suite} {case}: {error!r}", file=sys.stderr)
                else:
                    records.append(given.out / name, row)


if __name__ == "__main__":
    main()
