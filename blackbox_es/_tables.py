"""Tables for people: data frames, and parameters and progress in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def generations_frame(columns: Mapping[str, Any]) -> Any:
    """A pandas DataFrame with a row for each generation, 1 for the first.

    Raises
    ------
    ImportError
        Without pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("frames need pandas: python -m pip install pandas") from error
    frame = pandas.DataFrame({name: list(column) for name, column in columns.items()})
    frame.index = pandas.RangeIndex(1, len(frame) + 1, name="generation")
    return frame


class WithHistory:
    """What has a history, which comes out as a frame."""

    @property
    def history_(self) -> Mapping[str, Any]:
        """Columns by name."""
        raise NotImplementedError

    def history_frame(self) -> Any:
        """The history as a pandas DataFrame: a row for each generation, 1 for the first.

        Raises
        ------
        ImportError
            Without pandas.
        """
        return generations_frame(self.history_)


def html_table(title: str, rows: Mapping[str, tuple[str, bool]]) -> str:
    """Names and texts in two columns, some of them bold; texts are escaped."""
    weights = {True: "bold", False: "normal"}
    cells = "".join(
        f'<tr style="font-weight: {weights[bold]}; text-align: left">'
        f"<td>{escape(name)}</td><td>{escape(text)}</td></tr>"
        for name, (text, bold) in rows.items()
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{cells}</tbody></table>"
