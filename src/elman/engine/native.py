"""Layers and directions of one cell in the compiled core, as one step of PyTorch's autograd.

Derivatives of derivatives are, by definition, those of the traced programs run eagerly on the same tensors.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import eager
from elman.engine.differentiate import Wanted
from elman.engine.noise import of_pass
from elman.engine.operands import Misfit, Operands, Record, misfit
from elman.engine.unit import (
    Compiled,
    absent,
    compiled,
    memory_budget,
    refusal,
    say_once,
    set_memory_budget,
    untraceable,
)

__all__ = [
    "Misfit", "Network", "absent", "compiled", "memory_budget", "pack_weights", "refusal", "run",
    "run_network", "set_memory_budget", "untraceable",
]  # fmt: skip

_BYTES = ctypes.c_uint8 * (1 << 46)  # of any length: `_tensor` says how much of it


@dataclass(eq=False)
class Network:
    """One cell in layers and directions, layer by layer; layer k + 1 reads the outputs of layer k side by side.

    Attributes:
        units: the compiled cell of each pass over the sequence, in order.
        directions: passes a layer; the second one runs from each row's own end.
    """

    units: tuple[Compiled, ...]
    directions: int

    def __post_init__(self) -> None:
        specs = [unit.spec for unit in self.units]
        self.shapes = [(name, param.run_shape) for spec in specs for name, param in spec.params.items()]
        self.states = len(specs[0].states)
        self.none = [0] * self.states
        self.widths = tuple(specs[0].states.items())
        self.output = specs[0].output
        self.output_first = self.units[-1].output_state == 0
        self.plain = all(len(unit.programs.params) == len(unit.spec.params) for unit in self.units)
        self.simple = self.plain and len(self.units) == 1
        self.live: dict[Any, list[Any]] = {}  # of `live.single_step`
        ends = [0]
        for unit in self.units:
            ends.append(ends[-1] + len(unit.programs.params))
        self.spans = [slice(a, b) for a, b in itertools.pairwise(ends)]

    def with_derived(self, params: Sequence[Tensor]) -> list[Tensor]:
        """The parameters of each pass, followed by the vectors computed from them."""
        found: list[Tensor] = []
        rest = iter(params)
        for unit in self.units:
            own = {name: next(rest) for name in unit.spec.params}
            own |= unit.programs.derived(own)
            found += [own[name] for name in unit.programs.params]
        return found


def run_network(  # noqa: PLR0913 - what a run reads
    network: Network,
    x: Tensor,
    params: Sequence[Tensor],
    states: Sequence[Tensor] | None,
    fresh: Sequence[Tensor] | None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    *,
    reverse: bool = False,
    y_wanted: bool = True,
    packed: Sequence[Any] | None = None,
    noise: Tensor | None = None,
    record: Record | None = None,
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Runs all passes.

    Args:
        network: the passes.
        x: inputs, (B, T, width); outputs lie in memory as x does, rows or time first.
        params: those of every pass, pass by pass, as its spec lists them.
        states: before the first step, each (passes, B, width); None: what `fresh` says.
        fresh: what a reset puts in their place, each (passes, width); None: the cell's initial values.
        lengths: (B,) on the CPU, or None.
        resets: (B, T) on the CPU, or None.
        reverse: whether a single pass runs from each row's own end.
        y_wanted: whether the outputs of the last layer are; they are made all the same where they are not the
            first state.
        packed: from `pack_weights`, where the parameters have not changed since; nothing is differentiated then.
        noise: what random numbers depend on, (3,), as `elman.engine.noise.key` makes it.
        record: what else is wanted, and room for it.

    Returns:
        The outputs, (B, T, directions * output), None where not wanted; the final states, each (passes, B, width).

    Raises:
        Misfit: a tensor is not of the format and device of `x`, or not of its shape.
    """
    _check(network, x, params, states, fresh)
    # Copies: the backward run reads them again, and the caller may have written over its own by then.
    if lengths is not None:
        lengths = _copy(lengths, torch.int64)
    if resets is not None:
        resets = _copy(resets, torch.bool)
    states, fresh = states or (), fresh or ()
    if not network.plain:
        params = network.with_derived(params)
    made = y_wanted or not network.output_first
    noise = None if noise is None else _copy(noise, torch.int64)
    call = _Call(network, reverse, lengths, resets, made, len(states), len(fresh), noise, record)
    if packed is not None:
        call.packed = packed
    elif torch.is_grad_enabled():
        leaves = (x, *states, *fresh, *params)
        if any(leaf.requires_grad for leaf in leaves):
            y, *rest = _Run.apply(call, *leaves)  # type: ignore[no-untyped-call]
            call.note(rest[network.states :])
            return y, tuple(rest[: network.states])
    y, final, inner, _ = call.forward((x, states, fresh, params), None)
    call.note(inner)
    return y, tuple(final)


def pack_weights(network: Network, params: Sequence[Tensor]) -> list[Any]:
    """What every pass multiplies by, laid out once for many short runs of `run_network`."""
    call = _Call(network, False, None, None, True, 0, 0)
    wide = params[0].dtype is torch.float64
    packed = []
    for index, unit in enumerate(network.units):
        x = params[0].new_empty((0, 0, unit.spec.inputs))
        own = [p.contiguous() for p in (params if network.plain else network.with_derived(params))]
        program = unit.inference
        memory = unit.core.Memory(unit.core.packed_numbers(program) * params[0].element_size())
        unit.core.pack(program, wide, tuple(call.inputs(index, x, (x, (), (), own))), memory.address)
        packed.append(memory)
    return packed


def run(cell: Cell, spec: Spec, operands: Operands, reverse: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, by the compiled core.

    Raises:
        Misfit: a state or parameter is not of the format and device of `x`, or not of its shape in `spec`.
    """
    unit = compiled(cell, spec)
    unit.alone = unit.alone or Network((unit,), 1)
    y, final = run_network(
        unit.alone,
        operands.x,
        [operands.params[name] for name in spec.params],
        [operands.state[name].unsqueeze(0) for name in spec.states],
        [operands.fresh[name].unsqueeze(0) for name in spec.states],
        operands.lengths,
        operands.resets,
        reverse=reverse,
        noise=operands.noise,
        record=operands.record,
    )
    if y is None:
        raise RuntimeError("the core returned no output")
    return y, {name: value.squeeze(0) for name, value in zip(spec.states, final, strict=True)}


def _check(
    network: Network,
    x: Tensor,
    params: Sequence[Tensor],
    states: Sequence[Tensor] | None,
    fresh: Sequence[Tensor] | None,
) -> None:
    """The core reads memory by these shapes: any other would be read past its end."""
    dtype = x.dtype
    if x.shape[2] != network.units[0].spec.inputs:
        raise Misfit(f"x has {x.shape[2]} numbers a step, the cell reads {network.units[0].spec.inputs}")
    for tensor, (name, shape) in zip(params, network.shapes, strict=True):
        if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu:
            raise misfit(name, tensor, shape, x)
    if states is not None or fresh is not None:
        passes = len(network.units)
        for given, rows in ((states, (x.shape[0],)), (fresh, ())):
            for tensor, (name, width) in zip(given or (), network.widths, strict=False):
                if tensor.dtype is not dtype or tensor.shape != (passes, *rows, width) or not tensor.is_cpu:
                    raise misfit(f"state {name}", tensor, (passes, *rows, width), x)


def _copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype, memory_format=torch.contiguous_format, copy=True)


def _tensor(memory: Any, size: int) -> Tensor:
    """The core's memory as a tensor: autograd gives it back with the graph, and its hooks see it."""
    view: Any = _BYTES.from_address(memory.address)
    view.owner = memory
    return torch.frombuffer(view, dtype=torch.uint8, count=max(size, 1))


def _plain(tensor: Tensor) -> Tensor:
    """With the numbers of a step side by side, as the core reads them."""
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _like_steps(x: Tensor, width: int) -> Tensor:
    """Room for (B, T, width), time before rows in memory where x has it so."""
    rows, steps, own = x.shape
    if width == own and x.is_contiguous():
        return torch.empty_like(x)  # cheaper than by numbers
    if x.stride(0) < x.stride(1):
        return x.new_empty((steps, rows, width)).transpose(0, 1)
    return x.new_empty((rows, steps, width))


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.resolve_neg().contiguous() for tensor in tensors]


def _empty_states(x: Tensor, sizes: tuple[int, int], widths: Sequence[tuple[str, int]]) -> list[Tensor]:
    """Room for states, each (*sizes, width)."""
    found: list[Tensor] = []
    for k, (_, width) in enumerate(widths):
        alike = k and width == widths[0][1]
        found.append(torch.empty_like(found[0]) if alike else x.new_empty((*sizes, width)))
    return found


def _steps(tensor: Tensor | None, first: int = 0) -> tuple[int, int, int]:
    """Address, from number `first` of a step on, and strides of (B, T, width); zeros for None."""
    if tensor is None:
        return 0, 0, 0
    row, step, _ = tensor.stride()
    address = tensor.data_ptr()
    return address + first * tensor.element_size() if first else address, row, step


def _parts(tensors: Sequence[Tensor | None], index: int) -> list[int]:
    """The address of entry `index` of each, 0 for None."""
    if index == 0:
        return [0 if t is None else t.data_ptr() for t in tensors]
    return [0 if t is None else t.data_ptr() + index * t.stride(0) * t.element_size() for t in tensors]


@dataclass(eq=False)
class _Call:
    """One run: what is neither a leaf nor a gradient."""

    network: Network
    reverse: bool
    lengths: Tensor | None
    resets: Tensor | None
    y_wanted: bool
    states: int
    fresh: int
    noise: Tensor | None = None
    record: Record | None = None
    packed: Sequence[Any] | None = None

    @property
    def inner_wanted(self) -> bool:
        """Whether states and taps are given out step by step."""
        return self.record is not None and self.record.values is not None

    def note(self, inner: Sequence[Tensor]) -> None:
        """Puts the states and taps of all passes where they are wanted."""
        rest = iter(inner)
        if self.record is not None and self.record.values is not None:
            for unit, found in zip(self.network.units, self.record.values, strict=True):
                found.update({name: next(rest) for name, _ in unit.programs.inner})

    def split(self, leaves: Sequence[Any]) -> tuple[Any, Sequence[Any], Sequence[Any], Sequence[Any]]:
        """x, states, fresh states and parameters, or what belongs to them."""
        a = 1 + self.states
        b = a + self.fresh
        return leaves[0], leaves[1:a], leaves[a:b], leaves[b:]

    def inputs(self, index: int, x: Tensor, leaves: tuple[Any, Any, Any, Any]) -> list[int]:
        """The numbers by which the core finds its inputs; see `Numbers::inputs` in csrc/python.cpp."""
        rows, steps, width = x.shape
        row, step, _ = x.stride()
        _, states, fresh, params = leaves
        network = self.network
        return [
            rows,
            steps,
            self.reverse or index % network.directions,
            0 if self.lengths is None else self.lengths.data_ptr(),
            0 if self.resets is None else self.resets.data_ptr(),
            x.data_ptr(),
            row,
            step,
            width,
            *[p.data_ptr() for p in (params if len(network.units) == 1 else params[network.spans[index]])],
            *(_parts(states, index) if states else network.none),
            *(_parts(fresh, index) if fresh else network.none),
            0 if self.noise is None else self.noise.data_ptr(),
            index,
        ]

    def forward(
        self, leaves: tuple[Any, Any, Any, Any], needed: Sequence[bool] | None
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor], list[tuple[Any, ...]]]:
        """Output, final states, states and taps of all passes if wanted, and what is kept for backward runs."""
        network = self.network
        directions, passes = network.directions, len(network.units)
        x, states, fresh, params = leaves
        x = _plain(x)
        whole = x, _contiguous(states), _contiguous(fresh), _contiguous(params)
        rows = x.shape[0]
        wide, threads = x.dtype is torch.float64, torch.get_num_threads()
        final = _empty_states(x, (passes, rows), network.widths)
        y: Tensor | None = None
        kept: list[tuple[Any, ...]] = []
        inner: list[Tensor] = []
        for first in range(0, passes, directions):
            unit = network.units[first]
            x = x if y is None else y
            last = first == passes - directions
            y = _like_steps(x, directions * network.output) if self.y_wanted or not last else None
            program = unit.inner[1] if self.inner_wanted else unit.inference
            wanted, segment, size = None, 0, 0
            if needed is not None:
                wanted = self.wanted(needed, first)
                program = unit.differentiated(*wanted)[1]
                separate = self.lengths is not None or self.resets is not None
                numbers, segment = unit.core.plan(program, *x.shape, separate, x.element_size(), memory_budget())
                size = numbers * x.element_size()
            runs = []
            for direction in range(directions):
                index, reserve = first + direction, 0
                taps: list[Tensor] = []
                if self.inner_wanted:
                    taps = [x.new_empty((*x.shape[:2], width)) for _, width in unit.programs.inner]
                    inner += taps
                if wanted is not None:
                    kept.append((wanted, segment, x, _tensor(unit.core.Memory(size), size)))
                    reserve = kept[-1][-1].data_ptr()
                runs.append(
                    (
                        *self.inputs(index, x, whole),
                        *_steps(y, direction * network.output),
                        *_parts(final, index),
                        len(taps),
                        *itertools.chain.from_iterable(map(_steps, taps)),
                        reserve,
                        segment,
                        threads,
                        0 if self.packed is None else self.packed[index].address,
                    )
                )
            unit.core.forward(program, wide, *runs)
        return y, final, inner, kept

    def wanted(self, needed: Sequence[bool], index: int) -> tuple[bool, Wanted]:
        """Whether a gradient arrives at a pass's outputs, and which are wanted."""
        x, states, fresh, params = self.split(needed)
        first = index < self.network.directions
        below = any(params[: self.network.spans[index - index % self.network.directions].start])
        last = index >= len(self.network.units) - self.network.directions
        of_x = x if first else x or below or any(states) or any(fresh)
        watched = self.record is not None and self.record.gradients is not None
        return self.y_wanted or not last, Wanted(of_x, any(params), self.inner_wanted, watched)

    def backward(
        self,
        leaves: Sequence[Tensor],
        kept: list[tuple[Any, ...]],
        gradients: Sequence[Tensor | None],
        needed: Sequence[bool],
    ) -> list[Tensor | None]:
        """Gradients of the leaves that need one."""
        network = self.network
        directions, passes = network.directions, len(network.units)
        leaves = [_plain(leaves[0]), *_contiguous(leaves[1:])]
        whole = self.split(leaves)
        found: list[Tensor | None] = [
            torch.empty_like(leaf, memory_format=torch.contiguous_format) if need else None
            for leaf, need in zip(leaves, (False, *needed[1:]), strict=True)
        ]
        _, dstates, dfresh, dparams = self.split(found)
        states = network.states
        dfinal = [None if g is None else g.resolve_neg().contiguous() for g in gradients[1 : 1 + states]]
        dinner = [None if g is None else _plain(g) for g in gradients[1 + states :]]
        dy = None if gradients[0] is None else _plain(gradients[0])
        dx: Tensor | None = None
        for first in reversed(range(0, passes, directions)):
            unit = network.units[first]
            wanted, segment, x, _ = kept[first]
            _, forward, backward = unit.differentiated(*wanted)
            own = [_like_steps(x, x.shape[-1]) if wanted[1].x else None for _ in range(directions)]
            each = len(unit.programs.inner) if self.inner_wanted else 0
            runs = [
                (
                    *self.inputs(index, x, whole),
                    *_steps(dy, direction * network.output),
                    *_parts(dfinal, index),
                    *_steps(own[direction]),
                    *[0 if p is None else p.data_ptr() for p in dparams[network.spans[index]]],
                    *(_parts(dstates, index) if dstates else network.none),
                    *(_parts(dfresh, index) if dfresh else network.none),
                    each,
                    *itertools.chain.from_iterable(map(_steps, dinner[each * index : each * (index + 1)])),
                    *self.watched(index, x),
                    kept[index][3].data_ptr(),
                    segment,
                    torch.get_num_threads(),
                )
                for direction, index in enumerate(range(first, first + directions))
            ]
            unit.core.backward(forward, backward, x.dtype is torch.float64, *runs)
            dx, *others = own
            for other in others:
                dx = None if dx is None or other is None else dx.add_(other)
            dy = dx
        found[0] = dx if needed[0] else None
        return found

    def watched(self, index: int, x: Tensor) -> list[int]:
        """Room for the gradients of a pass's states, step by step, as the core is told of it."""
        if self.record is None or self.record.gradients is None:
            return [0]
        found = {name: x.new_zeros((*x.shape[:2], width)) for name, width in self.network.widths}
        self.record.gradients[index].update(found)
        return [len(found), *itertools.chain.from_iterable(map(_steps, found.values()))]

    def replayed(
        self, leaves: Sequence[Tensor], gradients: Sequence[Tensor | None], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """The same gradients from the traced programs run eagerly, themselves differentiable."""
        say_once(
            self.network.units[0].cell,
            "runs eagerly, step by step: a gradient that is itself differentiated (create_graph=True) is that of "
            "the definition",
        )
        # Views: where one leaf is computed from another (a vector from parameters, an input from the layer's own
        # weights, a state from what a reset puts in its place), each gradient is still by that leaf alone.
        leaves = [leaf.view_as(leaf) for leaf in leaves]
        results = self.eagerly(leaves)
        pairs = [(o, g) for o, g in zip(results, gradients, strict=True) if g is not None and o.requires_grad]
        inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
        if not pairs:
            return [torch.zeros_like(leaf) if need else None for leaf, need in zip(leaves, needed, strict=True)]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
        return [next(found) if need else None for need in needed]

    def eagerly(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, final states, and states and taps if wanted, by the traced programs, run eagerly."""
        if self.record is not None and self.record.gradients is not None:
            raise RuntimeError("gradients of states are recorded in a plain backward run, without create_graph")
        inner: list[Tensor] = []
        x, states, fresh, params = self.split(leaves)
        outputs: list[Tensor] = []
        finals: list[dict[str, Tensor]] = []
        for index, unit in enumerate(self.network.units):
            spec = unit.programs.spec
            own = dict(zip(unit.programs.params, params[self.network.spans[index]], strict=True))
            initial = {
                name: fresh[k][index] if fresh else x.new_full((width,), spec.initial.get(name, 0.0))
                for k, (name, width) in enumerate(spec.states.items())
            }
            state = {
                name: states[k][index] if states else v.expand(x.shape[0], -1)
                for k, (name, v) in enumerate(initial.items())
            }
            record = Record([{}]) if self.inner_wanted else None
            noise = None if self.noise is None else of_pass(self.noise, index)
            operands = Operands(x, state, initial, own, self.lengths, self.resets, noise, record)
            reverse = self.reverse or index % self.network.directions == 1
            y, final = eager.run(unit.programs.replay, unit.programs.replay.spec(), operands, reverse)
            outputs.append(y)
            finals.append(final)
            if record is not None and record.values is not None:
                inner += [record.values[0][name] for name, _ in unit.programs.inner]
            if len(outputs) == self.network.directions:
                x = torch.cat(outputs, -1)
                outputs.clear()
        return [
            x,
            *[torch.stack([final[name] for final in finals]) for name in self.network.units[0].spec.states],
            *inner,
        ]


class _Run(torch.autograd.Function):
    """A run with its gradient."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *leaves: Tensor) -> tuple[Tensor | None, ...]:
        """The output, then the final states, then states and taps if wanted."""
        y, final, inner, kept = call.forward(call.split(leaves), ctx.needs_input_grad[1:])
        ctx.call, ctx.settings = call, [entry[:2] for entry in kept]
        ctx.save_for_backward(*leaves, *[tensor for entry in kept for tensor in entry[2:]])
        ctx.set_materialize_grads(False)
        return y, *final, *inner

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the leaves."""
        needed = ctx.needs_input_grad[1:]
        tensors = ctx.saved_tensors  # read once: a checkpointed run unpacks them anew each time, and refuses
        leaves, saved = tensors[: len(needed)], tensors[len(needed) :]
        if torch.is_grad_enabled():
            return None, *ctx.call.replayed(leaves, gradients, needed)
        kept = [(*entry, *saved[2 * i : 2 * i + 2]) for i, entry in enumerate(ctx.settings)]
        return None, *ctx.call.backward(leaves, kept, gradients, needed)
