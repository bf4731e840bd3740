"""A cell of a user's own: out of the file that is named, and what a model folder remembers of it.

A folder holds the cell's name, its options and the hash of its source, never a path: loading runs no code that
nobody named.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
import traceback
import warnings
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

import torch
from pydantic import BaseModel

from elman import cells
from elman.cells import Cell
from elman.engine import Operands, eager
from elman.engine.trace import position
from elman.errors import UserError, did_you_mean
from elman.export import ModelFolder
from elman.recipes.model_folder import CellConfig
from elman.recipes.settings import changed

S = TypeVar("S", bound=BaseModel)
_NAMED = re.compile(r"(?P<file>.+\.py)(:(?P<name>.*))?", re.S)
_UNITS = 12
_FLAG = "--cell FILE.py:CLASS (cell=)"


def from_file(named: str) -> Cell:
    """The cell in `FILE.py:CLASS`; the class may be left out where the file defines one alone. The file is run.

    Raises:
        UserError: there is no such file or class, the file fails (the line is named), it defines several cells
            and none is named, or the class is no cell, needs options, or bears the name of one of Elman's.
    """
    parts = _NAMED.fullmatch(named)
    if parts is None:
        raise UserError("a cell of your own is named FILE.py:CLASS", where="--cell", found=named)
    path, name = Path(parts["file"]).expanduser(), parts["name"]
    module = _run(path)
    own = {n: kind for n, kind in vars(module).items() if isinstance(kind, type) and _is_own(kind, module)}
    if name is None:
        if len(own) != 1:
            found = ", ".join(own) if own else "none"
            fix = f"name one, as {path}:{next(iter(own))}" if own else "derive a class from elman.cells.Cell"
            raise UserError("which cell of this file?", where=path, found=f"cells: {found}", fix=fix)
        (name,) = own
    kind = vars(module).get(name)
    if kind is None:
        raise UserError(f"the file defines no {name!r}", where=path, fix=did_you_mean(name, own))
    if name not in own:
        what = f"{name} is no cell of this file"
        raise UserError(what, where=path, found=repr(kind), fix="derive a class from elman.cells.Cell")
    try:
        cell: Cell = own[name]()
    except (TypeError, ValueError) as error:
        fix = "give them defaults in the file; in Python, give the cell itself (cell=)"
        where = f"{path}:{name}"
        raise UserError("the cell needs options", where=where, found=str(error), fix=fix) from error
    with cells.using(cell):  # refuses the name of one of Elman's
        return cell


def with_cell(defaults: S, wanted: S, cell: Cell) -> S:
    """Settings whose cell is this one.

    Args:
        defaults: the recipe's own settings.
        wanted: those settings, changed by the user.
        cell: the user's, in use (`cells.using`).

    Raises:
        UserError: the recipe has no cell to choose, the user chose another one, or the cell's step fails.
    """
    _try(cell)
    name = type(cell).__name__
    usual, chosen = (getattr(getattr(s, "model", None), "cell", None) for s in (defaults, wanted))
    if re.search(rf"\b{name}\b", str(chosen), re.I):  # wrapped, perhaps: Zoneout(Leaky, p=0.1)
        return wanted
    if chosen != usual:
        raise UserError("two cells are named", where=_FLAG, found=f"{name}, and model.cell={chosen}")
    return changed(wanted, {"model.cell": name}, _FLAG)


def _try(cell: Cell) -> None:
    """Takes two steps of a few units by the definition: a mistake in a step is told before there is any work.

    Raises:
        UserError: the step fails; where, and how.
    """
    try:
        spec = cell.spec(_UNITS, _UNITS).resting()
    except ValueError:  # it may want other sizes: those of the recipe will be tried
        return
    params = cell.prepare({name: torch.zeros(p.shape) for name, p in spec.params.items()}, None)
    fresh = {name: torch.full((width,), spec.initial.get(name, 0.0)) for name, width in spec.states.items()}
    states = {name: value.expand(1, -1) for name, value in fresh.items()}
    try:
        eager.run(cell, spec, Operands(torch.zeros(1, 2, _UNITS), states, fresh, params))
    except (Exception, SystemExit) as error:
        what = f"a step of {type(cell).__name__} fails"
        line = position(error)
        found = f"{type(error).__name__}: {error}" + ("" if __file__ in line else line)
        raise UserError(what, where=_FLAG, found=found, fix="elman verify FILE.py:CLASS tells more") from error


def noted(cell: Cell) -> dict[str, Any]:
    """What a model folder remembers of the cell, as its `config.json` holds it."""
    about = CellConfig(name=type(cell).__name__, options=repr(cell), sha256=_digest(cell))
    return {"cell": about.model_dump()}


def check_cell(folder: ModelFolder, cell: Cell | None) -> None:
    """Whether a cell is the one that the model in a folder was trained with; warns where its source has changed.

    Raises:
        UserError: the model needs a cell of the user's own and none is given, it needs none and one is, or another
            name or other options.
    """
    stored = folder.config.get("cell")
    if stored is None:
        if cell is not None:
            what, found = "this model runs a cell of Elman's own", type(cell).__name__
            raise UserError(what, where=folder.path, found=found, fix="leave --cell (cell=) out")
        return
    trained = CellConfig.model_validate(stored)
    if cell is None:
        fix = f"name the file that defines it: --cell FILE.py:{trained.name}; in Python, cell={trained.options}"
        raise UserError(f"this model runs a cell of your own, {trained.name}", where=folder.path, fix=fix)
    given = CellConfig(**noted(cell)["cell"])
    if (given.name, given.options) != (trained.name, trained.options):
        what = f"this model was trained with the cell {trained.options}"
        raise UserError(what, where=folder.path, found=given.options)
    if None not in (given.sha256, trained.sha256) and given.sha256 != trained.sha256:
        what = (
            f"{folder.path}: the source of {trained.name} has changed since this model was trained (sha256 was "
            f"{str(trained.sha256)[:12]}, is {str(given.sha256)[:12]}): other equations give other answers"
        )
        warnings.warn(what, stacklevel=3)


def _is_own(kind: type, module: ModuleType) -> bool:
    return issubclass(kind, Cell) and kind.__module__ == module.__name__


class _Source(importlib.abc.InspectLoader):
    """Runs the bytes that were read: no bytecode kept beside the file is, and none is written."""

    def __init__(self, source: bytes, path: str) -> None:
        self.source, self.path = source, path

    def get_source(self, fullname: str) -> str:
        """The text."""
        return importlib.util.decode_source(self.source)

    def get_code(self, fullname: str) -> CodeType:
        """The code, which knows its file."""
        return self.source_to_code(self.source, self.path)


def _run(path: Path) -> ModuleType:
    """The file as a module; the same source is run once a process."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError("the cell's file cannot be read", where=path, found=error.strerror) from error
    name = f"elman_own_{path.stem}_{hashlib.sha256(source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)  # dataclasses look their module up
    module.__file__ = str(path.resolve())
    try:
        _Source(source, module.__file__).exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        found = f"{type(error).__name__}: {error}"
        raise UserError("the cell's file fails", where=f"{path}:{_line(error, path)}", found=found) from error
    return module


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the file at which an error arose."""
    if isinstance(error, SyntaxError):
        return error.lineno
    own = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path.resolve()]
    return own[-1] if own else None


def _digest(cell: Cell) -> str | None:
    """The hash of the file that defines the cell; None where there is none, as in a console, or it is Elman's."""
    if type(cell).__module__.startswith("elman."):
        return None
    try:
        return hashlib.sha256(Path(inspect.getfile(type(cell))).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None
