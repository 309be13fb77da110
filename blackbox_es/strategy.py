"""Evolution strategies: what they all share.

A strategy is a configuration (its parameters) and three pure functions, `_init`, `_ask` and
`_tell` (see `blackbox_es.steps`), under a shell: ask and tell, trials, `fit`, checkpoints, results.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

import numpy.typing as npt

from blackbox_es import _codec, box
from blackbox_es._ask_tell import AskTell
from blackbox_es._config import config
from blackbox_es._pending import Trial
from blackbox_es._progress import ProgressBar
from blackbox_es._search import BUDGETS, STOP_REASONS, Search, folded, over
from blackbox_es._validation import check_function
from blackbox_es._value import same
from blackbox_es.evaluation import Callback, Evaluator, SurrogateCall
from blackbox_es.noise import Key

Array = npt.NDArray[Any]

__all__ = ["STOP_REASONS", "EvolutionStrategy", "Trial"]


@config
class EvolutionStrategy(AskTell):
    """What all evolution strategies share: start, ask, tell, fit, trials, results.

    Always minimises. A parameter changed by `set_params` in the middle of a search holds from the
    next step on, or is refused.

    Attributes
    ----------
    x_ : ndarray of shape (n,)
        The center reached, read-only: what to return under noise. float32 if x0 is, else float64.
    fun_ : float
        The objective at ``x_`` after `fit`, the mean of ``n_reevaluations``; until then the mean of
        the last generation's values.
    x_best_, fun_best_ : ndarray of shape (n,), float
        The best point evaluated and its value: under noise too good to be true, as that of the
        luckiest.
    n_iter_, n_evaluations_, n_surrogate_calls_, n_failed_ : int
        Generations done, evaluations, calls of surrogate_fn, evaluations that failed.
    stop_reason_ : str or None
        None while running, then a key of ``STOP_REASONS``.
    history_ : dict of ndarrays
        One entry per generation: n_evaluations, mean and best value, sigma.
    result_ : OptimizeResult
        All this in SciPy's form.
    """

    def fit(
        self,
        objective: Callable[..., Any],
        x0: npt.ArrayLike | None,
        surrogate_fn: Callable[..., Any] | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> Self:
        """Minimise ``objective`` from ``x0`` until there is a reason to stop.

        Parameters
        ----------
        objective : callable
            ``f(x) -> float``, or ``f(X) -> (m,)`` with ``vectorized=True``, or an object with
            ``evaluate_generation(generation) -> (2, n_pairs)``. With a parameter ``seed`` it is
            given an integer below 2^31, the same for points that are to be compared on the same
            noise.
        x0 : array-like of shape (n,), or None
            None is the middle of the bounds.
        surrogate_fn : callable, optional
            ``surrogate_fn(x) -> (n,) or (n, k)``, called before each generation that makes use of
            one, at ``surrogate_x_``. With a parameter ``seed`` it is given that of the generation.
        callback : callable, optional
            ``callback(intermediate_result=OptimizeResult)`` or ``callback(x)`` after each
            generation; StopIteration ends the search cleanly.

        Returns
        -------
        self

        Raises
        ------
        Exception
            Whatever the objective raises, with a note that says at which candidate; the state is
            then that of the last finished generation.
        EvaluationError
            If more than half of the pairs of a generation failed.
        """
        check_function("surrogate_fn", surrogate_fn)
        check_function("callback", callback)
        if surrogate_fn is not None and not self.takes_surrogate:
            raise ValueError(f"{type(self).__name__} uses no surrogate_fn: take GuidedES")
        evaluator = self.evaluator(objective)
        surrogate_of = None if surrogate_fn is None else SurrogateCall(surrogate_fn)
        wants_stop = None if callback is None else Callback(callback)
        self.start(x0)
        with evaluator, ProgressBar(self.verbose, self.max_iter) as bar:
            while not self.stop_reason_:
                at = None if surrogate_of is None else self.surrogate_x_
                surrogate = None if at is None else surrogate_of(at, self._key)  # type: ignore[misc]
                # No name for the generation: it would live on when the next one is made.
                self._finish(evaluator(self._begin(surrogate, calls=at is not None).generation))
                bar.update(self.fun_)
                if wants_stop is not None and wants_stop(self.result_):
                    self._search = self._search._replace(stop_reason="callback")
            values = evaluator.at(self.x_, self._key, self.n_reevaluations)
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
        )

    # -- checkpoints ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue exactly, in mid-generation too.

        One ``.npz`` file without pickle, replaced in one step; the one before is kept as
        ``path.prev``. Functions of the user's, such as a shaping, are not saved: pass them again to
        `load`.
        """
        _codec.save(self, path, self._started())

    @classmethod
    def load(cls, path: str | os.PathLike[str], **params: Any) -> Self:
        """A strategy that continues where `save` left off, bit for bit.

        Parameters
        ----------
        path : path-like
        **params
            Parameters that were not saved, such as a shaping function, and those to change: a
            search that has used up its budget goes on with a larger ``max_iter``.

        Raises
        ------
        CheckpointError
            If the file is no intact checkpoint of this strategy.
        ValueError
            If a parameter that was not saved is not given, or the search cannot go on with one
            that is.
        """
        es: Self
        es, search = _codec.load(cls, path, params)
        es._search = search
        es._check_change(search)
        return es.set_params()  # what had ended may have more to spend now

    # -- parameters ----------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return self.

        In the middle of a search they hold from the next step on; what cannot change then, such as
        ``random_state``, is refused.

        Raises
        ------
        ValueError
            If there is no parameter of that name, or the search cannot go on with it; nothing is
            set then.
        """
        search: Search | None = vars(self).get("_search")
        before = self.get_params()
        super().set_params(**params)
        if search is None or search.stop_reason not in (None, "f_target", *BUDGETS):
            return self  # `start` checks
        try:
            self._check_change(search)
        except BaseException as error:
            if search.stop_reason and isinstance(error, (TypeError, ValueError)):
                return self  # it has ended, and is not to go on
            super().set_params(**{name: v for name, v in before.items() if "__" not in name})
            super().set_params(**before)
            raise
        reason = over(self, search.state, search.record, search.begun)
        self._search = search._replace(stop_reason=reason)
        return self

    @property
    def surrogate_x_(self) -> Array | None:
        """Where a surrogate gradient is made use of in the next generation; None is nowhere."""
        search = self._started()
        if search.pending is not None or not self._wants_surrogate(search.state):
            return None
        return folded(search, self._center(search.state))

    @property
    def _key(self) -> Key:
        return self._search.seed, self._search.state.t

    def _check_change(self, search: Search) -> None:
        """Raise TypeError or ValueError unless the search can go on with these parameters."""
        for name, value in search.fixed.items():
            if not same(getattr(self, name), value):
                raise ValueError(f"{name} is fixed when a search starts: call start(x0)")
        n = None if search.box is None else search.box.n
        if box.resolve(self.bounds, n) != search.box:
            raise ValueError("bounds is fixed when a search starts: call start(x0)")
        self.check_parameters(search.state.x.size)
        self._check_state(search.state)
