"""Evolution strategies: what they all share.

A strategy is a configuration (its parameters) and three pure functions, `_init`, `_ask` and
`_tell` (see `blackbox_es.steps`), under a shell: ask and tell, trials, `fit`, checkpoints, results.
"""

from __future__ import annotations

import os
from typing import Any, Self

from blackbox_es import _codec, box
from blackbox_es._config import config
from blackbox_es._fit import Fit
from blackbox_es._search import BUDGETS, STOP_REASONS, Search, over
from blackbox_es._tables import html_table
from blackbox_es._trial import Trial
from blackbox_es._value import same
from blackbox_es.tree import box_of

__all__ = ["STOP_REASONS", "EvolutionStrategy", "Trial"]


@config
class EvolutionStrategy(Fit):
    """What all evolution strategies share: start, ask, tell, fit, trials, results.

    Always minimises. A parameter changed by `set_params` in the middle of a search holds from the
    next step on, or is refused.

    Attributes
    ----------
    x_ : ndarray of shape (n,), or tree
        The center reached, read-only: what to return under noise. float32 if x0 is, else float64.
        If ``x0`` is a tree, all points are trees of the same structure, made anew each time.
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

    def _repr_html_(self) -> str:
        """Parameters, those that differ from the defaults bold, and what the search has reached."""
        params = {
            name: (f"{value!r:.99}", repr(value) != repr(self._defaults[name]))
            for name, value in self.get_params(deep=False).items()
        }
        table = html_table(type(self).__name__, params)
        if "_search" not in vars(self):
            return table
        reached = {
            "generations": f"{self.n_iter_:,}",
            "evaluations": f"{self.n_evaluations_:,}",
            "value": f"{self.fun_:.6g}",
            "best value": f"{self.fun_best_:.6g}",
            "stopped": "no: it goes on" if self.stop_reason_ is None else self.stop_reason_,
        }
        return table + html_table("progress", {name: (v, False) for name, v in reached.items()})

    # -- checkpoints ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue exactly, in mid-generation too.

        One ``.npz`` file without pickle, replaced in one step; the one before is kept as
        ``path.prev``. Functions of the user's, such as a shaping, are not saved: pass them again to
        `load`.
        """
        _codec.save(self, path)

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
        # What had ended may have more to spend now.
        return es.set_params() if params else es

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
        with self._lock:
            return self._set_params(params)

    def _set_params(self, params: dict[str, Any]) -> Self:
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
        reason = over(self, search.state, search.record, search.begun, len(search.late))
        self._search = search._replace(stop_reason=reason)
        return self

    def _check_change(self, search: Search) -> None:
        """Raise TypeError or ValueError unless the search can go on with these parameters."""
        fixed = {name: (getattr(self, name), value) for name, value in search.fixed.items()}
        n = None if search.box is None else search.box.n
        fixed["bounds"] = box.resolve(self.bounds, n), box_of(search.box)
        changed = {name: pair for name, pair in fixed.items() if not same(*pair)}
        if changed:
            told = "; ".join(f"{name}={a!r:.99}, was {b!r:.99}" for name, (a, b) in changed.items())
            raise ValueError(
                f"{', '.join(changed)} {'is' if len(changed) == 1 else 'are'} fixed when a search "
                f"starts: call start(x0) ({told})"
            )
        self.check_parameters(search.state.x.size)
        self._check_state(search.state)
