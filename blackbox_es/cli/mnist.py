"""``python -m blackbox_es mnist``: networks learn digits without a gradient, and with one."""

from __future__ import annotations

import argparse
import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import blackbox_es
from blackbox_es.cli.options import at_least, figure, save, seconds, threads

Array = npt.NDArray[Any]

_SHARES = 8, 4, 2, 1  # of the budget: runs that are each as long as those before together
_SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
_WITHOUT, _WITH = "evolution strategy", "backpropagation"


class Run(NamedTuple):
    """A whole fit."""

    seconds: float
    n_iter: int  # generations, or passes over the digits
    accuracy: float  # on digits not trained on
    model: Any


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "mnist",
        help="train a network on MNIST by an evolution strategy, beside backpropagation",
        description="Train a network on the 60,000 MNIST digits without a gradient, and the same "
        "network by scikit-learn's backpropagation, both on the same cores and for an eighth, a "
        "quarter, half and all of the budget; test them on the other 10,000.",
    )
    parser.add_argument(
        "--budget", type=seconds, default=2.0, metavar="SECONDS", help="of the longest run (2)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument(
        "--dataset",
        choices=("mnist", "digits"),
        default="mnist",
        help="digits: scikit-learn's 1,797 digits of 8x8 pixels, no download",
    )
    parser.add_argument(
        "--edges", action="store_true", help="pooled edges in front, in place of pixels"
    )
    parser.add_argument(
        "--shifts", action="store_true", help="train on digits moved by a pixel each way, too"
    )
    parser.add_argument("--hidden", type=at_least(1), nargs="+", default=[128], metavar="UNITS")
    parser.add_argument("--n-jobs", type=threads, default=-1, help="threads of both (all cores)")
    parser.add_argument("--data-home", type=Path, help="where MNIST is kept")
    parser.add_argument("--out", type=figure, default=Path("mnist.png"), help="the figure")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, test and draw."""
    from joblib import effective_n_jobs
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    (images, labels), (test_images, test_labels) = _digits(arguments)
    shifts = _SHIFTS if arguments.shifts else _SHIFTS[:1]
    front = _edges if arguments.edges else np.asarray
    X = np.concatenate([front(_unit_range(_moved(images, *by))) for by in shifts])
    train, test_X = (X, np.tile(labels, len(shifts))), front(_unit_range(test_images))
    test = test_X, test_labels
    hidden, n_threads = tuple(arguments.hidden), effective_n_jobs(arguments.n_jobs)
    sizes = "-".join(map(str, (X.shape[1], *hidden, len(np.unique(labels)))))
    print(
        f"{arguments.dataset}: {len(X):,} digits to train on, {len(test_labels):,} to test; "
        f"network {sizes}, threads: {n_threads}\n"
        "timing a few generations; the first time, they are compiled, which takes a little longer"
    )
    strategy = blackbox_es.ESMLPClassifier(
        hidden, n_iter_no_change=2**31, n_jobs=n_threads, random_state=arguments.seed
    )
    backward = MLPClassifier(hidden, n_iter_no_change=2**31, random_state=arguments.seed)
    print(f"\n{'':20}{'seconds':>8}{'generations':>13}{'passes':>9}{'test accuracy':>15}")
    with threadpool_limits(n_threads), warnings.catch_warnings(action="ignore"):  # not converged
        runs = {
            _WITHOUT: _runs(_WITHOUT, strategy, (50, 200), arguments.budget, train, test),
            _WITH: _runs(_WITH, backward, (1, 2), arguments.budget, train, test),
        }
    model = runs[_WITHOUT][-1].model
    print(
        f"\nA generation: {model.n_evaluations_ // model.n_iter_:,} losses of one digit each; "
        f"example-forwards of the longest run: {model.n_example_forwards_:,}"
    )
    save(arguments.out, lambda: _picture(runs, test, test_images, not arguments.edges))


def _runs(
    name: str,
    model: Any,
    few: tuple[int, int],
    budget: float,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
) -> list[Run]:
    """Whole fits, each told how long it is: by numbers of iterations, so that it can be repeated.

    How long an iteration takes is known from two fits of a few, and then from the last run.
    """
    from sklearn.base import clone

    clone(model).set_params(max_iter=2).fit(*train)  # compiles, or loads what was compiled
    times = [_fit(model, n_iter, train, test).seconds for n_iter in few]
    each = max(times[1] - times[0], 0.1 * times[1]) / (few[1] - few[0])
    once, found = max(0.0, times[0] - few[0] * each), []
    for share in _SHARES:
        n_iter = max(1, round((budget / share - once) / each))
        found.append(run := _fit(model, n_iter, train, test))
        each = max(run.seconds - once, 0.1 * run.seconds) / n_iter  # the longer, the better known
        generations, passes = "", float(n_iter)
        if name == _WITHOUT:
            generations, passes = f"{n_iter:,}", run.model.t_ / len(train[0])
        print(f"{name:20}{run.seconds:8.2f}{generations:>13}{passes:9.1f}{run.accuracy:15.4f}")
    return found


def _fit(model: Any, n_iter: int, train: tuple[Array, Array], test: tuple[Array, Array]) -> Run:
    from sklearn.base import clone

    fitted, begun = clone(model).set_params(max_iter=n_iter), time.perf_counter()
    fitted.fit(*train)
    return Run(time.perf_counter() - begun, n_iter, fitted.score(*test), fitted)


def _picture(
    runs: dict[str, list[Run]], test: tuple[Array, Array], images: Array, of_pixels: bool
) -> Any:
    """Errors over seconds, digits that are still wrong, and what the first units look for."""
    from matplotlib.figure import Figure

    model, side = runs[_WITHOUT][-1].model, math.isqrt(images.shape[1])
    drawing: Any = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    left, right = drawing.subfigures(1, 2, width_ratios=(1.05, 1))
    ax = left.subplots()
    for (name, found), style in zip(runs.items(), ("o-", "s--"), strict=True):
        errors = [100 * (1 - run.accuracy) for run in found]
        color = "C0" if name == _WITHOUT else "C1"
        ax.plot([run.seconds for run in found], errors, style, color=color, linewidth=1.8)
        ax.annotate(
            name, (found[1].seconds, errors[1]), (6, 6), textcoords="offset points", color=color
        )
    _plain_log(ax)
    ax.set(xlabel="seconds of training", ylabel="test digits wrong, per cent")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, which="both")
    ax.set_title(
        f"{runs[_WITHOUT][-1].accuracy:.1%} right after {runs[_WITHOUT][-1].seconds:.1f} s, "
        "without a gradient",
        loc="left",
    )
    panels = right.subfigures(1 + of_pixels, 1)
    top, *rest = np.ravel(panels)
    said = model.predict(test[0])
    wrong = np.flatnonzero(said != test[1])[:24]
    top.suptitle("still wrong: what it is, and what was said", fontsize="medium")
    for axis, i in zip(top.subplots(3, 8).ravel(), [*wrong, *[None] * 24], strict=False):
        axis.set_axis_off()
        if i is not None:
            axis.imshow(images[i].reshape(side, side), cmap="gray_r")
            axis.set_title(f"{test[1][i]}, {said[i]}", fontsize="small", pad=2)
    for part in rest:
        part.suptitle("what the first layer looks for", fontsize="medium")
        W = model.coefs_[0]
        units = np.argsort(-np.linalg.norm(W, axis=0))[:24]
        for axis, j in zip(part.subplots(3, 8).ravel(), [*units, *[None] * 24], strict=False):
            axis.set_axis_off()
            if j is not None:
                most = np.abs(W[:, j]).max()
                axis.imshow(W[:, j].reshape(side, side), cmap="RdBu_r", vmin=-most, vmax=most)
    return drawing


def _plain_log(ax: Any) -> None:
    """Both axes logarithmic, with plain numbers that lie between powers of ten, too."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


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
