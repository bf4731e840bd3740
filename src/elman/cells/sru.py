"""The simple recurrent unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import sigmoid

from elman.cells.contract import Cell, Inputs, State, Step, Weights
from elman.cells.spec import Spec


@dataclass(frozen=True)
class SRU(Cell):
    """The simple recurrent unit: all its products are of x_t alone, so that they are taken for all steps at once.

    f, r = sigmoid(U x_t + b + v c_{t-1})     (each its own rows and v)
    c_t = f c_{t-1} + (1 - f) (U_n x_t + b_n)
    y_t = r c_t + (1 - r) V x_t

    where f is the forget and r the highway gate; the vectors v are `weight_cf` and `weight_cr`; V is
    `weight_skip`, and the identity where x_t is as wide as the state. Rows in the order n, f, r. The output is
    no state. The paper has no b_n, and scales V x_t by a constant to keep its variance in deep stacks.

    Source:
        T. Lei et al., arXiv:1709.02755v5 (2018); earlier versions have tanh(c_t) in y_t, and no v.

    Example:
        >>> [*SRU().spec(5, 5).blocks], SRU().states
        (['ih'], ('c',))
    """

    gates = ("n", "f", "r")
    recurrent = ()
    states = ("c",)
    vectors = ("weight_cf", "weight_cr")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With `weight_skip` where x_t has another width than the state."""
        return super().spec(inputs, hidden, bias).with_skip()

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above; the gates are taps."""
        f, r = sigmoid(x.f + w.weight_cf * s.c), sigmoid(x.r + w.weight_cr * s.c)
        c = f * s.c + (1 - f) * x.n
        past = w.skip(x.raw).x if hasattr(w, "skip") else x.raw
        return Step(c=c, y=r * c + (1 - r) * past, f=f, r=r)
