"""The minimal GRU."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class MinGRU(Cell):
    """A GRU whose gate and candidate see x_t alone: a recurrence that is linear in its state.

    z = sigmoid(U_z x_t + b_z)
    h_t = (1 - z) h_{t-1} + z (U_n x_t + b_n)

    where z is the update gate; rows in the order z, n. No product waits for a state. What depends on the order
    of more than one event takes two layers or more.

    Source:
        L. Feng et al., arXiv:2410.01201v3 (2024).

    Example:
        >>> [*MinGRU().spec(3, 5).params]
        ['weight_ih', 'bias_ih']
    """

    gates = ("z", "n")
    recurrent = ()

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gate is a tap."""
        z = sigmoid(x.z)
        return Step(h=(1 - z) * s.h + z * x.n, z=z)
