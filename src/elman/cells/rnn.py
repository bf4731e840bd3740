"""The simple recurrent network of Elman (1990)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import relu, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class RNN(Cell):
    """s_t = tanh(U x_t + b + W s_{t-1} + b'), or relu in place of tanh.

    where U is `weight_ih` (hidden, inputs), W is `weight_hh` (hidden, hidden), and the state s is called `h`;
    the layout is that of torch.nn.RNN.

    Args:
        nonlinearity: "tanh" or "relu".

    Source:
        J. Elman, Finding structure in time, Cognitive Science 14 (1990); relu: Le, Jaitly and Hinton,
        arXiv:1504.00941v2.

    Example:
        >>> RNN("relu").states
        ('h',)
    """

    gates = ("h",)
    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {self.nonlinearity!r}")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equation above."""
        activation = tanh if self.nonlinearity == "tanh" else relu
        return Step(h=activation(x.h + w(s.h).h))
