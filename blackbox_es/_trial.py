"""One point to evaluate, wherever that is done."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Trial(NamedTuple):
    """One point to evaluate; tell its value with its id.

    Attributes
    ----------
    id : int
        New for each trial of a search.
    x : ndarray of shape (n,), or tree
    seed : int
        Below 2^31: what `fit` would give an objective with a parameter ``seed``.
    generation : int
    params : dict or None
        The keyword arguments that x stands for, if the parameter ``bounds`` is a `Space`.

    Examples
    --------
    >>> trial = Trial(id=7, x=np.array([0.1, 2.0]), seed=5, generation=3)
    >>> trial.to_json()
    '{"id": 7, "x": [0.1, 2.0], "dtype": "float64", "seed": 5, "generation": 3}'
    >>> Trial.from_json(trial.to_json()).x
    array([0.1, 2. ])
    """

    id: int
    x: Any
    seed: int
    generation: int
    params: dict[str, Any] | None = None

    def to_json(self) -> str:
        """All of it but ``params`` as JSON, exactly: floats are written to their last bit."""
        if not isinstance(self.x, np.ndarray):
            raise TypeError("trial.x is a tree, which JSON does not hold exactly: pickle the trial")
        x = self.x.astype(float).tolist()
        return json.dumps(
            {
                "id": self.id,
                "x": x,
                "dtype": self.x.dtype.name,
                "seed": self.seed,
                "generation": self.generation,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The trial that `to_json` wrote, without ``params``."""
        held = json.loads(text)
        x = np.array(held["x"], held["dtype"])
        return cls(held["id"], x, held["seed"], held["generation"])
