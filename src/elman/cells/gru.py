"""The gated recurrent unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class GRU(Cell):
    """The gated recurrent unit with its reset gate applied after the matrix product.

    r, z = sigmoid(U x_t + b + W h_{t-1} + b')     (each its own rows)
    n = tanh(U_n x_t + b_n + r (W_n h_{t-1} + b'_n))
    h_t = (1 - z) n + z h_{t-1}

    where r is the reset and z the update gate, n the candidate; rows in the order r, z, n, as in torch.nn.GRU
    and cuDNN.

    Source:
        K. Cho et al., arXiv:1406.1078 version 1 (2014) for this placing of the reset gate; version 3 of the
        same paper applies it before the product.

    Example:
        >>> GRU().gates
        ('r', 'z', 'n')
    """

    gates = ("r", "z", "n")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        a = w(s.h)
        r, z = sigmoid(x.r + a.r), sigmoid(x.z + a.z)
        n = tanh(x.n + r * a.n)
        return Step(h=(1 - z) * n + z * s.h, r=r, z=z, n=n)
