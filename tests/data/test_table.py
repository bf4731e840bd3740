"""Tables: named columns, and where each row came from."""

import math

import pytest

from elman.data import Table, drop_empty
from elman.data.table import as_number, is_missing
from elman.errors import UserError


@pytest.fixture
def table():
    return Table({"text": ["a", "b", "c"], "label": ["x", "y", "x"]}, "f.csv", lines=[2, 3, 7])


def test_unknown_column_proposes_the_nearest(table):
    with pytest.raises(UserError, match=r"f\.csv: no column 'lable'; found: text, label; did you mean 'label'\?"):
        table.column("lable")


def test_selected_rows_keep_their_lines(table):
    chosen = table.select([2, 0])
    assert chosen.columns == {"text": ["c", "a"], "label": ["x", "x"]}
    assert [chosen.where(row) for row in range(2)] == ["f.csv:7", "f.csv:2"]
    assert len(chosen) == 2


def test_where_without_lines_counts_rows_from_one():
    assert Table({"text": ["a", "b"]}, "DataFrame").where(1) == "DataFrame, row 2"


def test_where_with_files_names_the_file():
    chosen = Table({"text": ["a", "b"]}, "d", files=["d/x/1.txt", "d/y/2.txt"]).select([1])
    assert chosen.where(0) == "d/y/2.txt"


def test_columns_must_be_of_equal_length():
    with pytest.raises(UserError, match="text: 2, label: 1"):
        Table({"text": ["a", "b"], "label": ["x"]}, "data")


def test_a_table_needs_a_column():
    with pytest.raises(UserError, match="at least one column"):
        Table({}, "data")


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("3", 3), (" -3 ", -3), ("3.0", 3), ("2.50", 2.5), (".5", 0.5), ("1e2", 100), (4, 4), (4.0, 4), (4.5, 4.5),
        ("", None), ("3 stars", None), ("1_000", None), ("\u0663", None), ("0x10", None), (True, None),
        (None, None),
    ],
)  # fmt: skip
def test_as_number(cell, number):
    assert as_number(cell) == number
    assert type(as_number(cell)) is type(number)


@pytest.mark.parametrize(
    "cell", ["nan", "-inf", "Infinity", "9" * 5000, 10**5000, "1e999", math.nan], ids=range(7)
)
def test_numbers_that_are_not_finite_are_told_apart_from_text(cell):
    assert not math.isfinite(as_number(cell))


def test_a_long_row_of_digits_is_judged_quickly():
    assert as_number("1" * 1_000_000 + "x") is None


def test_is_missing():
    assert [is_missing(cell) for cell in (None, "", " \t", math.nan)] == [True] * 4
    assert [is_missing(cell) for cell in (0, "0", False, "nan")] == [False] * 4


def test_empty_texts_are_dropped_and_counted(table):
    messy = Table({"text": ["a", " ", None, 7, "\u200b"]}, "f.csv", lines=[2, 3, 4, 5, 6])
    kept, dropped = drop_empty(messy, "text")
    assert (kept.column("text"), dropped) == (["a", "7"], 3)
    assert kept.where(1) == "f.csv:5"
    assert messy.column("text")[3] == 7
    assert drop_empty(table, "text") == (table, 0)


def test_all_texts_empty_is_an_error():
    with pytest.raises(UserError, match=r"f\.csv: every text of column 'text' is empty; found: 2 rows"):
        drop_empty(Table({"text": ["", None]}, "f.csv"), "text")


def test_a_text_of_another_type_is_refused_with_its_line():
    with pytest.raises(UserError, match=r"f\.csv:9: a text must be a string or a number; found: list"):
        drop_empty(Table({"text": ["a", ["b"]]}, "f.csv", lines=[2, 9]), "text")
