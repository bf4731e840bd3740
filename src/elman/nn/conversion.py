"""Elman's classes in place of `torch.nn`'s recurrent ones inside any model, and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from elman.nn.drop_in import GRU, LSTM, RNN, DropIn
from elman.nn.drop_in_cells import DropInCell, GRUCell, LSTMCell, RNNCell

Model = TypeVar("Model", bound=nn.Module)
State = Literal["elman", "torch", "left"]

_ELMAN: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNNCell: RNNCell,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
}
_TORCH = {ours: theirs for theirs, ours in _ELMAN.items()}
_NAMES = frozenset(theirs.__name__ for theirs in _ELMAN)


@dataclass(frozen=True)
class Finding:
    """One recurrent module of a model.

    Attributes:
        name: its path in the model, "" for the model itself.
        kind: the name of its class.
        state: "elman", "torch" (`convert` would swap it) or "left" (`convert` leaves it alone).
        reason: why it is left, else empty.
    """

    name: str
    kind: str
    state: State
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """Every recurrent module of a model and who runs it; as text, one line each.

    Example:
        >>> print(report(nn.ModuleDict({"tagger": nn.LSTM(3, 5)})))
        1 recurrent module: 0 run by Elman, 1 by torch, 0 left alone
          tagger: LSTM, torch
    """

    findings: tuple[Finding, ...]

    def count(self, state: State) -> int:
        """How many modules are in this state."""
        return sum(finding.state == state for finding in self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return "no recurrent module found"
        total = len(self.findings)
        head = f"{total} recurrent module{'s' * (total > 1)}: {self.count('elman')} run by Elman, "
        lines = [head + f"{self.count('torch')} by torch, {self.count('left')} left alone"]
        for finding in self.findings:
            name = finding.name or "(the model itself)"
            why = f", because {finding.reason}" if finding.reason else ""
            lines.append(f"  {name}: {finding.kind}, {finding.state}{why}")
        return "\n".join(lines)


def report(model: nn.Module) -> Report:
    """Which recurrent modules a model has, who runs each, and which `convert` leaves alone and why.

    Raises:
        TypeError: the model is no `torch.nn.Module`.

    Example:
        >>> report(nn.Sequential(nn.GRUCell(3, 5))).findings
        (Finding(name='0', kind='GRUCell', state='torch', reason=''),)
    """
    return Report(tuple(_findings(_module(model))))


def convert(model: Model, *, quiet: bool = False) -> Model:
    """Swaps `torch.nn`'s RNN, LSTM, GRU and their cells inside a model for Elman's, in place.

    Each module stays the same object with the same parameters, hooks and state; only its class changes, so
    optimizers, checkpoints and references go on as before, and results are equal to the bit. Only exact types
    are swapped: what has its own `forward` keeps it. A second call changes nothing.

    Args:
        model: any module, a single layer too.
        quiet: True writes no report to standard error.

    Returns:
        The same model.

    Raises:
        TypeError: the model is no `torch.nn.Module`.

    Example:
        >>> model = convert(nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 5)), quiet=True)
        >>> isinstance(model[1], GRU), type(revert(model)[1]) is nn.GRU
        (True, True)
    """
    for module in list(_module(model).modules()):
        if type(module) in _ELMAN and not _why_left(module):
            module.__class__ = _ELMAN[type(module)]
    if not quiet:
        sys.stderr.write(f"elman.convert: {report(model)}\n")
    return model


def revert(model: Model) -> Model:
    """Gives every module of Elman's classes the class of `torch.nn` back, in place; undoes `convert`.

    Modules that were Elman's from the start become torch's too; their `backend` is forgotten. A subclass or a
    parametrized module keeps its class.

    Raises:
        TypeError: the model is no `torch.nn.Module`.

    Example:
        >>> type(revert(LSTM(3, 5))) is nn.LSTM
        True
    """
    for module in list(_module(model).modules()):
        if type(module) in _TORCH:
            module.__dict__.pop("backend", None)
            module.__class__ = _TORCH[type(module)]
    return model


def _module(model: object) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    raise TypeError(
        f"a torch.nn.Module is needed, got {type(model).__name__}; "
        "pass the object that holds the layers (for a wrapper of another library, its .model or .module)"
    )


def _findings(model: nn.Module) -> Iterator[Finding]:
    for name, module in model.named_modules():
        if _is_recurrent(module):
            yield _judge(name, module)


def _kind(module: nn.Module) -> str:
    # A ScriptModule's own class says nothing; it remembers the name of the one it was made from.
    if isinstance(module, torch.jit.ScriptModule):
        return str(getattr(module, "original_name", type(module).__name__))
    return type(module).__name__


def _is_recurrent(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return True
    foreign = isinstance(module, torch.jit.ScriptModule) or type(module).__module__.startswith("torch.ao.")
    return foreign and _kind(module) in _NAMES


def _judge(name: str, module: nn.Module) -> Finding:
    kind = _kind(module)
    if isinstance(module, DropIn | DropInCell):
        return Finding(name, kind, "elman")
    reason = _why_left(module)
    return Finding(name, kind, "left" if reason else "torch", reason)


def _why_left(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript has compiled it; convert the model it was made from"
    if type(module) in _ELMAN:
        patched = "forward" in module.__dict__
        return "its forward was replaced on the instance, and that one would go on being called" * patched
    if type(module).__module__.startswith("torch.ao."):
        return "it is quantized"
    if parametrize.is_parametrized(module):
        return "it is parametrized, which gave it a class of its own; convert before parametrizing"
    base = next((known.__name__ for known in _ELMAN if isinstance(module, known)), None)
    if base is None:
        return f"its class {type(module).__qualname__} is none of torch.nn's"
    own = "with its own forward" if type(module).forward is not getattr(nn, base).forward else "of a user"
    return f"it is a subclass {own}; derive it from elman.nn.{base} instead of torch.nn.{base}"
