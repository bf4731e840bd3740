"""Runs of several processes, for `torchrun`: argument FOLDER. Leaves each process's weights there.

plain, carried: to compare with one process of double batch; carried, on endless text with the states carried on.
whole, stopped: stopped on one process and resumed, the second; so carried, carried-stopped.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import training_toy as toy

from elman.export import tensors_to_bytes
from elman.training import Interrupted, Silent, fit, process


def train(out: Path, *, dropout: float, stop: bool = False, resume: bool = False) -> None:
    rank, processes = process()
    calls = 0

    def loss(model, batch):
        nonlocal calls
        calls += 1
        # One process alone is told to stop: all must agree on the step.
        if stop and rank == 1 and calls == 5:
            signal.raise_signal(signal.SIGTERM)
        return toy.loss(model, batch)

    # Started from different weights: those of the first process must count.
    model, batches = toy.model(seed=rank, dropout=dropout), toy.Batches(44, 8, rank, processes)
    fit(model, loss, batches, toy.validate, toy.sgd(), out, resume=resume, progress=Silent())
    (out / f"weights-{rank}").write_bytes(tensors_to_bytes(model.state_dict()))


def carry(out: Path, *, stop: bool = False, resume: bool = False) -> None:
    rank, processes = process()
    calls = 0

    def loss(model, window):
        nonlocal calls
        calls += 1
        if stop and rank == 0 and calls == 8:
            signal.raise_signal(signal.SIGTERM)
        return toy.next_token_loss(model, window)

    model, streams = toy.carried(rank, processes), toy.streams(2, rank, processes)
    fit(model, loss, streams, toy.no_measure, toy.sgd(), out, resume=resume, progress=Silent())
    (out / f"weights-{rank}").write_bytes(tensors_to_bytes(model.state_dict()))


def main(folder: Path) -> None:
    carry(folder / "carried")
    try:
        carry(folder / "carried-stopped", stop=True)
    except Interrupted:
        carry(folder / "carried-stopped", resume=True)
    train(folder / "plain", dropout=0.0)
    train(folder / "whole", dropout=0.2)
    try:
        train(folder / "stopped", dropout=0.2, stop=True)
    except Interrupted as interrupted:
        (folder / f"interrupted-{process()[0]}").write_text(str(interrupted))
    train(folder / "stopped", dropout=0.2, resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
