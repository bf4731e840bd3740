"""`elman train`: a recipe and data in, a model folder out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import visible

if TYPE_CHECKING:
    from pydantic import BaseModel

    from elman.cells import Cell
    from elman.recipes import Recipe, Request, Trained


def train(
    recipe: Annotated[str, typer.Argument(help="What to train; elman recipes lists them.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="CSV, TSV, JSON Lines or Parquet file, folder, or what else a recipe reads; else its own data."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts; else guessed.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels; else guessed.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run; else a new one in runs/.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; can be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings; --set overrules it.")] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:CLASS", help="A cell of your own in place of the recipe's; the file is run."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Train a recipe on your data, or on its own.

    \b
    elman train sentiment
    elman train sentiment --data reviews.csv --text review --label stars
    elman train sentiment --set model.cell=lstm --set train.epochs=3 --out runs/lstm
    elman train sentiment --set model.cell=lstm --set train.epochs=3 --out runs/lstm --resume
    elman train sentiment --cell mine.py:Leaky
    """  # noqa: D301
    from elman import cells, recipes
    from elman.cli.console import from_here, say, write_json
    from elman.recipes.own_cell import from_file
    from elman.training import process

    chosen, own = recipes.get(recipe), None if cell is None else from_file(cell)
    rank, _ = process()
    with cells.using(own):
        settings = _settings(chosen, config, changes or [], own)
        wanted = recipes.request(recipe, settings, out=out, resume=resume, cell=own)
        request = replace(wanted, data=data, text=text, label=label)
        if dry_run:
            if rank == 0:
                _show_plan(chosen.plan(request), as_json)
            return
        if rank == 0:
            say(f"folder: {from_here(request.out)}")
        with resumable(f"the same command and: --out {shlex.quote(from_here(request.out))} --resume"):
            trained = chosen.train(request)
    if rank == 0 and as_json:
        write_json({"folder": str(trained.folder), **trained.metrics})
    elif rank == 0:
        show_trained(trained, chosen, own=data is None)
        _suggest(request, trained, cell)


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Say how to go on where training is stopped: the library does not know the command."""
    from elman.training import Interrupted

    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.what, where=stop.where, fix=f"go on with {how}") from stop


def show_trained(trained: Trained, recipe: Recipe, *, own: bool) -> None:
    """The model beside the baselines on the test part, and whether it reached what the recipe promises."""
    from elman.cli.console import results
    from elman.cli.tables import comparison, is_higher_better, lead

    test, baselines, training = (trained.metrics[part] for part in ("test", "baselines", "training"))
    summary = "{rows} rows, {parameters} parameters, {epochs} epochs, {seconds} s".format(**training)
    console = results()
    console.print(
        f"\ntrained on {summary}; measured on {test['rows']} rows that training never saw\n", soft_wrap=True
    )
    console.print(comparison({"this model": test, **baselines}))
    for measure, least in (recipe.targets if own else {}).items():
        higher = is_higher_better(measure)
        reached = test[measure] >= least if higher else test[measure] <= least
        verdict, sign = "reached" if reached else "missed", ">=" if higher else "<="
        console.print(f"target {measure} {sign} {least:.2f}: {verdict} ({test[measure]:.3f})")
    for measure, margin in (recipe.margins if own else {}).items():
        if not any(measure in one for one in baselines.values()):
            continue
        name, ahead = lead(measure, test, baselines)
        verdict = "reached" if ahead >= margin else "missed"
        wanted = f"{margin:.2f} better than" if margin else "as good as"
        console.print(f"target {measure} {wanted} {name}: {verdict} ({ahead:+.3f})")


def _settings(recipe: Recipe, config: Path | None, changes: list[str], own: Cell | None) -> BaseModel:
    from elman.recipes.own_cell import with_cell
    from elman.recipes.settings import changed, from_assignments, from_file

    read = {} if config is None else from_file(config)
    wanted = changed(changed(recipe.settings, read, str(config)), from_assignments(changes), "--set")
    return wanted if own is None else with_cell(recipe.settings, wanted, own)


def _show_plan(plan: list[tuple[str, str]], as_json: bool) -> None:
    from elman.cli.console import results, write_json
    from elman.cli.tables import plain_table

    if as_json:
        write_json(dict(plan))
        return
    table = plain_table("name", "value")
    for name, value in plan:
        table.add_row(name, visible(value))
    results().print(table)
    results().print("\ndry run: nothing was written")


def _suggest(request: Request, trained: Trained, cell: str | None) -> None:
    from elman.cli.console import from_here, suggest

    folder = from_here(trained.folder)
    commands = [["elman", *words] for words in trained.model.recipe.uses(folder)]
    if trained.model.recipe.reads_table and isinstance(request.data, str) and Path(request.data).is_file():
        predictions = ["--data", request.data, "--out", "predictions.csv"]
        commands.append(["elman", "predict", folder, *predictions])
    suggest("\nnext:", [[*command, *([] if cell is None else ["--cell", cell])] for command in commands])
