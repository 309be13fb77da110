"""A network of PyTorch, trained by its own optimizer on gradients that nobody has differentiated.

`ESGradient` takes the place of `loss.backward()`: it evaluates the loss around the parameters and
leaves an estimate in their `.grad`. The first model minimises the log loss so, which shows that it
works, and which backpropagation would do better. The second one minimises the number of mistakes,
which has no slope anywhere, from its values and guided by the gradient of the log loss.

Expect both to be far better than chance, and the guided one ahead. The default is scikit-learn's
1,797 digits of 8 x 8 pixels, which need no download; on MNIST take more steps.

    python examples/torch_mnist.py
    python examples/torch_mnist.py --steps 30                            # two seconds
    python examples/torch_mnist.py --dataset mnist --steps 3000
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import cross_entropy

from blackbox_es.datasets import fetch_mnist
from blackbox_es.torch import ESGradient


def digits(dataset):
    """X_train, X_test, y_train, y_test, grey levels from 0 to 1."""
    if dataset == "mnist":
        X, y = fetch_mnist(return_X_y=True)
        X, y, n_test = X / np.float32(255), y.astype(int), 10_000
    else:
        X, y = load_digits(return_X_y=True)
        X, n_test = X.astype(np.float32) / 16, 450
    parts = train_test_split(X, y, random_state=0, stratify=y, test_size=n_test)
    return [torch.from_numpy(part) for part in parts]


def train(X, y, mistakes, steps):
    """A network after some steps of Adam, each on 256 digits."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )

    def log_loss(X, y):
        return cross_entropy(model(X), y)

    def error(X, y):
        return (model(X).argmax(1) != y).float().mean()

    if mistakes:
        es = ESGradient(model, error, guide=log_loss, sigma=0.05, n_pairs=32, random_state=0)
    else:
        es = ESGradient(model, log_loss, sigma=0.05, n_pairs=32, random_state=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        rows = torch.randint(len(X), (256,))
        optimizer.zero_grad()
        es.backward(X[rows], y[rows])
        optimizer.step()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    X, X_test, y, y_test = digits(arguments.dataset)
    print(f"{len(X):,} digits to train on, {len(X_test):,} to test")
    for name, mistakes in (("log loss", False), ("mistakes, guided", True)):
        model = train(X, y, mistakes, arguments.steps)
        accuracy = (model(X_test).argmax(1) == y_test).float().mean()
        print(f"{name:18} {accuracy:.3f} right")


if __name__ == "__main__":
    main()
