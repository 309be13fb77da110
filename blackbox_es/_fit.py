"""The whole search in one call, which goes on where it was cut short."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

import numpy.typing as npt

from blackbox_es._checkpoints import Checkpoints
from blackbox_es._config import config
from blackbox_es._guidance import Guidance, check_surrogate
from blackbox_es._progress import ProgressBar
from blackbox_es._search import NotStarted, folded, user_point
from blackbox_es._trials import Trials
from blackbox_es._validation import check_flag, check_function
from blackbox_es.evaluation import Callback, Evaluator
from blackbox_es.noise import Key
from blackbox_es.tree import check_points_made, flat

Array = npt.NDArray[Any]


@config
class Fit(Trials):
    """A strategy that is given the objective."""

    def fit(
        self,
        objective: Callable[..., Any],
        x0: Any = None,
        surrogate_fn: Callable[..., Any] | str | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
    ) -> Self:
        """Minimise ``objective`` from ``x0`` until there is a reason to stop.

        Parameters
        ----------
        objective : callable
            ``f(x) -> float``, or ``f(X) -> (m,)`` with ``vectorized=True``, or an object with
            ``evaluate_generation(generation) -> (2, n_pairs)``. With a parameter ``seed`` it is
            given an integer below 2^31, the same for points that are to be compared on the same
            noise.
        x0 : array-like of shape (n,), or tree, optional
            None is the middle of the bounds. All functions are given points as ``x0`` is: trees of
            the same structure, with leaves of the same shapes and dtypes. With ``vectorized=True``
            the leaves have one more axis, the first.
        surrogate_fn : callable, "model" or model, optional
            ``surrogate_fn(x) -> (n,) or (n, k)``, or a tree, called before each generation that
            makes use of one, at ``surrogate_x_``. With a parameter ``seed`` it is given that of the
            generation. If it has a method ``tell(X, values)`` this is given the points of each
            generation that have finite values, as vectors: it is a model of the objective. "model"
            is a `SurrogateModel`, whose memory is saved with the search; a model of your own you
            save yourself.
        callback : callable, optional
            ``callback(intermediate_result=OptimizeResult)`` or ``callback(x)`` after each
            generation; StopIteration ends the search cleanly.
        checkpoint : path-like, optional
            A file that follows the search, as `save` writes it: at the start, as it goes, and when
            it ends, fails or is interrupted. If it cannot be written there is one warning.
        checkpoint_every : float or int
            Seconds between two times of writing; generations if it is an int.
        resume : bool
            Go on with the search of this object, which was cut short, or loaded: the result is, bit
            for bit, that of a search that never stopped. One that has ended stays as it is. Values
            that have been told are kept.

        Returns
        -------
        self

        Raises
        ------
        Exception
            Whatever the objective raises, with a note that says at which candidate; the state is
            then that of the last finished generation.
        EvaluationError
            If more than half of the pairs of a generation failed, or a worker was lost, or took
            longer than ``timeout``, more than ``max_retries`` times.
        TypeError, ValueError
            For arguments that are invalid, or do not go with ``resume``; nothing has changed then.
        RuntimeError
            If there is no search to resume.

        Examples
        --------
        A script to start again, with ``load(path).fit(objective, resume=True)``, if it is killed:

        >>> import os, tempfile
        >>> from blackbox_es import VanillaES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "run.npz")
        ...     es = VanillaES(max_iter=20, random_state=0)
        ...     es = es.fit(lambda x: x @ x, [1.0, 2.0], checkpoint=path)
        ...     again = VanillaES.load(path, max_iter=30).fit(lambda x: x @ x, resume=True)
        >>> again.n_iter_
        30
        """
        check_surrogate("surrogate_fn", surrogate_fn)
        check_function("callback", callback)
        if surrogate_fn is not None and not self.takes_surrogate:
            raise ValueError(f"{type(self).__name__} uses no surrogate_fn: take GuidedES")
        evaluator = self.evaluator(objective)
        check_points_made(objective, x0)
        surrogate_of = None if surrogate_fn is None else Guidance(surrogate_fn)
        wants_stop = None if callback is None else Callback(callback)
        checkpoints = Checkpoints(self, checkpoint, checkpoint_every)
        check_flag("resume", resume)
        if resume:
            self._check_resumable(x0, surrogate_fn)
            if surrogate_of is not None:
                surrogate_of.go_on(self._search.archive)
        else:
            self.start(x0)
        bar = ProgressBar(self.verbose, self.max_iter, self.n_iter_)
        with evaluator, checkpoints, bar:
            while not self.stop_reason_:
                told = self._next_values(evaluator, surrogate_of)
                archive = None
                if surrogate_of is not None:
                    archive = surrogate_of.tell(self._pending().whole, told[0])
                self._finish(*told, archive)
                bar.update(self.fun_)
                if wants_stop is not None and wants_stop(self.result_):
                    self._search = self._search._replace(stop_reason="callback")
                checkpoints.after_generation()
            if not self._search.record.concluded:
                x, into = folded(self._search, self._search.state.x), self._search.box
                values = evaluator.at(x, self._key, self.n_reevaluations, into)
                record = self._search.record.with_center(values)
                self._search = self._search._replace(record=record)
        return self

    def evaluator(self, objective: Callable[..., Any]) -> Evaluator:
        """What evaluates whole generations as this strategy's parameters say.

        Raises
        ------
        TypeError, ValueError
            For an objective that cannot be evaluated so.
        """
        if self.bounds is not None and hasattr(objective, "evaluate_generation"):
            raise ValueError(
                "bounds: an objective with evaluate_generation makes its own points, which cannot "
                "be kept inside: take a function of points, or bounds=None"
            )
        return Evaluator(
            objective,
            vectorized=self.vectorized,
            n_jobs=self.n_jobs,
            catch=self.catch,
            common_random_numbers=self.common_random_numbers,
            timeout=self.timeout,
            max_retries=self.max_retries,
        )

    @property
    def surrogate_x_(self) -> Any:
        """Where a surrogate gradient is made use of in the next generation; None is nowhere."""
        search = self._started()
        if search.pending is not None or not self._wants_surrogate(search.state):
            return None
        return user_point(search, self._center(search.state))

    @property
    def _key(self) -> Key:
        return self._search.seed, self._search.state.t

    def _next_values(
        self, evaluator: Evaluator, surrogate_of: Guidance | None
    ) -> tuple[Array, Array | None]:
        """The values of the next generation; no name for it lives on when another one is made."""
        at = None if surrogate_of is None else self.surrogate_x_
        learns = surrogate_of is not None and surrogate_of.learns
        if learns:
            at = flat(self._search.box, at)  # a model is told vectors
        surrogate = None if at is None else surrogate_of(at, self._key)  # type: ignore[misc]
        silent = learns and surrogate is None  # a model may know nothing: nothing is missing
        pending = self._begin(surrogate, calls=at is not None and not silent)
        if not pending.told:
            return evaluator(pending.generation), None
        values = evaluator.rest(pending.generation, pending.told)
        pending.add(list(enumerate(values.ravel().tolist())))
        return pending.values()  # type: ignore[return-value]

    def _check_resumable(self, x0: Any, surrogate_fn: Any) -> None:
        """Raise unless there is a search, which these arguments continue."""
        if x0 is not None:
            raise ValueError(
                "x0 is where a search begins, and resume=True goes on with one: leave x0 out, or "
                "begin anew with resume=False"
            )
        search = vars(self).get("_search")
        if search is None:
            raise NotStarted(
                "resume=True, but there is no search: load(path) one, or begin with fit(f, x0)"
            )
        if surrogate_fn is None and search.record.n_surrogate_calls:
            raise ValueError(
                "surrogate_fn is None, but the search that is to go on was given one: pass it again"
            )
