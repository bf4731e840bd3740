"""Layers and directions of one recurrent network: what `Recurrent` and the drop-ins both run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import dropout

from elman.cells import Cell, Spec
from elman.engine import RUNS, Operands, choose, register, run_operation


@dataclass(frozen=True)
class Stack:
    """Equal cells in `num_layers` layers, in one or both directions.

    Parameters are named as in torch.nn: the cell's name, `_l` and the layer, `_reverse` for the second
    direction. Layer k + 1 reads the outputs of both directions of layer k side by side.
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    dropout: float = 0.0
    keys: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(register(self.cell, spec) for spec in self.specs))

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @cached_property
    def specs(self) -> tuple[Spec, ...]:
        """The cell's spec in each layer."""
        first = self.cell.spec(self.input_size, self.hidden_size, self.bias)
        inner = self.cell.spec(first.output * self.directions, self.hidden_size, self.bias)
        return (first, *[inner] * (self.num_layers - 1))

    @property
    def output_size(self) -> int:
        """Width of the outputs, both directions side by side."""
        return self.specs[0].output * self.directions

    def passes(self) -> Iterator[tuple[int, int, str]]:
        """Layer, direction and parameter suffix of each run, in order."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield layer, direction, f"_l{layer}" + "_reverse" * direction

    def __reduce__(self) -> tuple[type[Stack], tuple[object, ...]]:
        """A copy in another process registers its cell there."""
        return Stack, (
            self.cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.bias,
            self.dropout,
        )


@dataclass(frozen=True)
class Variation:
    """How one call differs from a plain one: lengths (B,), resets (B, T), fresh states, dropout, the backend."""

    lengths: Tensor | None = None
    resets: Tensor | None = None
    fresh: Mapping[str, Tensor] | None = None
    training: bool = False
    backend: str = "auto"


def run(
    stack: Stack, params: Mapping[str, Tensor], x: Tensor, state: Mapping[str, Tensor], variation: Variation
) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs a stack over x.

    Args:
        stack: the network.
        params: every parameter by its name with suffix.
        x: inputs, (B, T, input_size).
        state: the states before the first step, by name, (layers * directions, B, width).
        variation: lengths, resets, what a reset puts in place, (layers * directions, width) by name (None: the
            cell's initial values), whether dropout between layers is on, and one of `elman.engine.NAMES`.

    Returns:
        The outputs (B, T, directions * output) and the final states by name, (layers * directions, B, width).
    """
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        # As torch.nn's layers: everything in the region's format, on every backend, compiled or not.
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            fresh = None if variation.fresh is None else _lowered(variation.fresh, dtype)
            low = replace(variation, fresh=fresh)
            return run(stack, _lowered(params, dtype), _lower(x, dtype), _lowered(state, dtype), low)
    finals: dict[str, list[Tensor]] = {name: [] for name in stack.specs[0].states}
    outputs: list[Tensor] = []
    for layer, direction, suffix in stack.passes():
        spec, index = stack.specs[layer], layer * stack.directions + direction
        operands = Operands(
            x=x,
            state={name: s[index] for name, s in state.items()},
            fresh=fresh_states(spec, variation.fresh, index, x),
            params={name: params[name + suffix] for name in spec.params},
            lengths=variation.lengths,
            resets=variation.resets,
        )
        choice = choose(stack.cell, x, variation.resets, variation.backend)
        if torch.compiler.is_compiling():
            y, final = run_operation(stack.keys[layer], choice.backend, operands, direction == 1)
        else:
            y, final = RUNS[choice.backend](stack.cell, spec, operands, direction == 1)
        outputs.append(y)
        for name, value in final.items():
            finals[name].append(value)
        if direction == stack.directions - 1:
            x = torch.cat(outputs, -1) if stack.bidirectional else y
            outputs.clear()
            if stack.dropout and layer < stack.num_layers - 1:
                x = dropout(x, stack.dropout, variation.training)
    return x, {name: torch.stack(values) for name, values in finals.items()}


def _lower(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A float32 tensor in the format of an autocast region; others stay, as autocast itself has it."""
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor


def _lowered(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: _lower(tensor, dtype) for name, tensor in tensors.items()}


def fresh_states(spec: Spec, fresh: Mapping[str, Tensor] | None, index: int, x: Tensor) -> dict[str, Tensor]:
    """What a reset puts in place of each state, (width,)."""
    if fresh is not None:
        return {name: f[index] for name, f in fresh.items()}
    return {name: x.new_full((width,), spec.initial.get(name, 0.0)) for name, width in spec.states.items()}
