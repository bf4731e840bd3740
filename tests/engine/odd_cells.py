"""Made-up cells whose steps are odd in one way each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import exp, maximum, minimum, relu, sigmoid, sqrt, tanh
from torch.nn.functional import layer_norm, leaky_relu, logsigmoid, silu, softplus

from elman.cells import Block, Cell, Inputs, Param, Spec, State, Step, Weights


@dataclass(frozen=True)
class Everything(Cell):
    """Every pointwise operation, and both spellings where there are two."""

    gates = ("a", "b")
    states = ("h", "c", "n")
    vectors = ("v",)
    initial = {"n": 1.0}  # noqa: RUF012

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        a, b = x.a + r.a, x.b + r.b
        p = maximum(a, b) - torch.minimum(a, w.v) / (1.5 + relu(b)) + torch.abs(a - b)
        q = torch.where(a > b, softplus(a), -b.neg()) + exp(-abs_(p)) + torch.log(1 + p * p)
        u = sqrt(1 + q.square()) * torch.rsqrt(1 + q**2) + 1 / (2 + sigmoid(q)) - torch.reciprocal(3 + tanh(p))
        k = torch.where(a <= b, q, p).clamp(-0.5, 0.5) + torch.where(a == b, 1.0, 0.0) * p + q.clamp(max=1)
        m = leaky_relu(a, 0.1) + silu(b) + logsigmoid(a) + torch.lerp(a, b, sigmoid(q)) + torch.addcmul(a, b, p)
        h = tanh(u + 0.3 * k + 0.1 * m) ** 3
        n = 0.5 * s.n + (k >= 0.1) * softplus(b, beta=2.0)
        return Step(h=h, c=minimum(tanh(0.3 * m + s.c), a), n=n, y=h - k)


def abs_(v: Any) -> Any:
    return abs(v) if isinstance(v, torch.Tensor) else v.abs()


@dataclass(frozen=True)
class Centred(Cell):
    """Means and sums over the units, of values that are one number a row themselves too."""

    gates = ("h",)
    recurrent = ("a", "b")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        v = r.a - r.a.mean(-1, keepdim=True)
        spread = (x.h + v.square().mean(-1, keepdim=True)).mean(dim=-1, keepdim=True)
        total = torch.sum(tanh(r.b), -1, keepdim=True) * spread
        return Step(h=tanh(v + 0.1 * total + x.h), y=sigmoid(total) * v + layer_norm(v + total, v.shape[-1:]))


@dataclass(frozen=True)
class Shared(Cell):
    """One matrix with two operands in a step, and both products read twice."""

    gates = ("h",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        first = w(s.h).h
        half = x.h + first
        return Step(h=tanh(x.h + w(half).h + s.h) - sigmoid(first + s.h))


@dataclass(frozen=True)
class TwoMatrices(Cell):
    """A sum of products with different operands and gates of different widths; a state one unit wide."""

    gates = ("h",)
    states = ("h", "c", "k")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        block = Block("weight_ch", "bias_ch" if bias else None, {"h": hidden, "k": 1, "m": 1, "c": hidden}, hidden)
        rows = 2 * hidden + 2
        spec = super().spec(inputs, hidden, bias)
        extra = {"weight_ch": Param((rows, hidden))} | ({"bias_ch": Param((rows,))} if bias else {})
        extra |= {"lift": Param((1,))}
        spec = spec.extend(blocks={"ch": block}, params=extra, vectors={"lift": 1})
        return replace(spec, states={**spec.states, "k": 1})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w.ch(s.c)
        h = tanh(x.h + w(s.h).h + r.h + w.lift)
        k = tanh(r.k + s.k)
        return Step(h=h * k, c=tanh(r.c + r.m - x.h * s.k), k=k)


@dataclass(frozen=True)
class Passing(Cell):
    """Results that are no operation: a state handed on, another that is x_t's product, a linear recurrence."""

    gates = ("a", "b")
    recurrent = ("a",)
    states = ("h", "last", "now")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=x.a + w(s.h).a, last=s.h, now=x.b, y=s.now)


@dataclass(frozen=True)
class Again(Cell):
    """The matrix of x_t applied to something else as well."""

    gates = ("a", "b")
    recurrent = ("a",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=tanh(x.a * x.ih(tanh(x.raw)).b + w(s.h).a))


ODD_CELLS: tuple[Cell, ...] = (Everything(), Centred(), Shared(), TwoMatrices(), Passing(), Again())
