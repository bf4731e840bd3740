"""The native engine: step programs executed by the compiled core, forward and backward.

Derivatives of derivatives are, by definition, those of the traced program run eagerly on the same tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import eager
from elman.engine.compiled import Programs, Untraceable, programs
from elman.engine.extension import native, why_not
from elman.engine.operands import Operands

_KINDS = (Tensor, torch.nn.Parameter)
_DTYPES = (torch.float32, torch.float64)
_budget = 256 << 20


def memory_budget() -> int:
    """Bytes that one run may keep for its backward pass; beyond it, it is run again segment by segment.

    Example:
        >>> memory_budget() // 2**20
        256
    """
    return _budget


def set_memory_budget(megabytes: float) -> None:
    """Sets `memory_budget` for all runs that begin after it.

    Raises:
        ValueError: the budget is negative.
    """
    global _budget
    if not megabytes >= 0:
        raise ValueError(f"a memory budget is a number of megabytes from 0 on, got {megabytes!r}")
    _budget = int(megabytes * 2**20)


@dataclass(eq=False)
class Compiled:
    """A cell at given sizes, parsed by the core when it is first needed."""

    cell: Cell
    spec: Spec
    core: ModuleType
    training: dict[tuple[bool, bool, bool], tuple[Programs, Any, Any]] = field(default_factory=dict)

    @cached_property
    def programs(self) -> Programs:
        """The texts that give every gradient."""
        return programs(self.cell, self.spec)

    @cached_property
    def inference(self) -> Any:
        """The forward program that keeps nothing."""
        return self.core.Program(self.programs.inference)

    def differentiated(self, y_given: bool, want_x: bool, want_params: bool) -> tuple[Programs, Any, Any]:
        """The forward program that keeps what is needed for these gradients, and the backward program."""
        key = y_given, want_x, want_params
        if key not in self.training:
            texts = programs(self.cell, self.spec, y_given=y_given, want_x=want_x, want_params=want_params)
            self.training[key] = texts, self.core.Program(texts.forward), self.core.Program(texts.backward)
        return self.training[key]


_COMPILED: OrderedDict[int, Compiled] = OrderedDict()


def compiled(cell: Cell, spec: Spec) -> Compiled:
    """The cell's programs; kept for the specs used last."""
    found = _COMPILED.get(id(spec))
    if found is None or found.spec is not spec or found.cell is not cell:
        core = native()
        if core is None:
            raise ValueError(f"the native engine is {why_not()}")
        found = _COMPILED[id(spec)] = Compiled(cell, spec, core)
        if len(_COMPILED) > 512:
            _COMPILED.popitem(last=False)
    return found


class Misfit(ValueError):
    """A tensor of another number format, device or shape than the run needs; the message names it."""


def refusal(cell: Cell, spec: Spec, x: Tensor, others: Iterable[Tensor] = ()) -> str | None:
    """Why the engine cannot run this, or None when it can; `others` are the states and parameters."""
    if x.dtype not in _DTYPES:
        return f"the native engine computes in float32 and float64, not in {x.dtype}".replace("torch.", "")
    if x.device.type != "cpu":
        return f"the native engine runs on the CPU, x is on {x.device}"
    if native() is None:
        return f"the native engine is {why_not()}"
    for tensor in (x, *others):
        if type(tensor) not in _KINDS or tensor.layout is not torch.strided:
            kind = type(tensor).__name__
            return f"the native engine takes plain tensors, not {kind} of layout {tensor.layout}".replace(
                "torch.", ""
            )
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace records operations of torch alone"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "under a transform of torch.func the definition itself is differentiated"
    if torch.autograd.forward_ad._current_level >= 0:
        return "in forward-mode differentiation the definition itself is differentiated"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode is on: it sees the operations of the definition"
    return untraceable(cell, spec)


def untraceable(cell: Cell, spec: Spec) -> str | None:
    """Why the cell's step cannot be written as a program, or None when it can; the core must be there."""
    try:
        _ = compiled(cell, spec).programs
    except Untraceable as error:
        return f"the cell's step is no step program: {error}"
    return None


def run(
    cell: Cell, spec: Spec, operands: Operands, reverse: bool = False, y_wanted: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, by the compiled core.

    Raises:
        Misfit: a state or parameter is not of the format and device of `x`, or not of its shape in `spec`.
    """
    _check(spec, operands)
    unit = compiled(cell, spec)
    params = {**operands.params, **unit.programs.derived(operands.params)}
    leaves = (
        operands.x,
        *operands.state.values(),
        *operands.fresh.values(),
        *[params[name] for name in unit.programs.params],
    )
    call = _Call(unit, reverse, operands.lengths, operands.resets, y_wanted)
    if torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves):
        y, *final = _Run.apply(call, *leaves)  # type: ignore[no-untyped-call]
    else:
        y, final, _ = call.forward(leaves, None)
    return y, dict(zip(spec.states, final, strict=True))


def _check(spec: Spec, operands: Operands) -> None:
    """The core reads memory by these shapes: any other would be read past its end."""
    x = operands.x
    rows, dtype, device = x.shape[0], x.dtype, x.device
    if x.shape[2] != spec.inputs:
        raise Misfit(f"x has {x.shape[2]} numbers a step, the cell reads {spec.inputs}")
    for name, width in spec.states.items():
        for tensor, shape in ((operands.state[name], (rows, width)), (operands.fresh[name], (width,))):
            if tensor.shape != shape or tensor.dtype != dtype or tensor.device != device:
                raise _misfit(f"state {name}", tensor, shape, x)
    for name, param in spec.params.items():
        tensor = operands.params[name]
        if tensor.shape != param.shape or tensor.dtype != dtype or tensor.device != device:
            raise _misfit(name, tensor, param.shape, x)


def _misfit(name: str, tensor: Tensor, shape: Sequence[int], x: Tensor) -> Misfit:
    wanted, got = (tuple(shape), x.dtype, x.device), (tuple(tensor.shape), tensor.dtype, tensor.device)
    said = [", ".join(map(str, values)).replace("torch.", "") for values in (wanted, got)]
    return Misfit(f"{name} must be {said[0]}, as x and the sizes are; got {said[1]}")


def _plain(tensor: Tensor) -> Tensor:
    """With the numbers of a step side by side, as the core reads them."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype, memory_format=torch.contiguous_format, copy=True)


def _steps(tensor: Tensor | None) -> tuple[int, int, int]:
    """Address and strides of (B, T, width); zeros for None."""
    if tensor is None:
        return 0, 0, 0
    row, step, _ = tensor.stride()
    return tensor.data_ptr(), row, step


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if t is None else t.data_ptr() for t in tensors]


def _like_steps(x: Tensor, width: int) -> Tensor:
    """Room for (B, T, width), time before rows in memory where x has it so."""
    rows, steps = x.shape[:2]
    if x.stride(0) < x.stride(1):
        return x.new_empty(steps, rows, width).transpose(0, 1)
    return x.new_empty(rows, steps, width)


@dataclass(eq=False)
class _Call:
    """One run: what is neither a leaf nor a gradient."""

    unit: Compiled
    reverse: bool
    lengths: Tensor | None
    resets: Tensor | None
    y_wanted: bool

    def __post_init__(self) -> None:
        # Copies: the backward run reads them again, and the caller may have written over its own by then.
        self.lengths = None if self.lengths is None else _copy(self.lengths, torch.int64)
        self.resets = None if self.resets is None else _copy(self.resets, torch.bool)

    def inputs(self, x: Tensor, rest: Sequence[Tensor]) -> list[int]:
        """The numbers by which the core finds its inputs; see `Numbers::inputs` in csrc/python.cpp."""
        rows, steps, width = x.shape
        lengths = 0 if self.lengths is None else self.lengths.data_ptr()
        resets = 0 if self.resets is None else self.resets.data_ptr()
        states = len(self.unit.spec.states)
        return [
            rows, steps, self.reverse, lengths, resets, *_steps(x), width,
            *_addresses(rest[2 * states :]), *_addresses(rest[: 2 * states]),
        ]  # fmt: skip

    def forward(
        self, leaves: Sequence[Tensor], wanted: tuple[bool, bool, bool] | None
    ) -> tuple[Tensor | None, list[Tensor], tuple[Any, int] | None]:
        """The output, the final states, and what the backward run needs when gradients are wanted."""
        x, *rest = _plain(leaves[0]), *[leaf.contiguous() for leaf in leaves[1:]]
        spec, rows = self.unit.spec, x.shape[0]
        y = _like_steps(x, spec.output) if self.y_wanted else None
        final = [x.new_empty(rows, width) for width in spec.states.values()]
        core = self.unit.core
        if wanted is None:
            program, reserve, segment = self.unit.inference, None, 0
        else:
            program = self.unit.differentiated(*wanted)[1]
            separate = self.lengths is not None or self.resets is not None
            numbers, segment = core.plan(program, *x.shape, separate, x.element_size(), _budget)
            reserve = core.Memory(numbers * x.element_size())
        core.forward(
            program,
            None,
            x.dtype == torch.float64,
            (
                *self.inputs(x, rest),
                *_steps(y),
                *_addresses(final),
                0 if reserve is None else reserve.address,
                segment,
                torch.get_num_threads(),
            ),
        )
        return y, final, None if reserve is None else (reserve, segment)

    def backward(
        self,
        leaves: Sequence[Tensor],
        wanted: tuple[bool, bool, bool],
        kept: tuple[Any, int],
        gradients: Sequence[Tensor | None],
        needed: Sequence[bool],
    ) -> list[Tensor | None]:
        """Gradients of the leaves that need one."""
        x, *rest = _plain(leaves[0]), *[leaf.contiguous() for leaf in leaves[1:]]
        dy = None if gradients[0] is None else _plain(gradients[0])
        dfinal = [None if g is None else g.contiguous() for g in gradients[1:]]
        found: list[Tensor | None] = [
            torch.empty_like(leaf, memory_format=torch.contiguous_format) if need else None
            for leaf, need in zip(rest, needed[1:], strict=True)
        ]
        dx = _like_steps(x, x.shape[-1]) if needed[0] else None
        states = len(self.unit.spec.states)
        _, first, second = self.unit.differentiated(*wanted)
        reserve, segment = kept
        self.unit.core.backward(
            first,
            second,
            x.dtype == torch.float64,
            (
                *self.inputs(x, rest),
                *_steps(dy),
                *_addresses(dfinal),
                *_steps(dx),
                *_addresses(found[2 * states :]),
                *_addresses(found[: 2 * states]),
                reserve.address,
                segment,
                torch.get_num_threads(),
            ),
        )
        return [dx, *found]

    def replayed(
        self, leaves: Sequence[Tensor], gradients: Sequence[Tensor | None], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """The same gradients from the traced program run eagerly, themselves differentiable."""
        texts = self.unit.programs
        spec = texts.replay.spec()
        operands = Operands.from_leaves(texts.spec, leaves, self.lengths, self.resets)
        y, final = eager.run(texts.replay, spec, operands, self.reverse)
        pairs = [
            (o, g)
            for o, g in zip((y, *final.values()), gradients, strict=True)
            if g is not None and o.requires_grad
        ]
        inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
        if not pairs:
            return [torch.zeros_like(leaf) if need else None for leaf, need in zip(leaves, needed, strict=True)]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
        return [next(found) if need else None for need in needed]


class _Run(torch.autograd.Function):
    """A run with its gradient."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *leaves: Tensor) -> tuple[Tensor | None, ...]:
        """The output, then the final states."""
        states = len(call.unit.spec.states)
        needed = ctx.needs_input_grad[1:]
        ctx.wanted = call.y_wanted, needed[0], any(needed[1 + 2 * states :])
        y, final, kept = call.forward(leaves, ctx.wanted)
        assert kept is not None  # noqa: S101 - for the type checker: gradients are wanted
        ctx.call, ctx.kept = call, kept
        ctx.save_for_backward(*leaves)
        ctx.set_materialize_grads(False)
        return y, *final

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the leaves."""
        leaves = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *ctx.call.replayed(leaves, gradients, needed)
        return None, *ctx.call.backward(leaves, ctx.wanted, ctx.kept, gradients, needed)
