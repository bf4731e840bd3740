"""Long short-term memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import sigmoid, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights
from elman.cells.spec import Block, Param, Spec


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory with a forget gate, without peepholes.

    i, f, o = sigmoid(U x_t + b + W h_{t-1} + b')     (each its own rows)
    g = tanh(U_g x_t + b_g + W_g h_{t-1} + b'_g)
    c_t = f c_{t-1} + i g
    h_t = o tanh(c_t)

    where i, f and o are the input, forget and output gates, g the candidate; rows in the order i, f, g, o, as
    in torch.nn.LSTM.

    Source:
        S. Hochreiter and J. Schmidhuber, Neural Computation 9 (1997); forget gate: F. Gers, J. Schmidhuber and
        F. Cummins, Neural Computation 12 (2000).

    Example:
        >>> LSTM().states
        ('h', 'c')
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        r = w(s.h)
        i, f, o = sigmoid(x.i + r.i), sigmoid(x.f + r.f), sigmoid(x.o + r.o)
        g = tanh(x.g + r.g)
        c = f * s.c + i * g
        return Step(h=o * tanh(c), c=c, i=i, f=f, g=g, o=o)


@dataclass(frozen=True)
class ProjectedLSTM(LSTM):
    """An LSTM whose output is projected: h_t = V (o tanh(c_t)), and it is this h_t that is fed back.

    where V is `weight_hr` (size, hidden) without a bias, as in torch.nn.LSTM(proj_size=size); c stays
    `hidden` wide.

    Args:
        size: width of h, at least 1 and less than hidden.

    Source:
        H. Sak, A. Senior and F. Beaufays, arXiv:1402.1128v1 (2014).

    Example:
        >>> ProjectedLSTM(size=2).spec(3, 5).states
        {'h': 2, 'c': 5}
    """

    size: int

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The LSTM's spec with h and the columns of weight_hh `size` wide, and `weight_hr` added.

        Raises:
            ValueError: the projection is not smaller than the state it projects.
        """
        if not 0 < self.size < hidden:
            raise ValueError(f"size must be between 1 and hidden - 1 = {hidden - 1}, got {self.size}")
        spec = super().spec(inputs, hidden, bias)
        hh = replace(spec.blocks["hh"], columns=self.size)
        weight_hh = Param((len(hh.gates) * hidden, self.size))
        spec = replace(
            spec,
            output=self.size,
            states={**spec.states, "h": self.size},
            blocks={**spec.blocks, "hh": hh},
            params={**spec.params, "weight_hh": weight_hh},
        )
        return spec.extend(
            blocks={"hr": Block("weight_hr", None, {"h": self.size}, hidden)},
            params={"weight_hr": Param((self.size, hidden))},
        )

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the LSTM, then the projection of its output."""
        inner = dict(super().step(x, s, w).items())
        return Step(**{**inner, "h": w.hr(inner["h"]).h})
