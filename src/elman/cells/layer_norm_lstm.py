"""Long short-term memory with layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import sigmoid, tanh
from torch.nn.functional import layer_norm
from torch.nn.init import ones_, zeros_

from elman.cells.contract import Cell, Inputs, State, Step, Weights
from elman.cells.spec import Param, Spec


@dataclass(frozen=True)
class LayerNormLSTM(Cell):
    """An LSTM whose products are normalised, gate by gate, and its cell state before the output.

    a = k N(U x_t) + l N(W h_{t-1}) + d     (each gate its own rows, gains k and l and shift d)
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
    g = tanh(a_g)
    c_t = f c_{t-1} + i g
    h_t = o tanh(k_c N(c_t) + d_c)

    where N(v) = (v - mean(v)) / sqrt(var(v) + 1e-5) over the units of a row; gains are `gain_ih_i`,
    `gain_hh_i`, ..., `gain_c`, from 1, and shifts `shift_i`, ..., `shift_c`, from 0. The shifts take the place
    of the biases: without bias there are none. Rows in the order i, f, g, o. The paper normalises all four gates
    of a product together.

    Source:
        J. Ba, J. Kiros and G. Hinton, arXiv:1607.06450v1 (2016).

    Example:
        >>> [*LayerNormLSTM().spec(3, 5, bias=False).vectors][-1]
        'gain_c'
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The LSTM's spec with gains and shifts in place of the biases."""
        gains = [f"gain_{part}_{gate}" for part in ("ih", "hh") for gate in self.gates] + ["gain_c"]
        shifts = [f"shift_{gate}" for gate in (*self.gates, "c")] if bias else []
        params = {name: Param((hidden,), ones_ if name in gains else zeros_) for name in gains + shifts}
        plain = super().spec(inputs, hidden, bias=False)
        return plain.extend(vectors=dict.fromkeys(params, hidden), params=params)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        r, vectors = w(s.h), dict(w.items())

        def shifted(value: Any, name: str) -> Any:
            return value + vectors[name] if name in vectors else value

        def gate(name: str) -> Any:
            of_x = vectors[f"gain_ih_{name}"] * _normal(x[name])
            return shifted(of_x + vectors[f"gain_hh_{name}"] * _normal(r[name]), f"shift_{name}")

        i, f, o = sigmoid(gate("i")), sigmoid(gate("f")), sigmoid(gate("o"))
        g = tanh(gate("g"))
        c = f * s.c + i * g
        return Step(h=o * tanh(shifted(w.gain_c * _normal(c), "shift_c")), c=c, i=i, f=f, g=g, o=o)


def _normal(v: Any) -> Any:
    return layer_norm(v, v.shape[-1:])
