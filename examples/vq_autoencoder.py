"""An autoencoder whose code is four whole numbers, which have no gradient, trained in two ways.

What the encoder says is replaced by the nearest of a few codes. Usually gradients are passed
straight through, as if it had not been: a biased direction, and an experiment of Maheswaranathan,
Metz, Tucker, Choi and Sohl-Dickstein (2019), "Guided evolutionary strategies". The ways:

- straight through: Adam follows that direction alone;
- guided: it is the surrogate of a guided estimate by losses of moved weights.

Seconds and batches are the same for both, and each rate, chosen on other seeds and images, falls to
zero. A guided step takes nine forward passes more, and so there are fewer of them.

    python examples/vq_autoencoder.py
    python examples/vq_autoencoder.py --dataset mnist --seconds 60 --seeds 3
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from blackbox_es import Adam, estimate_gradient
from blackbox_es.datasets import fetch_mnist
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import Activate, Dense, VectorQuantise
from blackbox_es.neural.sequential import Sequential


def images(dataset):
    """Training and test images in rows, grey levels from -1/2 to 1/2."""
    if dataset == "digits":
        X = np.random.default_rng(0).permutation(load_digits().data.astype(np.float32) / 16)
        return X[:1400] - 0.5, X[1400:] - 0.5
    parts = (fetch_mnist(subset=part)["data"] for part in ("train", "test"))
    small = (X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype="f4") for X in parts)
    return tuple(X.reshape(-1, 196) / np.float32(255) - 0.5 for X in small)


def autoencoder(n_pixels):
    """Four codes, each one of sixteen: an image becomes 16 bits."""
    encoder, decoder = (Dense(64), Activate("relu"), Dense(16)), (Dense(64), Activate("relu"))
    codes = VectorQuantise(n_codes=16, size=4)
    return Sequential((1, 1, n_pixels), (*encoder, codes, *decoder, Dense(n_pixels)))


def error(network, theta, X):
    """The squared error of pixels, in per cent of their variance."""
    return 100 * np.mean((network.forward(theta, X) - X) ** 2) / np.mean((X - X.mean(axis=0)) ** 2)


def straight_through(network, theta, batch, t):
    return network.gradient(theta, batch, "squared_error")[1]


def guided(network, theta, batch, t):
    surrogate = straight_through(network, theta, batch, t)
    return estimate_gradient(
        lambda x: np.mean((network.forward(x, batch.X) - batch.y) ** 2),
        theta, surrogate, sigma=0.003, n_pairs=4, random_state=t,
    )  # fmt: skip


WAYS = {
    "straight through": (straight_through, 0.003),
    "guided": (guided, 0.003),
}


def trained(network, X, gradient, rate, seconds, seed):
    """The weights after so many seconds, and the steps."""
    rng, begun, left, t = np.random.default_rng(seed), time.perf_counter(), 1.0, 0
    theta = network.initial(rng).astype(np.float32)
    state = Adam().init(theta)
    while left > 0:
        x = X[rng.integers(len(X), size=128)]
        theta, state = Adam().step(
            theta, gradient(network, theta, Data(x, x), t), state, rate * left
        )
        left, t = 1.0 - (time.perf_counter() - begun) / seconds, t + 1
    return theta, t


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    X, X_test = images(options.dataset)
    network = autoencoder(X.shape[1])
    print("squared error of test images, per cent of the variance of their pixels")
    for name, how in WAYS.items():
        trained(network, X, *how, 0.1, 0)  # compiles
        runs = [trained(network, X, *how, options.seconds, s) for s in range(options.seeds)]
        each = " ".join(f"{error(network, theta, X_test):.2f}" for theta, _ in runs)
        print(f"{name:16} {each}   {np.mean([step for _, step in runs]):,.0f} steps", flush=True)


if __name__ == "__main__":
    main()
