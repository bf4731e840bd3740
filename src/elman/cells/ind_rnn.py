"""The independently recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, relu, tanh

from elman.cells.contract import Cell, Inputs, State, Step, Weights


@dataclass(frozen=True)
class IndRNN(Cell):
    """The independently recurrent network: each unit remembers itself alone.

    h_t = relu(U x_t + b + u h_{t-1}), or tanh in place of relu

    where u is the vector `weight_u`. Units meet in the next layer, so stack two or more. Over T steps a gradient
    grows as u^T: u begins uniform in [0, 1], and the paper bounds |u| by the T-th root of a constant in training.

    Args:
        nonlinearity: "relu" or "tanh".

    Source:
        S. Li et al., arXiv:1803.04831v3 (2018).

    Example:
        >>> [*IndRNN().spec(3, 5).params]
        ['weight_ih', 'bias_ih', 'weight_u']
    """

    gates = ("h",)
    recurrent = ()
    vectors = ("weight_u",)
    nonlinearity: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("relu", "tanh"):
            raise ValueError(f"nonlinearity must be 'relu' or 'tanh', got {self.nonlinearity!r}")

    def initialise(self, params: Mapping[str, Tensor]) -> None:
        """Memories of all lengths."""
        params["weight_u"].uniform_(0, 1)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equation above."""
        activation = relu if self.nonlinearity == "relu" else tanh
        return Step(h=activation(x.h + w.weight_u * s.h))
