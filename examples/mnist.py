"""A network with PCA in front, trained without a gradient: several losses, on digits or MNIST.

The log loss with relu units is what backpropagation would do better. The others it cannot do at
all: units that are a step know only on and off, and the zero-one loss counts mistakes; neither has
a slope anywhere. To an evolution strategy they are objectives like any other. The zero-one loss is
a hard one, since few perturbations change a count: a search from values alone may leave out whole
classes for long. The last model is guided by a surrogate, the gradient of the log loss, while what
it minimises is the zero-one loss itself.

Expect the zero-one loss alone to be far behind with a small budget, and the guide to close the gap;
with an ample budget all four end close together. The default is scikit-learn's 1,797 digits of
8 x 8 pixels, which need no download; on MNIST give each model a minute or more.

    python examples/mnist.py
    python examples/mnist.py --budget 1                                  # a few seconds
    python examples/mnist.py --dataset mnist --budget 60
"""

import argparse
import time

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from blackbox_es import ESMLPClassifier
from blackbox_es.datasets import fetch_mnist

MODELS = {
    "log loss, relu": {"loss": "log_loss"},
    "log loss, step": {"loss": "log_loss", "activation": "step"},
    "zero-one loss, relu": {"loss": "zero_one"},
    "zero-one loss, guided": {"loss": "zero_one", "guide": "backprop"},
}


def digits(dataset):
    """X_train, X_test, y_train, y_test, grey levels from 0 to 1 in float32."""
    if dataset == "mnist":
        train = fetch_mnist(return_X_y=True, subset="train")
        test = fetch_mnist(return_X_y=True, subset="test")
        return train[0] / np.float32(255), test[0] / np.float32(255), train[1], test[1]
    X, y = load_digits(return_X_y=True)
    return train_test_split(X.astype(np.float32) / 16, y, random_state=0, stratify=y)


def affordable(model, X, y, seconds):
    """How many generations fit into the budget, so that the rate falls to zero at its end."""
    clone(model).set_params(max_iter=2).fit(X, y)  # compiles, if it was not compiled before
    begun = time.perf_counter()
    clone(model).set_params(max_iter=20).fit(X, y)
    return max(20, int(20 * seconds / (time.perf_counter() - begun)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds per model (5)")
    parser.add_argument("--components", type=int, default=32, help="of the PCA (32)")
    parser.add_argument("--n-jobs", type=int, default=1, help="threads (1)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    X, X_test, y, y_test = digits(args.dataset)
    pca = PCA(args.components, random_state=args.seed)
    features = pca.fit_transform(X)
    print(f"{len(X):,} digits to train on, {len(X_test):,} to test")
    print(f"{'':23}{'accuracy':>9}{'generations':>12}{'evaluations':>12}{'seconds':>8}")
    for name, settings in MODELS.items():
        model = ESMLPClassifier((64,), perturb="weights", guide=None, n_iter_no_change=10**9)
        model.set_params(sigma=0.03, **settings)
        model.set_params(n_jobs=args.n_jobs, random_state=args.seed)
        model.set_params(max_iter=affordable(model, features, y, args.budget))
        begun = time.perf_counter()
        pipeline = make_pipeline(pca, model).fit(X, y)
        seconds = time.perf_counter() - begun
        print(
            f"{name:23}{pipeline.score(X_test, y_test):9.4f}{model.n_iter_:12,}"
            f"{model.n_evaluations_:12,}{seconds:8.1f}"
        )


if __name__ == "__main__":
    main()
