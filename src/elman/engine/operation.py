"""A run over a sequence as one registered operation, so that compiling or exporting a model does not unroll time.

The operation finds its cell by a key. Its gradient is an operation too, which runs the cell again and
differentiates that run. Outside of compilation nothing goes through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import backends
from elman.engine.operands import Operands

_DEFINITIONS: dict[str, tuple[Cell, Spec]] = {}
_LIBRARY = torch.library.Library("elman", "FRAGMENT")
_ARGUMENTS = "str key, str backend, bool reverse, Tensor[] leaves, Tensor? lengths, Tensor? resets, Tensor? noise"


def register(cell: Cell, spec: Spec) -> str:
    """The key by which the operation finds a cell and its sizes; equal definitions share one.

    Example:
        >>> from elman.cells.gru import GRU
        >>> register(GRU(), GRU().spec(3, 5))
        'elman.cells.gru.GRU() 3 5 bias'
    """
    bias = "bias" if any(block.bias for block in spec.blocks.values()) else "no bias"
    name = f"{type(cell).__module__}.{cell!r} {spec.inputs} {spec.hidden} {bias}" + " training" * bool(
        spec.drawn()
    )
    key, version = name, 1
    while key in _DEFINITIONS and _DEFINITIONS[key][0] != cell:  # a class defined again under the same name
        version += 1
        key = f"{name} version {version}"
    _DEFINITIONS[key] = cell, spec
    return key


def _forward(
    key: str,
    backend: str,
    reverse: bool,
    leaves: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    noise: Tensor | None,
) -> list[Tensor]:
    cell, spec = _DEFINITIONS[key]
    operands = Operands.from_leaves(spec, leaves, lengths, resets, noise)
    y, final = backends.run(cell, spec, operands, reverse, backend)
    return [y.clone(memory_format=torch.contiguous_format), *(s.clone() for s in final.values())]


def _forward_shapes(
    key: str,
    backend: str,
    reverse: bool,
    leaves: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    noise: Tensor | None,
) -> list[Tensor]:
    _, spec = _DEFINITIONS[key]
    x = leaves[0]
    rows, steps = x.shape[:2]
    return [x.new_empty(rows, steps, spec.output), *(x.new_empty(rows, w) for w in spec.states.values())]


def _backward(
    gradients: Sequence[Tensor],
    key: str,
    backend: str,
    reverse: bool,
    leaves: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    noise: Tensor | None,
) -> list[Tensor]:
    cell, spec = _DEFINITIONS[key]
    # Recorded even below a dispatch mode (a profiler's, a counter's), where autograd is switched off.
    recording = torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False)
    with recording, torch.enable_grad():
        again = [leaf.detach().requires_grad_() for leaf in leaves]
        operands = Operands.from_leaves(spec, again, lengths, resets, noise)
        y, final = backends.run(cell, spec, operands, reverse, backend)
        results = zip((y, *final.values()), gradients, strict=True)
        outputs = [(o, g) for o, g in results if o.requires_grad]  # without a step, y depends on nothing
        found = torch.autograd.grad([o for o, _ in outputs], again, [g for _, g in outputs], allow_unused=True)
    return [
        torch.zeros_like(leaf, memory_format=torch.contiguous_format) if g is None else g.contiguous().clone()
        for g, leaf in zip(found, leaves, strict=True)
    ]


def _backward_shapes(
    gradients: Sequence[Tensor], key: str, backend: str, reverse: bool, leaves: Sequence[Tensor], *_: Any
) -> list[Tensor]:
    return [torch.empty_like(leaf, memory_format=torch.contiguous_format) for leaf in leaves]


_LIBRARY.define(f"sequence({_ARGUMENTS}) -> Tensor[]")
_LIBRARY.define(f"sequence_backward(Tensor[] gradients, {_ARGUMENTS}) -> Tensor[]")
_LIBRARY.impl("sequence", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("sequence_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("elman::sequence", _forward_shapes, lib=_LIBRARY)
torch.library.register_fake("elman::sequence_backward", _backward_shapes, lib=_LIBRARY)


class RunSequence(torch.autograd.Function):
    """The operation with its gradient."""

    @staticmethod
    def forward(key: str, backend: str, reverse: bool, *tensors: Any) -> tuple[Tensor, ...]:
        """The outputs, then the final states; `tensors` are lengths, resets and noise or None, then the leaves."""
        lengths, resets, noise, *leaves = tensors
        return tuple(torch.ops.elman.sequence(key, backend, reverse, leaves, lengths, resets, noise))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keeps the inputs: the gradient runs the cell again."""
        ctx.key, ctx.backend, ctx.reverse, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the leaves."""
        lengths, resets, noise, *leaves = ctx.saved_tensors
        found = torch.ops.elman.sequence_backward(
            list(gradients), ctx.key, ctx.backend, ctx.reverse, leaves, lengths, resets, noise
        )
        return (None, None, None, None, None, None, *found)


def run(key: str, backend: str, operands: Operands, reverse: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, through the registered operation."""
    _, spec = _DEFINITIONS[key]
    others = operands.lengths, operands.resets, operands.noise
    y, *final = RunSequence.apply(  # type: ignore[no-untyped-call]
        key, backend, reverse, *others, *operands.leaves()
    )
    return y, dict(zip(spec.states, final, strict=True))
