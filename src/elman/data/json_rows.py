"""JSON Lines (`.jsonl`, `.ndjson`) and a list of objects in a `.json`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from elman.data.lines import read_lines
from elman.data.table import Table
from elman.errors import UserError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
_ROW_FIX = 'every row must be an object, such as {"text": "I like it", "label": "good"}'


def read_json_lines(path: Path) -> Table:
    """A file with one JSON object a line; a key that a row lacks is a missing cell. Blank lines are skipped.

    Raises:
        UserError: with the line of the file: text that is not JSON (or nested too deeply), a row that is not
            an object, a key twice, half of a surrogate pair; no row at all; and what `read_lines` refuses.
    """
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            where = f"{path}:{number}"
            _add(columns, _object(_parse(line, where), where), len(lines))
            lines.append(number)
    return Table(_complete(columns, len(lines), path), str(path), lines)


def read_json_list(path: Path) -> Table:
    """A file with one JSON list of objects, or of strings, which become the column `text`.

    Raises:
        UserError: as `read_json_lines`, or when the file holds anything but a list.
    """
    rows = _parse("".join(read_lines(path)), str(path))
    if not isinstance(rows, list):
        raise UserError("a .json file must hold a list of rows", where=path, found=_kind(rows), fix=_ROW_FIX)
    if rows and all(isinstance(row, str) for row in rows):
        rows = [{"text": row} for row in rows]
    columns: dict[str, list[Any]] = {}
    for count, row in enumerate(rows):
        _add(columns, _object(row, f"{path}, row {count + 1}"), count)
    return Table(_complete(columns, len(rows), path), str(path))


def _parse(text: str, where: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_CONSTANTS.__getitem__)
    except UserError as error:
        raise UserError(error.what, where=where, fix=error.fix) from None
    except ValueError as error:
        raise UserError("this must be JSON", where=where, found=error) from error
    except RecursionError as error:
        raise UserError("JSON must not be nested this deeply", where=where) from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise UserError(f"a key stands twice in an object: {', '.join(repeated)}", fix="remove all but one")
    return row


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict) or not row:
        raise UserError(
            "a row must be an object with at least one key", where=where, found=_kind(row), fix=_ROW_FIX
        )
    for key, cell in row.items():
        if _LONE_SURROGATE.search(key) or (isinstance(cell, str) and _LONE_SURROGATE.search(cell)):
            fix = "write the character itself, or both halves"
            raise UserError("half of a surrogate pair is no text", where=where, found=ascii(key), fix=fix)
    return row


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return {str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _add(columns: dict[str, list[Any]], row: dict[str, Any], count: int) -> None:
    """Put a row below the `count` rows that were before it."""
    for name, cell in row.items():
        column = columns.setdefault(name, [])
        column.extend([None] * (count - len(column)))
        column.append(cell)


def _complete(columns: dict[str, list[Any]], count: int, path: Path) -> dict[str, list[Any]]:
    if not count:
        raise UserError("the file has no row", where=path)
    for column in columns.values():
        column.extend([None] * (count - len(column)))
    return columns
