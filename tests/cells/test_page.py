"""The table of docs/cells.md says what the cells are."""

from __future__ import annotations

from pathlib import Path

from elman import cells
from elman.engine.compiled import programs
from every_cell import EVERY_CELL

PAGE = Path(__file__).parents[2] / "docs" / "cells.md"


def rows() -> dict[str, list[str]]:
    """The table's columns by the cell's name."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    parts = [[part.strip() for part in line.strip("|").split(" | ")] for line in lines]
    return {name.strip("`"): rest for name, *rest in parts}


def test_every_cell_stands_in_the_table_with_its_states_and_products() -> None:
    table = rows()
    assert sorted(table) == sorted(cell.__name__ for cell in cells.registered().values())
    for cell in EVERY_CELL.values():
        _, states, products, _ = table[type(cell).__name__]
        compiled = programs(cell, cell.spec(5, 7))
        in_loop = sum(line.startswith("product ") for line in compiled.inference.splitlines())
        assert (states, int(products)) == (", ".join(compiled.spec.states), in_loop), cell
