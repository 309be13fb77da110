"""Ask and tell: the shell around the pure steps.

A strategy holds one frozen `Search`. Whatever happens, it is replaced as a whole, by one
assignment, or stays as it was. One thread at a time does that.
"""

from __future__ import annotations

import threading
import time
import warnings
from typing import Any, Self

import numpy.typing as npt

from blackbox_es import box, steps
from blackbox_es._config import config
from blackbox_es._pending import Pending, check_points, rows_of
from blackbox_es._record import empty
from blackbox_es._search import Results, Search, attached, begin, detached, finish, over
from blackbox_es._validation import as_seed, as_values
from blackbox_es._value import freeze
from blackbox_es.models import Archive
from blackbox_es.steps import Configuration
from blackbox_es.tree import Into, planted, within

Array = npt.NDArray[Any]


@config
class AskTell(Configuration, Results):
    """A strategy that is asked for points and told their values."""

    def start(self, x0: Any) -> Self:
        """Begin at ``x0``: check all parameters and reset all state.

        Parameters
        ----------
        x0 : array-like of shape (n,), tree or None
            Copied. float32 stays float32, anything else becomes float64. A tree is of dicts, lists
            and tuples, with arrays, tensors or floats for leaves: see `Tree`. None is the middle of
            the bounds.

        Raises
        ------
        TypeError, ValueError
            For invalid parameters or an invalid ``x0``; nothing has changed then.
        """
        x, into = _begun_at(x0, self.bounds)
        state, record = steps.init(self, x), empty()
        seed, begun = as_seed(self.random_state), time.perf_counter()
        reason = over(self, state, record, begun)
        with self._lock:
            self._search = Search(seed, state, record, begun, self.given(), into, None, reason)
        return self

    def ask(self, surrogate_grad: Any = None) -> Any:
        """The points of the current generation; asked twice, the same points.

        Parameters
        ----------
        surrogate_grad : array-like of shape (n,) or (n, k), or tree, optional
            For strategies that are guided.

        Returns
        -------
        ndarray of shape (2 n_pairs, n), read-only, or list of trees
            Rows ``x + d_1 .. x + d_P``, then ``x - d_1 .. x - d_P``.

        Raises
        ------
        TypeError, ValueError
            For an invalid surrogate, and for another one than that of the pending generation.
        """
        return self._begin(surrogate_grad).asked()

    def tell(self, X: Any, values: Any = None) -> None:
        """Consume the values of the points, or change nothing and raise.

        Parameters
        ----------
        X : what `ask` returned, or iterable of (x, value)
            The points as they were asked, in the same order; or, without ``values``, pairs of
            point and value in any order, some now and the others later.
        values : array-like of shape (2 n_pairs,)

        Raises
        ------
        TypeError, ValueError
            For values that are not real numbers, a wrong number of them, and points that are not
            those of the current generation.
        EvaluationError
            If more than half of the pairs failed.
        """
        with self._lock:
            pending = self._pending()
            if values is None:
                self._tell_rows(pending, rows_of(pending, X))
                return
            check_points(pending, X)
            generation = pending.generation
            told = as_values(values, (generation.n_points,), "values")
            if pending.told or pending.n_further:
                self._tell_rows(pending, list(enumerate(told.tolist())))
            else:
                self._finish(told.reshape(generation.halves, -1))

    # -- what `fit` and trials use, too ----------------------------------------------------------

    @property
    def _lock(self) -> Any:
        """Held by a thread that changes the search; never while a user's function runs."""
        return vars(self).setdefault("_guard", threading.RLock())  # which is one operation

    def _pending(self) -> Pending:
        pending = self._started().pending
        if pending is None:
            raise ValueError("no generation is pending: call ask before tell, and tell once")
        return pending

    def _begin(self, surrogate: Any, *, calls: int = 0) -> Pending:
        """The pending generation, made if there is none."""
        with self._lock:
            before = self._started()
            search = begin(self, before, surrogate, calls)
            pending: Any = search.pending
            self._search = search
            note = self.note(before.state, search.state)
            if note is not None:
                self._warn(note)
        return pending  # type: ignore[no-any-return]

    def _tell_rows(self, pending: Pending, rows: list[tuple[int, Any]]) -> None:
        pending.add(rows)
        told = pending.values()
        if told is not None:
            self._finish(*told)

    def _finish(
        self, values: Array, known: Array | None = None, archive: Archive | None = None
    ) -> None:
        """Move by the values of the pending generation, shape (halves, n_pairs).

        ``archive`` is that of a model which has been told them; None is that of before.
        """
        with self._lock:
            before = self._search
            search, n_failed = finish(self, before, values, known)
            self._search = search if archive is None else search._replace(archive=archive)
            # Last, since a warning may have been made an error.
            note = self.note(before.state, self._search.state)
            if note is not None:
                self._warn(note)
            if n_failed:
                self._warn("evaluations failed; pairs with NaN or inf are left out")

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = dict(vars(self))
            if "_search" in state:
                state["_search"] = detached(self._search)
        del state["_guard"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "_search" in state:
            self._search = attached(self._search)

    def _warn(self, message: str) -> None:
        """Warn, once in a search."""
        search = self._search
        if message not in search.record.warned:
            record = search.record._replace(warned=(*search.record.warned, message))
            self._search = search._replace(record=record)
            warnings.warn(message, RuntimeWarning, stacklevel=4)


def _begun_at(x0: Any, bounds: Any) -> tuple[Array, Into | None]:
    """Where a search begins, in its own space, and what its points are folded into."""
    if x0 is None:
        into = box.resolve(bounds)
        if into is None:
            raise TypeError("x0 is None, the middle of the bounds, but there are none: give x0")
        return freeze(into.start(into.middle())), into
    x, tree = planted(x0)
    if tree is not None and hasattr(bounds, "params"):
        raise ValueError("bounds is a Space, whose points have names already: x0 is a vector then")
    into = box.resolve(bounds, x.size)
    return x if into is None else freeze(into.start(x)), within(tree, into)
