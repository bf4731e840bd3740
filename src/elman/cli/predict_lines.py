"""Predictions line by line: a text or a JSON object in, a JSON object out, before the next line is read."""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

from elman.cli.console import write_json
from elman.data.texts import is_empty
from elman.errors import UserError
from elman.recipes import Model


def predict_lines(model: Model, lines: BinaryIO) -> None:
    """Answer each line as soon as it is there; what else an object holds comes back with it.

    Args:
        model: what answers.
        lines: UTF-8; a line that begins with { is a JSON object whose `text` is read, any other is the text.

    Raises:
        UserError: a line is not UTF-8, no JSON, or has no text; the line is named.
    """
    for number, line in enumerate(lines, start=1):
        where = f"standard input:{number}"
        row = _row(line, where)
        answer = model.answers([row["text"]])[0]
        if clash := sorted((row.keys() & answer.keys()) - {"text"}):
            fix = "rename it: the answer is written there"
            raise UserError(f"a line must not have the key {clash[0]!r}", where=where, fix=fix)
        write_json({**row, **answer})


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line"
        raise UserError("the text is not UTF-8", where=where, found=found) from error
    row = _object(text, where) if text.lstrip().startswith("{") else {"text": text}
    found = row.get("text", f"the keys {', '.join(row) or 'none'}")
    if not isinstance(row.get("text"), str) or is_empty(row["text"]):
        fix = 'give a text, or an object {"text": "..."}'
        raise UserError("a line must hold a text", where=where, found=repr(found), fix=fix)
    return row


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        what = "a line that begins with { must be a JSON object"
        raise UserError(what, where=where, found=str(error)) from error
    return row


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refused(text)
    return number


def _refused(constant: str) -> None:
    raise ValueError(f"{constant}, which JSON has no word for")
