"""The gated recurrent unit with its reset gate before the product."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class ResetBeforeGRU(Cell):
    """The gated recurrent unit whose reset gate acts on the state before the matrix product.

    r, z = sigmoid(U x_t + b + W h_{t-1} + b')     (each its own rows)
    n = tanh(U_n x_t + b_n + W_n (r h_{t-1}) + b'_n)
    h_t = (1 - z) n + z h_{t-1}

    where r is the reset and z the update gate, n the candidate; rows in the order r, z, n. It is what Keras
    computes with reset_after=False (its rows in the order z, r, n, and one bias). A step has two products, the
    second waiting for the first: `GRU` has one.

    Source:
        K. Cho et al., arXiv:1406.1078v3 (2014).

    Example:
        >>> ResetBeforeGRU().gates
        ('r', 'z', 'n')
    """

    gates = ("r", "z", "n")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        a = w["r", "z"](s.h)
        r, z = sigmoid(x.r + a.r), sigmoid(x.z + a.z)
        n = tanh(x.n + w["n"](r * s.h).n)
        return Step(h=(1 - z) * n + z * s.h, r=r, z=z, n=n)
