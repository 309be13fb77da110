"""A network of convolutions trained without a gradient, with weights of 32, 2 and 1 bits.

Each example moves one layer at a time: the weights of a convolution, which are few, or the units
behind it where these are fewer. Ternary weights are -1, 0 or 1 times a scale of their layer, binary
ones -1 or 1. Nothing differentiates them: what is evaluated is the network with quantised weights.

The default is scikit-learn's 1,797 digits of 8 x 8 pixels, which need no download. On MNIST the
network is that of 4,012 weights, two convolutions of 5 x 5 with six channels each; give it minutes.

    python examples/images.py
    python examples/images.py --generations 50                           # a few seconds
    python examples/images.py --dataset mnist --generations 3000 --n-jobs 2
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from blackbox_es import ESConvNetClassifier
from blackbox_es.datasets import fetch_mnist
from blackbox_es.neural.layers import Conv2D, MaxPool2D

DIGITS = (Conv2D(6, kernel=3), MaxPool2D(2), "relu", Conv2D(12, kernel=3), MaxPool2D(2), "relu")
MNIST = (Conv2D(6), MaxPool2D(2), "relu", Conv2D(6), MaxPool2D(2), "relu")


def images(dataset):
    """X_train, X_test, y_train, y_test, the shape of an image, and layers for it."""
    if dataset == "mnist":
        X, y = fetch_mnist(return_X_y=True, subset="train")
        X_test, y_test = fetch_mnist(return_X_y=True, subset="test")
        return X / np.float32(255), X_test / np.float32(255), y, y_test, (28, 28), MNIST
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X.astype(np.float32) / 16, y, random_state=0, stratify=y)
    return *parts, (8, 8), DIGITS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--generations", type=int, default=400, help="per model (400)")
    parser.add_argument("--n-jobs", type=int, default=1, help="threads (1)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    X, X_test, y, y_test, shape, layers = images(args.dataset)
    print(f"{len(X):,} images to train on, {len(X_test):,} to test")
    print(f"{'weights':8}{'accuracy':>9}{'numbers':>9}{'example-forwards':>18}{'seconds':>9}")
    for weights in ("float", "ternary", "binary"):
        model = ESConvNetClassifier(shape, layers, weights=weights, max_iter=args.generations)
        model.set_params(n_jobs=args.n_jobs, random_state=args.seed, n_iter_no_change=10**9)
        begun = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - begun
        n_weights = sum(part.size for part in [*model.coefs_, *model.intercepts_])
        print(
            f"{weights:8}{model.score(X_test, y_test):9.4f}{n_weights:9,}"
            f"{model.n_example_forwards_:18,}{seconds:9.1f}"
        )


if __name__ == "__main__":
    main()
