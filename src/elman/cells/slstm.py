"""The LSTM with exponential gates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, exp, maximum, sigmoid, tanh
from torch.nn.functional import logsigmoid

from elman.cells.contract import Cell, Draw, Inputs, State, Step, Weights
from elman.cells.spec import Param, Spec, on_diagonal

EMPTY = -1e4  # the logarithm of nothing: exp of it is 0 in every number format, and half precision can hold it


@dataclass(frozen=True)
class SLSTM(Cell):
    """The sLSTM of xLSTM: exponential gates, and a normaliser that counts what was let in.

    a = U x_t + b + W h_{t-1} + b'     (rows a_i, a_f, a_z, a_o)
    m_t = max(log f + m_{t-1}, a_i)
    i' = exp(a_i - m_t);  f' = exp(log f + m_{t-1} - m_t)
    c_t = f' c_{t-1} + i' tanh(a_z)
    n_t = f' n_{t-1} + i'
    h_t = sigmoid(a_o) c_t / max(n_t, 1)

    where f = sigmoid(a_f), or exp(a_f); c is the cell state, n the normaliser, m the stabiliser: c and n are the
    paper's divided by exp(m), which changes no h. Rows in the order i, f, z, o. A row starts with m = -10,000 in
    place of minus infinity, and from there n_t >= 1 always; max(n_t, 1) matters for given states alone, whose n
    could be 0.

    With several heads, each has its own units and sees no other's: W has blocks on its diagonal, and `weight_hh`
    is (4 hidden, hidden / heads), gate by gate, head under head. The product is that of the whole matrix.

    Args:
        heads: how many; the number of units must be a multiple of it.
        forget: "sigmoid" or "exp", the forget gate; the paper allows both.

    Source:
        M. Beck et al., arXiv:2405.04517v2 (2024), equations 8 to 17 and the appendix.

    Example:
        >>> SLSTM().spec(3, 5).initial
        {'m': -10000.0}
    """

    gates = ("i", "f", "z", "o")
    states = ("h", "c", "n", "m")
    initial = {"m": EMPTY}  # noqa: RUF012 - read only
    forget: Literal["sigmoid", "exp"] = "sigmoid"
    heads: int = 1

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")
        if self.forget not in ("sigmoid", "exp"):
            raise ValueError(f"forget must be 'sigmoid' or 'exp', got {self.forget!r}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With a narrower `weight_hh` where there are several heads."""
        spec = super().spec(inputs, hidden, bias)
        if hidden % self.heads:
            raise ValueError(f"{hidden} units cannot be shared out to {self.heads} heads")
        whole = spec.params["weight_hh"].shape
        stored = Param((whole[0], hidden // self.heads), prepared=whole)
        return replace(spec, params={**spec.params, "weight_hh": stored})

    @property
    def prepares(self) -> bool:
        """Whether the recurrent matrix is put together from blocks."""
        return self.heads > 1

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """With the whole recurrent matrix."""
        whole = on_diagonal(params["weight_hh"], len(self.gates), self.heads)
        return {**params, "weight_hh": whole} if self.prepares else params

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the stabilised gates are taps."""
        r = w(s.h)
        a_i, a_f = x.i + r.i, x.f + r.f
        kept = s.m + (a_f if self.forget == "exp" else logsigmoid(a_f))
        m = maximum(kept, a_i)
        i, f = exp(a_i - m), exp(kept - m)
        z, o = tanh(x.z + r.z), sigmoid(x.o + r.o)
        c, n = f * s.c + i * z, f * s.n + i
        return Step(h=o * c / n.clamp(min=1), c=c, n=n, m=m, i=i, f=f, z=z, o=o)
