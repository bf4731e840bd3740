"""A column of numbers at regular times, made of the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from elman.data.table import Table, as_number, is_missing
from elman.data.times import Clock, Form, find_clock, read_time
from elman.errors import UserError, did_you_mean

Numbers = np.ndarray[Any, np.dtype[Any]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Say = Callable[[str], None]

_TIME_NAMES = ["time", "date", "datetime", "timestamp", "ds", "day", "week", "month", "year", "period", "index"]
_VALUE_NAMES = ("value values y target label", "count sales price demand load temperature close total amount")
_SAMPLE = 200
_LARGEST = 1e30  # beyond this, squares and float32 have no room


@dataclass(frozen=True)
class Series:
    """Numbers at regular times.

    Attributes:
        values: (n,), all finite; where nothing was measured, what lies on the line between the neighbours.
        known: (n,), false where a value was filled in.
        clock: the grid of times.
        start: the first value's tick.

    Example:
        >>> series = read_series(Table({"day": ["2020-01-01", "2020-01-02"], "y": ["1", "3"]}, "data"), "day", "y")
        >>> len(series), series.time(2)
        (2, '2020-01-03')
    """

    values: Numbers
    known: Flags
    clock: Clock
    start: int

    def __len__(self) -> int:
        return len(self.values)

    def tick(self, index: int) -> int:
        """The tick of a value, or of one to come."""
        return self.start + index * self.clock.step

    def time(self, index: int) -> str:
        """The time of a value, or of one to come."""
        return self.clock.write(self.tick(index))


@dataclass(frozen=True)
class SeriesColumns:
    """Where a series stands in a table: `time` is None where rows are taken as equally far apart.

    Attributes:
        time: the column of times, or None.
        value: the column of numbers.
        guessed: which of "time" and "value" were not named by the user, for the caller to print.
    """

    time: str | None
    value: str
    guessed: tuple[str, ...]


def series_columns(table: Table, time: str | None, value: str | None, pattern: str | None = None) -> SeriesColumns:
    """Settle the columns of times and numbers; what the user named is never overruled.

    A column not named is found by its usual name, or else by what it holds: times are the first column whose
    cells all say one, numbers the only other column of numbers.

    Args:
        table: the data.
        time: the column of times, where the user named it; "rows": rows are equally far apart.
        value: the column of numbers, where the user named it.
        pattern: how times are written, see `read_time`.

    Raises:
        UserError: a named column does not exist, or there is no or more than one column of numbers.

    Example:
        >>> series_columns(Table({"date": ["2020-01-01"], "shop": ["a"], "sold": [3]}, "data"), None, None)
        SeriesColumns(time='date', value='sold', guessed=('time', 'value'))
    """
    for option, name in (("data.time", None if time == "rows" else time), ("--label", value)):
        if name is not None and name not in table.columns:
            fix = f"{did_you_mean(name, table.columns)} ({option})"
            raise UserError(f"no column {name!r}", where=table.source, found=", ".join(table.columns), fix=fix)
    if time is not None and time == value:
        raise UserError("times and values must be different columns", where=table.source, found=repr(time))
    guessed = []
    if time is None:
        time = _time_column(table, [name for name in table.columns if name != value], pattern)
        guessed += [] if time is None else ["time"]
    time = None if time == "rows" else time
    if value is None:
        others = [name for name in table.columns if name != time]
        value = _value_column(table, [name for name in others if not _usual(name)] or others)
        guessed.append("value")
    return SeriesColumns(time, value, tuple(guessed))


def read_series(
    table: Table,
    time: str | None,
    value: str,
    *,
    gaps: Literal["refuse", "interpolate"] = "refuse",
    duplicates: Literal["refuse", "mean"] = "refuse",
    pattern: str | None = None,
    say: Say | None = None,
) -> Series:
    """A series out of the rows of a table, put in the order of their times.

    Args:
        table: the data.
        time: the column of times; None: rows are equally far apart.
        value: the column of numbers.
        gaps: what to do where a time or a value is missing: refuse, or draw a line between the neighbours; what
            is missing before the first value and after the last is left out.
        duplicates: what to do with several values at one time: refuse, or take their mean.
        pattern: how times are written, see `read_time`.
        say: is told what was put right.

    Raises:
        UserError: a cell is no number or no time, the times are not regular, or what `gaps` and `duplicates`
            refuse; the line is named.
    """
    say = say or (lambda message: None)
    numbers = [_number(cell, value, table.where(row)) for row, cell in enumerate(table.column(value))]
    if time is None:
        ticks, clock, rows = list(range(len(numbers))), Clock("row", 1, "row"), list(range(len(numbers)))
    else:
        found = [_time(cell, time, pattern, table.where(row)) for row, cell in enumerate(table.column(time))]
        rows, numbers = _in_order(table, found, numbers, duplicates, say)
        clock, ticks = find_clock([found[row] for row in rows], table.source)
    return _on_grid(table, clock, ticks, rows, numbers, gaps, say)


def _on_grid(
    table: Table,
    clock: Clock,
    ticks: Sequence[int],
    rows: Sequence[int],
    numbers: Sequence[float],
    gaps: str,
    say: Say,
) -> Series:
    for (before, tick), row in zip(pairwise(ticks), rows[1:], strict=True):
        if (tick - before) % clock.step:
            what = f"times must be whole steps apart; the most frequent step is {clock.describe()}"
            found = f"{clock.write(before)}, then {clock.write(tick)}"
            fix = "bring them onto a grid, or train with --set data.time=rows: rows are then equally far apart"
            raise UserError(what, where=table.where(row), found=found, fix=fix)
    places = (np.asarray(ticks, dtype=np.int64) - ticks[0]) // clock.step
    present = np.isfinite(np.asarray(numbers))
    if not present.any():
        raise UserError("the series has no value", where=table.source)
    missing = int(places[-1]) + 1 - int(present.sum())
    if missing and gaps == "refuse":
        raise _gap(table, clock, ticks, rows, present, missing)
    begin, end = (int(place) for place in places[np.flatnonzero(present)[[0, -1]]])
    size, within = end + 1 - begin, end + 1 - begin - int(present.sum())
    if 2 * within > size:
        what = f"more than half of the steps ({clock.describe()}) have no value"
        raise UserError(what, where=table.source, found=f"{within} of {size}", fix="give values for more of them")
    values, known = np.full(size, np.nan), np.zeros(size, dtype=bool)
    values[places[present] - begin], known[places[present] - begin] = np.asarray(numbers)[present], True
    values[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), values[known])
    if missing:
        ends = f" ({missing - within} at the ends are left out)" if missing > within else ""
        say(
            f"{missing} of {int(places[-1]) + 1} steps have no value: lines are drawn between the neighbours{ends}"
        )
    return Series(values, known, clock, ticks[0] + begin * clock.step)


def _in_order(
    table: Table, times: Sequence[tuple[datetime, Form]], numbers: Sequence[float], duplicates: str, say: Say
) -> tuple[list[int], list[float]]:
    """Rows in the order of their times, one a time, and their numbers."""
    zones = {form == "time+zone" for _, form in times}
    if len(zones) > 1:
        row = next(
            row for row, (_, form) in enumerate(times) if (form == "time+zone") != (times[0][1] == "time+zone")
        )
        what = "either every time names its zone or none does"
        raise UserError(what, where=table.where(row), found="both kinds")
    order = sorted(range(len(times)), key=lambda row: times[row][0])
    if order != list(range(len(times))):
        row = next(row for row in range(1, len(times)) if times[row][0] < times[row - 1][0])
        say(f"{table.where(row)}: times go back; rows are put in the order of their times")
    rows: list[int] = []
    gathered: list[list[float]] = []
    for row in order:
        if rows and times[row][0] == times[rows[-1]][0]:
            gathered[-1].append(numbers[row])
        else:
            rows.append(row)
            gathered.append([numbers[row]])
    if len(rows) < len(times):
        _twice(table, times, rows, order, duplicates, say)
    return rows, [_mean(group) for group in gathered]


def _mean(numbers: Sequence[float]) -> float:
    present = [number for number in numbers if np.isfinite(number)]
    return sum(present) / len(present) if present else float("nan")


def _twice(
    table: Table,
    times: Sequence[tuple[datetime, Form]],
    rows: Sequence[int],
    order: Sequence[int],
    duplicates: str,
    say: Say,
) -> None:
    extra = len(order) - len(rows)
    if duplicates == "mean":
        say(f"{extra} rows have a time that was there already; the mean of its values is taken")
        return
    first, second = next((a, b) for a, b in pairwise(order) if times[a][0] == times[b][0])
    what = "a series has one value a time; several series in one table must be told apart first"
    found = f"{extra} rows with a time that was there already, the first at {table.where(first)}"
    fix = "remove them, or train with --set data.duplicates=mean"
    raise UserError(what, where=table.where(second), found=found, fix=fix)


def _gap(
    table: Table, clock: Clock, ticks: Sequence[int], rows: Sequence[int], present: Flags, missing: int
) -> UserError:
    fix = "fill them in, or train with --set data.gaps=interpolate: lines are then drawn"
    found = f"{missing} steps of {clock.describe()} without one"
    if not present.all():
        row = rows[int(np.flatnonzero(~present)[0])]
        return UserError("every step must have a value", where=table.where(row), found=found, fix=fix)
    row, before = next(
        (row, a) for row, (a, b) in zip(rows[1:], pairwise(ticks), strict=True) if b - a != clock.step
    )
    after = f"{found}, the first after {clock.write(before)}"
    return UserError("every step must have a value", where=table.where(row), found=after, fix=fix)


def _number(cell: object, column: str, where: str) -> float:
    """The number of a cell, NaN where there is none."""
    if is_missing(cell):
        return float("nan")
    number = as_number(cell)
    if number is None:
        raise UserError(f"column {column!r} must hold numbers", where=where, found=repr(cell))
    number = float(number)
    if abs(number) > _LARGEST:
        raise UserError(
            f"column {column!r} must hold numbers of a size one can compute with", where=where, found=cell
        )
    return number


def _time(cell: object, column: str, pattern: str | None, where: str) -> tuple[datetime, Form]:
    try:
        if is_missing(cell):
            raise ValueError("nothing")
        return read_time(cell, pattern)
    except (ValueError, OverflowError) as error:
        what = f"column {column!r} must hold times"
        fix = 'write them as 2016-02-15 or 2016-02-15T00:30, or train with --set data.time_format="%d/%m/%Y %H:%M"'
        raise UserError(what, where=where, found=repr(cell), fix=fix) from error


def _time_column(table: Table, names: Sequence[str], pattern: str | None) -> str | None:
    usual = [name for name in names if _usual(name)]
    for name in [*usual, *(name for name in names if name not in usual)]:
        sample = [cell for cell in table.columns[name][:_SAMPLE] if not is_missing(cell)]
        if sample and all(_says_time(cell, pattern, name in usual) for cell in sample):
            return name
    # Counters are no times; a text that is none, in a column that is called so, is a mistake to be named.
    return next((name for name in usual if not _numeric(table.columns[name][:_SAMPLE])), None)


def _usual(name: str) -> bool:
    return name.strip().casefold() in _TIME_NAMES


def _says_time(cell: object, pattern: str | None, named: bool) -> bool:
    """Whether a cell says a time; a bare number only does in a column that is called so."""
    if as_number(cell) is not None and not named and pattern is None:
        return False
    try:
        read_time(cell, pattern)
    except (ValueError, OverflowError):
        return False
    return True


def _value_column(table: Table, names: Sequence[str]) -> str:
    numeric = [name for name in names if _numeric(table.columns[name][:_SAMPLE])]
    for tier in _VALUE_NAMES:
        usual = [name for name in numeric if name.strip().casefold() in tier.split()]
        if len(usual) == 1:
            return usual[0]
    if len(numeric) == 1:
        return numeric[0]
    why = f"{', '.join(numeric)} all hold numbers" if numeric else "no other column holds numbers"
    what = f"which column holds the values is not clear: {why}"
    fix = "name it with --label COLUMN (the first line of the file must name the columns)"
    raise UserError(what, where=table.source, found=f"columns {', '.join(table.columns)}", fix=fix)


def _numeric(cells: Sequence[object]) -> bool:
    present = [cell for cell in cells if not is_missing(cell)]
    return bool(present) and sum(as_number(cell) is not None for cell in present) >= 0.9 * len(present)
