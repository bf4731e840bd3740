"""Which execution runs a cell over a sequence, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import eager, torch_kernels
from elman.engine.operands import Operands

Run = Callable[[Cell, Spec, Operands, bool], tuple[Tensor, dict[str, Tensor]]]
RUNS: dict[str, Run] = {"torch": torch_kernels.run, "eager": eager.run}
NAMES = ("auto", *RUNS)


@dataclass(frozen=True)
class Choice:
    """The backend that runs, and the reason in words."""

    backend: str
    reason: str


def choose(cell: Cell, x: Tensor, resets: Tensor | None = None, asked: str = "auto") -> Choice:
    """The backend for this cell over inputs like x.

    Raises:
        ValueError: the backend asked for by name cannot run this, with the reason.

    Example:
        >>> import torch
        >>> from elman.cells.gru import GRU
        >>> choose(GRU(), torch.zeros(1, 2, 3), resets=torch.zeros(1, 2, dtype=torch.bool))
        Choice(backend='eager', reason="torch's kernels know no resets inside a sequence")
    """
    if asked not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(NAMES)}, got {asked!r}")
    if asked == "eager":
        return Choice("eager", "asked for by name")
    refusal = torch_kernels.refusal(cell, x, resets)
    if refusal is None:
        reason = "asked for by name" if asked == "torch" else f"torch has kernels for {type(cell).__name__}"
        return Choice("torch", reason)
    if asked == "torch":
        raise ValueError(f"backend 'torch' cannot run {cell!r} here: {refusal}; use backend='auto'")
    return Choice("eager", refusal)
