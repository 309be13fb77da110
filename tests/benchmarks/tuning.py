"""Hyper-parameters of gradient boosting in 100 evaluations: ESSearchCV beside others.

    python tests/benchmarks/tuning.py --out results            # run, or go on
    python tests/benchmarks/tuning.py --out results --table

Five parameters of HistGradientBoostingClassifier, three folds, the mean accuracy; optuna's TPE and
CMA samplers and pycma search the same box. A row is a run: method, data set, seed, best score. The
table gives mean ranks over data sets and seeds, ties shared.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score

from blackbox_es import ESSearchCV, Int, Log, Real, Space

N_ITER = 100
SPACE = Space(
    learning_rate=Log(1e-3, 1.0),
    max_leaf_nodes=Int(2, 64, log=True),
    min_samples_leaf=Int(1, 64, log=True),
    l2_regularization=Log(1e-6, 1e2),
    max_features=Real(0.1, 1.0),
)


def data(name):
    """At most 400 rows of two classes; of digits whether they are odd."""
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
    elif name == "digits":
        X, y = (part[::2] for part in load_digits(return_X_y=True))
        y = y % 2
    else:
        X, y = make_classification(400, 20, n_informative=6, flip_y=0.05, random_state=77)
    return X[:400], y[:400]


ESTIMATOR = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0)
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


def scorer(X, y):
    """The mean score of parameters, and the list of all that were given."""
    scores = []

    def score(params):
        estimator = HistGradientBoostingClassifier(**{**ESTIMATOR.get_params(), **params})
        scores.append(float(cross_val_score(estimator, X, y, cv=FOLDS).mean()))
        return scores[-1]

    return score, scores


def ours(X, y, seed):
    search = ESSearchCV(ESTIMATOR, SPACE, n_iter=N_ITER, cv=FOLDS, refit=False, random_state=seed)
    return search.fit(X, y).best_score_


def optuna_by(sampler):
    def run(X, y, seed):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        score, scores = scorer(X, y)

        def objective(trial):
            return score({
                "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
                "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 2, 64, log=True),
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 64, log=True),
                "l2_regularization": trial.suggest_float("l2_regularization", 1e-6, 1e2, log=True),
                "max_features": trial.suggest_float("max_features", 0.1, 1.0),
            })  # fmt: skip

        chosen = getattr(optuna.samplers, sampler)(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=chosen)
        study.optimize(objective, n_trials=N_ITER)
        return max(scores)

    return run


def pycma(X, y, seed):
    import cma

    score, scores = scorer(X, y)
    options = {"bounds": [0, 1], "seed": seed + 1, "verbose": -9}
    es = cma.CMAEvolutionStrategy(SPACE.middle, 0.3, options)
    while len(scores) < N_ITER:
        points = es.ask()
        values = [-score(SPACE.params(np.clip(u, 0, 1))) for u in points]
        es.tell(points, values)
    return max(scores[:N_ITER])


METHODS = {"ESSearchCV": ours, "optuna TPE": optuna_by("TPESampler"),
           "optuna CMA": optuna_by("CmaEsSampler"), "pycma": pycma}  # fmt: skip
DATA = ["breast_cancer", "digits", "synthetic"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "tuning.csv"
    rows = list(csv.reader(path.open())) if path.exists() else []
    if given.table:
        return table({(m, d, int(s)): float(v) for m, d, s, v in rows})
    done = {tuple(row[:3]) for row in rows}
    for seed in range(given.seeds):
        for name in DATA:
            X, y = data(name)
            for method, run in METHODS.items():
                if (method, name, str(seed)) in done:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    best = run(X, y, seed)
                with path.open("a", newline="") as file:
                    csv.writer(file).writerow([method, name, seed, best])
    return None


def table(found):
    cases = sorted({(d, s) for _, d, s in found})
    cases = [case for case in cases if all((m, *case) in found for m in METHODS)]
    ranks = np.array([rankdata([-found[m, *case] for m in METHODS]) for case in cases])
    print(f"mean rank of {len(METHODS)} in {len(cases)} runs (1 is the best)\n")
    for method, column in zip(METHODS, ranks.T, strict=True):
        error = column.std(ddof=1) / np.sqrt(len(column))
        print(f"{method:12} {column.mean():.2f} +- {error:.2f}")


if __name__ == "__main__":
    main()
