"""What one time step computes: the contract of a cell, and one file for each family of cells.

Every file in this folder is looked through for cells when one is first asked for by name, so that adding a
cell touches its own file alone. `elman.cells.LSTM` is the class, `get("lstm")` an instance.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from types import MappingProxyType
from typing import Any

from elman.cells.contract import Cell, Gates, Inputs, Product, State, Step, Weights
from elman.cells.spec import Block, Param, Spec
from elman.errors import UserError, did_you_mean

__all__ = [
    "Block",
    "Cell",
    "Gates",
    "Inputs",
    "Param",
    "Product",
    "Spec",
    "State",
    "Step",
    "Weights",
    "get",
    "registered",
]


@cache
def registered() -> MappingProxyType[str, type[Cell]]:
    """Every cell of this folder by its lower-case name, in alphabetical order.

    Example:
        >>> {"gru", "lstm", "rnn"} <= set(registered())
        True
    """
    found: dict[str, type[Cell]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = inspect.getmembers(importlib.import_module(f"{__name__}.{module.name}"), inspect.isclass)
        own = (c for _, c in members if issubclass(c, Cell) and c.__module__ == f"{__name__}.{module.name}")
        found |= {c.__name__.lower(): c for c in own if c is not Cell}
    return MappingProxyType(dict(sorted(found.items())))


def get(cell: str | Cell | type[Cell], **options: Any) -> Cell:
    """A cell by its name in any case, with the options of its class; a cell itself is returned as it is.

    Raises:
        UserError: there is no cell of that name, its options are wrong or missing, or a cell is given with
            options or as a class.

    Example:
        >>> get("rnn", nonlinearity="relu")
        RNN(nonlinearity='relu')
    """
    if isinstance(cell, Cell):
        if options:
            raise UserError("a cell has its options already", where=repr(cell), found=f"options {options}")
        return cell
    if isinstance(cell, type):
        raise UserError("a cell is wanted, not its class", found=cell.__name__, fix=f"write {cell.__name__}()")
    cells = registered()
    if cell.lower() not in cells:
        raise UserError("no such cell", found=repr(cell), fix=did_you_mean(cell.lower(), cells))
    try:
        return cells[cell.lower()](**options)
    except TypeError as error:
        fix = f"give the cell itself, as elman.cells.{cells[cell.lower()].__name__}(...)"
        raise UserError("a cell's options are wrong or missing", where=cell, found=str(error), fix=fix) from error


def __getattr__(name: str) -> Any:
    for cell in registered().values():
        if cell.__name__ == name:
            return cell
    raise AttributeError(f"module 'elman.cells' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(cell.__name__ for cell in registered().values())])
