"""CSV and TSV: strict, streamed, and without guesses other than the delimiter of a `.csv`."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elman.data.lines import read_lines
from elman.data.table import Table
from elman.errors import UserError

_DELIMITERS = ",;\t|"
_SAMPLED_LINES = 200
_SAMPLED_RECORDS = 20
_FIELD_LIMIT = 2**30


def read_delimited(path: Path) -> Table:
    r"""A `.csv` or `.tsv` file whose first line names the columns. Cells stay the strings of the file.

    The delimiter of a `.tsv` is the tab. That of a `.csv` is the one of `,` `;` tab `|` that cuts the first
    records into equally many fields, two or more; the most fields win, then this order. Fields in double
    quotes may hold delimiters, line ends and doubled quotes (RFC 4180). Lines without a character are
    skipped.

    Raises:
        UserError: with the line of the file: no row, a name twice, a row with another number of fields,
            quotes that never close; and what `read_lines` refuses.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _sniff(path)
    records = _records(path, delimiter)
    line, header = next(records, (1, []))
    names = _names(header, f"{path}:{line}")
    cells: list[list[Any]] = [[] for _ in names]
    lines = []
    for line, record in records:
        if len(record) != len(names):
            raise _wrong_width(f"{path}:{line}", record, names, delimiter)
        lines.append(line)
        for column, cell in zip(cells, record, strict=True):
            column.append(cell)
    if not lines:
        raise UserError("the file has a header but no row", where=path, found=", ".join(names))
    return Table(dict(zip(names, cells, strict=True)), str(path), lines)


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line it starts in."""
    reader = csv.reader(read_lines(path), delimiter=delimiter, strict=True)
    start = 1
    try:
        for record in reader:
            if record:
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        fix = 'a field that starts with " must end with ", and a " inside it is written twice'
        where = f"{path}:{start}"
        raise UserError("the quotes of a record must close", where=where, found=error, fix=fix) from error


def _sniff(path: Path) -> str:
    sample = list(itertools.islice(read_lines(path), _SAMPLED_LINES))
    widths = {delimiter: _widths(sample, delimiter) for delimiter in _DELIMITERS}
    even = [d for d in _DELIMITERS if len(set(widths[d])) == 1 and widths[d][0] > 1]
    return max(even or _DELIMITERS, key=lambda d: widths[d][:1])


def _widths(sample: list[str], delimiter: str) -> list[int]:
    records = (record for record in csv.reader(sample, delimiter=delimiter) if record)
    try:
        widths = [len(record) for record in itertools.islice(records, _SAMPLED_RECORDS)]
    except csv.Error:
        return []
    # The end of the sample may cut a record in two.
    cut = len(sample) == _SAMPLED_LINES and len(widths) < _SAMPLED_RECORDS
    return widths[:-1] if cut else widths


def _names(header: list[str], where: str) -> list[str]:
    """The column names; one that is blank, as pandas writes for its index, is called by its number."""
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    if not any(name.strip() for name in header):
        raise UserError("the first line must name the columns", where=where, found="a blank line")
    check_names(names, where)
    return names


def check_names(names: list[str], where: object) -> None:
    """Refuse a column name that is given twice.

    Raises:
        UserError: naming the columns that repeat.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        fix = "rename or remove all but one"
        raise UserError(
            "every column needs its own name", where=where, found=f"twice: {', '.join(repeated)}", fix=fix
        )


def _wrong_width(where: str, record: list[str], names: list[str], delimiter: str) -> UserError:
    shown = {"\t": "tab"}.get(delimiter, delimiter)
    what = f"every row must have as many fields as the header, {len(names)} ({', '.join(names)})"
    fix = f'put a text that holds the delimiter {shown} or a line end in double quotes: "..."'
    return UserError(what, where=where, found=f"{len(record)} fields", fix=fix)
