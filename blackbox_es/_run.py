"""How a search is run: what it may spend, and how its points are evaluated."""

from __future__ import annotations

import math
from typing import Any

from blackbox_es._config import Configurable, config
from blackbox_es._validation import (
    check_between,
    check_choice,
    check_count,
    check_exceptions,
    check_flag,
    check_n_jobs,
    check_positive,
)


@config
class Run(Configurable):
    """The parameters of a run.

    Parameters
    ----------
    max_iter : int
        Generations.
    max_evals : int or None
        Evaluations, those of the final center included. A trial whose generation was over before
        its value came counts as one, whether it comes or not.
    max_time : float or None
        Seconds.
    f_target : float or None
        The search ends with the generation in which a value of at most this was seen.
    n_reevaluations : int
        Evaluations of the final center by `fit`; ``fun_`` is their mean. An objective with a
        parameter ``seed`` is given a different one each time.
    min_fraction : float
        Of trials: the share of a generation's pairs that are waited for. It is over as soon as so
        many have two values that did not fail, and no more have failed; what comes later is left
        out.
    max_retries : int
        Times that an evaluation whose worker or job was lost is done again.
    timeout : float or None
        Seconds for a worker's task, its part of a generation: it is ended, and done again. The
        first task of a new worker includes its imports, some seconds. Threads cannot be ended:
        there it is an error at once, as it is without workers.
    n_jobs : int or None
        Of joblib; results do not depend on it.
    vectorized : bool
        The objective takes rows of points.
    common_random_numbers : {"generation", "pair"} or None
        Which points share the integer that an objective with a parameter ``seed`` is given.
    catch : tuple of exception types
        Raised by the objective, they count as a failed evaluation.
    random_state : None, int, Generator or RandomState
    verbose : int
        1 shows a progress bar on a terminal.
    """

    max_iter: int = 1000
    max_evals: int | None = None
    max_time: float | None = None
    f_target: float | None = None
    n_reevaluations: int = 1
    min_fraction: float = 1.0
    max_retries: int = 2
    timeout: float | None = None
    n_jobs: int | None = None
    vectorized: bool = False
    common_random_numbers: str | None = "generation"
    catch: tuple[type[BaseException], ...] = ()
    random_state: Any = None
    verbose: int = 0

    def _check_run(self) -> None:
        """Raise TypeError or ValueError unless these parameters are valid."""
        check_count("max_iter", self.max_iter, high=2**32 - 1)
        check_count("max_evals", self.max_evals, optional=True)
        if self.max_time is not None:
            check_positive("max_time", self.max_time, also=" of seconds or None")
        if self.f_target is not None:
            check_between("f_target", self.f_target, -math.inf, math.inf)
        check_count("n_reevaluations", self.n_reevaluations)
        if self.max_evals is not None and self.n_reevaluations > self.max_evals:
            raise ValueError(
                f"n_reevaluations={self.n_reevaluations} does not fit into "
                f"max_evals={self.max_evals}: lower it"
            )
        if not (isinstance(self.min_fraction, (int, float)) and 0.0 < self.min_fraction <= 1.0):
            raise ValueError(f"min_fraction={self.min_fraction!r}: expected 0 < min_fraction <= 1")
        check_count("max_retries", self.max_retries, low=0)
        if self.timeout is not None:
            check_positive("timeout", self.timeout, also=" of seconds or None")
        check_n_jobs(self.n_jobs)
        check_flag("vectorized", self.vectorized)
        check_choice(
            "common_random_numbers", self.common_random_numbers, ("generation", "pair", None)
        )
        check_exceptions("catch", self.catch)
        check_count("verbose", self.verbose, low=0)
