"""MNIST with weights of few bits: what is learnt in how many seconds.

    python tests/benchmarks/quantised.py                # on the test digits, three seeds
    python tests/benchmarks/quantised.py --validation   # on the last 10,000 training digits

`ESMLPClassifier` with activations perturbed, of 128 hidden units on raw pixels, whose weights are
numbers, 8 bits, three values or two; beside it straight-through gradients alone: Adam follows the
gradient by the quantised weights as if it were that by the trained ones, with the same batches,
rates and steps, for as long.
"""

import argparse
import time

import numpy as np
from digits import digits

from blackbox_es import Adam, ESMLPClassifier
from blackbox_es.neural.data import Data
from blackbox_es.neural.network import Network

WEIGHTS = "float", "int8", "ternary", "binary"


def straight_through(weights, X, y, seconds, n_steps, seed):
    """A network and its weights; its rate falls to zero at the end of the time or of the steps."""
    rng, network = np.random.default_rng(seed), Network((784, 128, 10), "relu", weights)
    x, adam, mean = network.initial(rng).astype(np.float32), Adam(), X.mean(axis=0)
    state, begun = adam.init(x), time.perf_counter()
    for t in range(n_steps):
        left = 1 - max(t / n_steps, (time.perf_counter() - begun) / seconds)
        if left <= 0:
            break
        rows = rng.integers(len(X), size=128)
        batch = Data(2 * (X[rows] - mean), y[rows])
        _, gradient = network.gradient(x, batch, "log_loss")
        x, state = adam.step(x, gradient, state, min(0.01, 0.2 / n_steps**0.5) * left)
    return network, x, mean


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=1600)
    options = parser.parse_args()
    X, y, X_test, y_test = digits(options.validation)
    print("| weights | seconds | accuracy | straight-through alone, in as many steps |")
    print("|---|---|---|---|")
    for weights in WEIGHTS:
        rows = []
        for seed in range(options.seeds):
            model = ESMLPClassifier(
                (128,), weights=weights, n_iter_no_change=10**9, max_iter=options.generations,
                random_state=seed,
            )  # fmt: skip
            model.set_params(max_iter=3).fit(X, y)  # compiles
            model.set_params(max_iter=options.generations)
            begun = time.perf_counter()
            model.fit(X, y)
            seconds, n_steps = time.perf_counter() - begun, options.generations
            network, x, mean = straight_through(weights, X, y, seconds, n_steps, seed)
            said = network.forward(x, 2 * (X_test - mean)).argmax(axis=1)
            rows.append((seconds, model.score(X_test, y_test), np.mean(said == y_test)))
        seconds, ours, theirs = np.median(rows, axis=0)
        print(f"| {weights} | {seconds:.1f} | {ours:.4f} | {theirs:.4f} |", flush=True)


if __name__ == "__main__":
    main()
