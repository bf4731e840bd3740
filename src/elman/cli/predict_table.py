"""Predictions for a table: every column it has, and those of the answers behind them."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.cli.console import say
from elman.data import Table, choose_columns, read_table
from elman.data.table import is_missing
from elman.data.texts import is_empty
from elman.errors import UserError
from elman.export import atomic_write
from elman.recipes.text_model import TextModel

_ENDINGS = (".csv", ".tsv", ".jsonl")


def predict_table(
    model: TextModel, data: str, text: str | None, out: Path | None, *, force: bool, as_json: bool
) -> None:
    """Write the table with `prediction` and, for classes, `probability_CLASS` behind its columns.

    A row without a text keeps these empty. A file is written whole or not at all.

    Raises:
        UserError: the table cannot be read, has such columns already, or `out` cannot be written.
    """
    if out is not None:
        _check_out(out, force, as_json)
    table = read_table(data)
    trained = model.config["data"]["text"]
    chosen = text or (trained if trained in table.columns else None)
    columns = choose_columns(table, chosen, None, need_label=False)
    if columns.guessed:
        say(f"column guessed: --text {columns.text!r}")
    added = _answered(model, table, columns.text)
    for name in added:
        if name in table.columns:
            fix = "rename or remove it"
            raise UserError("this column is to be added, and is there", where=data, found=name, fix=fix)
    ending = ".jsonl" if as_json else ".csv" if out is None else out.suffix.lower()
    content = _WRITERS[ending]({**table.columns, **added})
    if out is None:
        sys.stdout.write(content)
        return
    atomic_write(out, content.encode("utf-8", "backslashreplace"))
    say(f"{len(table)} rows written to {out}")


def _check_out(out: Path, force: bool, as_json: bool) -> None:
    ending = out.suffix.lower()
    if ending not in _ENDINGS or (as_json and ending != ".jsonl"):
        fix = f"end it in {'.jsonl' if as_json else ', '.join(_ENDINGS)}"
        raise UserError("the ending says how to write the table", where=out, found=ending or "none", fix=fix)
    if out.is_dir() or not out.parent.is_dir():
        found = "a folder of that name" if out.is_dir() else f"no folder {out.parent}"
        raise UserError("the table cannot be written here", where=out, found=found)
    if out.exists() and not force:
        raise UserError("a file is there already", where=out, fix="choose another, or replace it with --force")


def _answered(model: TextModel, table: Table, column: str) -> dict[str, list[Any]]:
    cells = table.column(column)
    for row, cell in enumerate(cells):
        if not is_missing(cell) and not isinstance(cell, str | int | float):
            raise UserError("a text must be text", where=table.where(row), found=repr(cell))
    texts = ["" if is_missing(cell) else str(cell) for cell in cells]
    rows = [row for row, text in enumerate(texts) if not is_empty(text)]
    if len(rows) < len(texts):
        first = next(row for row, text in enumerate(texts) if is_empty(text))
        say(f"{len(texts) - len(rows)} rows have no text, the first is {table.where(first)}: no prediction")
    classes = model.labels.names if model.labels.kind == "classes" else ()
    names = ("prediction", *(f"probability_{name}" for name in classes))
    added: dict[str, list[Any]] = {name: [None] * len(texts) for name in names}
    for row, answer in zip(rows, model.answers([texts[row] for row in rows]), strict=True):
        added["prediction"][row] = answer["prediction"]
        for name, value in answer.get("probabilities", {}).items():
            added[f"probability_{name}"][row] = value
    return added


def delimited(columns: Mapping[str, list[Any]], delimiter: str) -> str:
    """Columns as delimited text with a header."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()


def _json_lines(columns: Mapping[str, list[Any]]) -> str:
    rows = zip(*columns.values(), strict=True)
    # As in a CSV, NaN is a cell that holds nothing.
    cleaned = ([None if is_missing(cell) and cell != "" else cell for cell in row] for row in rows)
    return "".join(json.dumps(dict(zip(columns, map(_plain, row), strict=True))) + "\n" for row in cleaned)


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: dates and infinities have no other form there than text."""
    known = cell is None or isinstance(cell, bool | int | str | list | dict)
    return cell if known or (isinstance(cell, float) and math.isfinite(cell)) else str(cell)


_WRITERS = {
    ".csv": lambda columns: delimited(columns, ","),
    ".tsv": lambda columns: delimited(columns, "\t"),
    ".jsonl": _json_lines,
}
