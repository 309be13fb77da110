"""The threads that the libraries below may use in a worker: its share, as loky's workers have."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

from blackbox_es._jit import limit_threads


class _Limits:
    """Limits of a whole process: the first who wants them sets them, the last one undoes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users, self._limiter = 0, None
        self._controller: Any = None
        self._n_modules = 0

    def enter(self, n: int) -> None:
        """One user more; a limit that is lower already stays."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            if self._n_modules != len(sys.modules):  # looking for libraries takes milliseconds
                self._controller, self._n_modules = ThreadpoolController(), len(sys.modules)
            libraries = self._controller.lib_controllers
            limits = {lib.prefix: min(n, lib.num_threads or n) for lib in libraries}
            self._limiter = self._controller.limit(limits=limits)

    def leave(self) -> None:
        """One user less."""
        with self._lock:
            self._users -= 1
            if not self._users and self._limiter is not None:
                self._limiter.restore_original_limits()
                self._limiter = None


_limits = _Limits()


@contextmanager
def few_threads(n: int) -> Iterator[None]:
    """At most ``n`` threads for BLAS, OpenMP and Numba in this block; as before after it."""
    _limits.enter(n)
    try:
        before = limit_threads(n)
        try:
            yield
        finally:
            if before is not None:
                limit_threads(before, lower_only=False)
    finally:
        _limits.leave()
