"""Evaluations to a target, guided by a model of the objective, and what the model alone does.

    python tests/benchmarks/models.py --out results/models.md

Entries are medians over seeds of the evaluations until the value at ``x_`` has lost all but a
thousandth of what there is to lose; "-" is never within the budget. "model alone" is gradient
descent on the model, with twice the evaluations of the guided search.
``r`` is the mean squared cosine of model and true gradient in the guided search. The constants of
the model were chosen on other functions, matrices and seeds: quadratics of condition 1, 30 and
1000, Dixon and Price's function, a logistic loss and a quadratic times a fast sine, of 30, 50 and
80 dimensions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from blackbox_es import AdaptiveES, GuidedES, SurrogateModel, VanillaES

INSTANCE = 11
PAIRS = 8
SHARE = 1e-3
AUTO = {"sigma": "auto", "learning_rate": "auto", "max_iter": 10**6}


def perturbed_quadratic(n, rng):
    """``|A x - b|^2 / (2 m)`` of Maheswaranathan et al. 2019, with m = 2 n."""
    A, b = rng.standard_normal((2 * n, n)), rng.standard_normal(2 * n)
    return lambda x: np.square(A @ x - b).mean() / 2, lambda x: A.T @ (A @ x - b) / len(b)


def ellipsoid(n, rng):
    """Condition 100, rotated."""
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    H, best = Q * 100 ** (np.arange(n) / (n - 1)) @ Q.T, rng.standard_normal(n)
    return lambda x: (x - best) @ H @ (x - best), lambda x: 2 * H @ (x - best)


def logistic(n, rng):
    """The loss of a logistic regression with a penalty."""
    A = rng.standard_normal((3 * n, n)) * rng.uniform(0.3, 3.0, n)
    y = np.sign(A @ rng.standard_normal(n) + rng.standard_normal(3 * n))

    def loss(x):
        return np.logaddexp(0, -y * (A @ x)).mean() + 0.01 * x @ x

    return loss, lambda x: A.T @ (-y / (1 + np.exp(y * (A @ x)))) / len(y) + 0.02 * x


def stairs(n, rng):
    """A sphere in steps of a tenth of its value, which has no gradient but a trend."""
    best = rng.standard_normal(n)

    def f(x):
        square = np.square(x - best).sum()
        return 1.1 ** np.floor(np.log(square) / np.log(1.1)) if square else 0.0

    return f, lambda x: 2 * (x - best)


# By name: what makes it, dimension, and where it begins.
PROBLEMS = {
    "perturbed quadratic, n = 100": (perturbed_quadratic, 100, 0.0),
    "ellipsoid 100, n = 50": (ellipsoid, 50, 0.0),
    "logistic loss, n = 60": (logistic, 60, 0.0),
    "stairs, n = 50": (stairs, 50, 0.0),
}


def problem(name, seed):
    """The function, its gradient, where to begin, and the target."""
    make, n, at = PROBLEMS[name]
    f, gradient = make(n, np.random.default_rng(1000 * INSTANCE + seed))
    x0 = np.full(n, at) + 0.1 * np.random.default_rng(seed).standard_normal(n)
    lowest = 0.0 if make is stairs else minimize(f, x0, jac=gradient, method="BFGS", tol=1e-9).fun
    return f, gradient, x0, lowest + SHARE * (f(x0) - lowest)


def searched(es, name, seed, budget, model=None):
    """Evaluations to the target, and the mean r of the model."""
    f, gradient, x0, target = problem(name, seed)
    es.start(x0)
    r = []
    while es.n_evaluations_ < budget and not es.stop_reason_:
        at = es.surrogate_x_ if es.takes_surrogate else None
        guide = model(at) if model is not None and at is not None else None
        if guide is not None and guide.any():
            true = gradient(at)
            r.append((guide @ true) ** 2 / (guide @ guide) / (true @ true))
        X = es.ask(guide)
        values = [f(x) for x in X]
        es.tell(X, values)
        if model is not None:
            model.tell(X, values)
        if f(es.x_) <= target:
            return es.n_evaluations_, np.mean(r) if r else np.nan
    return np.inf, np.mean(r) if r else np.nan


def alone(name, seed, budget, rate):
    """Evaluations to the target by gradient descent on the model.

    Steps are along the gradient, of root mean square ``rate`` at the most, and shorter with time.
    One evaluation is at the center, the others are about it, as far away as such a step.
    """
    f, _, x0, target = problem(name, seed)
    rng, model, x = np.random.default_rng(seed), SurrogateModel(), x0
    n_evaluations, first = 0, None
    while n_evaluations < budget:
        size = rate * np.sqrt(x.size) / np.sqrt(1 + n_evaluations / (20 * x.size))
        X = x + size / np.sqrt(x.size) * rng.standard_normal((2 * PAIRS, x.size))
        X[0] = x
        model.tell(X, [f(z) for z in X])
        n_evaluations += len(X)
        gradient = model(x)
        if gradient is not None and gradient.any():
            length = np.linalg.norm(gradient)
            first = first or length
            x = x - size * min(1.0, length / first) * gradient / length
        if f(x) <= target:
            return n_evaluations
    return np.inf


def ways(seed):
    """By name: a search, and whether there is a model."""
    options = {"n_pairs": PAIRS, "random_state": seed} | AUTO
    guided = {"alpha": "auto"} | options
    return {
        "VanillaES": (VanillaES(**options), False),
        "GuidedES": (GuidedES(**guided), True),
        "AdaptiveES": (AdaptiveES(random_state=seed), False),
        "AdaptiveES + model": (AdaptiveES(random_state=seed), True),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=4000)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = ["VanillaES", "GuidedES", "AdaptiveES", "AdaptiveES + model"]
    head = ["problem", "VanillaES", "GuidedES + model", "share", "r", "AdaptiveES",
            "AdaptiveES + model", "model alone"]  # fmt: skip
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    print(*rows, sep="\n")
    for name in given.problems:
        medians, r = {}, np.nan
        for way in names:
            found = []
            for seed in range(given.seeds):
                es, learns = ways(seed)[way]
                budget = given.budget * (6 if way == "VanillaES" else 1)
                found.append(searched(es, name, seed, budget, SurrogateModel() if learns else None))
            medians[way] = np.median([n for n, _ in found])
            r = np.median([mean for _, mean in found]) if way == "GuidedES" else r
        most = 2 * int(min(medians["GuidedES"], given.budget))
        best = np.median([alone(name, seed, most, 0.1) for seed in range(given.seeds)])
        share = medians["GuidedES"] / medians["VanillaES"]
        cells = [medians["VanillaES"], medians["GuidedES"], None, None, medians["AdaptiveES"],
                 medians["AdaptiveES + model"], best]  # fmt: skip
        texts = ["" if c is None else "-" if c == np.inf else f"{c:,.0f}" for c in cells]
        texts[2:4] = f"{share:.2f}", f"{r:.2f}"
        rows.append(f"| {name} | {' | '.join(texts)} |")
        print(rows[-1], flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
