"""Cells that are not built in: well-known ones, and made-up ones whose steps are odd in one way each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import cos, exp, maximum, minimum, relu, sigmoid, sin, sqrt, tanh
from torch.nn.functional import layer_norm, leaky_relu, logsigmoid, silu, softplus
from torch.nn.init import ones_, zeros_

from elman.cells import Block, Cell, Inputs, Param, Spec, State, Step, Weights


@dataclass(frozen=True)
class PeepholeLSTM(Cell):
    """Gates that see the cell state (Gers, Schraudolph and Schmidhuber 2002)."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    vectors = ("weight_ci", "weight_cf", "weight_co")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        i = sigmoid(x.i + r.i + w.weight_ci * s.c)
        f = sigmoid(x.f + r.f + w.weight_cf * s.c)
        c = f * s.c + i * tanh(x.g + r.g)
        o = sigmoid(x.o + r.o + w.weight_co * c)
        return Step(h=o * tanh(c), c=c)


@dataclass(frozen=True)
class ResetBeforeGRU(Cell):
    """The reset gate before the product (arXiv:1406.1078v3)."""

    gates = ("r", "z", "n")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        a = w["r", "z"](s.h)
        r, z = sigmoid(x.r + a.r), sigmoid(x.z + a.z)
        n = tanh(x.n + w["n"](r * s.h).n)
        return Step(h=(1 - z) * n + z * s.h)


@dataclass(frozen=True)
class LayerNormLSTM(Cell):
    """Each gate's two products are normalised, and the cell state before the output (arXiv:1607.06450)."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        gains = [f"gain_{part}_{gate}" for part in ("ih", "hh") for gate in self.gates] + ["gain_c"]
        shifts = [f"shift_{gate}" for gate in (*self.gates, "c")] if bias else []
        params = {name: Param((hidden,), ones_ if name in gains else zeros_) for name in gains + shifts}
        plain = super().spec(inputs, hidden, bias=False)
        return plain.extend(vectors=dict.fromkeys(params, hidden), params=params)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r, vectors = w(s.h), dict(w.items())

        def gate(name: str) -> Any:
            of_x = vectors[f"gain_ih_{name}"] * standard(x[name])
            total = of_x + vectors[f"gain_hh_{name}"] * standard(r[name])
            return total + vectors[f"shift_{name}"] if f"shift_{name}" in vectors else total

        c = sigmoid(gate("f")) * s.c + sigmoid(gate("i")) * tanh(gate("g"))
        n = w.gain_c * standard(c)
        return Step(h=sigmoid(gate("o")) * tanh(n + w.shift_c if "shift_c" in vectors else n), c=c)


def standard(v: Any) -> Any:
    return layer_norm(v, v.shape[-1:])


@dataclass(frozen=True)
class CoupledLSTM(Cell):
    """The input gate is 1 - f (Greff et al., arXiv:1503.04069)."""

    gates = ("f", "g", "o")
    states = ("h", "c")

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        r = w(s.h)
        f, o = sigmoid(x.f + r.f), sigmoid(x.o + r.o)
        c = f * s.c + (1 - f) * tanh(x.g + r.g)
        return Step(h=o * tanh(c), c=c)


@dataclass(frozen=True)
class MinGRU(Cell):
    """No recurrent product (arXiv:2410.01201)."""

    gates = ("z", "h")
    recurrent = ()

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        z = sigmoid(x.z)
        return Step(h=(1 - z) * s.h + z * x.h)


@dataclass(frozen=True)
class IndRNN(Cell):
    """One recurrent weight a unit (arXiv:1803.04831)."""

    gates = ("h",)
    recurrent = ()
    vectors = ("weight_u",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=relu(x.h + w.weight_u * s.h))


@dataclass(frozen=True)
class SRU(Cell):
    """The output is no state, and sees x_t past the recurrence (arXiv:1709.02755)."""

    gates = ("z", "f", "r")
    recurrent = ()
    states = ("c",)
    vectors = ("weight_cf", "weight_cr")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        spec = super().spec(inputs, hidden, bias)
        if inputs == hidden:
            return spec
        block = Block("weight_skip", None, {"x": hidden}, inputs)
        return spec.extend(blocks={"skip": block}, params={"weight_skip": Param((hidden, inputs))})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        skip = w.skip(x.raw).x if "skip" in dict(w.items()) else x.raw
        f, r = sigmoid(x.f + w.weight_cf * s.c), sigmoid(x.r + w.weight_cr * s.c)
        c = f * s.c + (1 - f) * x.z
        return Step(c=c, y=r * tanh(c) + (1 - r) * skip)


MORE_CELLS: tuple[Cell, ...] = (
    PeepholeLSTM(),
    ResetBeforeGRU(),
    LayerNormLSTM(),
    CoupledLSTM(),
    MinGRU(),
    IndRNN(),
    SRU(),
)


@dataclass(frozen=True)
class LRU(Cell):
    """Functions of parameters alone, some beyond the engine's own operations (arXiv:2303.06349)."""

    gates = ("re", "im")
    recurrent = ()
    states = ("re", "im")
    vectors = ("nu_log", "theta_log", "gamma_log")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        return (
            super()
            .spec(inputs, hidden, bias)
            .extend(
                blocks={n: Block(f"weight_{n}", None, {"y": hidden}, hidden) for n in ("c_re", "c_im")},
                params={f"weight_{n}": Param((hidden, hidden)) for n in ("c_re", "c_im")},
            )
        )

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        size, angle, gain = exp(-exp(w.nu_log)), exp(w.theta_log), w.gamma_log.exp()
        a, b = size * cos(angle), size * sin(angle)
        re = a * s.re - b * s.im + gain * x.re
        im = b * s.re + a * s.im + gain * x.im
        return Step(re=re, im=im, y=w.c_re(re).y - w.c_im(im).y)


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
        return Step(h=tanh(v + 0.1 * total + x.h), y=sigmoid(total) * v + standard(v + total))


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


ODD_CELLS: tuple[Cell, ...] = (LRU(), Everything(), Centred(), Shared(), TwoMatrices(), Passing(), Again())
