"""The adding problem: which networks learn to add two numbers that stand far apart?

Two numbers of a sequence of random ones from 0 to 1 are marked, one in each half; asked for is their sum. Always
answering 1, which is right on average, has a mean squared error of 1/6. Writes
benchmarks/results/adding_problem.json, which docs/vanishing-gradients.md draws.

S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997); marks placed as in Q. V. Le,
N. Jaitly and G. E. Hinton, arXiv:1504.00941v2.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn

from elman import Recurrent
from elman.cells import RNN, LayerNorm
from elman.nn import initialise

STEPS, UNITS, ROWS, CLIP = 100, 64, 32, 1.0
RATE, SMALL = 0.01, 0.001  # learning rates; the larger one makes networks without gates unstable
UPDATES, EVERY, SEEDS, TEST_ROWS = 3000, 100, (0, 1, 2), 1000
RESULTS = Path(__file__).parent / "results" / "adding_problem.json"


def counting() -> Recurrent:
    """A relu network that begins by counting: W = 1, no bias."""
    return initialise(
        Recurrent(RNN("relu"), 2, UNITS, outputs="last"),
        weight_hh="identity", weight_ih="glorot", bias_hh=0.0, bias_ih=0.0,
    )  # fmt: skip


def remembering(bias: float) -> Recurrent:
    """An LSTM whose forget gates begin nearly open."""
    return initialise(Recurrent("lstm", 2, UNITS, outputs="last"), bias_hh={"f": bias})


NETWORKS: dict[str, tuple[Callable[[], Recurrent], float, float | None]] = {
    "RNN": (lambda: Recurrent("rnn", 2, UNITS, outputs="last"), SMALL, CLIP),
    "RNN, W a rotation": (
        lambda: initialise(Recurrent("rnn", 2, UNITS, outputs="last"), weight_hh="orthogonal"),
        SMALL,
        CLIP,
    ),
    "RNN, layer norm": (lambda: Recurrent(LayerNorm(RNN()), 2, UNITS, outputs="last"), SMALL, CLIP),
    "ReLU, W = 1": (counting, SMALL, CLIP),
    "ReLU, not clipped": (counting, SMALL, None),
    "LSTM": (lambda: Recurrent("lstm", 2, UNITS, outputs="last"), RATE, CLIP),
    "LSTM, bias 3": (lambda: remembering(3.0), RATE, CLIP),
    "GRU": (lambda: Recurrent("gru", 2, UNITS, outputs="last"), RATE, CLIP),
    "RG-LRU": (lambda: Recurrent("rglru", 2, UNITS, outputs="last"), RATE, CLIP),
}


def problem(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (rows, STEPS, 2) of numbers and marks, and the sums of the marked numbers."""
    numbers, marks = torch.rand(rows, STEPS, generator=generator), torch.zeros(rows, STEPS)
    for low in (0, STEPS // 2):
        place = low + torch.randint(STEPS // 2, (rows,), generator=generator)
        marks[torch.arange(rows), place] = 1.0
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)


def learn(build: Callable[[], Recurrent], rate: float, clip: float | None, seed: int) -> dict[str, Any]:
    """The test error after every `EVERY` updates, the share of clipped updates, and the seconds."""
    torch.manual_seed(seed)
    network, head = build(), nn.Linear(UNITS, 1)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, rate)
    batches, clipped, errors = torch.Generator().manual_seed(seed), 0, []
    test, sums = problem(TEST_ROWS, torch.Generator().manual_seed(1000))

    def error(x: Tensor, wanted: Tensor) -> Tensor:
        return (head(network(x)[0])[:, 0] - wanted).square().mean()

    begin = time.perf_counter()
    for update in range(1, UPDATES + 1):
        loss = error(*problem(ROWS, batches))
        optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip))
        clipped += clip is not None and norm > clip
        optimizer.step()
        if update % EVERY == 0:
            with torch.no_grad():
                found = float(error(test, sums))
            errors.append(round(found, 6) if math.isfinite(found) else None)
    seconds = round(time.perf_counter() - begin, 1)
    return {"errors": errors, "learning_rate": rate, "clipped": clipped / UPDATES, "seconds": seconds}


def main(names: Sequence[str]) -> None:
    """Trains the networks that are named, or all; the results of the others stay."""
    before = json.loads(RESULTS.read_text())["networks"] if names else {}
    found = {
        name: [learn(*network, seed) for seed in SEEDS] if name in names or not names else before[name]
        for name, network in NETWORKS.items()
    }
    settings = {
        "steps": STEPS, "units": UNITS, "rows": ROWS, "clip": CLIP, "updates": UPDATES, "every": EVERY,
        "seeds": SEEDS, "optimizer": "adam",
    }  # fmt: skip
    RESULTS.write_text(json.dumps({**settings, "networks": found, "machine": machine()}, indent=1) + "\n")
    for name, runs in found.items():
        print(f"{name}: {[run['errors'][-1] for run in runs]}, {[run['seconds'] for run in runs]} s")


if __name__ == "__main__":
    main(sys.argv[1:])
