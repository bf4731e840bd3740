"""The linear recurrent unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, cos, exp, sin
from torch.nn.init import normal_, zeros_

from elman.cells.contract import Cell, Inputs, State, Step, Weights
from elman.cells.spec import Block, Param, Spec

EDGE = 1e-6  # at a squared size of 0 or 1 the logarithms of the initialisation would be infinite


@dataclass(frozen=True)
class LRU(Cell):
    """The linear recurrent unit: complex numbers that turn and shrink, and a real part that is read.

    s_t = lambda s_{t-1} + exp(gamma) (B x_t + b)
    y_t = Re(C s_t) + D x_t + e
    lambda = exp(-exp(nu) + i exp(theta))

    where s is complex, `hidden` wide, and held as the states `re` and `im`; the rows of `weight_ih` are Re B,
    Im B and D; C is `weight_c_re` + i `weight_c_im`; nu, theta and gamma are the vectors `nu_log`, `theta_log`
    and `gamma_log`. No product waits for a state but C's. The paper has neither b nor e (both begin at 0), and D
    is diagonal. The size of lambda begins as if drawn from the ring between the two radii, its angle below
    `angle`, and gamma such that s keeps the variance of B x_t.

    Args:
        least: the smallest size of lambda at the start.
        most: the greatest; close to 1 for long memories, at most 1.
        angle: the greatest angle of lambda at the start, in radians.

    Source:
        A. Orvieto et al., arXiv:2303.06349v1 (2023).

    Example:
        >>> LRU(least=0.9, most=0.999).spec(3, 5).states
        {'re': 5, 'im': 5}
    """

    gates = ("re", "im", "d")
    recurrent = ()
    states = ("re", "im")
    vectors = ("nu_log", "theta_log", "gamma_log")
    least: float = 0.0
    most: float = 1.0
    angle: float = 2 * math.pi

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most <= 1 or self.most == 0:
            raise ValueError(f"0 <= least <= most <= 1 and most > 0 are wanted, got {self.least} and {self.most}")
        if not self.angle > 0:
            raise ValueError(f"angle must be more than 0, got {self.angle}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With the two parts of C."""
        names = ("c_re", "c_im")
        return (
            super()
            .spec(inputs, hidden, bias)
            .extend(
                blocks={name: Block(f"weight_{name}", None, {"y": hidden}, hidden) for name in names},
                params={f"weight_{name}": Param((hidden, hidden)) for name in names},
            )
        )

    def initialise(self, params: Mapping[str, Tensor]) -> None:
        """The paper's: a ring of eigenvalues, and products that keep the variance."""
        nu = params["nu_log"]
        squared = torch.empty_like(nu, dtype=torch.promote_types(nu.dtype, torch.float32))
        squared.uniform_(self.least**2, self.most**2).clamp_(EDGE, 1 - EDGE)
        nu.copy_((-0.5 * squared.log()).log())
        params["gamma_log"].copy_(0.5 * (1 - squared).log())
        params["theta_log"].uniform_(0, self.angle).clamp_(min=EDGE * self.angle).log_()
        hidden, inputs = nu.numel(), params["weight_ih"].shape[1]
        normal_(params["weight_ih"], std=inputs**-0.5)[: 2 * hidden].mul_(0.5**0.5)
        for name in ("weight_c_re", "weight_c_im"):
            normal_(params[name], std=hidden**-0.5)
        if "bias_ih" in params:
            zeros_(params["bias_ih"])

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equations above, in real numbers."""
        size, angle, gain = exp(-exp(w.nu_log)), exp(w.theta_log), exp(w.gamma_log)
        a, b = size * cos(angle), size * sin(angle)
        re = a * s.re - b * s.im + gain * x.re
        im = b * s.re + a * s.im + gain * x.im
        return Step(re=re, im=im, y=w.c_re(re).y - w.c_im(im).y + x.d)
