"""The one compiler decorator of the package.

Every kernel is serial, releases the GIL and is compiled on its first call, never on import.
Compiled code is cached on disk where the disk allows it: a cache in trouble costs one warning and
a compilation. A kernel calls kernels of its own file only, because Numba's disk cache does not
notice an edit in another file.

Set ``BLACKBOX_ES_DISABLE_NUMBA=1`` before the import to run every kernel as plain Python: slow,
for debugging and coverage.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

DISABLED = os.environ.get("BLACKBOX_ES_DISABLE_NUMBA", "0") not in ("", "0")
_warned = False  # of the disk cache, in this process


def jit(*, contract: bool = False) -> Callable[[Function], Function]:
    """Compile a kernel that is called from Python.

    Parameters
    ----------
    contract : bool
        Allow ``a * b + c`` to be rounded once (a fused multiply-add), which is faster where sums
        of products dominate. NaN and infinities behave as always, but the last bit may then depend
        on the processor. Noise is compiled without, so that its bits are the same everywhere.
    """
    return _compiler({"contract"} if contract else False)


def inline(*, contract: bool = False) -> Callable[[Function], Function]:
    """Compile a function that only kernels call, always inlined so that their loops vectorise."""
    return _compiler({"contract"} if contract else False, forceinline=True)


def _compiler(fastmath: bool | set[str], **options: Any) -> Callable[[Function], Function]:
    if DISABLED:
        return lambda function: function
    import numba

    options |= {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    def compile_lazily(function: Function) -> Function:
        try:
            dispatcher = numba.njit(cache=True, **options)(function)
        except Exception as error:  # a mistake of ours is raised again without the cache
            dispatcher = numba.njit(**options)(function)
            _warn("can be kept nowhere", error, "set NUMBA_CACHE_DIR to a folder to write to")
        _forgive(getattr(dispatcher, "_cache", None))
        return dispatcher  # type: ignore[no-any-return]

    return compile_lazily


def _forgive(cache: Any) -> None:
    """Have a fault of Numba's disk cache cost a warning and a compilation, never the search.

    Numba lets through what a full disk or a damaged file raises, which is anything `pickle` can.
    Where another Numba has other names inside, its cache is as good as its own.
    """

    def forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*args: Any) -> Any:
            try:
                return method(*args)
            except Exception as error:
                # Empty the index: it may be damaged, or list a file of older code as the new one.
                with contextlib.suppress(Exception):
                    cache.flush()
                cure = "if this comes again, delete that folder or set NUMBA_CACHE_DIR to another"
                _warn(f"cannot be kept in {folder}", error, cure)
                return None  # nothing found, nothing kept: Numba compiles

        return attempt

    with contextlib.suppress(AttributeError):
        folder = cache.cache_path
        cache.load_overload = forgiving(cache.load_overload)
        cache.save_overload = forgiving(cache.save_overload)
        _seal(cache._cache_file)


def _seal(file: Any) -> None:
    """Add a checksum to the files of a cache: LLVM ends the process if it gets damaged code."""
    dump, load, path_of = file._dump, file._load_data, file._data_path

    def dump_sealed(value: Any) -> bytes:
        data: bytes = dump(value)
        return data + zlib.crc32(data).to_bytes(4, "little")  # beyond what pickle reads

    def load_sealed(name: str) -> Any:
        data = Path(path_of(name)).read_bytes()
        if data[-4:] != zlib.crc32(data[:-4]).to_bytes(4, "little"):
            raise ValueError(f"{name} is damaged")
        return load(name)

    file._dump, file._load_data = dump_sealed, load_sealed


def _warn(trouble: str, error: Exception, cure: str) -> None:
    global _warned
    if not _warned:  # one trouble comes with every kernel
        _warned = True
        message = f"compiled kernels {trouble} and are compiled anew ({error!r}): {cure}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def limit_threads(n: int, *, lower_only: bool = True) -> int | None:
    """Numba's threads for parallel kernels in this thread; what it was, None if nothing changed.

    Our kernels are serial: this is for those of an objective.
    """
    numba = sys.modules.get("numba")
    if numba is None or (lower_only and n >= numba.config.NUMBA_NUM_THREADS):
        return None
    before: int = numba.get_num_threads()
    if lower_only and n >= before:
        return None
    numba.set_num_threads(n)
    return before
