"""The search for the defaults of the estimators: one setting at a time is moved from its default.

Run it with nothing else running, on one core::

    taskset -c 0 python tests/benchmarks/search.py                     # small data, 15 minutes
    taskset -c 0 python tests/benchmarks/search.py --mnist             # ten minutes
    taskset -c 0 python tests/benchmarks/search.py --evenly            # a few minutes

Scores (accuracy or R^2) are those of a validation part; a test part never comes in. Small data are
scikit-learn's digits, breast cancer, wine and diabetes and Friedman's first function, standardised;
a quarter is the validation part, and the score is the median over seeds of split, network and
search. Of MNIST the last 10,000 training digits are the validation part. ``--evenly`` compares, on
MNIST, examples drawn evenly with those drawn by importance.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from timing import header, seconds

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.examples import Examples

SMALL: dict[str, Callable[[], Any]] = {
    "digits": partial(datasets.load_digits, return_X_y=True),
    "cancer": partial(datasets.load_breast_cancer, return_X_y=True),
    "wine": partial(datasets.load_wine, return_X_y=True),
    "diabetes": partial(datasets.load_diabetes, return_X_y=True),
    "friedman": partial(datasets.make_friedman1, 4000, 8, noise=1.0, random_state=0),
}
VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "weights": {
        "sigma": (0.001, 0.01, 0.1),
        "n_pairs": (32, 64, 256, 512),
        "batch_size": (16, 32, 128, 256),
        "learning_rate_init": (0.0025, 0.005, 0.02, 0.04),
        "learning_rate": ("constant",),
        "optimizer": ("clipup", "sgd"),
        "alpha": (0.01, 0.1, 1.0, 10.0),
        "max_iter": (300, 3000),
        "hidden_layer_sizes": ((32,), (128,), (32, 32)),
    },
    "activations": {
        "sigma": (0.01, 0.03, 0.3, 1.0),
        "n_pairs": (8, 16, 32, 128),
        "batch_size": (32, 64, 256),
        "learning_rate_init": (0.0025, 0.005, 0.02, 0.04),
        "learning_rate": ("constant",),
    },
}
MNIST: dict[str, list[dict[str, Any]]] = {
    "weights, PCA(48)": [
        {"hidden_layer_sizes": (units,), "max_iter": n_iter, "learning_rate_init": rate}
        for units, n_iter, rates in (
            (64, 1500, (0.01, 0.02, 0.03)),
            (64, 6000, (0.005, 0.01)),
            (256, 1500, (0.005, 0.01, 0.02)),
        )
        for rate in rates
    ],
    "activations, pixels": [
        {"hidden_layer_sizes": (256,), "max_iter": 3000, "learning_rate_init": rate}
        for rate in (0.002, 0.004, 0.008)
    ],
}


def candidates(values: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """The defaults, then each setting moved alone."""
    yield {}
    for name, others in values.items():
        yield from ({name: value} for value in others)


def score(load: Callable[[], Any], settings: dict[str, Any], seed: int) -> float:
    """The score on a validation part, with scaled features and targets."""
    X, y = load()
    classes = np.issubdtype(np.asarray(y).dtype, np.integer)
    parts = train_test_split(X, y, random_state=seed, stratify=y if classes else None)
    X_train, X_valid, y_train, y_valid = parts
    scaler = StandardScaler().fit(X_train)
    if not classes:
        mean, std = y_train.mean(), y_train.std()
        y_train, y_valid = (y_train - mean) / std, (y_valid - mean) / std
    model = (ESMLPClassifier if classes else ESMLPRegressor)(random_state=seed, **settings)
    model.fit(scaler.transform(X_train).astype(np.float32), y_train)
    return float(model.score(scaler.transform(X_valid).astype(np.float32), y_valid))


def print_small(perturb: str, n_seeds: int) -> None:
    """Print a row for each candidate, a column for each set of data."""
    print(f"\nperturb={perturb!r:32}" + "".join(f"{name:>10}" for name in SMALL) + "      mean")
    for settings in candidates(VALUES[perturb]):
        scores = [
            statistics.median(
                score(load, {"perturb": perturb, "guide": None, **settings}, seed)
                for seed in range(n_seeds)
            )
            for load in SMALL.values()
        ]
        name = ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "defaults"
        print(f"{name:40}" + "".join(f"{value:10.4f}" for value in (*scores, np.mean(scores))))


def mnist(perturb: str) -> tuple[Any, Any]:
    """The 60,000 training digits: principal components for weights, or centred pixels."""
    from blackbox_es.datasets import fetch_mnist

    X, y = fetch_mnist(return_X_y=True, subset="train")
    X = X.astype(np.float32) / np.float32(255)
    if perturb == "activations":
        return X - X[:50_000].mean(axis=0), y
    return PCA(48, random_state=0).fit(X[:50_000]).transform(X), y


def print_one(name: str, perturb: str, data: tuple[Any, Any], settings: dict[str, Any]) -> None:
    """Print the accuracy on the last 10,000 digits after training with the others."""
    X, y = data
    pairs = {"n_pairs": 1024} if perturb == "weights" else {}
    model = ESMLPClassifier(
        perturb=perturb, guide=None, n_iter_no_change=2**31, random_state=0, **pairs, **settings
    )
    time = seconds(lambda: model.fit(X[:50_000], y[:50_000]))
    accuracy, forwards = model.score(X[50_000:], y[50_000:]), model.n_example_forwards_
    print(f"{name:20} {settings!s:90} {accuracy:.4f} {forwards:.1e} {time:6.1f} s", flush=True)


def print_mnist() -> None:
    """Print a row for each candidate."""
    for name, candidates_of in MNIST.items():
        perturb = name.partition(",")[0]
        data = mnist(perturb)
        for settings in candidates_of:
            print_one(name, perturb, data, settings)


def print_evenly() -> None:
    """Print rows for examples drawn evenly, who teach nothing, and by importance."""
    for perturb, units, n_iter, rates in (
        ("weights", 64, 1500, (0.005, 0.01, 0.02)),
        ("activations", 128, 4000, (0.001, 0.002, 0.004)),
    ):
        data = mnist(perturb)
        for rate in rates:
            settings = {
                "hidden_layer_sizes": (units,), "max_iter": n_iter, "learning_rate_init": rate,
            }  # fmt: skip
            with mock.patch.object(Examples, "learn"):
                print_one(f"{perturb}, evenly", perturb, data, settings)
            print_one(f"{perturb}, scores", perturb, data, settings)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", action="store_true", help="MNIST instead of small data")
    parser.add_argument("--evenly", action="store_true", help="how examples are drawn")
    parser.add_argument("--seeds", type=int, default=3, help="for small data (3)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(header("scikit-learn"))
    if arguments.mnist:
        print_mnist()
        return
    if arguments.evenly:
        print_evenly()
        return
    for perturb in VALUES:
        print_small(perturb, arguments.seeds)


if __name__ == "__main__":
    main()
