"""The minimal LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid
from torch.nn.functional import logsigmoid

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class MinLSTM(Cell):
    """An LSTM whose gates see x_t alone and add up to 1: a recurrence that is linear in its state.

    i, f = sigmoid(U x_t + b)     (each its own rows)
    h_t = f / (f + i) h_{t-1} + i / (f + i) (U_n x_t + b_n)

    where rows are in the order i, f, n. The quotient f / (f + i) is computed as sigmoid(log f - log i), which
    holds where both gates are so small that their sum is 0.

    Source:
        L. Feng et al., arXiv:2410.01201v3 (2024).

    Example:
        >>> MinLSTM().states
        ('h',)
    """

    gates = ("i", "f", "n")
    recurrent = ()

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the share of the old state is a tap."""
        kept = sigmoid(logsigmoid(x.f) - logsigmoid(x.i))
        return Step(h=kept * s.h + (1 - kept) * x.n, kept=kept)
