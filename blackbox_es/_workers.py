"""How tasks reach workers, and what becomes of those whose worker is lost.

    function -> pickled once -> task: token, method, argument, part -> worker -> answer

A task says which part of a generation is wanted. The function itself goes along only until the
worker has it: a task whose worker does not know the token is answered so and sent once more, with
the function. The same tasks give the same bits, so that a task that was lost is done again.
"""

from __future__ import annotations

import pickle
import queue
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import cloudpickle
import joblib
from joblib.parallel import ThreadingBackend, get_active_backend

from blackbox_es._carriers import Backend, Dask, Lost, Parcel, enclosed, is_nested
from blackbox_es._limits import few_threads
from blackbox_es.shaping import EvaluationError

Part = tuple[int, int]  # first and last
Answer = tuple[str, Any, Any]  # kind, what, and the traceback of what was raised

_KEPT = 4  # functions that a worker keeps, for fits in turns
_kept = threading.local()  # by thread, since a Dask worker may have several, and functions state


class Workers:
    """Calls methods of a function in joblib's workers, which are kept until `close`.

    Parameters
    ----------
    function : object
        What the workers need: pickled now, so that what happens to it later is not seen.
    n_jobs : int or None
        Of joblib, whose `parallel_config` says which workers they are.
    timeout : float or None
        Seconds for a task, from when it is sent.
    max_retries : int
        Times that a task which was lost is done again.

    Attributes
    ----------
    n : int
        Workers, each of which gets one task at a time.
    carries : bool
        Whether there are any: not with ``n_jobs=1``, nor inside of other workers.
    """

    def __init__(
        self, function: Any, n_jobs: int | None, timeout: float | None, max_retries: int
    ) -> None:
        backend, of_context = get_active_backend()
        n_jobs = of_context if n_jobs is None else n_jobs
        self.n = 1 if is_nested(backend) else backend.effective_n_jobs(n_jobs)
        self.carries = self.n > 1
        if hasattr(backend, "client") and not is_nested(backend):
            # A cluster is not left for want of workers: others may be about to come.
            self.n, self.carries = max(self.n, n_jobs or 1), True
        if timeout is not None and not self.carries:
            raise ValueError(
                f"timeout={timeout} needs workers that can be ended: set n_jobs to more than one, "
                "or timeout=None"
            )
        self._timeout, self._max_retries = timeout, max_retries
        self._share = max(1, joblib.cpu_count() // self.n)  # threads of a worker, as of loky
        self._function, self._shared_memory = function, isinstance(backend, ThreadingBackend)
        self._token, self._parcel = uuid.uuid4().bytes, None
        if self.carries:
            carrier = Dask if hasattr(backend, "client") else Backend
            self._carrier: Any = carrier(backend, n_jobs)
            if not self._shared_memory:
                self._parcel = Parcel(_pickled(function))

    def close(self) -> None:
        """Let the workers go."""
        self._carrier.close()

    def __call__(
        self, method: str, argument: Any, count: int, place: Callable[[int, int], str]
    ) -> list[Any]:
        """``[function.method(argument, first, last), ...]`` for 0 to ``count``, a range a worker.

        ``place(first, last)`` says in an error what they are.

        Raises
        ------
        Exception
            What the function raised.
        EvaluationError
            If a task was lost again after ``max_retries``.
        """
        size = -(-count // self.n)  # one task per worker: tasks are expensive
        parts = [(first, min(first + size, count)) for first in range(0, count, size)]
        call: Callable[..., Answer] = partial(_attempt, self._function, self._share, method)
        sent = argument
        if not self._shared_memory:
            call = partial(_work, self._token, self._share, method)
            sent = enclosed(_pickled_argument(argument))
        results: dict[int, Any] = {}
        missing = list(range(len(parts)))
        for attempt in range(self._max_retries + 1):
            # BLAS may obey the caller's thread alone, if that has set a limit before.
            here = few_threads(self._share) if self._shared_memory else nullcontext()
            try:
                with here:
                    lost = self._round(call, sent, parts, missing, results)
            except BaseException:
                self._carrier.drop()
                raise
            if not lost:
                return [results[i] for i in range(len(parts))]
            missing = sorted(lost)
            late = [i for i in missing if isinstance(lost[i], TimeoutError)]
            self._carrier.drop(hang=bool(late))
            i = (late or missing)[0]
            if attempt == self._max_retries or (late and self._shared_memory):
                raise EvaluationError(self._told(place(*parts[i]), lost[i])) from lost[i]
        raise AssertionError  # the last attempt returns or raises

    def _round(
        self,
        call: Callable[..., Answer],
        sent: Any,
        parts: Sequence[Part],
        missing: list[int],
        results: dict[int, Any],
    ) -> dict[int, BaseException]:
        """Send the missing tasks once; fills in results, returns why others were lost."""
        arrived: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

        def send(i: int, parcel: Parcel | None) -> None:
            self._carrier.submit(call, (parcel, sent, parts[i]), partial(_put, arrived, i))

        fresh = self._carrier.open()
        if fresh and self._timeout is not None and not self._shared_memory:
            self._start()
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        for i in missing:
            send(i, self._parcel if fresh else None)
        lost: dict[int, BaseException] = {}
        waiting = set(missing)
        while waiting:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                i, out = arrived.get(timeout=left)
            except queue.Empty:
                return lost | dict.fromkeys(waiting, TimeoutError(f"after {self._timeout} s"))
            try:
                kind, what, trace = self._carrier.result(out)
            except Lost as error:
                lost[i] = error.__cause__ or error
                waiting.discard(i)
                continue
            if kind == "unknown":
                send(i, self._parcel)
                continue
            if kind == "raised":
                raise _raised(what, trace)
            results[i] = what
            waiting.discard(i)
        return lost

    def _start(self) -> None:
        """Wait until the workers have started, which is not to count as a task's time."""
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.n):
            self._carrier.submit(_nothing, (), arrived.put)
        for _ in range(self.n):
            arrived.get()

    def _told(self, place: str, error: BaseException) -> str:
        n = self._max_retries + 1
        times = f"{'once' if n == 1 else f'{n} times'} (max_retries={self._max_retries})"
        if not isinstance(error, TimeoutError):
            return (
                f"{place}: the worker died, {times}. It was killed, crashed in compiled code or "
                "ran out of memory: if so, take fewer workers, n_jobs, or points that need less"
            )
        if self._shared_memory:
            return (
                f"{place}: no value after timeout={self._timeout} seconds. Threads cannot be "
                "ended, so it is still running and is not retried: use processes, "
                'joblib.parallel_config("loky")'
            )
        return f"{place}: no value after timeout={self._timeout} seconds, {times}"


def _pickled(function: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(function))
    except Exception as error:
        raise TypeError(
            f"the objective cannot be sent to worker processes ({error}): use threads, "
            'joblib.parallel_config("threading"), or a function at module level that opens its '
            "files and makes its locks and generators when it is called"
        ) from error


def _pickled_argument(argument: Any) -> bytes:
    return bytes(cloudpickle.dumps(argument))


def _put(arrived: queue.SimpleQueue[tuple[int, Any]], i: int, out: Any) -> None:
    arrived.put((i, out))


# -- in the worker -------------------------------------------------------------------------------


def _nothing() -> Answer:
    return "value", None, None


def _work(
    token: bytes, share: int, method: str, parcel: Parcel | None, sent: Any, part: Part
) -> Answer:
    """What a worker process does for a task; never raises."""
    try:
        known: dict[bytes, Any] = vars(_kept).setdefault("functions", {})
        if token not in known:
            if parcel is None:
                return "unknown", None, None
            while len(known) >= _KEPT:
                del known[next(iter(known))]
            known[token] = pickle.loads(parcel.data)
        argument = pickle.loads(sent.data if isinstance(sent, Parcel) else sent)
        kind, what, _ = _attempt(known[token], share, method, None, argument, part)
        if kind != "raised":
            return kind, what, None
    except BaseException as error:  # it cannot be unpickled here
        what = error
    trace = "".join(traceback.format_exception(what))
    try:
        data = cloudpickle.dumps(what)
        pickle.loads(data)
    except Exception:  # a constructor that takes other arguments, or a handle inside
        other = RuntimeError(f"{type(what).__name__}: {what}")
        for note in getattr(what, "__notes__", ()):
            other.add_note(note)
        data = cloudpickle.dumps(other)
    return "raised", data, trace


def _attempt(function: Any, share: int, method: str, _: None, argument: Any, part: Part) -> Answer:
    """A call on a worker's share of the threads, in which joblib has one worker."""
    try:
        with ExitStack() as stack:
            stack.enter_context(few_threads(share))
            stack.enter_context(joblib.parallel_config("sequential"))
            return "value", getattr(function, method)(argument, *part), None
    except BaseException as error:  # SystemExit too is for the caller, not for the worker
        return "raised", error, None


class _InWorker(Exception):
    """The traceback in the worker, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _raised(what: Any, trace: str | None) -> BaseException:
    if trace is None:
        return what  # type: ignore[no-any-return]
    error: BaseException = pickle.loads(what)
    error.__cause__ = _InWorker(trace)
    return error
