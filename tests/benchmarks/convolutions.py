"""MNIST with convolutions that are learnt: accuracy, example-forwards and seconds.

    python tests/benchmarks/convolutions.py small
    python tests/benchmarks/convolutions.py large --shifts --n-jobs 2 --seeds 5

`small` is two convolutions of six channels (4,012 weights), `large` of 8 and 16 (11,274), `longer`
the same with more generations. With ``--shifts`` digits moved by a pixel each way are trained on,
too. Settings were chosen on the last 10,000 training digits; all 60,000 are trained on here, and
the test digits looked at once per run.
"""

import argparse
import time

import numpy as np
from digits import digits

from blackbox_es import ESConvNetClassifier
from blackbox_es.neural.layers import Conv2D, MaxPool2D

SETTINGS = {
    "small": {"n_pairs": 32, "max_iter": 8000, "learning_rate_init": 0.005},
    "large": {
        "layers": (Conv2D(8), MaxPool2D(2), "tanh", Conv2D(16), MaxPool2D(2), "tanh"),
        "n_pairs": 48,
        "max_iter": 10_000,
        "learning_rate_init": 0.0035,
    },
}
SETTINGS["longer"] = SETTINGS["large"] | {"max_iter": 22_000, "learning_rate_init": 0.0024}
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", choices=SETTINGS)
    parser.add_argument("--shifts", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args()
    X, y, X_test, y_test = digits()
    if options.shifts:
        images = X.reshape(-1, 28, 28)
        X = np.concatenate([np.roll(images, by, axis=(1, 2)).reshape(X.shape) for by in SHIFTS])
        y = np.tile(y, len(SHIFTS))
    print("| seed | example-forwards | processor seconds | seconds | accuracy |")
    print("|---|---|---|---|---|")
    for seed in range(options.seed, options.seed + options.seeds):
        model = ESConvNetClassifier(
            **SETTINGS[options.network], batch_size=128, tol=0, n_iter_no_change=10**9,
            n_jobs=options.n_jobs, random_state=seed,
        )  # fmt: skip
        processor, begun = time.process_time(), time.perf_counter()
        model.fit(X, y)
        spent = f"{time.process_time() - processor:.0f} | {time.perf_counter() - begun:.0f}"
        forwards, accuracy = model.n_example_forwards_, model.score(X_test, y_test)
        print(f"| {seed} | {forwards:.2g} | {spent} | {accuracy:.4f} |", flush=True)


if __name__ == "__main__":
    main()
