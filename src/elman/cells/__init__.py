"""What one time step computes: the contract of a cell, and one file for each family of cells.

Every file in this folder is looked through for cells when one is first asked for by name, so that adding a
cell touches its own file alone. `elman.cells.LSTM` is the class, `get("lstm")` an instance.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Any

from elman.cells.contract import Cell, Gates, Inputs, Product, State, Step, Weights
from elman.cells.spec import Block, Noise, Param, Spec
from elman.cells.wrappers import (
    Clip,
    LayerNorm,
    Projection,
    RecurrentDropout,
    Residual,
    WeightDrop,
    Wrapper,
    Zoneout,
)
from elman.errors import UserError, did_you_mean

__all__ = [
    "Block",
    "Cell",
    "Clip",
    "Gates",
    "Inputs",
    "LayerNorm",
    "Noise",
    "Param",
    "Product",
    "Projection",
    "RecurrentDropout",
    "Residual",
    "Spec",
    "State",
    "Step",
    "WRAPPERS",
    "WeightDrop",
    "Weights",
    "Wrapper",
    "Zoneout",
    "get",
    "made",
    "registered",
    "using",
]

_IN_USE: ContextVar[Cell | None] = ContextVar("_IN_USE", default=None)


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
        found |= {c.__name__.lower(): c for c in own if c is not Cell and not issubclass(c, Wrapper)}
    return MappingProxyType(dict(sorted(found.items())))


WRAPPERS: MappingProxyType[str, type[Wrapper]] = MappingProxyType(
    {c.__name__.lower(): c for c in (Clip, LayerNorm, Projection, RecurrentDropout, Residual, WeightDrop, Zoneout)}
)


def get(cell: str | Cell | type[Cell], **options: Any) -> Cell:
    """A cell by its name in any case, with the options of its class; a cell itself is returned as it is.

    A text may also spell a cell with its options and wrappers, as Python would: "Zoneout(LSTM, p=0.05)".

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
    if "(" in cell and not options:
        return _spelled(cell)
    return _made(cell, registered(), (), options, cell)


def _spelled(text: str) -> Cell:
    """A cell as it would be written in Python, such as `Zoneout(LSTM(), p=0.05)`; nothing is executed."""

    def value(node: ast.expr) -> Any:
        return built(node) if isinstance(node, (ast.Call, ast.Name)) else ast.literal_eval(node)

    def built(node: ast.expr) -> Cell:
        if isinstance(node, ast.Name):
            return _made(node.id, registered(), (), {}, text)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or None in (
            k.arg for k in node.keywords
        ):  # fmt: skip
            raise ValueError("not a name with options")
        options = {str(k.arg): value(k.value) for k in node.keywords}
        if len(options) != len(node.keywords):
            raise ValueError("an option given twice")
        return _made(node.func.id, {**registered(), **WRAPPERS}, [value(a) for a in node.args], options, text)

    try:
        return built(ast.parse(text.strip(), mode="eval").body)
    except UserError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        fix = "write it like LSTM, RNN(nonlinearity='relu') or Zoneout(LSTM, p=0.05)"
        raise UserError("a cell cannot be read", found=repr(text), fix=fix) from error


def _made(
    name: str, known: Mapping[str, type[Cell]], args: Sequence[Any], options: Mapping[str, Any], where: str
) -> Cell:
    own = _IN_USE.get()
    if own is not None and name.lower() == type(own).__name__.lower():
        return own if not args and not options else made(type(own), where, args, options)
    if name.lower() not in known:
        if name.lower() in WRAPPERS:
            fix = f"write {WRAPPERS[name.lower()].__name__}(LSTM), or another cell inside"
            raise UserError("a wrapper stands around a cell", found=repr(name), fix=fix)
        raise UserError("no such cell", found=repr(name), fix=did_you_mean(name.lower(), known))
    return made(known[name.lower()], where, args, options)


def made(
    kind: type[Cell], where: str = "", args: Sequence[Any] = (), options: Mapping[str, Any] = MappingProxyType({})
) -> Cell:
    """A cell of a class; `where` is what the user wrote.

    Raises:
        UserError: its options are wrong or missing.
    """
    try:
        return kind(*args, **options)
    except (TypeError, ValueError) as error:
        home = "elman.cells." if kind.__module__.startswith("elman.cells.") else ""
        fix = f"give the cell itself, as {home}{kind.__name__}(...)"
        what = "a cell's options are wrong or missing"
        raise UserError(what, where=where or kind.__name__, found=str(error), fix=fix) from error


@contextmanager
def using(cell: Cell | None) -> Iterator[None]:
    """Within, a cell of the user's own is found by the name of its class, as those of this folder are.

    By its name alone it is the cell as it is; a text may also give it other options, or wrap it.

    Raises:
        UserError: a cell of this folder has that name.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Mine(Cell):
        ...     gates = ("h",)
        >>> with using(Mine()):
        ...     get("mine")
        Mine()
    """
    if cell is not None:
        name = type(cell).__name__
        if {**registered(), **WRAPPERS}.get(name.lower(), type(cell)) is not type(cell):
            raise UserError("Elman has a cell of this name", found=name, fix="give yours another name")
    token = _IN_USE.set(cell)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def __getattr__(name: str) -> Any:
    for cell in registered().values():
        if cell.__name__ == name:
            return cell
    raise AttributeError(f"module 'elman.cells' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(cell.__name__ for cell in registered().values())])
