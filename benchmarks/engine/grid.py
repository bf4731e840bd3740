"""What is measured: cases, and the lanes that stand beside one another in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

STEPS = 128
SHAPES = ((1, 64), (1, 256), (1, 1024), (8, 128), (32, 64), (32, 256), (32, 512), (128, 256), (64, 1024))
QUICK_SHAPES = ((1, 64), (8, 128), (32, 256))
BUILT_IN = ("rnn", "gru", "lstm")
# Cells that nobody builds in, and the built-in cell of the same size that each is held against.
OWN = {"PeepholeLSTM": "lstm", "ResetBeforeGRU": "gru", "LayerNormLSTM": "lstm"}
OWN_SHAPES = ((1, 64), (8, 128), (32, 256), (64, 1024))
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "PeepholeLSTM": 4, "ResetBeforeGRU": 3, "LayerNormLSTM": 4}
KINDS = ("inference", "training", "cells", "ragged", "overhead", "denormals", "long")

ELMAN = "Elman"
# A lane is a library; in front of the colon, where there is one, stands what it is given instead.
WORKERS = {"Elman": "elman", "torch.nn": "torch", "JAX": "jax", "ONNX Runtime": "ort", "Keras": "keras"}
WORKERS |= {"torch.compile": "compile"}


@dataclass(frozen=True)
class Case:
    """One row of the table: a layer of `units` units that reads `rows` sequences of `steps` steps, as wide.

    Attributes:
        kind: the part of the benchmark that it belongs to.
        training: forward and backward with all gradients; else forward alone, without a graph.
        ragged: lengths are uniform from 1 to steps, one of them steps.
        denormal: inputs, states and biases are about 1e-40.
    """

    kind: str
    cell: str
    rows: int
    units: int
    training: bool
    steps: int = STEPS
    ragged: bool = False
    denormal: bool = False

    @property
    def key(self) -> str:
        """The case in words; unique."""
        return f"{self.kind} {self.cell} {self.rows}x{self.units}{'' if self.training else ' forward'}"

    @property
    def gates(self) -> int:
        """Products of `units` rows in a step."""
        return GATES[self.cell]

    def flops(self) -> int:
        """Multiplications and additions of the products: the backward pass has twice those of the forward pass."""
        forward = 2 * self.rows * self.steps * self.gates * self.units * 2 * self.units
        return forward * (3 if self.training else 1)

    def told(self) -> dict[str, Any]:
        """As it goes to a worker."""
        return asdict(self)


def lanes(case: Case) -> dict[str, Case]:
    """Every lane of a case by its name, and what the library of that name is given in it."""
    if case.kind == "cells":
        plain = {f"{ELMAN}: plain": replace(case, cell=OWN[case.cell])}
        return dict.fromkeys((ELMAN, "JAX", "torch.compile"), case) | plain
    if case.kind == "ragged":
        return {ELMAN: case, f"{ELMAN}: full": replace(case, ragged=False)}
    if case.kind == "denormals":
        normal = replace(case, denormal=False)
        return {name + of: c for name in (ELMAN, "torch.nn") for of, c in (("", case), (": normal", normal))}
    if case.training:
        return dict.fromkeys((ELMAN, "torch.nn", "JAX", "Keras"), case)
    return dict.fromkeys((ELMAN, "torch.nn", "JAX", "ONNX Runtime", "Keras"), case)


def library(lane: str) -> str:
    """The library that runs a lane."""
    return lane.split(":")[0]


def cases(kinds: tuple[str, ...], names: tuple[str, ...] | None, shapes: Shapes | None) -> Iterator[Case]:
    """The cases of these kinds, of these cells and shapes alone where any are given."""
    for case in _all_cases():
        chosen = case.kind in kinds and (names is None or case.cell.lower() in names)
        if chosen and (shapes is None or (case.rows, case.units) in shapes):
            yield case


Shapes = tuple[tuple[int, int], ...]


def _all_cases() -> Iterator[Case]:
    for cell in BUILT_IN:
        for shape in SHAPES:
            yield Case("inference", cell, *shape, training=False)
            yield Case("training", cell, *shape, training=True)
    for cell in OWN:
        for shape in OWN_SHAPES:
            yield Case("cells", cell, *shape, training=True)
    for cell in BUILT_IN:
        for rows, units in SHAPES:
            if rows >= 16:
                yield Case("ragged", cell, rows, units, training=True, ragged=True)
    for cell in BUILT_IN:
        yield Case("overhead", cell, 1, 64, training=False, steps=1)
    for training in (False, True):
        yield Case("denormals", "lstm", 8, 128, training=training, denormal=True)
