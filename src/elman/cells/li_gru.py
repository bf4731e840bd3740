"""The light gated recurrent unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import relu, sigmoid

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class LiGRU(Cell):
    """The light gated recurrent unit: a GRU without a reset gate, with relu in place of tanh.

    z = sigmoid(U_z x_t + b_z + W_z h_{t-1} + b'_z)
    n = relu(U_n x_t + b_n + W_n h_{t-1} + b'_n)
    h_t = (1 - z) n + z h_{t-1}

    where z is the update gate and n the candidate; rows in the order z, n. The paper normalises U x_t over the
    batch; here it does not: a step knows its own row alone. Without it relu leaves the state unbounded, so
    begin `weight_hh` small or orthogonal (`elman.nn.initialise`) and clip gradients.

    Source:
        M. Ravanelli et al., arXiv:1803.10225v1 (2018).

    Example:
        >>> LiGRU().gates
        ('z', 'n')
    """

    gates = ("z", "n")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gate and the candidate are taps."""
        r = w(s.h)
        z, n = sigmoid(x.z + r.z), relu(x.n + r.n)
        return Step(h=(1 - z) * n + z * s.h, z=z, n=n)
