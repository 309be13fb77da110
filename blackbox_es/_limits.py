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
    """Limits of BLAS, which are a process's: the first user sets them, the last undoes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._blas: list[Any] = []  # what undoes the limits
        self._controller: Any = None
        self._n_modules = 0

    def enter(self, n: int) -> Any:
        """One user more; what undoes the limits of OpenMP, which are this thread's."""
        with self._lock:
            new = self._n_modules != len(sys.modules)
            if new:  # looking for libraries takes milliseconds
                self._controller, self._n_modules = ThreadpoolController(), len(sys.modules)
            if new or not self._users:
                self._blas.append(self._lowered("blas", n))
            self._users += 1
            return self._lowered("openmp", n)

    def _lowered(self, api: str, n: int) -> Any:
        """At most ``n`` threads from now on; a limit that is lower already stays."""
        chosen = self._controller.select(user_api=api)
        now = {lib.prefix: lib.num_threads or n for lib in chosen.lib_controllers}
        return chosen.limit(limits={prefix: min(n, count) for prefix, count in now.items()})

    def leave(self) -> None:
        """One user less."""
        with self._lock:
            self._users -= 1
            while not self._users and self._blas:
                self._blas.pop().restore_original_limits()


_limits = _Limits()


@contextmanager
def few_threads(n: int) -> Iterator[None]:
    """At most ``n`` threads for BLAS, OpenMP and Numba in this block; as before after it."""
    before = limit_threads(n)  # first, since it may load OpenMP
    try:
        openmp = _limits.enter(n)
        try:
            yield
        finally:
            openmp.restore_original_limits()
            _limits.leave()
    finally:
        if before is not None:
            limit_threads(before, lower_only=False)
