"""A progress bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

from typing import Any, Self


class ProgressBar:
    """A context manager; silent unless ``verbose`` and standard error is a terminal.

    Parameters
    ----------
    verbose : int
    total : int or None
        Number of generations, if known.
    done : int
        Those that had been done before.
    """

    def __init__(self, verbose: int, total: int | None, done: int = 0) -> None:
        self._bar: Any = None
        if verbose:
            from tqdm import tqdm  # costs 0.1 s, so only when it is used

            self._bar = tqdm(
                total=total, initial=done, disable=None, unit=" generations", leave=False
            )

    def update(self, value: float) -> None:
        """One generation more, with this mean value."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"f = {value:.4g}", refresh=False)
            self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
