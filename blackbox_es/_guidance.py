"""Where surrogate gradients come from: a function of the user's, or a model that is told values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from blackbox_es.evaluation import SurrogateCall
from blackbox_es.generation import Generation
from blackbox_es.models import Archive, SurrogateModel

Array = npt.NDArray[Any]
Surrogate = Callable[..., Any] | str | None

MODEL = "model"
_BYTES = 2**27  # of points that a model is told at once


def check_surrogate(name: str, surrogate_fn: Any) -> None:
    """Raise TypeError or ValueError unless it is None, a function, a model or its name."""
    if isinstance(surrogate_fn, str) and surrogate_fn != MODEL:
        raise ValueError(f'{name}={surrogate_fn!r:.99}: take "{MODEL}", or a function')
    if surrogate_fn is None or isinstance(surrogate_fn, str) or callable(surrogate_fn):
        return
    if hasattr(surrogate_fn, "tell"):
        raise TypeError(
            f"{name}={surrogate_fn!r:.99} is told values, but not callable: a model has "
            "tell(X, values), and called with x it returns its gradient there"
        )
    raise TypeError(f"{name}={surrogate_fn!r:.99} is not callable: expected a function")


def is_model(surrogate_fn: Surrogate) -> bool:
    """Whether it is to be told the values of points."""
    return isinstance(surrogate_fn, str) or callable(getattr(surrogate_fn, "tell", None))


class Guidance(SurrogateCall):
    """Calls a surrogate_fn, and tells it what has been evaluated if it is a model.

    Attributes
    ----------
    learns : bool
        It is a model.
    """

    def __init__(self, surrogate_fn: Any) -> None:
        self.learns = is_model(surrogate_fn)
        self._model = SurrogateModel() if isinstance(surrogate_fn, str) else surrogate_fn
        super().__init__(self._model)

    def go_on(self, archive: Archive | None) -> None:
        """Let the package's model know what it has been told in a search, and no more."""
        if isinstance(self._model, SurrogateModel):
            self._model.archive_ = archive

    def tell(self, generation: Generation, values: Array) -> Archive | None:
        """Tell a model the points of a generation that have a finite value.

        Returns all that the package's has been told, None for others.
        """
        if not self.learns:
            return None
        for first, last in generation.chunks(0, generation.n_pairs, _BYTES):
            pairs = generation.pairs(first, last)
            points = pairs.reshape(-1, pairs.shape[2])
            told = values[:, first:last].ravel()
            known = np.isfinite(told)
            if not known.any():
                continue
            try:
                self._model.tell(points[known], told[known])
            except Exception as error:
                error.add_note(f"raised by surrogate_fn.tell after generation {generation.index}")
                raise
        return self._model.archive_ if isinstance(self._model, SurrogateModel) else None
