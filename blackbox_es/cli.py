"""The command line: ``python -m blackbox_es mnist`` and ``python -m blackbox_es quadratic``."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import blackbox_es

Array = npt.NDArray[Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all went well."""
    parser = argparse.ArgumentParser(
        prog="blackbox-es",
        description="Evolution strategies at work. `COMMAND --help` tells the options.",
    )
    parser.add_argument("--version", action="version", version=blackbox_es.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_mnist(commands)
    _add_quadratic(commands)
    arguments = parser.parse_args(argv)
    try:
        run: Callable[..., None] = arguments.run
        run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except OSError as error:  # no data, no room for the figure: the message says what to do
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return integer


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _threads(text: str) -> int:
    if int(text) == 0:
        raise argparse.ArgumentTypeError("0 threads: take 1 or more, or -1 for all cores")
    return int(text)


def _figure(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


# -- mnist -----------------------------------------------------------------------------------------

_COMPONENTS = 48  # principal components kept of 784 pixels: 82 % of their variance
_PROBE = 20  # generations timed to find how many fit into the budget
_SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
_PAIRS = {
    "mnist": 2048,
    "digits": 256,
}  # that perturb weights: threads share large generations best
_HIDDEN = {"weights": (64,), "activations": (256,)}


def _add_mnist(commands: Any) -> None:
    parser = commands.add_parser(
        "mnist",
        help="train a network on MNIST by evolution strategies",
        description="Train a multilayer perceptron on the 60,000 MNIST digits by evolution "
        "strategies, without a gradient, and test it on the other 10,000.",
    )
    parser.add_argument(
        "--budget", type=_seconds, default=50.0, metavar="SECONDS", help="training time (50)"
    )
    parser.add_argument("--seed", type=_at_least(0), default=0)
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
    parser.add_argument("--hidden", type=_at_least(1), nargs="+", metavar="UNITS")
    parser.add_argument("--n-jobs", type=_threads, default=-1, help="threads (all cores)")
    parser.add_argument("--data-home", type=Path, help="where MNIST is kept")
    parser.add_argument("--out", type=_figure, default=Path("mnist.png"), help="the figure")
    parser.set_defaults(run=_mnist)


def _mnist(arguments: argparse.Namespace) -> None:
    from sklearn.pipeline import make_pipeline

    train, test = _digits(arguments)
    print(f"{arguments.dataset}: {len(train[0]):,} digits to train on, {len(test[0]):,} to test")
    begun = time.perf_counter()
    hidden = tuple(arguments.hidden or _HIDDEN[arguments.perturb])
    model = blackbox_es.ESMLPClassifier(
        hidden,
        perturb=arguments.perturb,
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
    _draw(arguments.out, _loss_curve(model), title, "example-forwards", "training loss")


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


# -- quadratic -------------------------------------------------------------------------------------

_MARKS = (100, 1000, 2000, 5000, 10000)


def _add_quadratic(commands: Any) -> None:
    parser = commands.add_parser(
        "quadratic",
        help="the paper's perturbed quadratic: SGD, vanilla ES and guided ES",
        description="Minimise a quadratic of 1,000 variables whose gradient is biased and noisy, "
        "with the settings of the authors' notebooks and with tuned ones, one antithetic pair an "
        "iteration (Maheswaranathan et al. 2019, figure 1b).",
    )
    parser.add_argument("--iterations", type=_at_least(1), default=10_000, metavar="N")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of the search")
    parser.add_argument("--problem-seed", type=_at_least(0), default=2)
    parser.add_argument("--out", type=_figure, default=Path("quadratic.png"), help="the figure")
    parser.set_defaults(run=_quadratic)


def _quadratic(arguments: argparse.Namespace) -> None:
    from threadpoolctl import threadpool_limits

    from blackbox_es.problems import PerturbedQuadratic

    n_iter, seed = arguments.iterations, arguments.seed
    problem = PerturbedQuadratic(seed=arguments.problem_seed)
    common = {
        "sigma": 0.1, "n_pairs": 1, "optimizer": "sgd", "max_iter": n_iter,
        "vectorized": True, "random_state": seed, "verbose": 1,
    }  # fmt: skip
    vanilla, guided = blackbox_es.VanillaES, blackbox_es.GuidedES
    runs = {
        "SGD on the surrogate, rate .005": None,
        "vanilla ES, rate .2": vanilla(beta=1.0, learning_rate=0.2, **common),
        "guided ES, alpha .5, beta 2, rate .2": guided(
            alpha=0.5, beta=2.0, learning_rate=0.2, **common
        ),
        "vanilla ES, tuned: rate 1": vanilla(beta=1.0, learning_rate=1.0, **common),
        "guided ES, tuned: alpha .9, beta 1, rate .8": guided(
            alpha=0.9, beta=1.0, learning_rate=0.8, **common
        ),
    }
    marks = [mark for mark in _MARKS if mark < n_iter] + [n_iter]
    print(
        f"f(x) = |Ax - b|^2 / 2m, n = 1,000, m = 2,000, seed {arguments.problem_seed}: "
        f"f(x0) - f* = {problem(problem.x0) - problem.minimum:.6f}\n"
    )
    print(
        f"{'f - f* after iteration':44}" + "".join(f"{m:>8,}" for m in marks) + "  evaluations  s"
    )
    curves = {}
    with threadpool_limits(1):  # one matrix-vector product at a time: threads only cost
        for name, es in runs.items():
            begun = time.perf_counter()
            gaps = np.empty(n_iter)
            if es is None:
                _follow(problem, problem.surrogate(seed), 0.005, gaps)
            else:
                surrogate = problem.surrogate(seed) if isinstance(es, guided) else None
                es.fit(problem, problem.x0, surrogate, callback=_Gaps(problem, gaps))
            row = "".join(f"{gaps[mark - 1]:8.4f}" for mark in marks)
            evaluations = 0 if es is None else es.n_evaluations_
            print(f"{name:44}{row}{evaluations:13,}{time.perf_counter() - begun:5.1f}")
            curves[name] = (np.arange(1, n_iter + 1), gaps)
    _draw(arguments.out, curves, "one antithetic pair an iteration", "iteration", "f - f*")


def _follow(problem: Any, gradient: Callable[[Array], Array], rate: float, gaps: Array) -> None:
    """Gradient descent on the surrogate."""
    x = problem.x0.copy()
    for i in range(gaps.size):
        x -= rate * gradient(x)
        gaps[i] = problem(x) - problem.minimum


class _Gaps:
    """A callback that writes down ``f - f*``."""

    def __init__(self, problem: Any, gaps: Array) -> None:
        self.problem, self.gaps, self.i = problem, gaps, 0

    def __call__(self, x: Array) -> None:
        self.gaps[self.i] = self.problem(x) - self.problem.minimum
        self.i += 1


def _draw(path: Path, curves: dict[str, Any], title: str, xlabel: str, ylabel: str) -> None:
    from blackbox_es.plotting import ConvergenceDisplay

    try:
        display = ConvergenceDisplay(curves, xlabel=xlabel, ylabel=ylabel).plot()
    except ImportError as error:
        print(f"\nno figure: {error}")
        return
    display.ax_.set_title(title)
    display.figure_.savefig(path)
    print(f"\nfigure: {path}")
