"""Checkpoints of a search that runs."""

from __future__ import annotations

import os
import time
import warnings
from numbers import Integral
from pathlib import Path
from typing import Any, Self

from blackbox_es import _codec
from blackbox_es._validation import check_count, check_positive

StrPath = str | os.PathLike[str]


class Checkpoints:
    """A file that follows a search; a context manager, which writes at both ends.

    What the disk refuses is warned of once, and the search goes on: the file is then an older one,
    but whole.

    Parameters
    ----------
    es : EvolutionStrategy
    path : path-like or None
        None writes nothing.
    every : float or int
        Seconds, or generations if it is an int, between two times of writing.

    Raises
    ------
    TypeError, ValueError
        For what is no path of a file in a folder that exists, and for an invalid ``every``.
    """

    def __init__(self, es: Any, path: StrPath | None, every: float) -> None:
        by_generations = isinstance(every, Integral) and not isinstance(every, bool)
        if by_generations:
            check_count("checkpoint_every", every)
        else:
            check_positive("checkpoint_every", every, also=" of seconds, or of generations if int")
        if path is not None:
            _check_path(path)
        self._es, self._path, self._every = es, path, every
        self._now = (lambda: es.n_iter_) if by_generations else time.perf_counter
        self._warned = False

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *exception: object) -> None:
        self._write()

    def after_generation(self) -> None:
        """Write if it is time to."""
        if self._path is not None and self._now() - self._last >= self._every:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            _codec.save(self._es, self._path)
        except OSError as error:
            if not self._warned:
                self._warned = True
                message = f"checkpoint {self._path!s} was not written, the search goes on: {error}"
                warnings.warn(message, RuntimeWarning, stacklevel=4)
        self._last = self._now()


def _check_path(path: Any) -> None:
    try:
        target = Path(os.path.realpath(path))
    except TypeError:
        raise TypeError(f"checkpoint={path!r}: expected the path of a file") from None
    if not target.parent.is_dir():
        raise ValueError(f"checkpoint={str(path)!r}: there is no folder {target.parent}: make it")
    if target.exists() and not target.is_file():
        raise ValueError(f"checkpoint={str(path)!r} is no file: give the name of one")
