"""``python -m blackbox_es mnist``: a network is trained on digits without a gradient."""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import blackbox_es
from blackbox_es.cli.options import at_least, draw, figure, seconds, threads

Array = npt.NDArray[Any]

_COMPONENTS = 48  # principal components kept of 784 pixels: 82 % of their variance
_PROBE = 20  # generations timed to find how many fit into the budget
_SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
# That perturb weights: threads share large generations best
_PAIRS = {"mnist": 2048, "digits": 256}
_HIDDEN = {"weights": (64,), "activations": (256,)}


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "mnist",
        help="train a network on MNIST by evolution strategies",
        description="Train a multilayer perceptron on the 60,000 MNIST digits by evolution "
        "strategies, without a gradient, and test it on the other 10,000.",
    )
    parser.add_argument(
        "--budget", type=seconds, default=50.0, metavar="SECONDS", help="training time (50)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument(
        "--dataset",
        choices=("mnist", "digits"),
        default="mnist",
        help="digits: scikit-learn's 1,797 digits of 8x8 pixels, no download",
    )
    parser.add_argument(
        "--perturb",
        choices=("weights", "activations"),
        default="weights",
        help="activations: node perturbation, on pixels",
    )
    parser.add_argument("--raw", action="store_true", help="pixels, without PCA in front")
    parser.add_argument(
        "--edges", action="store_true", help="pooled edges in front, in place of pixels"
    )
    parser.add_argument(
        "--shifts", action="store_true", help="train on digits moved by a pixel each way, too"
    )
    parser.add_argument("--hidden", type=at_least(1), nargs="+", metavar="UNITS")
    parser.add_argument("--n-jobs", type=threads, default=-1, help="threads (all cores)")
    parser.add_argument("--data-home", type=Path, help="where MNIST is kept")
    parser.add_argument("--out", type=figure, default=Path("mnist.png"), help="the figure")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, test and draw."""
    from sklearn.pipeline import make_pipeline

    train, test = _digits(arguments)
    print(f"{arguments.dataset}: {len(train[0]):,} digits to train on, {len(test[0]):,} to test")
    begun = time.perf_counter()
    hidden = tuple(arguments.hidden or _HIDDEN[arguments.perturb])
    model = blackbox_es.ESMLPClassifier(
        hidden,
        perturb=arguments.perturb,
        guide=None,
        n_pairs=_PAIRS[arguments.dataset] if arguments.perturb == "weights" else None,
        n_jobs=arguments.n_jobs,
        random_state=arguments.seed,
        n_iter_no_change=2**31,
    )
    front = _front(arguments).fit(train[0])
    shifts = _SHIFTS if arguments.shifts else _SHIFTS[:1]
    features = np.concatenate([front.transform(_moved(train[0], *by)) for by in shifts])
    labels = np.tile(train[1], len(shifts))
    spent = time.perf_counter() - begun
    print(
        "timing a few generations; the first time, they are compiled, which takes a little longer"
    )
    n_iter = _affordable(model, features, labels, arguments.budget - spent)
    sizes = (features.shape[1], *hidden, len(np.unique(labels)))
    rate = _rate(arguments.perturb, sizes, n_iter)
    model.set_params(max_iter=n_iter, learning_rate_init=rate)
    begun = time.perf_counter()
    model.set_params(verbose=1).fit(features, labels)
    seconds = spent + time.perf_counter() - begun
    accuracy = make_pipeline(front, model).score(*test)
    print(
        f"network           {'-'.join(map(str, sizes))}\n"
        f"generations       {model.n_iter_:,} of {model.n_evaluations_ // (2 * model.n_iter_):,} "
        "antithetic pairs\n"
        f"test accuracy     {accuracy:.4f}\n"
        f"training          {seconds:.1f} s\n"
        f"loss evaluations  {model.n_evaluations_:,}\n"
        f"example-forwards  {model.n_example_forwards_:,}"
    )
    title = f"{arguments.dataset}: {accuracy:.2%} of the test digits right after {seconds:.0f} s"
    draw(arguments.out, _loss_curve(model), title, "example-forwards", "training loss")


def _rate(perturb: str, sizes: tuple[int, ...], n_iter: int) -> float:
    """The more generations, the smaller steps: noise alone leads ``rate sqrt(n_iter)`` far.

    How far it may was found on the last 10,000 training digits: the less, the more weights there
    are to be led astray; see tests/benchmarks/search.py.
    """
    n_weights = sum(m * n for m, n in pairwise(sizes))
    far = 0.2 if perturb == "activations" else 10.0 / n_weights ** (1 / 3)
    return min(0.02, far / math.sqrt(n_iter))


def _front(arguments: argparse.Namespace) -> Any:
    """What stands in front of the network: a pipeline that is fitted to the training digits."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    steps = [FunctionTransformer(_unit_range)]
    if arguments.edges:
        steps.append(FunctionTransformer(_edges))
    if arguments.raw or arguments.dataset == "digits" or arguments.perturb == "activations":
        steps.append(StandardScaler(with_std=False))
    else:
        steps.append(PCA(_COMPONENTS, random_state=arguments.seed))
    return make_pipeline(*steps)


def _loss_curve(model: Any) -> dict[str, Any]:
    """The training loss over example-forwards, averaged over a hundredth of the run."""
    loss = np.array(model.loss_curve_)
    width = max(1, len(loss) // 100)
    smooth = np.convolve(loss, np.full(width, 1.0 / width), mode="valid")
    end = np.arange(width, len(loss) + 1) * (model.n_example_forwards_ / len(loss))
    return {"training loss": (end, smooth)}


def _digits(arguments: argparse.Namespace) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Training and test digits."""
    if arguments.dataset == "mnist":
        from blackbox_es.datasets import fetch_mnist

        train = fetch_mnist(arguments.data_home, return_X_y=True, subset="train")
        return train, fetch_mnist(arguments.data_home, return_X_y=True, subset="test")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    return (X_train, y_train), (X_test, y_test)


def _unit_range(X: Array) -> Array:
    """Grey levels between 0 and 1, whether of 8 bits or of 4."""
    return X.astype(np.float32) / np.float32(255 if X.dtype == np.uint8 else 16)


def _moved(X: Array, down: int, right: int) -> Array:
    """Images in rows, moved by some pixels; what leaves at one side comes in at the other."""
    side = math.isqrt(X.shape[1])
    return np.roll(X.reshape(-1, side, side), (down, right), axis=(1, 2)).reshape(X.shape)


def _edges(X: Array) -> Array:
    """Edges of eight orientations, averaged around every fourth pixel: a fixed layer, not trained.

    Which are 49 places of the digits of MNIST, and 4 of those of 8x8 pixels.
    """
    from scipy.ndimage import gaussian_filter

    side = math.isqrt(X.shape[1])
    images = gaussian_filter(X.reshape(-1, side, side), (0.0, 0.7, 0.7))
    down, right = np.gradient(images, axis=(1, 2))
    maps = []
    for angle in np.arange(8) * (np.pi / 4):
        slope = np.float32(math.cos(angle)) * right + np.float32(math.sin(angle)) * down
        pooled = gaussian_filter(np.maximum(slope, 0.0), (0.0, 2.0, 2.0))[:, 2::4, 2::4]
        maps.append(10.0 * pooled.reshape(len(X), -1))
    return np.concatenate(maps, axis=1).astype(np.float32)


def _affordable(model: Any, X: Array, y: Array, seconds: float) -> int:
    """How many generations fit into the time left, by timing a few: the run is then repeatable."""
    from sklearn.base import clone

    probe = clone(model).set_params(max_iter=2).fit(X, y)  # compiles, or loads what was compiled
    times = []
    for n_iter in (_PROBE, 3 * _PROBE):  # the difference is free of what a fit does only once
        begun = time.perf_counter()
        probe.set_params(max_iter=n_iter).fit(X, y)
        times.append(time.perf_counter() - begun)
    each = max(times[1] - times[0], 0.1 * times[1]) / (2 * _PROBE)
    return max(1, int((seconds - sum(times)) / each))
