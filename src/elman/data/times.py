"""Times as users write them, and the regular grid they lie on."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from elman.data.table import as_number
from elman.errors import UserError

Form = Literal["row", "year", "month", "day", "time", "time+zone"]

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_WEEK = 7 * _DAY
_YEAR = round(365.2425 * _DAY)
_MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")
_LONGEST_SEASON = 2000


@dataclass(frozen=True)
class Clock:
    """A regular grid of times. A tick is a month since year 0, a microsecond since 1970 (UTC), or a row.

    Attributes:
        unit: what a tick is.
        step: ticks from one value of a series to the next.
        form: how a time is written.
        day: of the month, for months; 31: the last.

    Example:
        >>> clock = Clock("microsecond", 1_800_000_000, "time")
        >>> clock.write(clock.step), clock.season, clock.cycles
        ('1970-01-01T00:30:00', 48, ('day', 'week', 'year'))
    """

    unit: Literal["month", "microsecond", "row"]
    step: int
    form: Form
    day: int = 1

    @property
    def season(self) -> int:
        """Steps of the season one would expect: of a day, a week, a year; 1 where there is none to expect."""
        if self.unit == "row":
            return 1
        if self.unit == "month":
            return 12 // self.step if 12 % self.step == 0 else 1
        for cycle in (_DAY, _WEEK, _YEAR):
            if 2 * self.step <= cycle:
                return _fitting(cycle, self.step)
        return 1

    @property
    def cycles(self) -> tuple[str, ...]:
        """The calendar's cycles of two steps or more."""
        return tuple(name for name, length in self._cycles().items() if length >= 2 * self.step)

    def length(self, cycle: str) -> float:
        """Steps of a cycle of the calendar."""
        return self._cycles()[cycle] / self.step

    def phase(self, cycle: str, ticks: Any) -> Any:
        """Where in a cycle a tick, or each of an array of them, lies: from 0 to 1."""
        length = self._cycles()[cycle]
        return ticks % length / length

    def tick(self, time: object) -> int:
        """The tick of a time, as `read_time` takes it; of a row, its number.

        Raises:
            ValueError: it says no time.
        """
        if self.unit == "row":
            return int(str(time))
        moment, _ = read_time(time)
        return 12 * moment.year + moment.month - 1 if self.unit == "month" else (moment - _EPOCH) // _MICROSECOND

    def write(self, tick: int) -> str:
        """A tick as a time is written here."""
        if self.unit == "row":
            return str(tick)
        if self.unit == "month":
            year, month = divmod(tick, 12)
            day = min(self.day, calendar.monthrange(year, month + 1)[1]) if 1 <= year <= 9999 else self.day
            written = {"year": f"{year:04d}", "month": f"{year:04d}-{month + 1:02d}"}
            return written.get(self.form, f"{year:04d}-{month + 1:02d}-{day:02d}")
        try:
            time = _EPOCH + tick * _MICROSECOND
        except OverflowError:
            return "beyond the calendar"
        if self.form == "day" and tick % _DAY == 0:
            return time.date().isoformat()
        return time.isoformat() + ("+00:00" if self.form == "time+zone" else "")

    def describe(self) -> str:
        """The step in words."""
        if self.unit == "row":
            return "a row"
        if self.unit == "month":
            return _counted(self.step // 12, "year") if self.step % 12 == 0 else _counted(self.step, "month")
        names = {"week": _WEEK, "day": _DAY, "hour": 3600 * _SECOND, "minute": 60 * _SECOND, "second": _SECOND}
        name = next((n for n, ticks in names.items() if self.step % ticks == 0), "microsecond")
        return _counted(self.step // names.get(name, 1), name)

    def _cycles(self) -> dict[str, int]:
        if self.unit == "row":
            return {}
        return {"year": 12} if self.unit == "month" else {"day": _DAY, "week": _WEEK, "year": _YEAR}


def read_time(cell: object, pattern: str | None = None) -> tuple[datetime, Form]:
    """The time a cell says, in UTC where it names a zone, and how it was written.

    Understood are ISO 8601 (2016-02-15, 2016-02-15T00:30:00+01:00, 2016-02), years of four digits, seconds or
    milliseconds since 1970 (nine digits or more), dates and times of Python, numpy and pandas, and whatever
    `pattern` says.

    Args:
        cell: a cell of a table.
        pattern: how times are written, as `datetime.strptime` takes it.

    Raises:
        ValueError: the cell says no time.

    Example:
        >>> read_time("2016-02-15 00:30")[0].minute, read_time(1700)[1], read_time("2016-02")[1]
        (30, 'year', 'month')
    """
    if pattern is not None:
        time = datetime.strptime(str(cell).strip(), pattern)
        return _in_utc(time, "time" if "%H" in pattern or "%I" in pattern else "day")
    if isinstance(cell, datetime):
        midnight = cell.tzinfo is None and cell == datetime(cell.year, cell.month, cell.day)
        # A bare datetime: what pandas adds to it (nanoseconds) has no place on the grid.
        plain = datetime(*cell.timetuple()[:6], cell.microsecond, cell.tzinfo, fold=cell.fold)
        return _in_utc(plain, "day" if midnight else "time")
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day), "day"
    number = as_number(cell)
    if number is not None and not (isinstance(cell, str) and len(cell.strip()) == 8):
        return _from_number(number)
    return _from_text(str(cell).strip())


def find_clock(times: Sequence[tuple[datetime, Form]], source: str) -> tuple[Clock, list[int]]:
    """The grid that times lie on, and their ticks; times in ascending order, none twice.

    Months are told by a day of the month that stays the same, or is always the last. The step is the most
    frequent distance.

    Raises:
        UserError: there are fewer than two times.

    Example:
        >>> clock, ticks = find_clock([read_time(f"2016-{m:02d}-01") for m in range(1, 13)], "data")
        >>> clock.describe(), clock.season, clock.write(ticks[-1] + clock.step)
        ('1 month', 12, '2017-01-01')
    """
    if len(times) < 2:
        raise UserError("a series needs two times or more", where=source, found=len(times))
    moments = [time for time, _ in times]
    forms = Counter(form for _, form in times)
    form: Form = "day" if set(forms) == {"day"} else forms.most_common(1)[0][0]
    day = _day_of_month(moments)
    if day is not None:
        months = [12 * time.year + time.month - 1 for time in moments]
        form = "day" if form == "time" else form
        return Clock("month", _most_frequent(months), form, day), months
    ticks = [(time - _EPOCH) // _MICROSECOND for time in moments]
    form = {"year": "day", "month": "day"}.get(form, form)  # type: ignore[assignment]
    return Clock("microsecond", _most_frequent(ticks), form), ticks


def _day_of_month(times: Sequence[datetime]) -> int | None:
    """The day on which every month's value stands, or None where the times are no months."""
    if any((time.hour, time.minute, time.second, time.microsecond) != (0, 0, 0, 0) for time in times):
        return None
    if min((later - earlier).days for earlier, later in pairwise(times)) < 28:
        return None
    if len({time.day for time in times}) == 1:
        return times[0].day
    ends = all(time.day == calendar.monthrange(time.year, time.month)[1] for time in times)
    return 31 if ends else None


def _most_frequent(ticks: Sequence[int]) -> int:
    distances = Counter(later - earlier for earlier, later in pairwise(ticks))
    most = max(distances.values())
    return min(distance for distance, count in distances.items() if count == most)


def _fitting(cycle: int, step: int) -> int:
    """Steps of a cycle, or of an hour or a minute where they would be too many."""
    for length in (cycle, 3600 * _SECOND, 60 * _SECOND):
        if length // step <= _LONGEST_SEASON:
            return max(1, round(length / step))
    return 1


def _from_number(number: float) -> tuple[datetime, Form]:
    if number == int(number) and 1000 <= number <= 9999:
        return datetime(int(number), 1, 1), "year"
    if not 1e8 <= abs(number) < 1e14:
        raise ValueError("neither a year nor seconds since 1970")
    seconds = number if abs(number) < 1e11 else number / 1000
    return _EPOCH + timedelta(microseconds=round(seconds * 1e6)), "time+zone"


def _from_text(text: str) -> tuple[datetime, Form]:
    if month := _MONTH.fullmatch(text):
        return datetime(int(month[1]), int(month[2]), 1), "month"
    iso = text.replace("/", "-") if re.match(r"\d{4}/", text) else text
    time = datetime.fromisoformat(iso)
    return _in_utc(time, "day" if len(iso) in (8, 10) and "W" not in iso else "time")


def _in_utc(time: datetime, form: Form) -> tuple[datetime, Form]:
    if time.tzinfo is None:
        return time, form
    return time.astimezone(UTC).replace(tzinfo=None), "time+zone"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
