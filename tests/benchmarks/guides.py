"""Evaluations to 1e-8 with surrogate gradients of every worth, and without.

    python tests/benchmarks/guides.py --dimensions 10 100 --seeds 7

A row is a problem, a column a surrogate; entries are medians over seeds of the evaluations until
``x_`` is there. The last column is the worst over what no surrogate needs. Problems have minimum 0
at 0 (rosenbrock: at 1), and the search begins at ``1 + .3 N(0, I)`` (rosenbrock: at 0). The
constants of the package were chosen with other rotations, matrices and starts.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.optimize import rosen, rosen_der

from blackbox_es.strategies import AdaptiveES

INSTANCE = 11


def quadratic(matrix):
    """``x^T matrix x`` and its gradient; a vector is a diagonal."""
    if matrix.ndim == 1:
        return lambda x: float(matrix @ (x * x)), lambda x: 2.0 * matrix * x
    return lambda x: float(x @ matrix @ x), lambda x: 2.0 * matrix @ x


def problems(n):
    """By name: objective and gradient."""
    rng, i = np.random.default_rng(INSTANCE), np.arange(n) / (n - 1)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    dense = rng.standard_normal((2 * n, n)) / np.sqrt(2 * n)
    cigar = np.full(n, 1e6)
    cigar[0] = 1.0
    triangle = np.tril(np.ones((n, n)))
    return {
        "sphere": quadratic(np.ones(n)),
        "dense quadratic": quadratic(dense.T @ dense),
        "ellipsoid 1e3": quadratic(1e3**i),
        "ellipsoid 1e6": quadratic(1e6**i),
        "rotated cigar": quadratic(q * cigar @ q.T),
        "double sum": quadratic(triangle.T @ triangle),
        "rosenbrock": (rosen, rosen_der),
    }


def surrogates(gradient, n, seed):
    """By name, from a gradient."""
    rng = np.random.default_rng(seed)
    bias, fixed = rng.standard_normal((2, n))

    def added(cosine, direction):
        def surrogate(x):
            g, e = gradient(x), direction()
            return g + np.sqrt(1.0 / cosine**2 - 1.0) * np.linalg.norm(g) / np.linalg.norm(e) * e

        return surrogate

    def fresh():
        return rng.standard_normal(n)

    return {
        "none": None,
        "exact": gradient,
        "sign": lambda x: np.sign(gradient(x)),
        "wrong sign": lambda x: -gradient(x),
        "bias .9": added(0.9, lambda: bias),
        "bias .5": added(0.5, lambda: bias),
        "noise .9": added(0.9, fresh),
        "noise .5": added(0.5, fresh),
        "noise .3": added(0.3, fresh),
        "random": lambda x: fresh(),
        "fixed": lambda x: fixed,
    }


def evaluations(objective, surrogate, x0, seed, budget):
    """Until x_ is at 1e-8; infinite if it never is."""
    es = AdaptiveES(random_state=seed, max_evals=budget).start(x0)
    last = None
    while not es.stop_reason_:
        at = None if surrogate is None else es.surrogate_x_
        X = es.ask(None if at is None else surrogate(at))
        es.tell(X, [objective(x) for x in X])
        if es.x_ is not last and objective(es.x_) < 1e-8:
            return es.n_evaluations_
        last = es.x_
    return np.inf


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--problems", nargs="+")
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--budget", type=int, default=1000, help="times n")
    given = parser.parse_args()
    for n in given.dimensions:
        names = list(surrogates(np.asarray, n, 0))
        print(f"\nn = {n}\n\n| problem | {' | '.join(names)} | worst |")
        print("|---" * (len(names) + 2) + "|")
        for problem, (objective, gradient) in problems(n).items():
            if given.problems and problem not in given.problems:
                continue
            x0 = 1.0 + 0.3 * np.random.default_rng(INSTANCE + 1).standard_normal(n)
            x0 = np.zeros(n) if problem == "rosenbrock" else x0
            found = np.array([
                [evaluations(objective, surrogates(gradient, n, 1000 + seed)[name], x0, seed,
                             given.budget * n) for seed in range(given.seeds)]
                for name in names
            ])  # fmt: skip
            medians = np.median(found, axis=1)
            cells = [f"{m:,.0f}" if m < np.inf else "-" for m in medians]
            print(f"| {problem} | {' | '.join(cells)} | {medians.max() / medians[0]:.2f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
