"""What a recurrent layer does in a run, seen by its definition: a cell that notes every step it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from elman.cells import Cell, Inputs, Spec, State, Step, Weights
from elman.cells.contract import Draw
from elman.nn import Recurrent


@dataclass(frozen=True, eq=False)
class Seen:
    """One step: what it read, the states it began with, those it made, and states and output as they left it."""

    x: Tensor
    before: Mapping[str, Tensor]
    made: Mapping[str, Tensor]  # which the step itself may read, as an LSTM's h reads its c
    after: Mapping[str, Tensor]  # which only what comes later reads
    y: Tensor
    separate: bool  # whether the output is no state


@dataclass(frozen=True)
class Recorder(Cell):
    """A cell that computes what another does and notes its steps, in the order in which they are taken."""

    cell: Cell
    seen: list[Seen] = field(default_factory=list, compare=False, repr=False)

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The other cell's own."""
        return self.cell.spec(inputs, hidden, bias)

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """The other cell's own."""
        return self.cell.prepare(params, draw)

    @property
    def prepares(self) -> bool:
        """The other cell's own."""
        return self.cell.prepares

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The other cell's own."""
        step = self.cell.step(x, s, w)
        before = {name: value.detach() for name, value in s.items()}
        values = dict(step.items())
        made = {name: _node(values[name], same=True) for name in before if name in values}
        after = {name: _node(value) for name, value in made.items()}
        y = _node(step.y if "y" in values else next(iter(made.values())))
        self.seen.append(Seen(x.raw.detach(), before, made, after, y, "y" in values))
        return Step(**{**values, **after, "y": y})


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes:
        lengths: as it was given.
        resets: as it was given.
        first: how many steps had been noted before it.
    """

    lengths: Tensor | None
    resets: Tensor | None
    first: int


@dataclass(frozen=True, eq=False)
class Recording:
    """What one layer has done so far."""

    layer: Recurrent
    cell: Cell
    recorder: Recorder
    calls: list[Call] = field(default_factory=list)

    def note(
        self, _: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Begin a call; in a frozen model, x is what makes its states differentiable."""
        self.calls.append(Call(named.get("lengths"), named.get("resets"), len(self.recorder.seen)))
        if not args or not torch.is_grad_enabled() or args[0].requires_grad:
            return None
        return (args[0].detach().requires_grad_(), *args[1:]), named


@dataclass(frozen=True, eq=False)
class Projection:
    """What one `nn.Linear` was given and returned, call by call."""

    layer: nn.Linear
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def note(self, _: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Note a call; what goes on is a tensor of its own, to be differentiated by."""
        y = _node(output)
        self.calls.append((args[0].detach(), y))
        return y


@contextmanager
def recording(model: nn.Module) -> Iterator[tuple[dict[str, Recording], dict[str, Projection]]]:
    """While it is open, the recurrent layers of a model run by their definition, and are noted by name.

    Raises:
        ValueError: the model has no `elman.Recurrent`.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Recurrent)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no recurrent layer (elman.Recurrent) to look into")
    recordings = {name: Recording(layer, layer.cell, Recorder(layer.cell)) for name, layer in layers.items()}
    linear = {name: Projection(m) for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    with ExitStack() as stack:
        for one in recordings.values():
            stack.enter_context(_replaced(one))
        for projection in linear.values():
            stack.enter_context(projection.layer.register_forward_hook(projection.note))
        try:
            yield recordings, linear
        finally:
            # The engine keeps the cells it has run; the states of this run shall not stay with them.
            for one in recordings.values():
                one.recorder.seen.clear()


@contextmanager
def _replaced(one: Recording) -> Iterator[None]:
    """The layer with the recorder as its cell, on the only backend that runs `step` itself."""
    layer, stack, backend = one.layer, one.layer.stack, one.layer.backend
    layer.stack, layer.backend = replace(stack, cell=one.recorder), "eager"
    try:
        with layer.register_forward_pre_hook(one.note, with_kwargs=True):
            yield
    finally:
        layer.stack, layer.backend = stack, backend


def _node(value: Tensor, same: bool = False) -> Tensor:
    """The same numbers as a tensor of their own, that can be differentiated by even in a frozen model.

    With `same`, the tensor itself where that can be differentiated by.
    """
    if not torch.is_grad_enabled() or (same and value.requires_grad):
        return value
    return value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
