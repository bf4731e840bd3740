"""A table in memory: named columns, and for every row the place in the user's file that it came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elman.errors import UserError, did_you_mean

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_EXACT_DIGITS = 15


@dataclass(frozen=True)
class Table:
    """Named columns of equal length; a cell is a string, a number, or None where it is missing.

    Cells of delimited files are the strings of the file, exactly; whether a column holds numbers is decided
    where it is used (see `Labels.read`).

    Args:
        columns: the cells by column name, in the order of the file.
        source: the file or object the table came from, as the user named it.
        lines: the line of the file, from 1, in which each row starts.
        files: the file of each row, where every row has one of its own.

    Raises:
        UserError: there is no column, or the columns differ in length.

    Example:
        >>> table = Table({"text": ["good", "bad"], "label": ["1", "0"]}, "reviews.csv", lines=[2, 3])
        >>> len(table), table.where(1)
        (2, 'reviews.csv:3')
    """

    columns: Mapping[str, list[Any]]
    source: str
    lines: Sequence[int] | None = None
    files: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not self.columns:
            raise UserError("a table needs at least one column", where=self.source, found="no column")
        sizes = {name: len(cells) for name, cells in self.columns.items()}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name}: {size}" for name, size in sizes.items())
            raise UserError("all columns must have equally many rows", where=self.source, found=found)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> list[Any]:
        """The cells of one column.

        Raises:
            UserError: there is no such column; the nearest name is proposed.
        """
        if name not in self.columns:
            found = ", ".join(self.columns)
            fix = did_you_mean(name, self.columns)
            raise UserError(f"no column {name!r}", where=self.source, found=found, fix=fix)
        return self.columns[name]

    def select(self, rows: Sequence[int]) -> Table:
        """The table of these rows only, in this order; every row keeps its place in the file."""
        return Table(
            {name: [cells[row] for row in rows] for name, cells in self.columns.items()},
            self.source,
            None if self.lines is None else [self.lines[row] for row in rows],
            None if self.files is None else [self.files[row] for row in rows],
        )

    def where(self, row: int) -> str:
        """Where a row (from 0) came from: `file.csv:12`, or `data, row 3` (from 1) without lines."""
        place = self.source if self.files is None else self.files[row]
        if self.lines is not None:
            return f"{place}:{self.lines[row]}"
        return place if self.files is not None else f"{place}, row {row + 1}"


def as_number(cell: object) -> int | float | None:
    """The number a cell says, or None where it says none; "nan" and "inf" are numbers that are not finite.

    Example:
        >>> as_number(" 3 "), as_number("2.50"), as_number("3 stars"), as_number(True)
        (3, 2.5, None, None)
    """
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, int | float):
        return _whole(float(cell)) if abs(cell) < 10**_EXACT_DIGITS else _large(cell)
    if isinstance(cell, str) and _NUMBER.fullmatch(cell.strip()):
        return _whole(float(cell))
    return None


def is_missing(cell: object) -> bool:
    """Whether a cell holds nothing: None, NaN, or a string of white space.

    Example:
        >>> is_missing("  "), is_missing(0)
        (True, False)
    """
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _whole(number: float) -> int | float:
    exact = number.is_integer() and abs(number) < 10**_EXACT_DIGITS
    return int(number) if exact else number


def _large(number: float) -> float:
    # A whole number of hundreds of digits has no float: it counts as infinite, and is refused as such.
    try:
        return float(number)
    except OverflowError:
        return math.inf
