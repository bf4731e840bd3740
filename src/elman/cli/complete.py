"""`elman complete`: the likeliest ways on, for a text or while somebody types."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from elman.cli.own_cell import OwnCell, load
from elman.errors import UserError, visible

if TYPE_CHECKING:
    from elman.recipes import Model

_SHOWN = 60  # characters of the text in front of a continuation


def complete(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.", show_default=False)],
    text: Annotated[
        str | None, typer.Argument(help="What is to be completed; else as you type, or a line at a time.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="Continuations.")] = 5,
    cell: OwnCell = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, an object a text.")] = False,
) -> None:
    """Complete a text with a trained model, to the end of the word.

    Without a text, on a terminal: completes as you type. Tab takes the grey text, the arrows choose among several,
    Ctrl-C ends. Elsewhere each line of standard input is completed.

    \b
    elman complete runs/autocomplete "In the beg"
    elman complete runs/autocomplete
    echo "In the beg" | elman complete runs/autocomplete --json
    """  # noqa: D301
    if text is None and sys.stdin is None:
        raise UserError("nothing to complete: no text is given and standard input is closed", where="complete")
    model = load(folder, cell)
    if text is not None:
        _warn(model, text)
        _show(model, text, count, as_json)
        return
    if not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        from elman.cli.typing_ahead import Terminal, type_ahead

        with Terminal.opened() as terminal:
            if terminal is not None:
                type_ahead(terminal, lambda typed: model.complete(typed, count))
                return
    _complete_lines(model, sys.stdin.buffer, count, as_json)


def _complete_lines(model: Model, lines: BinaryIO, count: int, as_json: bool) -> None:
    """Completes each line before the next is read."""
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line"
            raise UserError("the text is not UTF-8", where=f"standard input:{number}", found=found) from error
        _show(model, text, count, as_json)


def _warn(model: Model, text: str) -> None:
    from elman.cli.console import say

    if unknown := model.unknown(text):
        say(f"read as unknown, as the training texts do not hold it: {' '.join(map(visible, unknown))}")


def _show(model: Model, text: str, count: int, as_json: bool) -> None:
    from elman.cli.console import results, write_json

    found = model.complete(text, count)
    if as_json:
        shown = [{"text": continuation, "probability": round(p, 6)} for continuation, p in found]
        write_json({"prompt": text, "completions": shown})
        return
    line = text.split("\n")[-1]
    begin = line if len(line) <= _SHOWN else f"…{line[-_SHOWN:]}"
    for continuation, p in found:
        results().print(f"{p:6.1%}  {visible(begin + continuation)}", soft_wrap=True)
    sys.stdout.flush()
