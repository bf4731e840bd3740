"""`elman evaluate`: what a trained model is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.own_cell import OwnCell, load
from elman.errors import UserError

if TYPE_CHECKING:
    from elman.recipes import Model

_MOST_CLASSES = 25  # in a table of the confusion: more columns fit no terminal


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.", show_default=False)],
    data: Annotated[
        str | None, typer.Option(help="Labelled rows; else the test part of what it was trained on.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts; else the one trained on.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels; else the one trained on.")] = None,
    cell: OwnCell = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Measure a trained model.

    Accuracy, macro-F1 and confusion for classes; RMSE, MAE and R2 for numbers; each recipe's own measures.

    \b
    elman evaluate runs/sentiment
    elman evaluate runs/sentiment --data more.csv
    """  # noqa: D301
    from elman.cli.console import results, say, write_json
    from elman.cli.tables import by_tag, comparison, confusion

    if data is None and (text is not None or label is not None):
        raise UserError("--text and --label are about other rows", where="evaluate", fix="name them with --data")
    model = load(folder, cell)
    measured = model.evaluate(data, text, label)
    if as_json:
        names = _classes(model)
        write_json({**measured, **({"labels": names} if names else {})})
        return
    # The baselines were measured on the test part: beside other rows they would say nothing.
    baselines = model.metrics.get("baselines", {}) if data is None else {}
    console = results()
    if "columns" in measured:
        say("columns: text {text!r}, label {label!r}".format(**measured["columns"]))
        if left_out := measured.get("rows_without_text"):
            say(f"{left_out} rows without a text are left out")
    console.print(f"measured on {measured['rows']} rows of {data or 'the test part'}\n", soft_wrap=True)
    console.print(comparison({"this model": measured, **baselines}))
    if "confusion" in measured:
        console.print()
        if len(names := _classes(model)) > _MOST_CLASSES:
            console.print(
                f"the confusion of {len(names)} classes fits no terminal: --json gives it", soft_wrap=True
            )
        else:
            console.print(confusion(names, measured["confusion"]))
    for kind, of_kind in measured.get("kinds", {}).items():
        console.print()
        console.print(by_tag(kind, of_kind["tags"]))


def _classes(model: Model) -> Sequence[str]:
    """The names of a model's classes: recipes write them alone, or beside what else their labels need."""
    labels = model.config.get("labels", ())
    return labels.get("names") or () if isinstance(labels, Mapping) else labels
