"""Random cells: whatever a step does within the engine's set, its texts agree with its definition.

Numbers are kept small by a tanh or a factor after each operation: else rounding would be amplified without bound,
and chaos would be found instead of mistakes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import sigmoid, tanh

from elman.cells import Cell, Inputs, State, Step, Weights
from engine.agreement import Case, check

# How many cells; many more of them in a long search: ELMAN_PROGRAMS=20000.
PROGRAMS = int(os.environ.get("ELMAN_PROGRAMS", "300"))
BLOCKS = 12

BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (1.5 + sigmoid(b)),
    torch.maximum,
    torch.minimum,
    lambda a, b: torch.lerp(a, b, sigmoid(a)),
    lambda a, b: torch.addcmul(a, b, a),
    lambda a, b: torch.where(a > b, b, a * b),
    lambda a, b: torch.where(a <= b, a - 1, b),
)
UNARY: tuple[Callable[[Any], Any], ...] = (
    tanh,
    sigmoid,
    torch.relu,
    F.softplus,
    torch.abs,
    F.silu,
    F.logsigmoid,
    lambda v: torch.exp(-torch.abs(v)),
    lambda v: torch.log(1 + v * v),
    lambda v: torch.sqrt(1 + v * v),
    lambda v: torch.rsqrt(1 + v * v),
    lambda v: v.clamp(-1, 1),
    F.leaky_relu,
    lambda v: v.square(),
    torch.neg,
    lambda v: 1 - v,
    lambda v: 0.5 * v,
)
OF_ROWS: tuple[Callable[[Any], Any], ...] = (
    lambda v: v - v.mean(-1, keepdim=True),
    lambda v: v * v.sum(-1, keepdim=True),
    lambda v: F.layer_norm(v, v.shape[-1:]),
    lambda v: v.mean(-1, keepdim=True),
)


@dataclass(frozen=True)
class Random(Cell):
    """A step of random operations on whatever there is; equal seeds are equal cells."""

    seed: int

    @property
    def gates(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"g{i}" for i in range(1 + self.seed % 3))

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("h", "c")[: 1 + self.seed // 3 % 2]

    vectors = ("p", "q")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        choose = random.Random(self.seed)
        by_row = [x.raw, *(v for _, v in s.items()), *(x[g] for g in self.gates)]
        values = [w.p, w.q, *by_row]
        for _ in range(choose.randint(4, 22)):
            kind, a, b = choose.random(), choose.choice(values), choose.choice(values)
            if kind < 0.2:
                v = w(tanh(spread(choose.choice(by_row), x)))[choose.choice(self.gates)]
            elif kind < 0.55:
                v = choose.choice(BINARY)(a, b)
            elif kind < 0.85:
                v = choose.choice(UNARY)(a)
            else:
                v = choose.choice(OF_ROWS)(spread(choose.choice(by_row), x))
            by_row.append(tanh(spread(v, x)) if choose.random() < 0.5 else spread(v, x) * 0.3)
            values.append(v * 0.3 if choose.random() < 0.7 else tanh(v))
        states = {k: tanh(by_row[-1 - i] + 0.3 * v) for i, (k, v) in enumerate(s.items())}
        return Step(**states, **({"y": by_row[-3]} if choose.random() < 0.5 else {}))


def spread(v: Any, x: Inputs) -> Any:
    """As wide as x_t, and different from row to row."""
    return v + 0 * x.raw


def random_case(seed: int) -> Case:
    """Sizes and circumstances that go with the cell of a seed; every one of them occurs."""
    width = 1 + seed % 4
    return Case(
        rows=1 + seed % 3,
        steps=1 + seed % 5,
        inputs=width,
        hidden=width,
        bias=seed % 7 > 0,
        lengths=seed % 2 == 0,
        resets=seed % 5 > 1,
        reverse=seed % 3 == 0,
        y_given=seed % 11 > 0,
        seed=seed,
    )


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_cells_agree_with_autograd(block: int) -> None:
    for seed in range(block, PROGRAMS, BLOCKS):
        check(Random(seed), random_case(seed))
