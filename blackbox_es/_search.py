"""A search, and its results."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blackbox_es import steps
from blackbox_es._pending import Pending
from blackbox_es._record import Record
from blackbox_es._tables import WithHistory
from blackbox_es._value import freeze, same
from blackbox_es.generation import Generation
from blackbox_es.models import Archive
from blackbox_es.steps import Configuration, State
from blackbox_es.tree import Into, own, shown

Array = npt.NDArray[Any]

# Statuses as in SciPy: 0 is success, 1 a budget spent, which is no convergence.
STOP_REASONS = {
    "tol": (0, "the search has converged: its steps are within tol"),
    "converged": (0, "a run has converged, and further ones have used up the budget"),
    "f_target": (0, "a value of at most f_target was seen"),
    "max_iter": (1, "max_iter generations were done"),
    "max_evals": (1, "one more generation would exceed max_evals"),
    "max_time": (1, "max_time seconds have passed"),
    "flat": (3, "the objective was the same at all points for many generations"),
    "sigma_underflow": (4, "sigma is below the float resolution of x: x + d equals x"),
    "unbounded": (5, "the objective reached minus infinity"),
    "non_finite": (6, "the update was not finite; x is the last finite center"),
    "stalled": (9, "nothing better was found for many generations"),
    "diverged": (8, "the scale grows without bound: no minimum was in reach"),
    "callback": (99, "`callback` raised `StopIteration`"),
}
SUCCESS = ("tol", "converged", "f_target")
BUDGETS = ("max_iter", "max_evals", "max_time")


class Search(NamedTuple):
    """All that a strategy knows of its search."""

    seed: int
    state: State
    record: Record
    begun: float  # on the clock of `time.perf_counter`
    fixed: dict[str, Any]  # the parameters that hold from the start only
    box: Into | None  # what the points are mapped into: ``bounds`` and the tree at the start
    pending: Pending | None = None
    stop_reason: str | None = None
    n_trials: int = 0  # of generations that are over: the id of the next one's first
    late: tuple[int, ...] = ()  # ids of trials whose generation was over before their values came
    archive: Archive | None = None  # what a model of the objective has been told


_MOST_LATE = 4096  # ids that are remembered: what comes later still is unknown


def detached(search: Search) -> Search:
    """For copies and pickles: they share nothing that is written, and clocks differ."""
    pending = search.pending
    elapsed = time.perf_counter() - search.begun
    copied = pending and pending.copy()
    return search._replace(record=search.record.compact(), begun=elapsed, pending=copied)


def attached(search: Search) -> Search:
    """The search of a copy, on the clock of this process."""
    return search._replace(state=freeze(search.state), begun=time.perf_counter() - search.begun)


def over(
    es: Configuration, state: State, record: Record, begun: float, n_out: int = 0
) -> str | None:
    """The reason that the parameters give to stop here, and others might not."""
    return _reached(es, record) or _spent(es, state, record, begun, n_out)


def _reached(es: Configuration, record: Record) -> str | None:
    """Whether a value has been good enough."""
    return "f_target" if es.f_target is not None and record.fun_best <= es.f_target else None


def _spent(es: Configuration, state: State, record: Record, begun: float, n_out: int) -> str | None:
    """The budget that does not allow one more generation, if ``n_out`` values may still come."""
    if state.t >= es.max_iter:
        return "max_iter"
    if es.max_evals is not None:
        after = record.n_evaluations + n_out + es._n_points(state)
        if after + es.n_reevaluations > es.max_evals:
            return "max_evals"
    if es.max_time is not None and time.perf_counter() - begun >= es.max_time:
        return "max_time"
    return None


def stalled(record: Record, generation: Generation) -> str | None:
    """The reason to stop if the objective stays the same at all points."""
    if record.n_flat == 0:
        return None
    if np.array_equal(replace(generation, box=None).point(0), generation.center):
        return "sigma_underflow"
    return "flat" if record.n_flat >= steps.FLAT_GENERATIONS else None


def begin(es: Configuration, search: Search, surrogate: Any, calls: int = 0) -> Search:
    """The search with a pending generation.

    Raises
    ------
    RuntimeError
        If the search has ended.
    ValueError
        If a generation is pending that was asked with another surrogate.
    """
    pending = search.pending
    if pending is not None:
        if surrogate is not None:
            _, generation = steps.ask(es, pending.before, search.seed, surrogate, search.box)
            if not same(generation, pending.generation):
                raise ValueError(
                    "a generation is pending that was asked with another surrogate gradient or "
                    "other parameters: tell its values first"
                )
        return search
    if search.stop_reason:
        raise RuntimeError(f"the search has ended ({search.stop_reason}): call start(x0)")
    state, generation = steps.ask(es, search.state, search.seed, surrogate, search.box)
    record = search.record
    if calls:
        record = record._replace(n_surrogate_calls=record.n_surrogate_calls + calls)
    least = generation.n_pairs
    if not es._takes_values(search.state):
        least = math.ceil(round(es.min_fraction * least, 6))  # 0.07 * 100 is more than 7
    pending = Pending(generation, search.state, search.n_trials, least)
    seed, _, _, begun, fixed, box, _, _, n_trials, late, told = search
    return Search(seed, state, record, begun, fixed, box, pending, None, n_trials, late, told)


@np.errstate(over="ignore", invalid="ignore")  # the mean of large values may overflow
def finish(
    es: Configuration, search: Search, values: Array, known: Array | None = None
) -> tuple[Search, int]:
    """The search after its pending generation, and how many of its evaluations failed.

    Of the pairs those that are ``known`` count, None is all of them.
    """
    seed, before, record, begun, fixed, box, pending, _, _, late, told = search
    generation = pending.whole  # type: ignore[union-attr]
    if known is None:
        state, info = steps.tell(es, before, generation, values)
    else:  # up to the last pair that counts: what has been given out beside it changes no bit
        n_pairs = int(known.nonzero()[0][-1]) + 1
        some = replace(generation, n_pairs=n_pairs)
        learnt = np.where(known, values, math.nan)[:, :n_pairs]
        state, info = steps.tell(es, before, some, learnt, known[:n_pairs])
    n_told = values.size if known is None else len(pending.told)  # type: ignore[union-attr]
    record = record.after(generation, values, info, n_told)
    if known is not None:
        late = (late + pending.missing())[-_MOST_LATE:]  # type: ignore[union-attr]
    reason = _reached(es, record) or info.stop or stalled(record, generation)
    reason = reason or _spent(es, state, record, begun, len(late))
    n_trials = pending.first + values.size  # type: ignore[union-attr]
    after = Search(seed, state, record, begun, fixed, box, None, reason, n_trials, late, told)
    return after, info.n_failed


def folded(search: Search, x: Array) -> Array:
    """A point of the search space as the vector where the objective is evaluated."""
    return x if search.box is None else freeze(search.box.fold(x))


def user_point(search: Search, x: Array) -> Any:
    """A point of the search space as what the objective is given."""
    return shown(search.box, folded(search, x))


class NotStarted(RuntimeError, AttributeError):
    """There is no search yet."""


class Results(WithHistory):
    """The fitted attributes of a strategy: the results of its search."""

    _search: Search

    def _started(self) -> Search:
        try:
            return self._search
        except AttributeError:
            raise NotStarted("there is no search: call start(x0) first") from None

    @property
    def state_(self) -> State:
        """What the next generation needs, a frozen value; with bounds, of the search space."""
        return self._started().state

    @property
    def x_(self) -> Any:
        search = self._started()
        return user_point(search, search.state.x)

    @property
    def n_iter_(self) -> int:
        return self._started().state.t

    @property
    def stop_reason_(self) -> str | None:
        return self._started().stop_reason

    @property
    def fun_(self) -> float:
        return self._started().record.fun

    @property
    def fun_best_(self) -> float:
        return self._started().record.fun_best

    @property
    def x_best_(self) -> Any:
        """The best point evaluated, made again from its generation; the center if that is best."""
        search = self._started()
        best = search.record.best
        return self.x_ if best is None else shown(search.box, best[0].point(best[1]))

    @property
    def n_evaluations_(self) -> int:
        return self._started().record.n_evaluations

    @property
    def n_surrogate_calls_(self) -> int:
        return self._started().record.n_surrogate_calls

    @property
    def n_failed_(self) -> int:
        return self._started().record.n_failed

    @property
    def n_late_(self) -> int:
        return self._started().record.n_late

    @property
    def history_(self) -> dict[str, Array]:
        return self._started().record.history()

    @property
    def result_(self) -> Any:
        return self._result()

    def _result(self) -> Any:
        from scipy.optimize import OptimizeResult

        search, record = self._started(), self._search.record
        reason = search.stop_reason
        if reason in BUDGETS and self._has_converged():
            reason = "converged"
        status, message = STOP_REASONS.get(reason or "", (-1, "running"))
        return OptimizeResult(
            x=own(self.x_),
            fun=record.fun,
            success=reason in SUCCESS and not math.isnan(record.fun),
            status=status,
            message=message,
            nit=search.state.t,
            nfev=record.n_evaluations,
            njev=record.n_surrogate_calls,
            x_best=own(self.x_best_),
            fun_best=record.fun_best,
            n_failed=record.n_failed,
            history=record.history(),
            **self._extras(),
        )

    def _has_converged(self) -> bool:
        """Whether x is no worse than where a run has converged, though the search went on."""
        return False

    def _extras(self) -> dict[str, Any]:
        """What a strategy adds to the result."""
        return {}
