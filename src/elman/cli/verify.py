"""`elman verify`: whether everything that runs a cell, or a trained model, computes what its equations say."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.own_cell import OwnCell
from elman.errors import visible

if TYPE_CHECKING:
    from elman.checking import Report


def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="X", help="A cell's name, FILE.py:CLASS, or a model folder; a file is run.", show_default=False
        ),
    ],
    cell: OwnCell = None,
    data: Annotated[
        str | None, typer.Option(help="What a model answers for the comparison; else a text of its recipe.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out torch.compile and torch.export.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Compare everything that runs a cell with its definition in fp64.

    Values and gradients, by every backend and number format: whole rows, rows of other lengths, resets, from each
    row's end, streamed, compiled, exported, and torch.nn where it has the cell. Numbers are the largest
    difference; - is what a backend does not run. The exit code is 1 where something is wrong.

    \b
    elman verify lstm
    elman verify mine.py:Leaky
    elman verify runs/sentiment
    """  # noqa: D301
    from elman import checking
    from elman.cli.console import write_json
    from elman.cli.own_cell import saying_warnings
    from elman.recipes.own_cell import from_file

    own = None if cell is None else from_file(cell)
    with saying_warnings():
        report = checking.verify(what, cell=own, data=data, compiled=not quick)
    if as_json:
        write_json({"ok": report.ok, "lines": [asdict(line) for line in report.lines]})
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    from elman.cli.console import results
    from elman.cli.tables import plain_table

    console = results()
    for subject, told, runs in report.subjects():
        console.print(visible(subject), style="bold", soft_wrap=True)
        for line in told:
            console.print(f"{line.way}: {visible(line.said)}", soft_wrap=True)
        if runs:
            table = plain_table(*runs[0])
            for row in runs[1:]:
                table.add_row(*row)
            console.print(table)
        console.print()
    for text in report.summary():
        console.print(visible(text), soft_wrap=True)
