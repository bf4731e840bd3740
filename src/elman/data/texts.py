"""What a text column must hold before anything is learnt from it."""

from __future__ import annotations

import re

from elman.data.table import Table, is_missing
from elman.errors import UserError

# White space and the characters that print as nothing.
_INVISIBLE = re.compile("[\\s\u200b-\u200f\u2060\ufeff]*")


def is_empty(text: str) -> bool:
    """Whether a text shows nothing at all.

    Example:
        >>> is_empty(" \u200b"), is_empty(".")
        (True, False)
    """
    return _INVISIBLE.fullmatch(text) is not None


def drop_empty(table: Table, column: str) -> tuple[Table, int]:
    """The rows that have a text, and how many have none and were left out.

    Args:
        table: the data.
        column: the text column; its numbers become the text a user would write.

    Returns:
        The table with strings in that column, and the number of rows dropped, for the caller to report.

    Raises:
        UserError: no row has a text, or a cell is neither text nor number (the line is named).

    Example:
        >>> kept, dropped = drop_empty(Table({"text": ["good", " ", None]}, "data"), "text")
        >>> kept.column("text"), dropped
        (['good'], 2)
    """
    texts = [_text(cell, table, row) for row, cell in enumerate(table.column(column))]
    rows = [row for row, text in enumerate(texts) if not is_empty(text)]
    if not rows:
        fix = "choose another column with --text"
        raise UserError(
            f"every text of column {column!r} is empty",
            where=table.source,
            found=f"{len(table)} rows",
            fix=fix,
        )
    columns = {**table.columns, column: texts}
    return Table(columns, table.source, table.lines, table.files).select(rows), len(table) - len(rows)


def _text(cell: object, table: Table, row: int) -> str:
    if is_missing(cell):
        return ""
    if isinstance(cell, str | int | float):
        return str(cell)
    what = "a text must be a string or a number"
    raise UserError(what, where=table.where(row), found=type(cell).__name__)
