"""`elman predict`: texts in, answers out; from the command line, a file, or line by line from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from elman.cli.own_cell import OwnCell, load
from elman.errors import UserError, visible

if TYPE_CHECKING:
    from elman.recipes import Model
    from elman.recipes.text_model import TextModel


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.", show_default=False)],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, pictures or clips; - or none reads standard input, a text or JSON object a line."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A table whose rows are to be predicted, or a folder of files.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Its column of texts; else the one trained on.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the table goes (.csv, .tsv or .jsonl); else standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace a file.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Show how the verdict moves word by word.")] = False,
    cell: OwnCell = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, an object a text.")] = False,
) -> None:
    """Use a trained model.

    \b
    elman predict runs/sentiment "not bad at all" --words
    elman predict runs/sentiment --data new.csv --out predictions.csv
    tail -f tweets.jsonl | elman predict runs/sentiment -
    """  # noqa: D301
    _check(texts, data, text, out, force, words)
    from elman.recipes.text_model import TextModel

    model = text_model(folder, cell) if words else load(folder, cell)
    if data is not None and not isinstance(model, TextModel):
        _refuse_table_options(model, text, out, force)
        _predict_inputs(model, model.inputs(data), as_json)
    elif data is not None:
        from elman.cli.predict_table import predict_table

        predict_table(cast("TextModel", model), data, text, out, force=force, as_json=as_json)
    elif texts and texts != ["-"]:
        if isinstance(model, TextModel):
            _predict_texts(model, texts, words, as_json)
        else:
            _predict_inputs(model, texts, as_json)
    else:
        from elman.cli.predict_lines import predict_lines

        if sys.stdin is None:
            raise UserError("nothing to answer: no text is given and standard input is closed", where="predict")
        predict_lines(model, sys.stdin.buffer)


def text_model(folder: Path, cell: str | None = None) -> TextModel:
    """The model in a folder, which must be one that reads texts."""
    from elman.recipes.text_model import TextModel

    model = load(folder, cell)
    if not isinstance(model, TextModel):
        what = "only a model that reads texts can be used here"
        raise UserError(what, where=folder, found=f"recipe {model.recipe.name!r}")
    return model


def show_texts(model: TextModel, texts: list[str], *, words: bool) -> None:
    """Each text with its answer and the probability of each class, and how the verdict moved."""
    from elman.cli.console import results
    from elman.cli.words import legend, moving_verdict

    console = results()
    if words and model.labels.kind == "classes":
        console.print(legend(model.labels.names))
    for one, answer in zip(texts, model.answers(texts), strict=True):
        console.print(f"{visible(one)}\n  {_verdict(answer)}", soft_wrap=True)
        if words:
            console.print(moving_verdict(model, one), soft_wrap=True)


def _check(
    texts: list[str] | None, data: str | None, text: str | None, out: Path | None, force: bool, words: bool
) -> None:
    given = bool(texts and texts != ["-"])
    if data is not None and (texts or words):
        what = "texts, - and --words are for texts given one by one, --data is for a table"
        raise UserError(what, where="predict", fix="give one or the other")
    if data is None and (text is not None or out is not None or force):
        raise UserError("--text, --out and --force are about a table", where="predict", fix="name it with --data")
    if words and not given:
        raise UserError("--words shows texts of the command line", where="predict", fix="give a text")
    if data is None and not texts and sys.stdin is not None and sys.stdin.isatty():
        fix = 'give texts ("..."), --data FILE, or lines on standard input'
        raise UserError("there is nothing to predict", where="predict", fix=fix)


def _predict_texts(model: TextModel, texts: list[str], words: bool, as_json: bool) -> None:
    from elman.cli.answers import moves
    from elman.cli.console import write_json
    from elman.data.texts import is_empty

    for number, one in enumerate(texts, start=1):
        if is_empty(one):
            raise UserError("a text must not be empty", where=f"text {number}", found=repr(one))
    if not as_json:
        show_texts(model, texts, words=words)
        return
    for one, answer in zip(texts, model.answers(texts), strict=True):
        write_json({"text": one, **answer, **({"words": moves(model, one)} if words else {})})


def _predict_inputs(model: Model, inputs: list[str], as_json: bool) -> None:
    from elman.cli.console import results, write_json
    from elman.cli.predict_table import delimited

    for one, answer in zip(inputs, model.answers(inputs), strict=True):
        rows = answer["prediction"]
        if as_json:
            write_json({"input": one, **answer})
        elif isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            # A table, ready for a file or a pipe; of several, each under its name.
            sys.stdout.write(f"{visible(one)}\n" if len(inputs) > 1 else "")
            sys.stdout.write(delimited({name: [row[name] for row in rows] for name in rows[0]}, ","))
        else:
            verdict = _verdict(answer) if "probabilities" in answer else visible(str(answer["prediction"]))
            results().print(f"{visible(one)}\n  {verdict}", soft_wrap=True)


def _refuse_table_options(model: Model, text: str | None, out: Path | None, force: bool) -> None:
    if text is not None or out is not None or force:
        what = "--text, --out and --force are about a table of texts"
        raise UserError(what, where="predict", found=f"recipe {model.recipe.name!r}")


def _verdict(answer: dict[str, Any]) -> str:
    if "probabilities" not in answer:
        return f"{answer['prediction']:.4g}"
    shown = "  ".join(f"{name} {value:.2f}" for name, value in answer["probabilities"].items())
    return visible(f"{answer['prediction']}  ({shown})")
