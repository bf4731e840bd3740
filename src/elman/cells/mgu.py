"""The minimal gated unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class MGU(Cell):
    """The minimal gated unit: a GRU whose one gate both resets and updates.

    f = sigmoid(U_f x_t + b_f + W_f h_{t-1} + b'_f)
    n = tanh(U_n x_t + b_n + W_n (f h_{t-1}) + b'_n)
    h_t = (1 - f) h_{t-1} + f n

    where f is the forget gate and n the candidate; rows in the order f, n.

    Source:
        G. Zhou et al., arXiv:1603.09420v1 (2016).

    Example:
        >>> MGU().spec(3, 5).params["weight_hh"].shape
        (10, 5)
    """

    gates = ("f", "n")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gate and the candidate are taps."""
        f = sigmoid(x.f + w["f"](s.h).f)
        n = tanh(x.n + w["n"](f * s.h).n)
        return Step(h=(1 - f) * s.h + f * n, f=f, n=n)
