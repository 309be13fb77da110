"""MNIST, raw pixels, one hidden layer: accuracy over seconds, beside backpropagation.

    python tests/benchmarks/race.py                # on the test digits, both cores, five seeds
    python tests/benchmarks/race.py --validation   # on the last 10,000 training digits

`ESMLPClassifier` with activations perturbed and `MLPClassifier` of the same hidden layer, in turn,
in one process: medians over seeds of the accuracy and of the seconds of a whole fit. All but the
length of the fits is as it is by default; these and the defaults were chosen on the last 10,000
training digits.
"""

import argparse
import time
import warnings

import numpy as np
from digits import digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from blackbox_es import ESMLPClassifier

GENERATIONS = (100, 150, 200, 250, 300, 400, 500, 650, 800, 1200, 1600, 3200)
PASSES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)


def timed(model, X, y, X_test, y_test):
    """Seconds of the fit, and the accuracy."""
    begun = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - begun, model.score(X_test, y_test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=128)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y, X_test, y_test = digits(options.validation)
    common = {"n_jobs": options.n_jobs, "n_iter_no_change": 10**9}
    ESMLPClassifier((options.hidden,), max_iter=3, **common).fit(X, y)  # compiles
    runs = {}
    for seed in range(options.seeds):
        for n in GENERATIONS:
            model = ESMLPClassifier((options.hidden,), max_iter=n, random_state=seed, **common)
            runs.setdefault(("ES, generations", n), []).append(timed(model, X, y, X_test, y_test))
        for n in PASSES:
            model = MLPClassifier((options.hidden,), max_iter=n, random_state=seed)
            runs.setdefault(("MLPClassifier, passes", n), []).append(
                timed(model, X, y, X_test, y_test)
            )
    print("| what | budget | seconds | accuracy |")
    print("|---|---|---|---|")
    for (what, n), found in runs.items():
        seconds, accuracy = np.median(found, axis=0)
        print(f"| {what} | {n:,} | {seconds:.2f} | {accuracy:.4f} |")


if __name__ == "__main__":
    main()
