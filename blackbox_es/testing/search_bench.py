"""What the checks of optimizers work on: a factory, points near x0, a count of generations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es._validation import as_center
from blackbox_es.testing.bench import as_bounds, as_seed
from blackbox_es.testing.checks import broken

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours
Factory = Callable[[Array, int], Any]  # factory(x0, seed) -> optimizer

X0 = (0.5, -1.0, 2.0, 0.0, 1.0)

REFUSED = "let ask and tell work here; if the search had ended, let the factory give it more budget"


class SearchBench:
    """A way to make optimizers, and how many of their generations were seen."""

    unit = "generations"

    def __init__(
        self, factory: Factory, x0: npt.ArrayLike, *, bounds: Any = None, seed: int = 0
    ) -> None:
        if not callable(factory):
            raise TypeError(f"factory={factory!r} is not callable: expected factory(x0, seed)")
        self.subject = factory
        self.x0 = as_center(x0)
        self.bounded = bounds is not None
        self.low, self.high = as_bounds(bounds, self.x0)
        self.seed = as_seed(seed)
        self.spent = 0

    def make(self, seed: int | None = None, x0: Array | None = None) -> Any:
        """A new optimizer; it gets an x0 of its own."""
        seed = self.seed + 1 if seed is None else seed
        x0 = self.x0.copy() if x0 is None else x0
        return self.guarded(lambda: self.subject(x0, seed), seed=seed)

    def ask(self, optimizer: Any) -> Any:
        """What ``ask`` returns."""
        self.spent += 1
        return self.guarded(optimizer.ask)

    def tell(self, optimizer: Any, X: Any, values: Any) -> None:
        """Tell values, which must be accepted."""
        self.guarded(lambda: optimizer.tell(X, values), values=values)

    def guarded(self, call: Callable[[], Any], **example: Any) -> Any:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # a warning is no failure
                return call()
        except Exception as error:
            broken(**example, raised=error, cause=error, advice=REFUSED)

    def generations(
        self, optimizer: Any, count: int, objective: Callable[[Array], float] | None = None
    ) -> list[Array]:
        """The points of some generations, each told its values; copies."""
        seen = []
        for _ in range(count):
            X = self.ask(optimizer)
            seen.append(table(X))
            with np.errstate(all="ignore"):  # points may have gone anywhere
                values = [(objective or self.sphere)(x) for x in seen[-1]]
            self.tell(optimizer, X, values)
        return seen

    def sphere(self, x: Array) -> float:
        """An objective with its minimum a little beside x0."""
        return float(((x - self.x0 - 1.0) ** 2).sum())


def table(X: Any) -> Array:
    """The points as a new array of rows."""
    return np.array([np.array(x, float) for x in X])
