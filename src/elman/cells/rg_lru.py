"""The real-gated linear recurrent unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, exp, sigmoid, sqrt, tanh
from torch.nn.functional import softplus

from elman.cells.contract import Cell, Draw, Inputs, State, Step, Weights
from elman.cells.spec import Param, Spec, on_diagonal

SMALLEST = 1e-30  # below it 1 - a^2 counts as that: the derivative of its root stays finite
LEAST, MOST = 0.9, 0.999  # a^power at the start


@dataclass(frozen=True)
class RGLRU(Cell):
    """The real-gated linear recurrent unit of Griffin: decays of its own, slowed down by a gate of x_t.

    r, i = sigmoid(U x_t + b)     (each its own rows)
    a_t = exp(-power softplus(L) r)
    h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i V x_t)

    where r is the recurrence and i the input gate, L the vector `decay`, and V `weight_skip`, the identity where
    x_t is as wide as the state. Rows in the order r, i. L begins so that exp(-power softplus(L)) is uniform
    between 0.9 and 0.999. With d = -log a_t, 1 - a_t^2 is computed as tanh(d) (1 + a_t^2): nothing cancels where
    a_t is close to 1. With several blocks, U has them on its diagonal, as the paper's, and `weight_ih` is
    (2 hidden, inputs / blocks), gate by gate, block under block.

    Args:
        power: how much faster than by softplus(L) an open gate forgets; 8 in the paper, where it is called c.
        blocks: of U; the number of units and that of inputs must be multiples of it.

    Source:
        S. De et al., arXiv:2402.19427v1 (2024).

    Example:
        >>> [*RGLRU().spec(5, 5).params]
        ['weight_ih', 'bias_ih', 'decay']
    """

    gates = ("r", "i")
    recurrent = ()
    vectors = ("decay",)
    power: float = 8.0
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")
        if not self.power > 0:
            raise ValueError(f"power must be more than 0, got {self.power}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With `weight_skip` where x_t has another width than the state."""
        if inputs % self.blocks or hidden % self.blocks:
            raise ValueError(f"{inputs} inputs and {hidden} units cannot be shared out to {self.blocks} blocks")
        spec = super().spec(inputs, hidden, bias).with_skip()
        whole = spec.params["weight_ih"].shape
        stored = Param((whole[0], inputs // self.blocks), prepared=whole)
        return replace(spec, params={**spec.params, "weight_ih": stored})

    @property
    def prepares(self) -> bool:
        """Whether the matrix is put together from blocks."""
        return self.blocks > 1

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """With the whole matrix."""
        whole = on_diagonal(params["weight_ih"], len(self.gates), self.blocks)
        return {**params, "weight_ih": whole} if self.prepares else params

    def initialise(self, params: Mapping[str, Tensor]) -> None:
        """Decays of a step between 0.9 and 0.999 where the gate is open."""
        decay = params["decay"]
        drawn = torch.empty_like(decay, dtype=torch.promote_types(decay.dtype, torch.float32))
        decay.copy_((drawn.uniform_(LEAST, MOST).log() / -self.power).expm1().log())

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates and the decay are taps."""
        r, i = sigmoid(x.r), sigmoid(x.i)
        d = self.power * softplus(w.decay) * r
        a = exp(-d)
        let_in = sqrt((tanh(d) * (1 + a * a)).clamp(min=SMALLEST))
        v = w.skip(x.raw).x if hasattr(w, "skip") else x.raw
        return Step(h=a * s.h + let_in * (i * v), r=r, i=i, a=a)
