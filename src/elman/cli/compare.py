"""`elman compare`: one recipe with one cell after another, side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.errors import UserError, visible

if TYPE_CHECKING:
    from rich.table import Table


def compare(
    recipe: Annotated[str, typer.Argument(help="What to train; elman recipes lists them.", show_default=False)],
    cells: Annotated[
        str,
        typer.Option(help='Two cells or more, with commas between; "lstm,Zoneout(LSTM, p=0.1)" is two.'),
    ],
    equal_params: Annotated[
        bool, typer.Option("--equal-params", help="Units for each so that all have the parameters of the first.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="As for elman train; else the recipe's own data.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts; else guessed.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels; else guessed.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the comparison; else a new one in runs/.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all of them.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings; --set and --cells overrule it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the comparison in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Train a recipe once for each of several cells, alike in all else, and show what comes of it.

    Seeds, data and steps are the same for all: none stops early, unless train.patience is set. Each cell is
    trained in a process of its own. The folder gets compare.json, compare.png and a model folder for each cell.

    \b
    elman compare names --cells rnn,gru,lstm
    elman compare names --cells rnn,gru,lstm --equal-params --out runs/cells
    elman compare sentiment --data reviews.csv --cells "lstm,Zoneout(LSTM, p=0.1)"
    """  # noqa: D301
    from elman import recipes
    from elman.cli.console import from_here, results, say, write_json
    from elman.cli.train import resumable
    from elman.recipes.comparison import CELL, UNITS, contenders
    from elman.recipes.comparison import compare as run
    from elman.recipes.settings import changed, from_assignments, from_file

    chosen = recipes.get(recipe)
    asked = from_assignments(changes or [])
    if CELL in asked:
        raise UserError("the cells are named by --cells", where="--set", found=CELL, fix="leave it out")
    settings = changed(chosen.settings, {"train.patience": None})
    settings = changed(settings, {} if config is None else from_file(config), str(config))
    folder = recipes.free_folder(f"compare-{recipe}") if out is None and not resume else out
    wanted = recipes.request(recipe, changed(settings, asked, "--set"), out=folder, resume=resume)
    request = replace(wanted, data=data, text=text, label=label, out=wanted.out.resolve())
    say(f"folder: {from_here(request.out)}")
    found = contenders(chosen, names_of(cells), request, equal=equal_params)
    for one in found:
        say(f"{one.cell}: {UNITS}={one.hidden_size}, {one.parameters:,} parameters")
    with resumable(f"the same command and: --out {shlex.quote(from_here(request.out))} --resume"):
        measured = run(chosen, found, request.out, resume=resume)
    from elman.cli.compare_picture import draw_comparison

    measures = shared_measures(measured["cells"])
    draw_comparison(measured["cells"], measures[0], request.out / "compare.png")
    if as_json:
        write_json({"folder": str(request.out), **measured})
        return
    console = results()
    console.print(side_by_side(measured["cells"], measures))
    console.print()
    console.print(gradients(measured["cells"]))
    for line in measured["cells"]:
        for sentence in dict.fromkeys(line["gradient"].get("sentences", ())):
            if line["gradient"]["kinds"] != ["healthy"]:
                console.print(visible(f"{line['cell']}: {sentence}"), soft_wrap=True)
    console.print(f"\npicture: {from_here(request.out / 'compare.png')}", soft_wrap=True)


def names_of(cells: str) -> list[str]:
    """Cells with commas between; a comma in brackets belongs to its cell.

    Example:
        >>> names_of("lstm, Zoneout(LSTM, p=0.1)")
        ['lstm', 'Zoneout(LSTM, p=0.1)']
    """
    names, depth = [""], 0
    for letter in cells:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            names.append("")
        else:
            names[-1] += letter
    return [name.strip() for name in names if name.strip()]


def shared_measures(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The measures of quality that all cells have, the recipe's chief one first."""
    from elman.cli.tables import known_measures

    found = [name for name in known_measures() if all(name in line["test"] for line in lines)]
    if not found:
        raise UserError("the recipe measures nothing that can be compared", found=sorted(lines[0]["test"]))
    return found


def side_by_side(lines: Sequence[dict[str, Any]], measures: Sequence[str]) -> Table:
    """What each cell reaches and costs, the best value of each measure bold."""
    from rich.text import Text

    from elman.cli.tables import best_methods, plain_table

    table = plain_table("cell")
    for title in ("units", "parameters", *measures, "seconds", "MB"):
        table.add_column(title, justify="right")
    tests = {str(number): line["test"] for number, line in enumerate(lines)}
    best = {measure: best_methods(tests, measure) for measure in measures}
    for number, line in enumerate(lines):
        styles = {m: "bold" if str(number) in best[m] else "" for m in measures}
        quality = (Text(f"{line['test'][m]:.3f}", style) for m, style in styles.items())
        cost = (f"{line['seconds']:.1f}", _megabytes(line))
        table.add_row(visible(line["cell"]), str(line["hidden_size"]), f"{line['parameters']:,}", *quality, *cost)
    return table


def gradients(lines: Sequence[dict[str, Any]]) -> Table:
    """How far back each cell's gradient reaches, and what stands in its way."""
    from elman.cli.tables import plain_table

    table = plain_table("cell")
    table.add_column("steps remembered", justify="right")
    table.add_column("gradient left", justify="right")
    table.add_column("verdict", overflow="fold")
    for line in lines:
        table.add_row(visible(line["cell"]), *_gradient(line["gradient"]))
    return table


def _megabytes(line: dict[str, Any]) -> str:
    held = line["accelerator_memory"] or line["peak_memory"]
    return "" if held is None else f"{held / 1e6:.0f}"


def _gradient(found: dict[str, Any]) -> tuple[str, str, str]:
    """Steps remembered, what is left at the far end, and the verdict."""
    if "not_measured" in found:
        return "", "", visible(f"not measured: {found['not_measured']}")
    steps = f"{found['memory']:.1f}"
    left = f"{found['left']:.2g}"
    return f"> {steps}" if found["at_least"] else steps, left, ", ".join(found["kinds"])
