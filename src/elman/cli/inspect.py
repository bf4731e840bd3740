"""`elman inspect`: why a gradient vanishes, explodes or survives, as a page to be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.own_cell import OwnCell, saying_warnings
from elman.errors import UserError

if TYPE_CHECKING:
    from elman.recipes.inspection_report import Report

_PAGE = "report.html"


def inspect(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="DIR|RECIPE", help="A model folder, or a recipe before training.", show_default=False
        ),
    ],
    data: Annotated[str | None, typer.Option(help="Other data; else what it was trained beside.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts; else guessed.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels; else guessed.")] = None,
    cell: OwnCell = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of a recipe; can be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the report; else DIR-inspect, or runs/RECIPE-inspect.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines: every measure.")] = False,
) -> None:
    """See why the gradient vanishes, explodes or survives.

    Writes one page that opens from disk: gradients through time, Jacobians, saturation, memory in steps, what
    states and units show, and a verdict with what to change. Each figure is a PNG beside it, too. A name that is
    both a folder and a recipe is the recipe; ./NAME is the folder.

    \b
    elman inspect runs/sentiment
    elman inspect runs/sentiment --data reviews.csv
    elman inspect sentiment --set model.cell=rnn
    """  # noqa: D301
    from elman.cli.console import from_here, say, write_json
    from elman.recipes.inspection import specimen
    from elman.recipes.inspection_report import make_report
    from elman.recipes.own_cell import from_file
    from elman.recipes.settings import from_assignments

    folder = out or _beside(subject)
    if not force and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        fix = "--force replaces the report, --out names another folder"
        raise UserError("something is there already", where=folder, fix=fix)
    say(f"looking into {subject}")
    own = None if cell is None else from_file(cell)
    with saying_warnings():
        found = specimen(
            subject, data=data, text=text, label=label, settings=from_assignments(changes or []), cell=own
        )
    report = make_report(found)
    page = _written(report, folder)
    if as_json:
        write_json({"report": str(page), **report.values})
        return
    _show(report, from_here(page))


def _beside(subject: str) -> Path:
    from elman.recipes import registered

    if subject in registered():
        return Path("runs") / f"{subject}-inspect"
    folder = Path(subject).expanduser().absolute()
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return folder.with_name(f"{folder.name}-inspect") if folder.name else Path("inspect")


def _written(report: Report, folder: Path) -> Path:
    from elman.export import atomic_folder

    with atomic_folder(folder) as new:
        (new / _PAGE).write_text(report.html, encoding="utf-8")
        for picture in report.pictures:
            (new / f"{picture.name}.png").write_bytes(picture.png())
    return folder.resolve() / _PAGE


def _show(report: Report, page: str) -> None:
    from elman.cli.console import results

    console = results()
    for name, said in report.verdicts.items():
        console.print(f"{name}: {', '.join(said.kinds)}", soft_wrap=True)
        for sentence in [finding.sentence for finding in said.findings] or [said.sentence]:
            console.print(f"  {sentence}", soft_wrap=True)
        for remedy in said.remedies:
            console.print(f"  {remedy}", soft_wrap=True)
    for reason in report.left_out:
        console.print(f"left out: {reason}", soft_wrap=True)
    console.print(f"\nreport: {page}", soft_wrap=True)
