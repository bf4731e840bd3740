"""The table of docs/cells.md says what the cells are, and what was measured of them."""

from __future__ import annotations

import json
from pathlib import Path

from elman import cells
from elman.engine.compiled import programs
from every_cell import EVERY_CELL

ROOT = Path(__file__).parents[2]
PAGE, MEASURED = ROOT / "docs/cells.md", ROOT / "benchmarks/results/cells.json"


def rows() -> dict[str, list[str]]:
    """The table's columns by the cell's name."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    parts = [[part.strip() for part in line.strip("|").split(" | ")] for line in lines]
    return {name.strip("`"): rest for name, *rest in parts}


def test_every_cell_stands_in_the_table_with_its_states_and_products() -> None:
    table = rows()
    assert sorted(table) == sorted(cell.__name__ for cell in cells.registered().values())
    for cell in EVERY_CELL.values():
        _, states, products, _, _ = table[type(cell).__name__]
        compiled = programs(cell, cell.spec(5, 7))
        in_loop = sum(line.startswith("product ") for line in compiled.inference.splitlines())
        assert (states, int(products)) == (", ".join(compiled.spec.states), in_loop), cell


def test_the_times_are_those_of_the_file() -> None:
    measured = json.loads(MEASURED.read_text("utf-8"))["cells"]
    assert {name: row[3] for name, row in rows().items()} == {
        name: f"{one['relative']:.2f}" for name, one in measured.items()
    }


def test_what_cells_learn_is_told_as_it_was_measured() -> None:
    learned = json.loads((ROOT / "benchmarks/results/learning.json").read_text("utf-8"))["table"]
    lines = (ROOT / "docs/what-cells-learn.md").read_text("utf-8").splitlines()
    told = [[part.strip() for part in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    assert told[0][1:] == [*learned]
    assert {name: row for name, *row in told[1:]} == {
        network: [of_task[network] for of_task in learned.values()] for network in learned[told[0][1]]
    }
