"""What carries tasks: joblib's backends, and Dask's client without joblib between.

`joblib.Parallel` looks for results every 10 ms. A backend's own callbacks say at once.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError
from functools import partial
from typing import Any

import joblib

_ALONG = 2**16  # bytes: more is put where several Dask workers can fetch it
_NO_WORKERS = 60  # seconds that a cluster may be without, as when all have died


class Lost(Exception):
    """A task has no answer, its worker having died."""


class Parcel:
    """Bytes to be sent once; weakly referable and of known size, so that Dask may scatter it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __sizeof__(self) -> int:
        return len(self.data)


def enclosed(data: bytes) -> bytes | Parcel:
    """Bytes that go along with each task, or by a way of their own if they are many."""
    return data if len(data) < _ALONG else Parcel(data)


def is_nested(backend: Any) -> bool:
    """Whether this is a worker already: of joblib, or of Dask."""
    if backend.nesting_level:
        return True
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


class Backend:
    """A pool of one of joblib's backends."""

    def __init__(self, backend: Any, n_jobs: int | None) -> None:
        self._backend, self._n_jobs = backend, n_jobs
        self._parallel: Any = None

    def open(self) -> bool:
        """Make sure that there is a pool; whether it is a new one."""
        if self._parallel is not None:
            return False
        # Parallel knows what the context says of the pool, and gives it to the backend.
        self._parallel = joblib.Parallel(n_jobs=self._n_jobs, backend=self._backend)
        self._parallel.__enter__()
        return True

    def close(self) -> None:
        """Let the pool go: some backends keep its workers for the next one."""
        if self._parallel is not None:
            self._parallel.__exit__(None, None, None)
            self._parallel = None

    def drop(self, hang: bool = False) -> None:
        """End the pool, and its workers with it if they can be ended."""
        if self._parallel is not None:
            self._parallel = None
            self._backend.abort_everything(ensure_ready=False)

    def submit(self, call: Callable[..., Any], args: Any, callback: Callable[[Any], Any]) -> None:
        """Send a task; what comes back is for `result`."""
        try:
            self._backend.submit(partial(call, *args), callback)
        except Exception as error:
            if not _is_loss(error):
                raise
            callback(error)  # the pool broke while tasks were being sent

    def result(self, out: Any) -> Any:
        """The answer, or `Lost`."""
        try:
            if not isinstance(out, BaseException):
                out = self._backend.retrieve_result_callback(out)
        except BaseException as error:
            out = error
        return _answer(out)


class Dask:
    """A Dask client, the one of joblib's backend."""

    def __init__(self, backend: Any, n_jobs: int | None) -> None:
        self._client = backend.client
        self._options = backend.submit_kwargs
        self._waiting: set[Any] = set()
        self._scattered: dict[Any, Any] = {}
        self._is_open = False

    def open(self) -> bool:
        """Whether these workers are new to the tasks."""
        fresh, self._is_open = not self._is_open, True
        return fresh

    def close(self) -> None:
        """Give back what was put on the workers."""
        self._scattered.clear()

    def drop(self, hang: bool = False) -> None:
        """Cancel what is running; workers that hang are made anew."""
        keys = {future.key for future in self._waiting}
        if hang and keys:
            busy = [w for w, doing in self._client.processing().items() if keys & {*doing}]
            with contextlib.suppress(ValueError, TimeoutError):  # without a nanny it goes on
                self._client.restart_workers(busy, timeout=60)
        self._client.cancel(list(self._waiting))
        self._waiting.clear()
        self._scattered.clear()
        self._is_open = False

    def submit(self, call: Callable[..., Any], args: Any, callback: Callable[[Any], Any]) -> None:
        """Send a task; what comes back is for `result`."""
        args = [self._put(arg) if isinstance(arg, Parcel) else arg for arg in args]
        future = self._client.submit(call, *args, pure=False, **self._options)
        self._waiting.add(future)
        future.add_done_callback(callback)

    def _put(self, parcel: Parcel) -> Any:
        """The parcel on the workers, once as long as it is the latest of two."""
        if parcel not in self._scattered:
            while len(self._scattered) > 1:
                del self._scattered[next(iter(self._scattered))]
            self._scattered[parcel] = self._scatter(parcel)
        return self._scattered[parcel]

    def _scatter(self, parcel: Parcel) -> Any:
        """Put on a worker, once there is one: when some have died others are about to start."""
        end = time.monotonic() + _NO_WORKERS
        while True:
            try:
                return self._client.scatter(parcel, hash=False)
            except TimeoutError as error:
                if time.monotonic() > end:
                    raise RuntimeError(
                        f"the Dask cluster has had no worker for {_NO_WORKERS} seconds: add some"
                    ) from error
                time.sleep(0.1)

    def result(self, out: Any) -> Any:
        """The answer, or `Lost`."""
        self._waiting.discard(out)
        try:
            return _answer(out.result())
        except Lost:
            raise
        except BaseException as error:
            return _answer(error)


def _answer(out: Any) -> Any:
    """A task never raises: an exception is one of what carried it."""
    if not isinstance(out, BaseException):
        return out
    if _is_loss(out):
        raise Lost(str(out)) from out
    raise out


def _is_loss(error: BaseException) -> bool:
    kinds = (BrokenExecutor, CancelledError, ConnectionError, EOFError)
    home = type(error).__module__.partition(".")[0]
    return (
        isinstance(error, kinds)
        or home in ("distributed", "ray")
        or (type(error).__name__ == "CancelledError")
    )
