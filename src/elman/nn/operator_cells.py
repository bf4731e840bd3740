"""RNN, GRU and LSTM with what ONNX's operators and Keras's layers have and no paper has: any activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import relu, sigmoid, tanh
from torch.nn.functional import leaky_relu, softplus

from elman.cells import Cell, Inputs, State, Step, Weights
from elman.errors import UserError, did_you_mean

# By name in small letters: the function of v, alpha and beta; what these are unless given; None: must be given.
_Numbers = tuple[float | None, ...]
_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], _Numbers]] = MappingProxyType(
    {
        "tanh": (tanh, ()),
        "sigmoid": (sigmoid, ()),
        "relu": (relu, ()),
        "softsign": (lambda v: v / (1 + torch.abs(v)), ()),
        "softplus": (softplus, ()),
        "leakyrelu": (leaky_relu, (0.01,)),
        "elu": (lambda v, a: torch.where(v >= 0, v, a * (torch.exp(v.clamp(max=0)) - 1)), (1.0,)),
        "thresholdedrelu": (lambda v, a: torch.where(v >= a, v, 0 * v), (1.0,)),
        "hardsigmoid": (lambda v, a, b: (a * v + b).clamp(0, 1), (0.2, 0.5)),
        "scaledtanh": (lambda v, a, b: a * tanh(b * v), (None, None)),
        "affine": (lambda v, a, b: a * v + b, (None, None)),
    }
)


@dataclass(frozen=True)
class Activation:
    """One of ONNX's activation functions; its argument is bounded to ±clip first, where there is a clip.

    Args:
        name: of the function, in any case: Tanh, Sigmoid, Relu, Softsign, Softplus, LeakyRelu, Elu,
            ThresholdedRelu, HardSigmoid, ScaledTanh, Affine.
        numbers: alpha and beta, as many as the function has.
        clip: the bound.

    Raises:
        UserError: there is no such function, or not so many numbers.

    Example:
        >>> Activation("HardSigmoid", (0.2, 0.5))(torch.tensor([-9.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 0.699999988079071]
    """

    name: str
    numbers: tuple[float, ...] = ()
    clip: float | None = None

    def __post_init__(self) -> None:
        if len(self.numbers) != len(defaults(self.name)):
            wanted = len(defaults(self.name))
            raise UserError(f"{self.name} has {wanted} numbers", where="activation", found=self.numbers)

    def __call__(self, v: Any) -> Any:
        """The function of a tensor, unit by unit."""
        if self.clip is not None:
            v = v.clamp(-self.clip, self.clip)
        return _FUNCTIONS[self.name.lower()][0](v, *self.numbers)


def defaults(name: str) -> _Numbers:
    """The numbers of an activation function where nobody gives them; None for one that must be given.

    Raises:
        UserError: there is no such function.

    Example:
        >>> defaults("HardSigmoid")
        (0.2, 0.5)
    """
    if name.lower() not in _FUNCTIONS:
        fix = did_you_mean(name.lower(), _FUNCTIONS)
        raise UserError("no such activation function", where="activation", found=name, fix=fix)
    return _FUNCTIONS[name.lower()][1]


@dataclass(frozen=True)
class OperatorRNN(Cell):
    """h_t = f(U x_t + b + W h_{t-1} + b').

    Source:
        ONNX, operator RNN.
    """

    gates = ("h",)
    f: Activation

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of the equation above."""
        return Step(h=self.f(x.h + w(s.h).h))


@dataclass(frozen=True)
class OperatorGRU(Cell):
    """`elman.cells.GRU` with f for the gates and g for the candidate; `ResetBeforeGRU` unless reset_after.

    Source:
        ONNX, operator GRU, whose linear_before_reset is `reset_after` here.
    """

    gates = ("r", "z", "n")
    f: Activation
    g: Activation
    reset_after: bool

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of either cell."""
        a = w(s.h) if self.reset_after else w["r", "z"](s.h)
        r, z = self.f(x.r + a.r), self.f(x.z + a.z)
        n = self.g(x.n + (r * a.n if self.reset_after else w["n"](r * s.h).n))
        return Step(h=(1 - z) * n + z * s.h)


@dataclass(frozen=True)
class OperatorLSTM(Cell):
    """`elman.cells.LSTM` or `PeepholeLSTM` with f for the gates, g for the candidate, h for the output.

    With `input_forget` the forget gate is 1 - i, and its rows of the matrices have no effect.

    Source:
        ONNX, operator LSTM.
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    f: Activation
    g: Activation
    h: Activation
    peepholes: bool = False
    input_forget: bool = False

    @property
    def vectors(self) -> tuple[str, ...]:  # type: ignore[override]
        """The peepholes, where there are any."""
        return ("weight_ci", "weight_cf", "weight_co") if self.peepholes else ()

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One step of either cell."""
        r = w(s.h)
        i, f, o = x.i + r.i, x.f + r.f, x.o + r.o
        if self.peepholes:
            i, f = i + w.weight_ci * s.c, f + w.weight_cf * s.c
        i = self.f(i)
        f = 1 - i if self.input_forget else self.f(f)
        c = f * s.c + i * self.g(x.g + r.g)
        o = self.f(o + w.weight_co * c if self.peepholes else o)
        return Step(h=o * self.h(c), c=c)
