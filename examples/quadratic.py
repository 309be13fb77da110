"""Guided against vanilla evolution strategies on a quadratic whose gradient cannot be trusted.

The surrogate is the true gradient plus a fixed bias as long as the gradient itself, and fresh noise
that is longer. Descent along it is cheap and stalls where the bias balances the gradient. Evolution
strategies use values only, so they go on; the guided ones also look along the surrogate.

The comparison is meant to be fair. Every strategy gets the same number of evaluations, and every
method the learning rate that is the best of a grid by one seed; the table shows other seeds. (The
surrogate is one cheap call a generation and not counted; descent makes as many calls.) Expect
descent to stop early and the strategies to pass it. Near the minimum this surrogate is worth
little: the longer the run, the more alpha = 0.9, which keeps most of the search in the full space,
gains over alpha = 0.5, which falls behind even vanilla.

    python examples/quadratic.py
    python examples/quadratic.py --n 50 --evaluations 600 --seeds 2      # a few seconds
"""

import argparse
import time

import numpy as np
from sklearn.base import clone

from blackbox_es import GuidedES, VanillaES
from blackbox_es.problems import PerturbedQuadratic

METHODS = {
    "vanilla": VanillaES(),
    "guided, alpha 0.5": GuidedES(alpha=0.5),
    "guided, alpha 0.9": GuidedES(alpha=0.9),
}
RATES = (0.2, 0.5, 1.0, 1.5, 2.0)
DESCENT_RATES = (0.001, 0.002, 0.005, 0.02, 0.05)
COMMON = {"sigma": 0.01, "n_pairs": 1, "optimizer": "sgd", "vectorized": True, "max_iter": 10**9}


def run(problem, es, rate, evaluations, seed):
    """A fitted strategy."""
    es = clone(es).set_params(**COMMON, max_evals=evaluations)
    es.set_params(learning_rate=rate, random_state=seed)
    surrogate_fn = problem.surrogate(seed) if isinstance(es, GuidedES) else None
    return es.fit(problem, problem.x0, surrogate_fn)


def descend(problem, rate, steps, seed):
    """The gap after descent along the surrogate."""
    x, surrogate = problem.x0, problem.surrogate(seed)
    for _ in range(steps):
        x = x - rate * surrogate(x)
    return problem(x) - problem.minimum


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="coordinates (200)")
    parser.add_argument("--evaluations", type=int, default=4000, help="per run (4000)")
    parser.add_argument("--seeds", type=int, default=4, help="runs in the comparison (4)")
    parser.add_argument("--out", default="quadratic.png", help="the figure, if matplotlib is there")
    args = parser.parse_args()
    problem = PerturbedQuadratic(args.n, 2 * args.n)
    seeds = range(1, args.seeds + 1)
    print(f"n = {args.n}, f(x0) - f* = {problem(problem.x0) - problem.minimum:.4f}")
    print(f"{'f - f*':20}{'rate':>6}{'mean':>9}{'best':>9}{'worst':>9}{'evaluations':>13}{'s':>6}")

    def report(name, rate, gaps, evaluations, begun):
        row = "".join(f"{gap:9.5f}" for gap in (np.mean(gaps), min(gaps), max(gaps)))
        print(f"{name:20}{rate:6}{row}{evaluations:13,}{time.perf_counter() - begun:6.1f}")

    begun, steps = time.perf_counter(), args.evaluations // 2
    rate = min(DESCENT_RATES, key=lambda rate: descend(problem, rate, steps, 0))
    gaps = [descend(problem, rate, steps, seed) for seed in seeds]
    report("descent", rate, gaps, 0, begun)
    runs = {}
    for name, es in METHODS.items():
        begun = time.perf_counter()
        rate = min(RATES, key=lambda r, es=es: run(problem, es, r, args.evaluations, 0).fun_)
        fitted = [run(problem, es, rate, args.evaluations, seed) for seed in seeds]
        gaps = [es.fun_ - problem.minimum for es in fitted]
        report(name, rate, gaps, fitted[0].n_evaluations_, begun)
        runs[name] = fitted[0]

    try:
        from blackbox_es.plotting import ConvergenceDisplay

        display = ConvergenceDisplay.from_strategies(runs, minimum=problem.minimum).plot()
    except ImportError as error:
        print(f"no figure: {error}")
    else:
        display.figure_.savefig(args.out)
        print(f"figure: {args.out}")


if __name__ == "__main__":
    main()
