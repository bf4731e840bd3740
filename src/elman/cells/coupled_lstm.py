"""Long short-term memory that forgets as much as it takes in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class CoupledLSTM(Cell):
    """An LSTM with coupled input and forget gates (CIFG): f = 1 - i, a quarter fewer weights.

    i, o = sigmoid(U x_t + b + W h_{t-1} + b')     (each its own rows)
    g = tanh(U_g x_t + b_g + W_g h_{t-1} + b'_g)
    c_t = (1 - i) c_{t-1} + i g
    h_t = o tanh(c_t)

    where rows are in the order i, g, o. The paper's variant has peepholes besides; this one has none.

    Source:
        K. Greff et al., arXiv:1503.04069v2 (2017).

    Example:
        >>> CoupledLSTM().spec(3, 5).params["weight_hh"].shape
        (15, 5)
    """

    gates = ("i", "g", "o")
    states = ("h", "c")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        r = w(s.h)
        i, o = sigmoid(x.i + r.i), sigmoid(x.o + r.o)
        g = tanh(x.g + r.g)
        c = (1 - i) * s.c + i * g
        return Step(h=o * tanh(c), c=c, i=i, g=g, o=o)
