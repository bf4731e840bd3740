"""Cells of the library torchrecurrent said again as Elman's: four that Elman has, eight in ten lines each.

Each comes with how its weights follow from the other library's. Shared with benchmarks/other_cells.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn, sigmoid, tanh

from elman.cells import Block, Cell, Inputs, Param, Spec, State, Step, Weights
from elman.cells.ind_rnn import IndRNN
from elman.cells.li_gru import LiGRU
from elman.cells.mgu import MGU
from elman.cells.peephole_lstm import PeepholeLSTM
from elman.nn import Recurrent

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class UGRNN(Cell):
    """J. Collins et al., arXiv:1611.09913."""

    gates = ("n", "z")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        z = sigmoid(x.z + r.z)
        return Step(h=z * s.h + (1 - z) * tanh(x.n + r.n))


@dataclass(frozen=True)
class RAN(Cell):
    """The recurrent additive network: K. Lee et al., arXiv:1705.07393."""

    gates = ("c", "i", "f")
    recurrent = ("i", "f")
    states = ("h", "c")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        c = sigmoid(x.i + r.i) * x.c + sigmoid(x.f + r.f) * s.c
        return Step(h=tanh(c), c=c)


@dataclass(frozen=True)
class STAR(Cell):
    """M. Turkoglu et al., arXiv:1911.11033."""

    gates = ("n", "k")
    recurrent = ("k",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        k = sigmoid(x.k + w(s.h).k)
        return Step(h=tanh((1 - k) * s.h + k * tanh(x.n)))


@dataclass(frozen=True)
class CFN(Cell):
    """The chaos-free network: T. Laurent and J. von Brecht, arXiv:1612.06212."""

    gates = ("t", "e", "n")
    recurrent = ("t", "e")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        return Step(h=sigmoid(x.t + r.t) * tanh(s.h) + sigmoid(x.e + r.e) * tanh(x.n))


@dataclass(frozen=True)
class ATR(Cell):
    """The addition-subtraction twin-gated network: B. Zhang et al., arXiv:1810.12546."""

    gates = ("p",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        q = w(s.h).p
        return Step(h=sigmoid(x.p + q) * x.p + sigmoid(x.p - q) * s.h)


@dataclass(frozen=True)
class JANET(Cell):
    """J. van der Westhuizen and J. Lasenby, arXiv:1804.04849."""

    gates = ("f", "n")
    states = ("h", "c")
    vectors = ("beta",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        f = x.f + r.f
        c = sigmoid(f) * s.c + (1 - sigmoid(f - w.beta)) * tanh(x.n + r.n)
        return Step(h=c, c=c)


def with_matrix_of_c(spec: Spec, gate: str) -> Spec:
    """A matrix that multiplies the second state."""
    block = Block("weight_ch", "bias_ch", {gate: spec.hidden}, spec.hidden)
    params = {"weight_ch": Param((spec.hidden, spec.hidden)), "bias_ch": Param((spec.hidden,))}
    return spec.extend(blocks={"ch": block}, params=params)


@dataclass(frozen=True)
class LEM(Cell):
    """Long expressive memory: T. Rusch et al., arXiv:2110.04744, with a step of 1."""

    gates = ("a", "b", "c", "h")
    recurrent = ("a", "b", "c")
    states = ("h", "c")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        return with_matrix_of_c(super().spec(inputs, hidden, bias), "h")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        a, b = sigmoid(x.a + r.a), sigmoid(x.b + r.b)
        c = (1 - b) * s.c + b * tanh(x.c + r.c)
        return Step(h=(1 - a) * s.h + a * tanh(x.h + w.ch(s.c).h), c=c)


@dataclass(frozen=True)
class CoRNN(Cell):
    """Coupled oscillators: T. Rusch and S. Mishra, arXiv:2010.00951."""

    gates = ("h",)
    states = ("h", "c")
    dt: float = 0.1

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        return with_matrix_of_c(super().spec(inputs, hidden, bias), "h")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        c = s.c + self.dt * (tanh(x.h + w(s.h).h + w.ch(s.c).h) - s.h - s.c)
        return Step(h=s.h + self.dt * c, c=c)


def peepholes(p: Named) -> dict[str, Tensor]:
    i, f, o = p["weight_ph"].chunk(3)
    return {**{n: v for n, v in p.items() if n != "weight_ph"}, "weight_ci": i, "weight_cf": f, "weight_co": o}


def one_bias(p: Named) -> dict[str, Tensor]:
    return {"weight_ih": p["weight_ih"], "bias_ih": p["bias_ih"] + p["bias_hh"], "weight_u": p["vector_u"]}


def no_content_bias(p: Named) -> dict[str, Tensor]:
    zeros = torch.zeros_like(p["bias_ih"][: len(p["bias_ih"]) // 2])
    return {**p, "bias_ih": torch.cat([zeros, p["bias_ih"]])}


def beta_of_units(p: Named) -> dict[str, Tensor]:
    return {**p, "beta": p["beta"].expand(len(p["bias_ih"]) // 2)}


# Theirs, ours, and our weights from theirs.
PAIRS: Mapping[str, tuple[Cell, Callable[[Named], Mapping[str, Tensor]]]] = {
    "PeepholeLSTM": (PeepholeLSTM(), peepholes),
    "MGU": (MGU(), dict),
    "LiGRU": (LiGRU(), dict),
    "IndRNN": (IndRNN("tanh"), one_bias),
    "UGRNN": (UGRNN(), dict),
    "RAN": (RAN(), no_content_bias),
    "STAR": (STAR(), dict),
    "CFN": (CFN(), dict),
    "ATR": (ATR(), dict),
    "JANET": (JANET(), beta_of_units),
    "LEM": (LEM(), dict),
    "coRNN": (CoRNN(), dict),
}


def pair(name: str, inputs: int, hidden: int, dtype: torch.dtype) -> tuple[nn.Module, Recurrent]:
    """Their layer with random weights and ours, whose weights are still its own."""
    theirs = getattr(importlib.import_module("torchrecurrent"), name)(inputs, hidden, batch_first=True).to(dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-(hidden**-0.5), hidden**-0.5)
    return theirs, Recurrent(PAIRS[name][0], inputs, hidden, dtype=dtype)


def ours_from_theirs(name: str, theirs: Named) -> dict[str, Tensor]:
    """The parameters of our layer, differentiable by theirs."""
    plain = {key.removeprefix("cells.0."): value for key, value in theirs.items()}
    return {f"{key}_l0": value for key, value in PAIRS[name][1](plain).items()}
