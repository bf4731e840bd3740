"""Applications: one file each, found by looking through this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from elman import cells
from elman.cells import Cell
from elman.errors import UserError, did_you_mean
from elman.export import read_model
from elman.recipes.contract import Model, Recipe, Request, Trained
from elman.recipes.own_cell import check_cell, with_cell
from elman.recipes.settings import changed
from elman.training import Progress, Silent, console_progress, process

__all__ = ["Model", "Recipe", "Request", "Trained", "free_folder", "get", "load", "registered", "request", "train"]


@cache
def registered() -> Mapping[str, Recipe]:
    """Every recipe by its name.

    Example:
        >>> "sentiment" in registered()
        True
    """
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found = (module.RECIPE for module in modules if hasattr(module, "RECIPE"))
    return MappingProxyType({recipe.name: recipe for recipe in found})


def get(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in registered():
        raise UserError("no such recipe", found=repr(name), fix=did_you_mean(name, registered()))
    return registered()[name]


def free_folder(name: str, parent: str | Path = "runs") -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that is not there yet."""
    folder, number = Path(parent) / name, 1
    while folder.exists():
        number += 1
        folder = Path(parent) / f"{name}-{number}"
    return folder


def request(
    recipe: str,
    settings: BaseModel,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cell: Cell | None = None,
) -> Request:
    """A request whose folder is settled and whose progress is told by the first process alone.

    Raises:
        UserError: no folder is named where one must be: to resume, or for several processes.
    """
    rank, processes = process()
    if out is None and processes > 1:
        fix = "name one with --out (out=)"
        raise UserError("several processes must share one folder", found=f"{processes} processes", fix=fix)
    if out is None and resume:
        fix = "name its folder with --out (out=)"
        raise UserError("which run is to be resumed?", where="--resume (resume=True)", fix=fix)
    return Request(
        out=free_folder(recipe) if out is None else Path(out),
        settings=settings,
        progress=(progress or console_progress()) if rank == 0 else Silent(),
        resume=resume,
        cell=cell,
    )


def train(  # noqa: PLR0913 - what may be asked
    recipe: str,
    data: Any = None,
    *,
    text: str | None = None,
    label: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cell: Cell | None = None,
) -> Trained:
    """Train a recipe and write its model folder.

    Args:
        recipe: its name, see `registered`.
        data: a file (CSV, TSV, JSON Lines, Parquet), a folder of label/file.txt, a hub name, a DataFrame or a
            mapping of columns; None is the recipe's own data.
        text: the text column; guessed and said where not given.
        label: the label column; guessed and said where not given.
        out: the folder of the run; by default the next free one under runs/.
        settings: changed settings by dotted key, such as {"model.cell": "lstm"}.
        resume: go on with the run in `out`.
        progress: is told what happens; by default a bar or plain lines on standard error.
        cell: a cell of your own in place of the recipe's; `load` asks for it again.

    Returns:
        The folder, the metrics, and the model ready to use.

    Raises:
        UserError: something about the request cannot work; the message says what and where.

    Example:
        >>> trained = train("sentiment", {"text": [...], "label": [...]})  # doctest: +SKIP
        >>> trained.model.predict(["not bad at all"])  # doctest: +SKIP
        ['positive']
    """
    chosen = get(recipe)
    cell = None if cell is None else cells.get(cell)  # refuses a class
    with cells.using(cell):
        wanted = changed(chosen.settings, settings or {})
        if cell is not None:
            wanted = with_cell(chosen.settings, wanted, cell)
        asked = request(recipe, wanted, out=out, resume=resume, progress=progress, cell=cell)
        return chosen.train(replace(asked, data=data, text=text, label=label))


def load(folder: str | Path, cell: Cell | None = None) -> Model:
    """The trained model in a folder.

    Args:
        folder: where it stands.
        cell: the cell of your own that it was trained with, where it was.

    Raises:
        UserError: the folder is missing, damaged, or no model of a recipe known here; it needs a cell of your own,
            or another one.

    Example:
        >>> load("runs/sentiment").predict(["not bad at all"])  # doctest: +SKIP
        ['positive']
    """
    found = read_model(folder)
    recipe = get(str(found.config.get("recipe")))
    cell = None if cell is None else cells.get(cell)  # refuses a class
    check_cell(found, cell)
    with cells.using(cell):
        return recipe.load(found)
