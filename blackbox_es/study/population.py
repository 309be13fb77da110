"""How large a population pays, on digits: accuracy by cost, and how good the estimates are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import ESConvNetClassifier, ESMLPClassifier, LowRank, estimate_gradient
from blackbox_es.neural.conv_net import LAYERS
from blackbox_es.neural.data import Data
from blackbox_es.neural.layers import Activate, Conv2D, Dense, Layer, MaxPool2D
from blackbox_es.neural.network import FlatNetwork, Network
from blackbox_es.neural.objective import NetworkObjective
from blackbox_es.neural.sequential import Sequential
from blackbox_es.plotting import ConvergenceDisplay
from blackbox_es.plotting.axes import COLORS, STYLES, label_ends, new_axes, plain_ticks
from blackbox_es.study.base import Cell, Row, Study, column, crossed, curves, table

Array = npt.NDArray[Any]

POPULATIONS = (25, 50, 100, 200, 400)
# Test accuracy after 12,000 steps, read off the figure of S. Greydanus's evostrats (2019)
PUBLISHED = {25: 0.948, 50: 0.969, 100: 0.976, 200: 0.979, 400: 0.982}

_STEPS, _BATCH, _HIDDEN = 12_000, 100, 64
_MARKS = 40  # steps, on a logarithmic scale, at which accuracy is measured
_EVERY = 5  # of them one at which the estimate is
_TRUE = 10_000  # examples that the true gradient is the mean of
_ESTIMATES = 3  # at a mark


class Digits(NamedTuple):
    """What is learnt, and by what."""

    train: Data
    test: Data
    conv: FlatNetwork
    mlp: FlatNetwork


class Population(Study):
    """Populations of 25 to 400 on MNIST: a convolutional network of 4,012 weights, and an MLP.

    The network, populations, batches of 100 and 12,000 steps are those of the evostrats study;
    optimizer and sigma are the defaults of the estimators here. Whatever the population, the
    rate falls from ``10 / cbrt(n) / sqrt(n_steps)``, n weights, to 0: noise alone leads
    ``rate sqrt(n_steps)`` far, which many weights bear less well.
    Weights are perturbed, without a guide. An odd population has a point more, as points are pairs.
    """

    name: ClassVar[str] = "population"
    summary: ClassVar[str] = "MNIST by populations of 25 to 400: accuracy by cost; takes hours"
    n_seeds: ClassVar[int] = 3

    def cells(self, n_seeds: int) -> list[Cell]:
        sizes = POPULATIONS[:2] if self.quick else POPULATIONS
        # The longest first, so that all processes end at about the same time
        methods = [f"{net}-{size}" for net in ("conv", "mlp") for size in sizes[::-1]]
        return crossed(methods, range(1, n_seeds + 1))

    def run(self, cell: Cell) -> list[Row]:
        net, size = cell.method.split("-")
        n_pairs, n_steps = (int(size) + 1) // 2, 30 if self.quick else _STEPS
        model, digits = self._model(net), self._digits()
        network = digits.conv if net == "conv" else digits.mlp
        rate = min(0.02, 10.0 / network.n_parameters ** (1 / 3) / n_steps**0.5)
        model.set_params(
            perturb="weights", guide=None, n_pairs=n_pairs, batch_size=_BATCH, max_iter=n_steps,
            tol=0.0, n_iter_no_change=2**31, learning_rate_init=rate, random_state=cell.seed,
        )  # fmt: skip
        marks = np.unique(np.geomspace(10, n_steps, _MARKS).astype(int)).tolist()
        rows: list[Row] = []
        begun = time.perf_counter()

        def measure(x: Array) -> None:
            nonlocal begun
            if model.n_iter_ not in marks:
                return
            now, at = time.perf_counter(), marks.index(model.n_iter_)
            theta = network.pack(model.coefs_, model.intercepts_)
            known = at % _EVERY == 0
            cosine, length = (
                _quality(network, theta, digits.train, n_pairs, at) if known else (np.nan, np.nan)
            )
            rows.append(
                {
                    "n_parameters": network.n_parameters,
                    "step": model.n_iter_,
                    "evaluations": model.n_evaluations_,
                    "example_forwards": model.n_example_forwards_,
                    "seconds": now - begun,
                    "accuracy": model.score(digits.test.X, digits.test.y),
                    "cosine": cosine,
                    "length": length,
                }
            )
            begun += time.perf_counter() - now  # measuring takes no time

        model.fit(digits.train.X, digits.train.y, callback=measure)
        return rows

    def _digits(self) -> Digits:
        if self.quick:
            from sklearn.datasets import load_digits

            X, y = load_digits(return_X_y=True)
            X = (X / 16).astype(np.float32)
            train, test = Data(X[:1000], y[:1000]), Data(X[1000:], y[1000:])
        else:
            from blackbox_es.datasets import fetch_mnist

            X, y = fetch_mnist(return_X_y=True)
            X, y = X.astype(np.float32) / np.float32(255), y.astype(np.int64)
            train, test = Data(X[:60_000], y[:60_000]), Data(X[60_000:], y[60_000:])
        layers = [part if isinstance(part, Layer) else Activate(part) for part in self._layers()]
        side = 8 if self.quick else 28
        conv = Sequential((side, side, 1), (*layers, Dense(10)))
        return Digits(train, test, conv, Network((side**2, _HIDDEN, 10), "relu"))

    def _layers(self) -> tuple[Any, ...]:
        return (Conv2D(2, kernel=3), MaxPool2D(2), "relu") if self.quick else LAYERS

    def _model(self, net: str) -> Any:
        if net == "mlp":
            return ESMLPClassifier((_HIDDEN,))
        return ESConvNetClassifier((8, 8) if self.quick else (28, 28), self._layers())

    # -- what is seen ------------------------------------------------------------------------------

    def figure(self, rows: Sequence[Row]) -> Any:
        (steps, forwards, seconds), (last, cosine, length) = new_axes(3, 2)
        sizes = _sizes(rows)
        wrong = [{**row, "error": 100.0 * (1.0 - row["accuracy"])} for row in rows]
        names = {f"conv-{size}": f"{size}" for size in sizes}
        for ax, x, xlabel in (
            (steps, "step", "steps"),
            (forwards, "example_forwards", "example-forwards"),
            (seconds, "seconds", "seconds"),
        ):
            of_net = curves(wrong, x, "error", names)
            display = ConvergenceDisplay.from_curves(of_net, xlabel=xlabel, ylabel="")
            display.title = f"Convolutional network by {xlabel},\na line for each population"
            ax.set_xscale("log")
            display.plot(ax)
            plain_ticks(ax.yaxis)
            ax.xaxis.set_minor_formatter("")
        steps.set(ylabel="test error, %")
        _final(last, rows, sizes)
        _quality_of(cosine, rows, sizes, "cosine", "cosine with the true gradient")
        _quality_of(length, rows, sizes, "length", "length over that of the true gradient")
        return steps.figure

    def report(self, rows: Sequence[Row]) -> str:
        lines = []
        for method in dict.fromkeys(row["method"] for row in rows):
            of = {"method": method, "step": max(column(rows, "step", method=method))}
            accuracy = column(rows, "accuracy", **of)
            net, size = method.split("-")
            published = PUBLISHED[int(size)] if net == "conv" and not self.quick else None
            lines.append(
                (
                    method,
                    f"{np.median(accuracy):.4f}",
                    f"{accuracy.min():.4f}",
                    f"{accuracy.max():.4f}",
                    "" if published is None else f"{published:.3f}",
                    f"{np.median(column(rows, 'evaluations', **of)):.2g}",
                    f"{np.median(column(rows, 'example_forwards', **of)):.2g}",
                    f"{np.median(column(rows, 'seconds', **of)):.0f}",
                    f"{np.nanmedian(column(rows, 'cosine', method=method)):.3f}",
                )
            )
        head = ("accuracy", "median", "least", "greatest", "published", "evaluations",
                "forwards", "s", "cosine")  # fmt: skip
        return table(head, lines)


def _quality(
    network: FlatNetwork, theta: Array, train: Data, n_pairs: int, seed: int
) -> tuple[float, float]:
    """Cosine of estimates with the true gradient, and their length over its: means of some."""
    theta = theta.astype(np.float32)
    _, true = network.gradient(theta, train.take(slice(0, _TRUE)), "log_loss")
    objective = NetworkObjective(network, "log_loss", train, batch_size=_BATCH, n_pairs=n_pairs)
    found = []
    for i in range(_ESTIMATES):
        estimate = estimate_gradient(
            objective, theta, sigma=0.03, n_pairs=n_pairs, sampler=LowRank(network.shapes),
            random_state=_ESTIMATES * seed + i,
        )  # fmt: skip
        size = float(np.linalg.norm(estimate))
        true_size = float(np.linalg.norm(true))
        found.append((float(estimate @ true) / (size * true_size), size / true_size))
    cosine, length = np.mean(found, axis=0)
    return float(cosine), float(length)


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({int(row["method"].split("-")[1]) for row in rows})


def _final(ax: Any, rows: Sequence[Row], sizes: list[int]) -> None:
    """The error at the end by population, beside what is published."""
    for net, name, color, style in _NETS:
        errors = []
        for size in sizes:
            of = {"method": f"{net}-{size}"}
            ends = column(rows, "accuracy", **of, step=max(column(rows, "step", **of)))
            errors.append(100.0 * (1.0 - ends))
        middle = [np.median(each) for each in errors]
        ax.plot(sizes, middle, marker="o", color=color, linestyle=style, label=name)
        ax.fill_between(sizes, [min(e) for e in errors], [max(e) for e in errors],
                        color=color, alpha=0.18, linewidth=0)  # fmt: skip
    known = {size: 100.0 * (1.0 - PUBLISHED[size]) for size in sizes}
    ax.plot(list(known), list(known.values()), marker="s", color="#707070", linestyle="--",
            label="published")  # fmt: skip
    _by_size(ax, sizes, "test error at the end, %", "At the end")


def _quality_of(ax: Any, rows: Sequence[Row], sizes: list[int], name: str, ylabel: str) -> None:
    """A column about estimates by population, and what it is for a linear function."""
    for net, label, color, style in _NETS:
        values = [column(rows, name, method=f"{net}-{size}") for size in sizes]
        middle = [np.nanmedian(each) for each in values]
        ax.plot(sizes, middle, marker="o", color=color, linestyle=style, label=label)
        pairs = (np.array(sizes) + 1) // 2
        n = int(column(rows, "n_parameters", method=f"{net}-{sizes[0]}")[0])
        cosine = np.sqrt(pairs / (pairs + n + 1))
        ax.plot(sizes, cosine if name == "cosine" else 1.0 / cosine, color=color, linewidth=0.8,
                label=f"law, n = {n:,}")  # fmt: skip
    law = "sqrt(P / (P + n + 1))" if name == "cosine" else "sqrt((P + n + 1) / P)"
    _by_size(ax, sizes, ylabel, f"Estimates: measured, and thin lines\n{law} of P pairs")


_NETS = (
    ("conv", "convolutional", COLORS[0], STYLES[0]),
    ("mlp", "perceptron", COLORS[1], STYLES[1]),
)


def _by_size(ax: Any, sizes: list[int], ylabel: str, title: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel="population", ylabel=ylabel)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    plain_ticks(ax.yaxis)
    ax.set_xticks([], minor=True)
    ax.set_title(title, loc="left", fontsize=10)
    label_ends(ax, ax.get_lines())
