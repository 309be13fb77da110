"""What `ESTuner` is worth: held-out losses of estimators before and after, over several splits.

    python tests/benchmarks/tuner.py --out results             # run, or go on
    python tests/benchmarks/tuner.py --out results --table
    python tests/benchmarks/tuner.py --out results --dev       # data that constants were chosen on

Each split holds out 40 of 100 examples. An estimator behind a StandardScaler is fitted to the
others and tuned with the defaults; a row is a run: data set, estimator, metric, split, and the loss
of the held-out examples before and after. The table gives the change of the mean loss in percent,
with the standard error of the mean of the paired differences.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import f1_score, mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from blackbox_es import ESTuner

CLASSIFIERS = {
    "LogisticRegression": LogisticRegression(max_iter=1000),
    "LinearSVC": LinearSVC(),
    "SGDClassifier": SGDClassifier(random_state=0),
    "MLPClassifier": MLPClassifier((16,), max_iter=200, random_state=0),
}
REGRESSORS = {
    "LinearRegression": LinearRegression(),
    "Ridge": Ridge(),
    "Lasso": Lasso(),
    "MLPRegressor": MLPRegressor(
        hidden_layer_sizes=(16,), max_iter=300, learning_rate_init=0.01, random_state=0
    ),
}
QUANTILE = 0.9


def measured(metric, model, X, y):
    """The loss of a fitted estimator by its own predictions."""
    said = model.predict(X)
    if metric == "zero_one":
        return float(np.mean(said != y))
    if metric == "f1_macro":
        return 1.0 - float(f1_score(y, said, average="macro", zero_division=0.0))
    if metric == "absolute_error":
        return float(mean_absolute_error(y, said))
    return float(mean_pinball_loss(y, said, alpha=QUANTILE))


def classes(n, n_features, seed, **options):
    return lambda: datasets.make_classification(n, n_features, random_state=seed, **options)


def heavy(seed):
    """A linear function with errors of Student's t, two degrees of freedom."""
    X, y = datasets.make_regression(400, 12, n_informative=6, random_state=seed)
    return X, y + 30 * np.random.default_rng(seed).standard_t(2.0, len(y))


def of(load, part=slice(None), **options):
    return lambda: tuple(values[part] for values in load(return_X_y=True, **options))


REPORTED = {
    "breast_cancer": of(datasets.load_breast_cancer),
    "wine": of(datasets.load_wine),
    "digits": of(datasets.load_digits, slice(900)),
    "imbalanced": classes(1000, 20, 1, n_informative=6, weights=[0.92], flip_y=0.04),
    "diabetes": of(datasets.load_diabetes),
    "heavy_tails": lambda: heavy(1),
}
DEV = {
    "irises": lambda: (datasets.load_iris().data[50:], datasets.load_iris().target[50:] - 1),
    "dev_rare": classes(600, 20, 101, n_informative=5, weights=[0.9], flip_y=0.05),
    "dev_rarer": classes(1500, 10, 102, n_informative=4, weights=[0.95], flip_y=0.02),
    "dev_even": classes(500, 30, 103, n_informative=8, flip_y=0.1),
    "dev_four": classes(
        600, 15, 104, n_informative=6, n_classes=4, weights=[0.5, 0.3, 0.15], flip_y=0.02
    ),
    "dev_friedman": lambda: datasets.make_friedman1(300, noise=1.0, random_state=105),
    "dev_heavy": lambda: heavy(106),
}


def run(load, estimator, metric, split, **options):
    """Losses of held-out examples before and after."""
    X, y = load()
    strata = y if metric in ("zero_one", "f1_macro") else None
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.4, random_state=split, stratify=strata
    )
    if metric == "pinball":
        options["loss_params"] = {"quantile": QUANTILE}
    pipeline = make_pipeline(StandardScaler(), estimator)
    tuner = ESTuner(pipeline, loss=metric, random_state=split, **options).fit(X, y)
    models = (tuner.given_, tuner.estimator_)
    return [measured(metric, model, X_test, y_test) for model in models]


def cases(dev):
    for name, load in (DEV if dev else REPORTED).items():
        labels = load()[1].dtype.kind == "i"
        for estimator in CLASSIFIERS if labels else REGRESSORS:
            for metric in ("zero_one", "f1_macro") if labels else ("absolute_error", "pinball"):
                yield name, load, estimator, metric


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=np.inf)
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path, begun = given.out / "tuner.csv", time.monotonic()
    rows = list(csv.reader(path.open())) if path.exists() else []
    found = {(d, e, m, int(s)): (float(a), float(b)) for d, e, m, s, a, b in rows}
    if given.table:
        return table(found, list(cases(given.dev)))
    for split in range(given.splits):
        for name, load, estimator, metric in cases(given.dev):
            if (name, estimator, metric, split) in found:
                continue
            if time.monotonic() - begun > given.seconds:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = {**CLASSIFIERS, **REGRESSORS}[estimator]
                losses = run(load, model, metric, split)
            with path.open("a", newline="") as file:
                csv.writer(file).writerow([name, estimator, metric, split, *losses])
    return None


def table(found, cells):
    """Changes in percent, of how many cells they are a gain, and more than a standard error."""
    changes, header = [], []
    for name, metric in dict.fromkeys((name, metric) for name, _, _, metric in cells):
        estimators = [e for n, _, e, m in cells if (n, m) == (name, metric)]
        if estimators != header:
            header = estimators
            print(f"\n| data | metric | {' | '.join(header)} |\n|---|---|{'---|' * len(header)}")
        line = []
        for estimator in estimators:
            runs = [v for key, v in found.items() if key[:3] == (name, estimator, metric)]
            if len(runs) < 2:
                line.append("")
                continue
            before, after = np.array(runs).T
            change, error = np.mean(after - before), np.std(after - before, ddof=1)
            changes.append((change, error / np.sqrt(len(runs))))
            unit = 100 / max(before.mean(), 1e-12)
            line.append(f"{change * unit:+.0f} ± {changes[-1][1] * unit:.0f}" if error else "0")
        print(f"| {name} | {metric} | {' | '.join(line)} |")
    change, error = np.array(changes).T
    print(f"\n{len(change)} cells: {sum(change < 0)} better, {sum(change > 0)} worse;", end=" ")
    print(f"by more than a standard error {sum(change < -error)} and {sum(change > error)}")


if __name__ == "__main__":
    main()
