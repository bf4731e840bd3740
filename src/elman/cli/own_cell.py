"""`--cell`: a cell of the user's own, for the verbs that train a model or load one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from elman.recipes import Model

OwnCell = Annotated[
    str | None,
    typer.Option(
        "--cell", metavar="FILE.py:CLASS", help="The cell of your own it was trained with; the file is run."
    ),
]


def load(folder: Path, cell: str | None) -> Model:
    """The model in a folder, with the cell that `--cell` names; what is odd about it is said on standard error."""
    from elman import recipes
    from elman.recipes.own_cell import from_file

    own = None if cell is None else from_file(cell)
    with saying_warnings():
        return recipes.load(folder, own)


@contextmanager
def saying_warnings() -> Iterator[None]:
    """Warnings become lines on standard error, without Python's file and line."""
    from elman.cli.console import say

    with warnings.catch_warnings(record=True) as odd:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(warning.message) for warning in odd):
        say(f"warning: {text}")
