"""``python -m blackbox_es quadratic``: the paper's figure."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import blackbox_es
from blackbox_es.cli.options import at_least, draw, figure

Array = npt.NDArray[Any]

_MARKS = (100, 1000, 2000, 5000, 10000)


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "quadratic",
        help="the paper's perturbed quadratic: SGD, vanilla ES and guided ES",
        description="Minimise a quadratic of 1,000 variables whose gradient is biased and noisy, "
        "with the settings of the authors' notebooks and with tuned ones, one antithetic pair an "
        "iteration (Maheswaranathan et al. 2019, figure 1b).",
    )
    parser.add_argument("--iterations", type=at_least(1), default=10_000, metavar="N")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the search")
    parser.add_argument("--problem-seed", type=at_least(0), default=2)
    parser.add_argument("--out", type=figure, default=Path("quadratic.png"), help="the figure")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Search, print the gaps and draw them."""
    from threadpoolctl import threadpool_limits

    from blackbox_es.problems import PerturbedQuadratic

    n_iter, seed = arguments.iterations, arguments.seed
    problem = PerturbedQuadratic(seed=arguments.problem_seed)
    common = {
        "sigma": 0.1 / np.sqrt(problem.x0.size),  # the paper's 0.1: there sigma is a length
        "n_pairs": 1, "optimizer": "sgd", "max_iter": n_iter,
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
    draw(arguments.out, curves, "one antithetic pair an iteration", "iteration", "f - f*")


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
