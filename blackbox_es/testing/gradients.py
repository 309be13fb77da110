"""`check_gradient_estimator`: what is wrong with a gradient estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from blackbox_es.testing.checks import CheckReport, Course, Expected, Step
from blackbox_es.testing.gradient_bench import GradientBench
from blackbox_es.testing.gradient_laws import GRADIENT_CHECKS

__tracebackhide__ = True  # pytest shows the caller's code, not ours


def check_gradient_estimator(
    estimator: Callable[..., Any],
    n: int = 6,
    *,
    k: int = 0,
    sigma: float = 0.1,
    alpha: float = 0.5,
    beta: float | None = None,
    shaping: str = "raw",
    budget: int = 10_000,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    on_fail: str | None = "raise",
    callback: Callable[..., Any] | None = None,
) -> CheckReport:
    """Find what is wrong with a gradient estimator, from the points where it evaluates.

    The law is ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` along directions
    with ``E[d d^T] = n sigma^2 Sigma``, ``Sigma = alpha/n I + (1-alpha)/k U U^T`` where the columns
    of U are an orthonormal basis of the surrogate's span; without a surrogate ``Sigma = I/n``, each
    coordinate having the variance sigma^2. Then ``E[g] = beta Sigma grad f`` for a linear f. The
    directions may be normals, signs, or on a sphere: anything that spreads no more than normals do.

    Most checks hold for every draw; those that constants and even functions leave no trace ask that
    differences are taken before anything is summed. Those of the law of directions see 4096 pairs:
    a mean square that is 30 % off is found with probability ``1 - 1e-6`` (10 %: nearly always),
    and less than one seed in a million fails a sound estimator.

    Parameters
    ----------
    estimator : callable
        ``estimator(objective, x, *, seed) -> (n,)``, and for k > 0 ``estimator(objective, x, *,
        seed, surrogate)`` with a surrogate of shape (n, k), not orthonormal. The objective takes a
        point and returns a float, or rows of points and returns one value a row. It must be called
        in this process.
    n : int
        Number of coordinates.
    k : int
        Number of columns of the surrogate, 0 for an estimator that takes none.
    sigma : float
        Standard deviation of a coordinate of the directions; their root mean squared length is
        ``sqrt(n) sigma`` with a surrogate, too.
    alpha : float in [0, 1]
        Share of the variance in the full space, if k > 0.
    beta : float, optional
        None is unknown: the estimate may have any length.
    shaping : {"raw", "ranks"}
        Whether differences of values or of functions of their ranks weigh the directions.
    budget : int
        Maximal number of estimates; a check that would need more is skipped and says so. With P
        pairs in an estimate all checks need about ``8192 / P + 260``.
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

    Raises
    ------
    CheckFailed
        If a check failed unexpectedly and ``on_fail="raise"``.
    TypeError, ValueError
        For invalid arguments; nothing was estimated then.

    Examples
    --------
    >>> import numpy as np
    >>> def estimate(objective, x, *, seed):
    ...     d = 0.1 * np.random.default_rng(seed).standard_normal((8, x.size))
    ...     return (objective(x + d) - objective(x - d)) @ d / (2 * 0.1**2 * 8)
    >>> check_gradient_estimator(estimate, n=6, sigma=0.1, beta=6.0).failed
    []
    """
    bench = GradientBench(
        estimator, n, k=k, sigma=sigma, alpha=alpha, beta=beta, shaping=shaping, seed=seed
    )
    course = Course(bench, GRADIENT_CHECKS, checks, budget, expected_failed_checks)
    return course.run("check_gradient_estimator", on_fail, callback)


def gradient_estimator_checks_generator(
    estimator: Callable[..., Any],
    n: int = 6,
    *,
    budget: int = 10_000,
    checks: Iterable[str] | None = None,
    expected_failed_checks: Expected = None,
    **options: Any,
) -> Iterator[tuple[Any, Step]]:
    """Pairs ``(estimator, check)`` to run one by one: ``check(estimator)`` raises if it fails.

    Takes the arguments of `check_gradient_estimator` that concern the estimator. A check that
    cannot say anything raises `unittest.SkipTest`.

    Examples
    --------
    >>> import numpy as np
    >>> zero = lambda objective, x, *, seed: objective(x) * np.zeros(x.size)
    >>> for estimator, check in gradient_estimator_checks_generator(zero, checks=["check_result"]):
    ...     check(estimator)
    """
    bench = GradientBench(estimator, n, **options)
    return Course(bench, GRADIENT_CHECKS, checks, budget, expected_failed_checks).steps()
