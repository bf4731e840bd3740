"""A small run with all there is to restore: dropout, Python's and NumPy's generators, tied weights, a buffer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.data import Streams
from elman.models import CarriedState, LanguageModel
from elman.nn import Recurrent
from elman.training import Silent, TrainSettings, fit

TIMES = ("seconds", "tokens_per_second", "epoch_seconds")


@dataclass(frozen=True)
class Batch:
    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    rows: Tensor

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> Batch:
        return self


class Batches:
    """Rows of one length; batch number i of a step goes to process i."""

    def __init__(self, rows: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randint(0, 12, (rows, 6), generator=generator)
        self.targets = self.inputs[:, 0] % 3
        self.batch_size, self.rank, self.processes = batch_size, rank, processes

    def __len__(self) -> int:
        return -(-len(self.inputs) // (self.batch_size * self.processes))

    def batch(self, rows: Tensor) -> Batch:
        return Batch(self.inputs[rows], torch.full((len(rows),), 6), self.targets[rows], rows)

    def epoch(self, number: int, start: int = 0):
        order = torch.randperm(len(self.inputs), generator=torch.Generator().manual_seed(100 + number))
        mine = order.split(self.batch_size)[self.rank :: self.processes]
        return (self.batch(rows) for rows in mine[start:])

    def all(self) -> Batch:
        return self.batch(torch.arange(len(self.inputs)))


class Model(nn.Module):
    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.layer = nn.GRU(8, 8, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 12)
        self.head.weight = self.embedding.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        outputs, _ = self.layer(self.embedding(inputs))
        return self.head(self.dropout(outputs[:, -1]))


def model(seed: int = 0, dropout: float = 0.2) -> Model:
    torch.manual_seed(seed)
    return Model(dropout)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch.inputs), batch.targets)


def noisy_loss(model: nn.Module, batch: Batch) -> Tensor:
    noise = random.random() + np.random.normal()  # noqa: NPY002 - the global generator is what is tested
    return loss(model, batch) * (1 + 0.1 * noise)


def validate(model: nn.Module) -> dict[str, float]:
    whole = Batches(40, 40).all()
    with torch.no_grad():
        value = nn.functional.cross_entropy(model(whole.inputs), whole.targets)
    return {"loss": float(value), "noise": random.random(), "undefined": float("nan")}


def settings(**changes: Any) -> TrainSettings:
    base = {"epochs": 4, "batch_size": 8, "accumulate": 2, "watch": "loss", "patience": None, "track": "off"}
    return TrainSettings(**{**base, "learning_rate": 0.01, "log_steps": 3, "device": "cpu", **changes})


def run(out: Path, *, resume: bool = False, **changes: Any):
    """One whole run; returns the model and what came of it."""
    trained = model()
    asked = settings(**changes)
    batches = Batches(40, asked.batch_size)
    return trained, fit(trained, noisy_loss, batches, validate, asked, out, resume=resume, progress=Silent())


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def streams(rows: int, rank: int, processes: int) -> Streams:
    text = np.random.default_rng(3).integers(0, 12, 200).astype(np.int32)
    return Streams([text[:90], text[90:]], rows=rows, k1=5, k2=8, rank=rank, processes=processes)


def carried(rank: int, processes: int, rows: int = 2) -> CarriedState:
    torch.manual_seed(rank)  # of several processes the first one's weights count
    return CarriedState(LanguageModel(Recurrent("gru", 4, 6), 12), rows, rank, processes)


def next_token_loss(model: nn.Module, window: Any) -> Tensor:
    scores = model(window.inputs, window.resets, window.advance)[:, -window.counted :]
    return nn.functional.cross_entropy(scores.flatten(0, 1), window.targets[:, -window.counted :].flatten())


def no_measure(_: nn.Module) -> dict[str, float]:
    return {"loss": 0.0}


def sgd() -> TrainSettings:
    """Settings under which several processes differ from one by rounding alone, and by little of that."""
    return settings(accumulate=1, optimizer="sgd", learning_rate=0.1, clip=None)
