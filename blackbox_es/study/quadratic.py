"""The perturbed quadratic of the Guided ES paper, everything counted."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es.plotting import ConvergenceDisplay
from blackbox_es.problems import PerturbedQuadratic
from blackbox_es.strategies import AdaptiveES, GuidedES, VanillaES
from blackbox_es.strategy import EvolutionStrategy
from blackbox_es.study.base import Cell, Row, Study, crossed, curves, ends, table

Array = npt.NDArray[Any]
# A method searches a problem, and reports the cost so far and the center
Method = Callable[[PerturbedQuadratic, int, "Track"], None]

_POINTS = 200  # of a curve
_GREY = "#707070"


class Track:
    """``f - f*`` of the center over what has been spent: evaluations and surrogate gradients."""

    def __init__(self, problem: PerturbedQuadratic, budget: int) -> None:
        self.problem, self.budget = problem, budget
        self.rows: list[Row] = []
        self._next = 0.0
        self(problem.x0, 0, 0)

    def __call__(self, x: Array, evaluations: int, calls: int) -> bool:
        """Whether the budget is spent."""
        cost = evaluations + calls
        if cost >= self._next and cost <= self.budget:
            gap = float(self.problem(x)) - self.problem.minimum
            self.rows.append(
                {"cost": cost, "evaluations": evaluations, "surrogate_calls": calls, "gap": gap}
            )
            self._next = cost + self.budget / _POINTS
        return cost >= self.budget


def descent(rate: float) -> Method:
    """Gradient descent along the surrogate."""

    def search(problem: PerturbedQuadratic, seed: int, track: Track) -> None:
        x, surrogate_fn = problem.x0.copy(), problem.surrogate(seed)
        for i in range(track.budget):
            x -= rate * surrogate_fn(x)
            track(x, 0, i + 1)

    return search


def strategy(make: Callable[..., EvolutionStrategy], guided: bool, **params: Any) -> Method:
    """A strategy with these parameters."""

    def search(problem: PerturbedQuadratic, seed: int, track: Track) -> None:
        es = make(max_evals=track.budget, max_iter=2**31, random_state=seed, vectorized=True)
        es.set_params(**params)

        def follow(intermediate_result: Any) -> None:
            if track(intermediate_result.x, intermediate_result.nfev, intermediate_result.njev):
                raise StopIteration

        es.fit(problem, problem.x0, problem.surrogate(seed) if guided else None, follow)

    return search


def gradient(make: Callable[..., EvolutionStrategy], guided: bool, **params: Any) -> Method:
    """A strategy that follows its estimate by plain steps, sigma as in the paper."""
    sigma = 0.1 / math.sqrt(1000)  # there it is a length: of a quadratic any is as good
    return strategy(make, guided, sigma=sigma, optimizer="sgd", **params)


def separable_cma(problem: PerturbedQuadratic, seed: int, track: Track) -> None:
    """CMA-ES with a diagonal matrix, of the package cmaes."""
    from cmaes import SepCMA

    es, cost = SepCMA(mean=problem.x0.copy(), sigma=0.003, seed=seed), 0  # of four, on 101
    while True:
        points = np.array([es.ask() for _ in range(es.population_size)])
        es.tell(list(zip(points, problem(points).tolist(), strict=True)))
        cost += len(points)
        if track(es.mean, cost, 0):
            return


# Method: name, how it searches, how its line looks. Rates, alpha and pairs of those that are tuned
# are the best of `quadratic-tuning`, on other problems.
METHODS: dict[str, tuple[str, Method, dict[str, Any]]] = {
    "sgd": ("SGD on the surrogate", descent(0.005), {"color": _GREY, "linestyle": "--"}),
    "vanilla-published": (
        "vanilla, published",
        gradient(VanillaES, False, n_pairs=1, beta=1.0, learning_rate=0.2),
        {"color": "#E69F00", "linestyle": "--"},
    ),
    "guided-published": (
        "guided, published",
        gradient(GuidedES, True, n_pairs=1, alpha=0.5, beta=2.0, learning_rate=0.2),
        {"color": "#0072B2", "linestyle": "--"},
    ),
    "vanilla-tuned": (
        "vanilla, tuned",
        gradient(VanillaES, False, n_pairs=4, learning_rate=1.4),
        {"color": "#E69F00", "linestyle": "-"},
    ),
    "guided-tuned": (
        "guided, tuned",
        gradient(GuidedES, True, n_pairs=4, alpha=0.9, learning_rate=1.0),
        {"color": "#0072B2", "linestyle": "-"},
    ),
    "cma": (
        "separable CMA-ES",
        separable_cma,
        {"color": "#CC79A7", "linestyle": "-."},
    ),
    "adaptive": (
        "AdaptiveES, values only",
        strategy(AdaptiveES, False),
        {"color": "#009E73", "linestyle": ":"},
    ),
    "adaptive-guided": (
        "AdaptiveES, guided",
        strategy(AdaptiveES, True),
        {"color": "#009E73", "linestyle": "-"},
    ),
}
NAMES = {method: name for method, (name, _, _) in METHODS.items()}


class Quadratic(Study):
    """Figure 1b of Maheswaranathan et al. 2019, with a fair count and tuned rivals.

    The cost is evaluations plus surrogate gradients. The seed is that of the problem and of the
    search.
    """

    name: ClassVar[str] = "quadratic"
    summary: ClassVar[str] = "a perturbed quadratic of 1,000 variables: descent, ES, guided ES, CMA"

    def cells(self, n_seeds: int) -> list[Cell]:
        methods = list(METHODS)
        if find_spec("cmaes") is None:
            print("left out: cma needs cmaes: python -m pip install cmaes", file=sys.stderr)
            methods.remove("cma")
        return crossed(methods, range(1, n_seeds + 1))

    def run(self, cell: Cell) -> list[Row]:
        return search(METHODS[cell.method][1], cell.seed, self.quick)

    def figure(self, rows: Sequence[Row]) -> Any:
        display = ConvergenceDisplay.from_curves(
            curves(rows, "cost", "gap", NAMES),
            xlabel="evaluations and surrogate gradients",
            ylabel="f - f*",
        )
        looks = {name: look for name, _, look in METHODS.values()}
        run = dict.fromkeys(row["method"] for row in rows)
        lowest = min(run, key=lambda method: np.median(ends(rows, "gap", method)))
        display.title = (
            "A quadratic whose gradient is biased and noisy: lowest at the end is "
            f"{NAMES[lowest]}\n{display.title}"
        )
        return display.plot(looks=looks).figure_

    def report(self, rows: Sequence[Row]) -> str:
        lines = []
        for method, name in NAMES.items():
            gaps = ends(rows, "gap", method)
            if gaps.size:
                gap = (f"{value:.2g}" for value in (np.median(gaps), gaps.min(), gaps.max()))
                spent = (
                    f"{np.median(ends(rows, of, method)):,.0f}"
                    for of in ("evaluations", "surrogate_calls")
                )
                lines.append((name, *gap, *spent))
        head = ("f - f*", "median", "least", "greatest", "evaluations", "surrogate gradients")
        return table(head, lines)


def search(method: Method, seed: int, quick: bool) -> list[Row]:
    """The rows of a method on the problem of a seed."""
    size = {"n": 20, "m": 40} if quick else {}
    track = Track(PerturbedQuadratic(**size, seed=seed), 300 if quick else 20_000)
    method(track.problem, seed, track)
    return track.rows
