"""Elman's drop-ins beside the classes they replace: one call, and one call with its backward pass.

Run: `python benchmarks/drop_in.py` (about three minutes; `--quick` for one), from the repository.

Both classes hold the same weights and take turns within every round; a process reports the median over its rounds
and the table the smallest median of several processes, so that a busy machine disturbs both alike and little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from machine import machine
from torch import nn
from torch.utils._pytree import tree_leaves

from elman.nn import drop_in, drop_in_cells

RESULTS = Path(__file__).parent / "results" / "drop_in.json"
LAYERS, CELLS = ("RNN", "LSTM", "GRU"), ("RNNCell", "LSTMCell", "GRUCell")
# steps, rows, units; inputs are as wide as the units
SHAPES = {"tiny": (1, 1, 16), "small": (16, 4, 32), "middle": (64, 16, 128), "large": (128, 32, 256)}
SECONDS_PER_CASE = 0.8


def timed(call: Callable[[], object], repeats: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def step(module: nn.Module, x: torch.Tensor, training: bool) -> Callable[[], object]:
    if not training:
        return lambda: module(x)

    def run() -> object:
        loss = sum(leaf.sum() for leaf in tree_leaves(module(x)))
        return torch.autograd.grad(loss, list(module.parameters()))

    return run


def case(name: str, shape: str, training: bool, seconds: float) -> list[float]:
    """Medians in microseconds: (torch.nn, Elman)."""
    steps, rows, units = SHAPES[shape]
    cell = name in CELLS
    theirs = getattr(nn, name)(units, units)
    ours = getattr(drop_in_cells if cell else drop_in, name)(units, units)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((rows, units) if cell else (steps, rows, units))
    with torch.set_grad_enabled(training):
        calls = [step(module.train(training), x, training) for module in (theirs, ours)]
        once = max(timed(call, 3) for call in calls)
        repeats = max(1, int(0.004 / once))
        rounds = max(9, int(seconds / (2 * repeats * once)))
        found: list[list[float]] = [[], []]
        for round_ in range(rounds):
            for index in (0, 1) if round_ % 2 else (1, 0):
                found[index].append(timed(calls[index], repeats))
    return [statistics.median(times) * 1e6 for times in found]


def cases() -> Iterator[tuple[str, str, bool]]:
    for name in (*LAYERS, *CELLS):
        for shape in SHAPES:
            for training in (False, True):
                yield name, shape, training


def measure(seconds: float) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {f"{n} {s} {'training' if t else 'inference'}": case(n, s, t, seconds) for n, s, t in cases()}
    sys.stdout.write(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time, nothing written")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seconds = SECONDS_PER_CASE / 5 if options.quick else SECONDS_PER_CASE
    if options.worker:
        measure(seconds)
        return
    command = [sys.executable, __file__, "--worker", *(["--quick"] if options.quick else [])]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(options.processes)
    ]
    rows, ratios = [], []
    print(f"{'case':28}{'torch.nn':>12}{'Elman':>12}    ratio  (µs per call)")
    for name in runs[0]:
        theirs, ours = (min(run[name][index] for run in runs) for index in (0, 1))
        ratios.append(ours / theirs)
        row = {"case": name, "torch_us": round(theirs, 2), "elman_us": round(ours, 2)}
        rows.append({**row, "ratio": round(ratios[-1], 4)})
        print(f"{name:28}{theirs:12.1f}{ours:12.1f}{ratios[-1]:9.3f}")
    print(f"ratio: median {statistics.median(ratios):.3f}, worst {max(ratios):.3f}")
    if not options.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": {**machine(), "threads": 1}, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
