"""An autoencoder whose code is a few whole numbers, which have no gradient: three ways to train it.

The encoder's outputs are replaced by the nearest of a few codes. What is usually done is to pass
gradients straight through, as if they had not been: a biased direction, and the experiment of the
Guided ES paper (Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019). The ways:

- straight through: Adam follows that direction alone;
- guided: `GuidedES` takes it for its surrogate, and losses of moved weights for what is true;
- moved units: losses of moved activations of each layer (`LayerNoise`), which need no stand-in.

All have the same batches, seconds and schedule; a rate for each is chosen on digits held out from
the training ones, the losses shown are of others. The default is scikit-learn's digits.

    python examples/vq_autoencoder.py
    python examples/vq_autoencoder.py --dataset mnist --seconds 60 --seeds 3
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from blackbox_es import Adam, GuidedES
from blackbox_es.datasets import fetch_mnist
from blackbox_es.neural.data import Data
from blackbox_es.neural.layer_noise import LayerNoise
from blackbox_es.neural.layers import Activate, Dense, VectorQuantise
from blackbox_es.neural.sequential import Sequential

RELU, BATCH = Activate("relu"), 128
RATES = 0.003, 0.01, 0.03


def images(dataset):
    """Training, validation and test images in rows, grey levels from -1/2 to 1/2."""
    if dataset == "digits":
        X = np.random.default_rng(0).permutation(load_digits().data.astype(np.float32) / 16)
        return np.split(X - 0.5, [1200, 1500])
    X, X_test = (
        fetch_mnist(subset=part)["data"].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype="f4")
        for part in ("train", "test")
    )
    X, X_test = (part.reshape(-1, 196) / np.float32(255) - 0.5 for part in (X, X_test))
    return X[:50_000], X[50_000:], X_test


def autoencoder(n_pixels):
    """Four codes, each one of sixteen: an image becomes 16 bits."""
    encoder = Dense(64), RELU, Dense(16)
    decoder = Dense(64), RELU, Dense(n_pixels)
    return Sequential((1, 1, n_pixels), (*encoder, VectorQuantise(n_codes=16, size=4), *decoder))


def batches(X, seed):
    rng = np.random.default_rng(seed)
    while True:
        x = X[rng.integers(len(X), size=BATCH)]
        yield Data(x, x)


def error(network, theta, X):
    """The mean squared error of a pixel, in per cent of the variance of pixels."""
    return 100 * np.mean((network.forward(theta, X) - X) ** 2) / np.mean((X - X.mean(axis=0)) ** 2)


def straight_through(network, theta, data, rate):
    """The gradient of each batch, as if codes were passed on unchanged."""
    adam, state = Adam(), Adam().init(theta)
    for batch in data:
        _, gradient = network.gradient(theta, batch, "squared_error")
        theta, state = adam.step(theta, gradient, state, rate())
        yield theta


def guided(network, theta, data, rate):
    """The same, as the surrogate of a search among the weights."""
    es = GuidedES(
        sigma=0.003, n_pairs=4, alpha="auto", optimizer="adam",
        learning_rate=lambda t: rate(), max_iter=10**9, random_state=0,
    ).start(theta)  # fmt: skip
    for batch in data:
        _, surrogate = network.gradient(es.x_, batch, "squared_error")
        points = es.ask(surrogate_grad=surrogate)
        es.tell(points, [np.mean((network.forward(x, batch.X) - batch.y) ** 2) for x in points])
        yield es.x_


def moved_units(network, theta, data, rate):
    """The estimate of each batch from losses alone."""
    adam, state = Adam(), Adam().init(theta)
    for t, batch in enumerate(data):
        noise = LayerNoise(network, theta, batch.X, n_pairs=64, sigma=0.1)
        plus, minus = noise.losses((0, t), "squared_error", batch.y)
        theta, state = adam.step(theta, noise.gradient((0, t), plus - minus), state, rate())
        yield theta


WAYS = {"straight through": straight_through, "guided": guided, "moved units": moved_units}


def trained(way, network, X, seconds, largest, seed):
    """The weights after so many seconds, during which the rate falls to zero, and the steps."""
    theta = network.initial(np.random.default_rng(seed)).astype(np.float32)
    begun = time.perf_counter()

    def left():
        return max(0.0, 1.0 - (time.perf_counter() - begun) / seconds)

    walk = WAYS[way](network, theta, batches(X, seed), lambda: max(1e-9, largest * left()))
    for step, theta in enumerate(walk, 1):
        if left() == 0.0:
            return theta, step
    raise AssertionError("batches never end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    X, X_validation, X_test = images(options.dataset)
    network = autoencoder(X.shape[1])
    for way in WAYS:
        trained(way, network, X, 0.1, RATES[0], 0)  # compiles
    print("squared error, per cent of the variance of pixels")
    for way in WAYS:
        tried = {}
        for rate in RATES:
            theta, _ = trained(way, network, X, options.seconds, rate, 100)
            tried[rate] = error(network, theta, X_validation)
        best, found = min(tried, key=tried.get), []
        for seed in range(options.seeds):
            theta, steps = trained(way, network, X, options.seconds, best, seed)
            found.append(error(network, theta, X_test))
        each = " ".join(f"{value:.2f}" for value in found)
        print(f"{way:16} {each}   {steps:,} steps, rate {best}", flush=True)


if __name__ == "__main__":
    main()
