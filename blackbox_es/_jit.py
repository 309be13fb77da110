"""The one compiler decorator of the package.

Every kernel is serial, releases the GIL and is compiled on its first call, never on import.
Compiled code is cached on disk where the disk allows it. A kernel calls kernels of its own file
only, because Numba's disk cache does not notice an edit in another file.

Set ``BLACKBOX_ES_DISABLE_NUMBA=1`` before the import to run every kernel as plain Python: slow,
for debugging and coverage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

DISABLED = os.environ.get("BLACKBOX_ES_DISABLE_NUMBA", "0") not in ("", "0")


def jit(*, contract: bool = False) -> Callable[[Function], Function]:
    """Compile a kernel that is called from Python.

    Parameters
    ----------
    contract : bool
        Allow ``a * b + c`` to be rounded once (a fused multiply-add), which is faster where sums
        of products dominate. NaN and infinities behave as ever, but the last bit may then depend
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
            return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no writable place for the cache: compile in every process
            return numba.njit(**options)(function)  # type: ignore[no-any-return]

    return compile_lazily
