"""`check_objective`: what is wrong with an objective, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

from blackbox_es.testing.bench import ObjectiveBench
from blackbox_es.testing.checks import CheckReport, Course, Expected, Step, parametrize
from blackbox_es.testing.landscape import LANDSCAPE_CHECKS
from blackbox_es.testing.objective_laws import LAWS
from blackbox_es.testing.surrogates import SURROGATE_CHECKS
from blackbox_es.testing.workers import WORKER_CHECKS

Array = npt.NDArray[Any]

__tracebackhide__ = True  # pytest shows the caller's code, not ours

OBJECTIVE_CHECKS = [*LAWS, *WORKER_CHECKS, *LANDSCAPE_CHECKS]


def check_objective(
    f: Callable[..., Any],
    x0: npt.ArrayLike,
    *,
    sigma: float = 0.1,
    bounds: Any = None,
    vectorized: bool = False,
    stochastic: bool = False,
    surrogate_fn: Callable[[Array], Any] | None = None,
    budget: int = 500,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    on_fail: str | None = "raise",
    callback: Callable[..., Any] | None = None,
) -> CheckReport:
    """Find what is wrong with an objective before an optimizer does.

    The same call gives the same report: all randomness comes from ``seed``, and what the objective
    does to the global generators is undone.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, or ``f(X) -> (m,)`` if ``vectorized``. With a parameter ``seed`` it is
        given an integer that is to decide all of its noise.
    x0 : array-like of shape (n,)
        Where a search would begin.
    sigma : float
        How far it would look: standard deviation of each coordinate.
    bounds : sequence of n (low, high), or scipy.optimize.Bounds, optional
        No point outside is evaluated.
    vectorized : bool
        f takes rows of points.
    stochastic : bool
        Values may differ from call to call, or from seed to seed.
    surrogate_fn : callable, optional
        A surrogate gradient to check as well, see `check_surrogate`.
    budget : int
        Maximal number of evaluations; a check that would need more is skipped and says so.
    seed : int
    checks : iterable of str, optional
        Names of the checks to run; all by default.
    expected_failed_checks : dict of str to str, optional
        Name and reason of checks that may fail; or a function of the subject that returns them.
    on_fail : {"raise", "warn"} or None
        What to do about failures when all checks have run.
    callback : callable, optional
        Called with each result as keywords, see `CheckReport`.

    Returns
    -------
    CheckReport
        What passed, failed or was skipped, and ``findings``: finite values, noise, resolution,
        ties, roughness, and a sigma to begin with.

    Raises
    ------
    CheckFailed
        If a check failed unexpectedly and ``on_fail="raise"``: which law is broken, an example, and
        what to do, for all of them.
    TypeError, ValueError
        For invalid arguments; nothing was evaluated then.

    Examples
    --------
    >>> report = check_objective(lambda x: (x**2).sum(), [1.0, 2.0], checks=["check_deterministic"])
    >>> report.spent, report[0]["status"]
    (8, 'passed')
    """
    bench = ObjectiveBench(
        f, x0, sigma=sigma, bounds=bounds, vectorized=vectorized, stochastic=stochastic,
        surrogate_fn=surrogate_fn, seed=seed,
    )  # fmt: skip
    course = _course(bench, checks, budget, expected_failed_checks)
    return course.run("check_objective", on_fail, callback)


def _course(
    bench: ObjectiveBench,
    names: Iterable[str] | None,
    budget: int,
    expected: Expected,
) -> Course:
    every = OBJECTIVE_CHECKS + (SURROGATE_CHECKS if bench.surrogate_fn is not None else [])
    return Course(bench, every, names, budget, expected)


def objective_checks_generator(
    f: Callable[..., Any],
    x0: npt.ArrayLike,
    *,
    budget: int = 500,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    **options: Any,
) -> Iterator[tuple[Any, Step]]:
    """Pairs ``(f, check)`` to run one by one: ``check(f)`` raises if the law is broken.

    Takes the arguments of `check_objective` that concern the objective. A check that cannot say
    anything raises `unittest.SkipTest`.

    Examples
    --------
    >>> for f, check in objective_checks_generator(sum, [1.0, 2.0], checks=["check_return_value"]):
    ...     check(f)
    """
    course = _course(ObjectiveBench(f, x0, **options), checks, budget, expected_failed_checks)
    return course.steps()


def parametrize_with_objective_checks(
    objectives: Mapping[str, tuple[Callable[..., Any], npt.ArrayLike]],
    *,
    budget: int = 500,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    **options: Any,
) -> Any:
    """A pytest decorator: one test for each objective and check. Needs pytest.

    Parameters
    ----------
    objectives : dict of name to (f, x0)
    expected_failed_checks : dict of str to str, or callable, optional
        Name and reason of checks that may fail, for all objectives; or a function of the objective.
    budget, checks, **options
        As in `check_objective`.

    Examples
    --------
    >>> def sphere(x):
    ...     return float(x @ x)
    >>> @parametrize_with_objective_checks({"sphere": (sphere, [1.0, 2.0])}, sigma=0.1)
    ... def test_objective(objective, check):
    ...     check(objective)
    """
    names = None if checks is None else list(checks)
    courses = {
        label: _course(ObjectiveBench(f, x0, **options), names, budget, expected_failed_checks)
        for label, (f, x0) in objectives.items()
    }
    return parametrize("objective", courses)
