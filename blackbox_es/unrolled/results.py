"""A search on an unrolled problem as one value, its results, and its file."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from blackbox_es import checkpoint
from blackbox_es._config import Configurable
from blackbox_es._encoding import Arrays, decode, encode
from blackbox_es._tables import WithHistory
from blackbox_es._validation import as_center
from blackbox_es._value import check, freeze
from blackbox_es.checkpoint import CheckpointError
from blackbox_es.unrolled.engine import UnrolledState

Array = npt.NDArray[Any]

COLUMNS = ("n_evaluations", "mean", "n_failed")
FIXED = ("truncation", "n_pairs", "alpha", "n_guides", "optimizer", "random_state")


class Search(NamedTuple):
    """All of a search as one value, replaced by one assignment."""

    seed: int
    state: UnrolledState
    rows: list[tuple[float, ...]]  # of the history: those up to the state's iteration count
    fixed: dict[str, str]  # what the particles depend on: parameters as text
    stop_reason: str | None = None


class NotStarted(RuntimeError, AttributeError):
    """There is no search yet."""


class Results(WithHistory, Configurable):
    """The fitted attributes, and how they are saved."""

    _search: Search

    def _fixed(self) -> dict[str, str]:
        return {name: repr(getattr(self, name)) for name in FIXED}

    def _started(self) -> Search:
        search: Search | None = vars(self).get("_search")
        if search is None:
            raise NotStarted("there is no search: call fit(problem, theta0) first")
        return search

    @property
    def state_(self) -> UnrolledState:
        """What the next iteration needs, a frozen value."""
        return self._started().state

    @property
    def x_(self) -> Array:
        return self.state_.x

    @property
    def gradient_(self) -> Array:
        return self.state_.gradient

    @property
    def n_iter_(self) -> int:
        return self.state_.t

    @property
    def n_evaluations_(self) -> int:
        return self.state_.n_evaluations

    @property
    def stop_reason_(self) -> str | None:
        return self._started().stop_reason

    @property
    def history_(self) -> dict[str, Array]:
        rows = np.array(self._started().rows[: self.n_iter_]).reshape(-1, len(COLUMNS))
        return {name: freeze(rows[:, i].copy()) for i, name in enumerate(COLUMNS)}

    @property
    def result_(self) -> Any:
        """This in SciPy's form; ``fun`` is the mean loss of the last windows."""
        from scipy.optimize import OptimizeResult

        rows = self._started().rows
        return OptimizeResult(
            x=self.x_.copy(),
            fun=rows[self.n_iter_ - 1][1] if self.n_iter_ else math.nan,
            nit=self.n_iter_,
            nfev=self.n_evaluations_,
            message=self.stop_reason_ or "running",
        )

    # -- files -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that is needed to go on exactly, the particles too, to one ``.npz`` file."""
        search, arrays, params = self._started(), Arrays(), {}
        for name, given in self.get_params(deep=False).items():
            with suppress(TypeError):  # a function of the user's: `load` asks for it
                params[name] = encode(given, arrays)
        history = np.array(search.rows[: search.state.t]).reshape(-1, len(COLUMNS))
        meta = {
            "strategy": type(self).__name__,
            "params": params,
            "seed": search.seed,
            "state": encode(search.state, arrays),
            "rows": encode(history, arrays),
            "stop_reason": search.stop_reason,
        }
        checkpoint.write(path, meta, arrays.named)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **params: Any) -> Self:
        """What `save` wrote, to go on by ``fit(problem, resume=True)`` bit for bit.

        Parameters
        ----------
        path : path-like
        **params
            Parameters that could not be saved, such as a schedule of your own, or that are to be
            changed, such as ``max_iter``.

        Raises
        ------
        CheckpointError
            If the file is no intact checkpoint of this class.
        ValueError
            If a parameter that could not be saved is not given.
        """
        meta, arrays = checkpoint.read(path)
        if meta.get("strategy") != cls.__name__:
            raise CheckpointError(
                f"{path} is a checkpoint of {meta.get('strategy')!s:.99}, not of {cls.__name__}"
            )
        try:
            stored = {name: decode(item, arrays) for name, item in meta["params"].items()}
            es = cls(**stored)
            state, rows = decode(meta["state"], arrays), decode(meta["rows"], arrays)
            check(state, as_center(state.x).size, state.x.dtype)
            rows = [tuple(row) for row in rows.tolist()]
            if type(state) is not UnrolledState or state.t != len(rows):
                raise ValueError(f"a {type(state).__name__} after {len(rows)} iterations")
            if state.pairs.score.shape != (stored["n_pairs"], state.x.size):
                raise ValueError(f"scores of shape {state.pairs.score.shape}")
            search = Search(meta["seed"], freeze(state), rows, es._fixed(), meta["stop_reason"])
        except Exception as error:
            raise CheckpointError(f"{path} holds no search: {error}") from error
        cls.check_complete(path, stored, params)
        es.set_params(**params)
        known = {name: text for name, text in search.fixed.items() if name in stored}
        es._search = search._replace(fixed=es._fixed() | known)
        return es
