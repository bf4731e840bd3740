"""Twelve cells of the library torchrecurrent beside the same cells said as Elman's: a forward and a backward pass.

Writes benchmarks/results/other_cells.json. B 8, H 128, T 512, single precision, the same weights; gradients are
compared first. Turn by turn, the median of several rounds of each.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median

import torch
from machine import machine
from torch import Tensor, nn

import elman

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from cells.torchrecurrent_cells import PAIRS, ours_from_theirs, pair

ROWS, UNITS, STEPS, ROUNDS = 8, 128, 512, 7
RESULTS = Path(__file__).parent / "results" / "other_cells.json"


def training_step(layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Outputs, a loss and the gradients of x and of every parameter; returns the gradient of x."""

    def step() -> Tensor:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].square().mean().backward()
        return x.grad  # type: ignore[return-value]

    return step


def milliseconds(step: Callable[[], Tensor]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    step()
    return (time.perf_counter() - start) * 1e3


def compare(name: str) -> dict[str, float]:
    """Medians of both sides for one cell, in milliseconds."""
    torch.manual_seed(0)
    theirs, ours = pair(name, UNITS, UNITS, torch.float32)
    weights = ours_from_theirs(name, dict(theirs.named_parameters()))
    ours.load_state_dict({key: value.detach() for key, value in weights.items()})
    x = torch.randn(ROWS, STEPS, UNITS, requires_grad=True)
    steps = {"elman": training_step(ours, x), "torchrecurrent": training_step(theirs, x)}
    gradients = {side: step().clone() for side, step in steps.items()}
    scale = float(gradients["elman"].abs().max())
    torch.testing.assert_close(gradients["torchrecurrent"] / scale, gradients["elman"] / scale, rtol=0, atol=1e-4)
    times: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(ROUNDS):
        for side, step in steps.items():
            times[side].append(milliseconds(step))
    found = {side: round(median(one), 2) for side, one in times.items()}
    return {**found, "times_as_fast": round(found["torchrecurrent"] / found["elman"], 1)}


def main() -> None:
    """Compare, measure, print and write."""
    result = {
        "machine": machine() | {"torchrecurrent": importlib.metadata.version("torchrecurrent")},
        "engine": elman.explain(pair("UGRNN", UNITS, UNITS, torch.float32)[1], torch.zeros(ROWS, STEPS, UNITS)),
        "rows": ROWS,
        "units": UNITS,
        "steps": STEPS,
        "milliseconds": {},
    }
    for name in PAIRS:
        result["milliseconds"][name] = compare(name)
        print(name, result["milliseconds"][name])
    ratios = [row["times_as_fast"] for row in result["milliseconds"].values()]
    result |= {"least": min(ratios), "geometric_mean": round(geometric_mean(ratios), 1)}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
