"""`elman demo`: the main job from the data to a picture, in one command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from elman.recipes import Trained

_SENTENCES = (
    "What a lovely film, I enjoyed every minute of it!",
    "The plot is thin, but the acting is wonderful.",
    "It was not bad at all.",
)


def demo(
    out: Annotated[Path | None, typer.Option(help="The folder of the run; else a new one in runs/.")] = None,
) -> None:
    """See it all in five minutes.

    Trains, measures and uses a sentiment model, and draws how far back gradients reach.

    \b
    elman demo
    """  # noqa: D301
    from elman import data, recipes
    from elman.cli.console import from_here, say, suggest
    from elman.cli.train import resumable, show_trained

    folder = out or recipes.free_folder("demo")
    say(f"folder: {from_here(folder)}")
    data.fetch("sentiment")
    with resumable(f"elman train sentiment --out {shlex.quote(from_here(folder))} --resume"):
        trained = recipes.train("sentiment", out=folder)
    show_trained(trained, recipes.get("sentiment"), own=True)
    _show_model(trained)
    _draw_gradient(trained)
    here = from_here(trained.folder)
    commands = [
        ["elman", "predict", here, "your own words", "--words"],
        ["elman", "evaluate", here],
        ["elman", "train", "sentiment", "--set", "model.cell=lstm"],
        ["elman", "train", "sentiment", "--data", "YOUR.csv"],
        ["elman", "recipes", "sentiment"],
    ]
    suggest("\nwhat to try next:", commands)


def _show_model(trained: Trained) -> None:
    from elman.cli.console import results
    from elman.cli.predict import show_texts, text_model
    from elman.cli.tables import confusion

    model = text_model(trained.folder)  # as anyone would use it: out of its folder
    console = results()
    console.print()
    console.print(confusion(model.labels.names, trained.metrics["test"]["confusion"]))
    console.print("\nhow the verdict moves from word to word:")
    show_texts(model, list(_SENTENCES), words=True)


def _draw_gradient(trained: Trained) -> None:
    from elman.cli.console import from_here, results, say
    from elman.cli.predict import text_model
    from elman.insight import plot_gradient
    from elman.recipes.gradient_demo import compare_gradients, rows_of

    model = text_model(trained.folder)
    say("\ntraining a small plain RNN and a small LSTM for the picture")
    found = compare_gradients(model, *rows_of(model))
    picture = plot_gradient(found.curves, trained.folder / "gradient.png")
    results().print(
        f"\n{found.sentence()} (mean of {found.rows} texts)\npicture: {from_here(picture)}", soft_wrap=True
    )
