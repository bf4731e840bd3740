"""Writes the step programs that csrc/driver.cpp runs: `python tests/engine/write_texts.py FOLDER`.

NAME_forward.txt and NAME_backward.txt of every cell at small odd sizes, of some wrapped ones, and of three that
span several tiles; of the LSTM also with inner states, their gradients given and taken.
"""

from __future__ import annotations

import sys
from pathlib import Path

from elman.cells import Cell, get
from elman.engine.compiled import programs
from elman.engine.differentiate import Wanted

EVERYTHING = Wanted()


def write(folder: Path) -> None:
    """Texts of every registered cell."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, the folder of the tests is not known
    from every_cell import EVERY_CELL, WRAPPED

    folder.mkdir(parents=True, exist_ok=True)
    for cell in EVERY_CELL.values():
        write_one(folder, type(cell).__name__, cell, 5, 7)
    for name, cell in WRAPPED.items():
        if not cell.prepares:
            write_one(folder, name.replace(", ", "_").replace(" ", "_"), cell, 5, 7)
    write_one(folder, "Zoneout_130", WRAPPED["zoneout"], 20, 130)
    write_one(folder, "LSTM_inner", get("lstm"), 5, 70, Wanted(inner=True, states=True))
    write_one(folder, "LSTM_130", get("lstm"), 70, 130)
    write_one(folder, "GRU_64", get("gru"), 20, 64)


def write_one(folder: Path, name: str, cell: Cell, inputs: int, hidden: int, wanted: Wanted = EVERYTHING) -> None:
    texts = programs(cell, cell.spec(inputs, hidden), wanted=wanted)
    (folder / f"{name}_forward.txt").write_text(texts.forward)
    (folder / f"{name}_backward.txt").write_text(texts.backward)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
