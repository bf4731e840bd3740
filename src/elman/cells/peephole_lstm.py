"""Long short-term memory whose gates see the cell state."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class PeepholeLSTM(Cell):
    """An LSTM with peepholes: its gates also read the cell state, each unit its own.

    i, f = sigmoid(U x_t + b + W h_{t-1} + b' + p c_{t-1})     (each its own rows and p)
    g = tanh(U_g x_t + b_g + W_g h_{t-1} + b'_g)
    c_t = f c_{t-1} + i g
    o = sigmoid(U_o x_t + b_o + W_o h_{t-1} + b'_o + p_o c_t)
    h_t = o tanh(c_t)

    where the vectors p are `weight_ci`, `weight_cf` and `weight_co`; rows in the order i, f, g, o. The output
    gate sees the new cell state, the other two the old one.

    Source:
        F. Gers and J. Schmidhuber, Recurrent nets that time and count, IJCNN (2000); F. Gers, N. Schraudolph and
        J. Schmidhuber, Journal of Machine Learning Research 3 (2002).

    Example:
        >>> PeepholeLSTM().spec(3, 5).vectors
        {'weight_ci': 5, 'weight_cf': 5, 'weight_co': 5}
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    vectors = ("weight_ci", "weight_cf", "weight_co")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        r = w(s.h)
        i, f = sigmoid(x.i + r.i + w.weight_ci * s.c), sigmoid(x.f + r.f + w.weight_cf * s.c)
        g = tanh(x.g + r.g)
        c = f * s.c + i * g
        o = sigmoid(x.o + r.o + w.weight_co * c)
        return Step(h=o * tanh(c), c=c, i=i, f=f, g=g, o=o)
