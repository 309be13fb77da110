"""`check_optimizer`: what is wrong with an optimizer that has ask and tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

from blackbox_es.testing.checks import CheckReport, Course, Expected, Step, parametrize
from blackbox_es.testing.search_bench import X0, Factory, SearchBench
from blackbox_es.testing.search_laws import SEARCH_CHECKS

__tracebackhide__ = True  # pytest shows the caller's code, not ours


def check_optimizer(
    factory: Factory,
    x0: npt.ArrayLike = X0,
    *,
    bounds: Any = None,
    budget: int = 1000,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    on_fail: str | None = "raise",
    callback: Callable[..., Any] | None = None,
) -> CheckReport:
    """Find what is wrong with an optimizer that has ``ask`` and ``tell``.

    Parameters
    ----------
    factory : callable
        ``factory(x0, seed)`` gives a new optimizer with ``ask() -> (m, n)`` points, an array or a
        list, and ``tell(X, values)``, which minimises. See `blackbox_es.testing.adapters` for
        optimizers that ask one point at a time.
    x0 : array-like of shape (n,)
    bounds : sequence of n (low, high), or scipy.optimize.Bounds, optional
        What the optimizer promises to keep to.
    budget : int
        Maximal number of generations; a check that would need more is skipped and says so.
    seed, checks, expected_failed_checks, on_fail, callback
        As in `check_objective`.

    Returns
    -------
    CheckReport

    Raises
    ------
    CheckFailed
        If a check failed unexpectedly and ``on_fail="raise"``.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> def factory(x0, seed):
    ...     return VanillaES(random_state=seed).start(x0)
    >>> check_optimizer(factory).failed
    []
    """
    bench = SearchBench(factory, x0, bounds=bounds, seed=seed)
    course = Course(bench, SEARCH_CHECKS, checks, budget, expected_failed_checks)
    return course.run("check_optimizer", on_fail, callback)


def optimizer_checks_generator(
    factory: Factory,
    x0: npt.ArrayLike = X0,
    *,
    budget: int = 1000,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    **options: Any,
) -> Iterator[tuple[Any, Step]]:
    """Pairs ``(factory, check)`` to run one by one, as `objective_checks_generator` gives them."""
    bench = SearchBench(factory, x0, **options)
    return Course(bench, SEARCH_CHECKS, checks, budget, expected_failed_checks).steps()


def parametrize_with_optimizer_checks(
    factories: Mapping[str, Factory],
    x0: npt.ArrayLike = X0,
    *,
    budget: int = 1000,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    **options: Any,
) -> Any:
    """A pytest decorator: one test for each optimizer and check. Needs pytest.

    Parameters
    ----------
    factories : dict of name to factory
    x0, budget, checks, expected_failed_checks, **options
        As in `check_optimizer`.

    Examples
    --------
    >>> from blackbox_es import VanillaES
    >>> def vanilla(x0, seed):
    ...     return VanillaES(random_state=seed).start(x0)
    >>> @parametrize_with_optimizer_checks({"vanilla": vanilla})
    ... def test_optimizer(optimizer, check):
    ...     check(optimizer)
    """
    names = None if checks is None else list(checks)
    benches = {name: SearchBench(f, x0, **options) for name, f in factories.items()}
    courses = {
        name: Course(bench, SEARCH_CHECKS, names, budget, expected_failed_checks)
        for name, bench in benches.items()
    }
    return parametrize("optimizer", courses)
