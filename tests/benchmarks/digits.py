"""The digits of MNIST as the benchmarks of networks take them."""

import numpy as np

from blackbox_es.datasets import fetch_mnist


def digits(validation=False):
    """X, y, X_test, y_test, from 0 to 1; for validation the last training ones are tested on."""
    X, y = fetch_mnist(subset="train", return_X_y=True)
    X_test, y_test = fetch_mnist(subset="test", return_X_y=True)
    if validation:
        X, X_test, y, y_test = X[:50_000], X[50_000:], y[:50_000], y[50_000:]
    return unit_range(X), y, unit_range(X_test), y_test


def unit_range(X):
    return np.asarray(X, np.float32) / np.float32(255)
