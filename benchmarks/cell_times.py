"""What a training step of every cell costs beside the LSTM: forward, backward, all gradients.

Writes benchmarks/results/cells.json, whose last column stands in docs/cells.md. 8 rows, 128 inputs and units, 128
steps, single precision, one thread; all cells turn by turn, the median of the rounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from machine import machine

from elman import cells
from elman.cells import Cell
from elman.cells.lstm import ProjectedLSTM
from elman.engine.compiled import programs
from elman.nn import Recurrent

ROWS, UNITS, STEPS, ROUNDS = 8, 128, 128, 25
RESULTS = Path(__file__).parent / "results" / "cells.json"


def training_step(cell: Cell) -> Callable[[], float]:
    """A function that takes one step and returns its seconds."""
    torch.manual_seed(0)
    layer, x = Recurrent(cell, UNITS, UNITS), torch.randn(ROWS, STEPS, UNITS, requires_grad=True)
    leaves, dy = [x, *layer.parameters()], torch.randn(ROWS, STEPS, layer.output_size)

    def step() -> float:
        start = time.perf_counter()
        torch.autograd.grad(layer(x)[0], leaves, dy)
        return time.perf_counter() - start

    return step


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    every = {
        name: ProjectedLSTM(UNITS // 2) if name == "projectedlstm" else cells.get(name)
        for name in cells.registered()
    }
    steps = {name: training_step(cell) for name, cell in every.items()}
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(3 + ROUNDS):
        for name, step in steps.items():
            seconds[name].append(step())
    found = {}
    for name, cell in every.items():
        compiled = programs(cell, cell.spec(UNITS, UNITS))
        found[type(cell).__name__] = {
            "milliseconds": round(median(seconds[name][3:]) * 1e3, 3),
            "relative": round(median(seconds[name][3:]) / median(seconds["lstm"][3:]), 2),
            "products": sum(line.startswith("product ") for line in compiled.inference.splitlines()),
            "state": sum(compiled.spec.states.values()),
            "parameters": sum(p.numel() for p in Recurrent(cell, UNITS, UNITS).parameters()),
        }
        print(type(cell).__name__, found[type(cell).__name__])
    sizes = {"rows": ROWS, "units": UNITS, "steps": STEPS, "rounds": ROUNDS}
    RESULTS.write_text(json.dumps({"machine": machine(), "sizes": sizes, "cells": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
