"""Layers and directions of one recurrent network: what `Recurrent` and the drop-ins both run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from elman.cells import Cell, Spec
from elman.engine import (
    Network,
    Operands,
    Record,
    choose,
    compile_cell,
    of_pass,
    parameter_noise,
    register,
    run_chosen,
    run_network,
    run_operation,
)
from elman.engine.native import absent, untraceable


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
    keys: Mapping[bool, tuple[str, ...]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _ = self.names  # made now: a graph that is being compiled cannot make it
        both = {True: self.specs, False: self.resting}  # by whether noise is drawn
        keys = {drawn: tuple(register(self.cell, spec) for spec in specs) for drawn, specs in both.items()}
        object.__setattr__(self, "keys", keys)

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

    @cached_property
    def resting(self) -> tuple[Spec, ...]:
        """The same in evaluation; the very same where a cell declares no noise."""
        resting = {id(spec): spec.resting() for spec in self.specs}
        return tuple(resting[id(spec)] for spec in self.specs)

    @property
    def random(self) -> bool:
        """Whether training differs from evaluation by what is drawn."""
        return self.cell.draws or self.resting[0] is not self.specs[0]

    @property
    def output_size(self) -> int:
        """Width of the outputs, both directions side by side."""
        return self.specs[0].output * self.directions

    def passes(self) -> Iterator[tuple[int, int, str]]:
        """Layer, direction and parameter suffix of each run, in order."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield layer, direction, f"_l{layer}" + "_reverse" * direction

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every parameter's name with its suffix, pass by pass."""
        return tuple(name + suffix for layer, _, suffix in self.passes() for name in self.specs[layer].params)

    @cached_property
    def network(self) -> Network:
        """What the native engine runs in evaluation; asked for where it can."""
        return self._network(self.resting)

    @cached_property
    def training_network(self) -> Network:
        """The same with noise."""
        return self.network if self.resting[0] is self.specs[0] else self._network(self.specs)

    def _network(self, specs: tuple[Spec, ...]) -> Network:
        units = tuple(compile_cell(self.cell, specs[layer]) for layer, _, _ in self.passes())
        return Network(units, self.directions)

    @cached_property
    def single(self) -> Network | None:
        """The network, where it is one pass forwards and the native engine runs it."""
        if self.num_layers > 1 or self.bidirectional or self.cell.prepares:
            return None
        if absent() or untraceable(self.cell, self.resting[0]):
            return None
        return self.network

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


class Variation(NamedTuple):
    """How one call differs from a plain one: lengths (B,), resets (B, T), fresh states, dropout, the backend.

    `packed`: the rows are those of a packed sequence, longest first; dropout then draws for their steps alone.
    `noise`: what random numbers depend on, as `elman.engine.noise_key` makes it; None: they are at rest.
    `record`: what else is wanted of the run.
    """

    lengths: Tensor | None = None
    resets: Tensor | None = None
    fresh: Mapping[str, Tensor] | None = None
    training: bool = False
    backend: str = "auto"
    packed: bool = False
    y_wanted: bool = True
    noise: Tensor | None = None
    record: Record | None = None


def run(
    stack: Stack, params: Sequence[Tensor], x: Tensor, state: Mapping[str, Tensor] | None, variation: Variation
) -> tuple[Any, tuple[Tensor, ...]]:
    """Runs a stack over x.

    Args:
        stack: the network.
        params: every parameter, in the order of `stack.names`.
        x: inputs, (B, T, input_size).
        state: the states before the first step, by name, (layers * directions, B, width); None: fresh ones.
        variation: lengths, resets, what a reset puts in place, (layers * directions, width) by name (None: the
            cell's initial values), whether dropout between layers is on, and one of `elman.engine.NAMES`.

    Returns:
        The outputs (B, T, directions * output), or None where a backend can do without and they are not wanted;
        the final states as the cell lists them, (layers * directions, B, width).
    """
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        # As torch.nn's layers: everything in the region's format, on every backend, compiled or not.
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            fresh = None if variation.fresh is None else _lowered(variation.fresh, dtype)
            low = variation._replace(fresh=fresh)
            given = None if state is None else _lowered(state, dtype)
            return run(stack, [_lower(p, dtype) for p in params], _lower(x, dtype), given, low)
    if stack.cell.prepares:
        params = prepared(stack, params, variation.noise)
    if not torch.compiler.is_compiling():
        specs = stack.resting if variation.noise is None else stack.specs
        others = params
        if state or variation.fresh:
            others = (*params, *(state or {}).values(), *(variation.fresh or {}).values())
        recorded = variation.record is not None
        choice = choose(stack.cell, specs[0], x, variation.resets, variation.backend, others, recorded)
        if choice.backend == "native":
            return run_natively(stack, params, x, state, variation)
    return _run_by_pass(stack, params, x, state, variation)


def run_natively(
    stack: Stack, params: Sequence[Tensor], x: Tensor, state: Mapping[str, Tensor] | None, variation: Variation
) -> tuple[Any, tuple[Tensor, ...]]:
    """As `run`, by the native engine: all passes at once, but for a stack that drops outputs between layers."""
    if stack.dropout and variation.training and stack.num_layers > 1:
        return _run_by_pass(stack, params, x, state, variation._replace(backend="native"))
    fresh: list[Tensor] | None = None
    states: list[Tensor] | None = None
    if variation.fresh is not None:
        fresh = [variation.fresh[name] for name in stack.specs[0].states]
    if state is not None:
        states = [state[name] for name in stack.specs[0].states]
    elif fresh is not None:
        states = [f[:, None].expand(-1, x.shape[0], -1) for f in fresh]
    return run_network(
        stack.network if variation.noise is None else stack.training_network,
        x,
        params,
        states,
        fresh,
        variation.lengths,
        variation.resets,
        y_wanted=variation.y_wanted,
        noise=variation.noise,
        record=variation.record,
    )


def _run_by_pass(
    stack: Stack, params: Sequence[Tensor], x: Tensor, state: Mapping[str, Tensor] | None, variation: Variation
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One pass after the other, each by the backend that runs it."""
    named = dict(zip(stack.names, params, strict=True))
    finals: dict[str, list[Tensor]] = {name: [] for name in stack.specs[0].states}
    outputs: list[Tensor] = []
    for layer, direction, suffix in stack.passes():
        index = layer * stack.directions + direction
        spec = (stack.resting if variation.noise is None else stack.specs)[layer]
        fresh = fresh_states(spec, variation.fresh, index, x)
        operands = Operands(
            x=x,
            state={
                name: f.expand(x.shape[0], -1) if state is None else state[name][index]
                for name, f in fresh.items()
            },
            fresh=fresh,
            params={name: named[name + suffix] for name in spec.params},
            lengths=variation.lengths,
            resets=variation.resets,
            noise=None if variation.noise is None else of_pass(variation.noise, index),
            record=None if variation.record is None else variation.record.one(index),
        )
        if torch.compiler.is_compiling():
            y, final = run_operation(
                stack.keys[variation.noise is not None][layer], variation.backend, operands, direction == 1
            )
        else:
            y, final = run_chosen(stack.cell, spec, operands, direction == 1, variation.backend)
        outputs.append(y)
        for name, value in final.items():
            finals[name].append(value)
        if direction == stack.directions - 1:
            x = _side_by_side(outputs) if stack.bidirectional else y
            outputs.clear()
            if stack.dropout and layer < stack.num_layers - 1:
                x = _thinned(x, stack.dropout, variation) if variation.training else x
    return x, tuple(torch.stack(values) for values in finals.values())


def prepared(stack: Stack, params: Sequence[Tensor], noise: Tensor | None) -> list[Tensor]:
    """The parameters as the cell's steps read them, pass by pass; random ones where there is noise."""
    found: list[Tensor] = []
    rest = iter(params)
    for index, (layer, _, _) in enumerate(stack.passes()):
        own = {name: next(rest) for name in stack.specs[layer].params}
        draw = None if noise is None else parameter_noise(of_pass(noise, index), next(iter(own.values())))
        found += stack.cell.prepare(own, draw).values()
    return found


def _side_by_side(outputs: list[Tensor]) -> Tensor:
    """Both directions' outputs, (B, T, 2 output), time before rows in memory where the first has it so."""
    if torch.compiler.is_compiling() or not outputs[0].transpose(0, 1).is_contiguous():
        return torch.cat(outputs, -1)
    return torch.cat([y.transpose(0, 1) for y in outputs], -1).transpose(0, 1)


def _thinned(x: Tensor, probability: float, variation: Variation) -> Tensor:
    """Dropout of (B, T, width) that draws its numbers in the order of torch.nn's layers: step after step."""
    mask = torch.ones_like(x.transpose(0, 1), memory_format=torch.contiguous_format)
    if variation.packed and variation.lengths is not None and not torch.compiler.is_compiling():
        active = torch.arange(x.shape[1], device=x.device)[:, None] < variation.lengths
        mask[active] = dropout(mask[active], probability)
    else:
        mask = dropout(mask, probability)
    return x * mask.transpose(0, 1)


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
