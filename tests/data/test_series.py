"""Series out of tables: times, the grid they lie on, gaps, duplicates, order, and what is refused."""

from __future__ import annotations

import datetime

import numpy as np
import pandas
import pytest

from elman.data import Table, read_table
from elman.data.series import read_series, series_columns
from elman.data.times import find_clock, read_time
from elman.errors import UserError


def days(*numbers, **columns):
    """A table of days of January 2020 and values."""
    times = [f"2020-01-{number:02d}" for number in numbers]
    values = [str(number) for number in numbers]
    return Table({"day": times, "y": values, **columns}, "f.csv", lines=range(2, 2 + len(numbers)))


def clock_of(*times):
    return find_clock([read_time(time) for time in times], "data")[0]


@pytest.mark.parametrize(
    ("cell", "year", "minute", "form"),
    [
        ("2016-02-15", 2016, 0, "day"),
        (" 2016-02-15 00:30 ", 2016, 30, "time"),
        ("2016-02-15T00:30:00Z", 2016, 30, "time+zone"),
        ("2016-02-15T06:15:00+05:45", 2016, 30, "time+zone"),
        ("2016/02/15", 2016, 0, "day"),
        ("20160215", 2016, 0, "day"),
        ("2016-02", 2016, 0, "month"),
        ("1700", 1700, 0, "year"),
        (1700.0, 1700, 0, "year"),
        (1455496200, 2016, 30, "time+zone"),
        (1455496200000, 2016, 30, "time+zone"),
        (datetime.date(2016, 2, 15), 2016, 0, "day"),
        (datetime.datetime(2016, 2, 15, 0, 30), 2016, 30, "time"),
        (pandas.Timestamp("2016-02-15 00:30", tz="UTC"), 2016, 30, "time+zone"),
    ],
)
def test_times_are_read_as_they_are_written(cell, year, minute, form):
    time, found = read_time(cell)
    assert (time.year, time.minute, found, time.tzinfo) == (year, minute, form, None)


@pytest.mark.parametrize("cell", ["yesterday", "12", 12, 123456, "2016-13-01", "15/02/2016", True, 1e300, "-inf"])
def test_what_says_no_time_is_refused(cell):
    with pytest.raises((ValueError, OverflowError)):
        read_time(cell)


def test_a_pattern_says_how_times_are_written():
    assert read_time("15/02/2016 10:30", "%d/%m/%Y %H:%M") == (datetime.datetime(2016, 2, 15, 10, 30), "time")
    table = Table({"when": ["01/02/2020", "02/02/2020"], "y": [1, 2]}, "f.csv")
    assert series_columns(table, None, None, "%d/%m/%Y").time == "when"
    assert read_series(table, "when", "y", pattern="%d/%m/%Y").time(2) == "2020-02-03"


@pytest.mark.parametrize(
    ("times", "step", "season", "next_time"),
    [
        (["2020-01-01T00:00", "2020-01-01T00:30", "2020-01-01T01:00"], "30 minutes", 48, "2020-01-01T01:30:00"),
        (["2020-01-01T00:00Z", "2020-01-01T01:00Z"], "1 hour", 24, "2020-01-01T02:00:00+00:00"),
        (["2020-02-27", "2020-02-28"], "1 day", 7, "2020-02-29"),
        (["2020-01-01", "2020-01-08", "2020-01-15"], "1 week", 52, "2020-01-22"),
        (["2020-01-31", "2020-02-29", "2020-03-31"], "1 month", 12, "2020-04-30"),
        (["2020-11", "2020-12"], "1 month", 12, "2021-01"),
        (["2020-01-15", "2020-04-15", "2020-07-15"], "3 months", 4, "2020-10-15"),
        (["1700", "1701", "1702"], "1 year", 1, "1703"),
        (["2020-01-01T00:00:00", "2020-01-01T00:00:01"], "1 second", 60, "2020-01-01T00:00:02"),
        (
            ["2020-01-01T00:00:00", "2020-01-01T00:00:00.25"],
            "250000 microseconds",
            240,
            "2020-01-01T00:00:00.500000",
        ),
    ],
)
def test_the_grid_is_found_and_named_again(times, step, season, next_time):
    clock, ticks = find_clock([read_time(time) for time in times], "data")
    assert (clock.describe(), clock.season) == (step, season)
    assert clock.write(ticks[-1] + clock.step) == next_time
    assert [clock.tick(time) for time in times] == ticks


def test_the_calendar_goes_round():
    clock = clock_of("2020-01-01T00:00", "2020-01-01T06:00")
    assert clock.cycles == ("day", "week", "year") and clock.length("day") == 4
    assert clock.phase("day", clock.tick("2021-05-05T18:00")) == 0.75
    assert clock_of("2020-01", "2020-02").phase("year", 12 * 2021 + 3) == 0.25
    assert clock_of("1700", "1701").cycles == ()


def test_columns_are_guessed_by_name_and_by_what_they_hold():
    assert series_columns(days(1, 2, 3), None, None).guessed == ("time", "value")
    found = series_columns(Table({"n": [1, 2], "when": ["2020-01-01", "2020-01-02"]}, "f.csv"), None, None)
    assert (found.time, found.value) == ("when", "n")
    assert series_columns(Table({"load": [1, 2]}, "f.csv"), None, None).time is None
    assert series_columns(days(1, 2), "rows", None).time is None
    counted = series_columns(Table({"index": [0, 1, 2], "load": [5, 6, 7]}, "f.csv"), None, None)
    assert (counted.time, counted.value) == (None, "load")
    assert series_columns(Table({"date": ["15/02/2016"], "load": [5]}, "f.csv"), None, None).time == "date"
    with pytest.raises(
        UserError, match=r"which column holds the values is not clear: a, b all hold numbers.*--label"
    ):
        series_columns(Table({"a": [1, 2], "b": [3, 4]}, "f.csv"), None, None)
    with pytest.raises(UserError, match="no other column holds numbers"):
        series_columns(Table({"a": ["x", "y"]}, "f.csv"), None, None)
    with pytest.raises(UserError, match="no column 'z'"):
        series_columns(days(1, 2), None, "z")
    with pytest.raises(UserError, match="different columns"):
        series_columns(days(1, 2), "y", "y")


def test_a_regular_series_is_read_as_it_stands():
    series = read_series(days(1, 2, 3), "day", "y")
    assert series.values.tolist() == [1, 2, 3] and series.known.all()
    assert series.time(0) == "2020-01-01"


def test_times_in_another_order_are_put_in_order_and_said():
    said: list[str] = []
    series = read_series(days(2, 1, 3), "day", "y", say=said.append)
    assert series.values.tolist() == [1, 2, 3]
    assert said == ["f.csv:3: times go back; rows are put in the order of their times"]


def test_gaps_are_refused_or_filled_and_remembered():
    with pytest.raises(UserError, match=r"f\.csv:4: every step must have a value; found: 2 steps of 1 day"):
        read_series(days(1, 2, 5, 6, 7), "day", "y")
    said: list[str] = []
    series = read_series(days(1, 2, 5, 6, 7), "day", "y", gaps="interpolate", say=said.append)
    assert series.values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert series.known.tolist() == [True, True, False, False, True, True, True]
    assert said == ["2 of 7 steps have no value: lines are drawn between the neighbours"]


def test_empty_cells_are_gaps_and_those_at_the_ends_are_left_out():
    table = Table({"y": ["", "1", None, "3", float("nan")]}, "f.csv", lines=range(2, 7))
    with pytest.raises(UserError, match=r"f\.csv:2: every step must have a value"):
        read_series(table, None, "y")
    series = read_series(table, None, "y", gaps="interpolate")
    assert series.values.tolist() == [1, 2, 3] and series.start == 1
    with pytest.raises(UserError, match="the series has no value"):
        read_series(Table({"y": ["", None]}, "f.csv"), None, "y", gaps="interpolate")


def test_several_values_at_one_time_are_refused_or_averaged():
    table = Table({"day": ["2020-01-01", "2020-01-02", "2020-01-02"], "y": [1, 2, 4]}, "f.csv", lines=[2, 3, 4])
    with pytest.raises(UserError, match=r"f\.csv:4: a series has one value a time.*the first at f\.csv:3"):
        read_series(table, "day", "y")
    assert read_series(table, "day", "y", duplicates="mean").values.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"day": ["2020-01-01", "2020-01-02", "2020-01-03T07:00"]}, r"f\.csv:4: times must be whole steps apart"),
        ({"day": ["2020-01-01", "soon", "2020-01-03"]}, r"f\.csv:3: column 'day' must hold times; found: 'soon'"),
        ({"day": ["2020-01-01", None, "2020-01-03"]}, r"f\.csv:3: column 'day' must hold times; found: None"),
        ({"day": ["2020-01-01", "2020-01-02T00:00Z", "2020-01-03"]}, "names its zone or none does"),
        ({"y": ["1", "two", "3"]}, r"f\.csv:3: column 'y' must hold numbers; found: 'two'"),
        ({"y": ["1", "inf", "3"]}, r"f\.csv:3: column 'y' must hold numbers of a size"),
        ({"y": ["1", 10**400, "3"]}, r"f\.csv:3: column 'y' must hold numbers of a size"),
    ],
)
def test_what_cannot_be_a_series_is_named(columns, words):
    table = days(1, 2, 3)
    with pytest.raises(UserError, match=words):
        read_series(Table({**table.columns, **columns}, "f.csv", table.lines), "day", "y")


def test_a_time_far_off_costs_no_memory():
    table = Table(
        {"t": ["2020-01-01T00:00:00", "2020-01-01T00:00:01", "9999-01-01T00:00:00"], "y": [1, 2, 3]}, "f.csv"
    )
    for gaps, words in (("refuse", "every step must have a value"), ("interpolate", "more than half")):
        with pytest.raises(UserError, match=words):
            read_series(table, "t", "y", gaps=gaps)
    with pytest.raises(UserError, match="two times or more"):
        read_series(Table({"t": ["2020"], "y": [1]}, "f.csv"), "t", "y")


def test_a_frame_of_pandas_is_read_with_its_times():
    frame = pandas.DataFrame({"ds": pandas.date_range("2020-01-01", periods=4, freq="h"), "y": np.arange(4.0)})
    series = read_series(read_table(frame), "ds", "y")
    assert series.clock.describe() == "1 hour" and series.time(4) == "2020-01-01T04:00:00"
