"""Work shared among threads; results are in the order of the tasks, whichever thread did them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Threads:
    """The caller's thread and ``n - 1`` others; a context manager that ends them."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._others = ThreadPoolExecutor(n - 1) if n > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._others is not None:
            self._others.shutdown(cancel_futures=True)

    def __reduce__(self) -> tuple[Callable[[], Threads], tuple[()]]:
        return _alone, ()  # elsewhere there is only a caller

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> list[Result]:
        """``[function(task) for task in tasks]``.

        Waking a thread takes as long as a short task. So the caller begins with the first task at
        once, and then takes back, from the end, what no other thread has begun.
        """
        tasks = list(tasks)
        if self._others is None or len(tasks) < 2:
            return [function(task) for task in tasks]
        first, *rest = tasks
        futures = [self._others.submit(function, task) for task in rest]
        results = {-1: function(first)}
        for i in reversed(range(len(rest))):
            if futures[i].cancel():
                results[i] = function(rest[i])
        others = (results[i] if i in results else f.result() for i, f in enumerate(futures))
        return [results[-1], *others]


ALONE = Threads(1)


def _alone() -> Threads:
    return ALONE
