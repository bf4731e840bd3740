"""What wrappers cost: a training step of a wrapped LSTM beside one of the LSTM itself.

Writes benchmarks/results/wrappers.json. Turn by turn in one process, the median of several rounds of each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from machine import machine

from elman.cells import (
    Cell,
    Clip,
    LayerNorm,
    Projection,
    RecurrentDropout,
    Residual,
    WeightDrop,
    Zoneout,
    get,
)
from elman.nn import Recurrent

SHAPES, STEPS, ROUNDS, SECONDS = ((1, 64), (8, 128), (32, 256)), 128, 11, 0.05
RESULTS = Path(__file__).parent / "results" / "wrappers.json"
LSTM = get("lstm")
CELLS: dict[str, Callable[[int], Cell]] = {
    "LSTM": lambda units: LSTM,
    "LayerNorm": lambda units: LayerNorm(LSTM),
    "LayerNorm, recurrent part": lambda units: LayerNorm(LSTM, inputs=False),
    "Zoneout": lambda units: Zoneout(LSTM, p=0.1),
    "RecurrentDropout": lambda units: RecurrentDropout(LSTM, p=0.25),
    "WeightDrop": lambda units: WeightDrop(LSTM, p=0.5),
    "Residual": lambda units: Residual(LSTM),
    "Projection to half": lambda units: Projection(LSTM, size=units // 2),
    "Clip": lambda units: Clip(LSTM, limit=3.0),
    "Residual(Zoneout(LayerNorm))": lambda units: Residual(Zoneout(LayerNorm(LSTM), p=0.1)),
}


def training_step(cell: Cell, rows: int, units: int) -> Callable[[], None]:
    """Forward and backward of one layer, as wide inside as outside."""
    torch.manual_seed(0)
    layer, x = Recurrent(cell, units, units, backend="native"), torch.randn(rows, STEPS, units)

    def step() -> None:
        layer.zero_grad()
        layer(x)[0].sum().backward()

    return step


def seconds(step: Callable[[], None], times: int) -> float:
    """Of one call, over so many."""
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def main() -> None:
    """Measures and writes."""
    found = []
    for rows, units in SHAPES:
        steps = {name: training_step(make(units), rows, units) for name, make in CELLS.items()}
        times = max(1, round(SECONDS / min(seconds(steps["LSTM"], 3) for _ in range(3))))
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                taken[name].append(seconds(step, times))
        plain = taken["LSTM"]
        for name, values in taken.items():
            ratio = median(value / own for value, own in zip(values, plain, strict=True))
            found.append(
                {"rows": rows, "units": units, "cell": name, "ms": median(values) * 1e3, "over plain": ratio}
            )
            print(f"{rows:3} x {units:3}  {name:30} {median(values) * 1e3:8.3f} ms  {ratio:5.2f}", flush=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "steps": STEPS, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
