"""Trials: points that are given out one by one, and whose values come when they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from blackbox_es._ask_tell import AskTell
from blackbox_es._config import config
from blackbox_es._pending import Pending, as_id
from blackbox_es._trial import Trial
from blackbox_es._validation import as_value, check_count


class Shared(Iterator[Trial]):
    """An iterator that lets one thread in at a time."""

    def __init__(self, trials: Iterator[Trial], lock: Any) -> None:
        self._trials, self._lock = trials, lock

    def __next__(self) -> Trial:
        with self._lock:
            return next(self._trials)


@config
class Trials(AskTell):
    """A strategy that gives out trials and is told their values, by several threads if need be."""

    def ask_trials(
        self, surrogate_grad: npt.ArrayLike | None = None, *, ahead: int | None = None
    ) -> Iterator[Trial]:
        """The points of the current generation that have no value yet, made one at a time.

        For workers that evaluate side by side give ``ahead``: then each trial is given out once by
        this object, again only after `tell_failed`. When all are out there are up to ``ahead``
        further pairs around the same center, so that nobody waits for the last ones. The generation
        is over when it has as many whole pairs as without them, and learns from all that it has:
        the state depends on the values of whole pairs, not on the order in which they came.

        Parameters
        ----------
        surrogate_grad : array-like of shape (n,) or (n, k), optional
        ahead : int, optional
            Points that are chosen, such as those of a line search, have no further pairs, and those
            of `NRES`, whose pairs have an inner state. Where the search has ended there are no
            trials.

        Returns
        -------
        iterator of Trial
            Threads may share it. ``trial.id``, ``trial.x``, ``trial.seed`` and
            ``trial.generation``; with a `Space` for ``bounds`` also ``trial.params``. See
            `tell_trial`.

        Examples
        --------
        >>> from blackbox_es import VanillaES
        >>> es = VanillaES(n_pairs=2, max_iter=1, random_state=0).start([1.0, 2.0])
        >>> waiting = list(es.ask_trials(ahead=1))
        >>> [trial.id for trial in waiting]  # four of the generation, and a pair
        [0, 1, 2, 3, 4, 5]
        >>> taken = [es.tell_trial(trial.id, trial.x @ trial.x) for trial in waiting[::-1]]
        >>> taken  # the generation was over when it had two pairs
        [True, True, True, True, True, False]
        """
        check_count("ahead", ahead, low=0, optional=True)
        return Shared(self._trials(surrogate_grad, ahead), self._lock)

    def _trials(self, surrogate_grad: Any, ahead: int | None) -> Iterator[Trial]:
        with self._lock:
            if ahead is not None and self._started().stop_reason:
                return
            pending = self._begin(surrogate_grad)
        if ahead is not None:
            ahead = self._within(ahead, pending)
        places, to_params = pending.untold(), getattr(self.bounds, "params", None)
        while True:
            with self._lock:
                if self._search.pending is not pending:
                    return
                place = next(places, None) if ahead is None else pending.take(ahead)
            if place is None:
                return
            trial = pending.trial(place, self.common_random_numbers)
            yield trial._replace(params=to_params(trial.x)) if to_params else trial

    def tell_trial(self, id: int, value: Any) -> bool:
        """Tell the value of one trial, in any order; what it waits for completes the generation.

        Telling the same value again does nothing. NaN, the value of an evaluation that failed, is
        replaced by a number that comes before the generation is over.

        Parameters
        ----------
        id : int
            Of the trial; a string of digits, as a key of JSON is, will do.
        value : float

        Returns
        -------
        bool
            False if the generation was over without this value, which is counted in ``n_late_``
            and of no use.

        Raises
        ------
        ValueError
            For an id that is unknown or of a past generation, or told before with another value.
        TypeError
            For a value that is not a real number.
        """
        with self._lock:
            if self._is_late(id):
                as_value(value, f"the value of trial {id}")
                search, at = self._search, self._search.late.index(as_id(id))
                late = search.late[:at] + search.late[at + 1 :]
                self._search = search._replace(record=search.record.late(), late=late)
                return False
            pending = self._pending()
            self._tell_rows(pending, [(pending.place_of(id), value)])
            return True

    def tell_failed(self, id: int) -> bool:
        """Tell that the evaluation of a trial was lost: its worker died, its job vanished.

        It is to be done again, `ask_trials` gives it out once more, at most ``max_retries`` times;
        then it has failed as one that returns NaN.

        Returns
        -------
        bool
            Whether it is to be done again.

        Raises
        ------
        TypeError, ValueError
            For an id that is unknown or of a past generation.
        EvaluationError
            If more than half of the pairs of the generation have failed now.
        """
        with self._lock:
            if self._is_late(id):
                return False
            pending = self._pending()
            again = pending.lose(pending.place_of(id), self.max_retries)
            self._tell_rows(pending, [])
            return again

    def _within(self, ahead: int, pending: Pending) -> int:
        """How many further pairs there may be, should all that is under way come in."""
        if not self.may_grow or self._takes_values(pending.before):
            return 0
        if self.max_evals is None:
            return ahead
        search, generation = self._search, pending.generation
        most = search.record.n_evaluations + len(search.late) + generation.n_points
        left = self.max_evals - self.n_reevaluations - most
        return min(ahead, max(0, left // generation.halves))

    def _is_late(self, id: Any) -> bool:
        late = self._started().late
        return bool(late) and as_id(id) in late
