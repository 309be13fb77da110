"""Adapters: other people's optimizers in the form that `check_optimizer` and `stateful` test.

The form is ``ask() -> points``, rows of an array or a list of vectors, and ``tell(X, values)``.
pycma's classes have it already:

>>> import cma  # doctest: +SKIP
>>> es = cma.CMAEvolutionStrategy([0.5, -1.0], 0.3, {"seed": 1})  # doctest: +SKIP
>>> X = es.ask()  # doctest: +SKIP
>>> es.tell(X, [float(x @ x) for x in X])  # doctest: +SKIP

An adapter can be pickled and copied if what it holds can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from blackbox_es.strategy import EvolutionStrategy, Trial

Array = npt.NDArray[Any]


class OneByOne:
    """An optimizer that asks for one point at a time, as the classes of cmaes do.

    Parameters
    ----------
    optimizer : object
        With ``ask() -> x``, ``tell([(x, value), ...])`` and ``population_size``.

    Examples
    --------
    >>> import cmaes  # doctest: +SKIP
    >>> es = OneByOne(cmaes.CMA(np.array([0.5, -1.0]), sigma=0.3, seed=1))  # doctest: +SKIP
    >>> X = es.ask()  # doctest: +SKIP
    >>> es.tell(X, [float(x @ x) for x in X])  # doctest: +SKIP
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def ask(self) -> list[Any]:
        """The points of one generation; asked again, others."""
        return [self.optimizer.ask() for _ in range(self.optimizer.population_size)]

    def tell(self, X: Sequence[Any], values: Sequence[Any]) -> None:
        """Tell pairs of point and value; fewer values than points are for the optimizer to refuse.

        Raises
        ------
        ValueError
            For more values than points: they cannot be made pairs.
        """
        if len(values) > len(X):
            raise ValueError(f"{len(values)} values for {len(X)} points")
        self.optimizer.tell(list(zip(X, values, strict=False)))


class WithSurrogate:
    """A started strategy with a surrogate gradient, which it is given at its center when asked.

    Parameters
    ----------
    es : EvolutionStrategy
        One that takes surrogates, as GuidedES does.
    surrogate_fn : callable
        ``surrogate_fn(x) -> (n,) or (n, k)``.

    Examples
    --------
    >>> from blackbox_es import GuidedES
    >>> es = WithSurrogate(GuidedES(n_pairs=2, random_state=0).start([1.0, 2.0]), lambda x: 2 * x)
    >>> X = es.ask()
    >>> es.tell(X, [float(x @ x) for x in X])
    >>> es.es.n_iter_
    1
    """

    def __init__(self, es: EvolutionStrategy, surrogate_fn: Callable[[Array], Any]) -> None:
        self.es = es
        self.surrogate_fn = surrogate_fn

    def ask(self) -> Array:
        """The points of the current generation."""
        return self.es.ask(self.surrogate_fn(self.es.x_))  # type: ignore[no-any-return]

    def tell(self, X: Any, values: Any) -> None:
        """Consume their values."""
        self.es.tell(X, values)

    def ask_trials(self) -> Iterator[Trial]:
        """The points of the current generation that have no value yet."""
        return self.es.ask_trials(self.surrogate_fn(self.es.x_))

    def tell_trial(self, id: int, value: Any) -> bool:
        """Tell the value of one trial; whether it came in time."""
        return self.es.tell_trial(id, value)

    def tell_failed(self, id: int) -> bool:
        """Tell that the evaluation of one trial was lost; whether it is to be done again."""
        return self.es.tell_failed(id)
