"""What the native engine runs: a cell at given sizes as programs of the compiled core, or the reason why not."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine.compiled import Programs, Untraceable, programs
from elman.engine.differentiate import Wanted
from elman.engine.extension import native, why_not

KINDS = (Tensor, torch.nn.Parameter)
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
    alone: Any = None  # what runs it as a network of one pass
    training: dict[tuple[bool, Wanted], tuple[Programs, Any, Any]] = field(default_factory=dict)

    @cached_property
    def programs(self) -> Programs:
        """The texts that give every gradient."""
        return programs(self.cell, self.spec)

    @cached_property
    def output_state(self) -> int | None:
        """The state that is the output, counted from 0; None where the output is no state."""
        made = self.programs.replay.program.outputs
        y = made["y",]
        return next((k for k, name in enumerate(self.spec.states) if made["state", name] == y), None)

    @cached_property
    def inference(self) -> Any:
        """The forward program that keeps nothing."""
        return self.core.Program(self.programs.inference)

    @cached_property
    def inner(self) -> tuple[Programs, Any]:
        """The same that gives out every state and tap."""
        texts = programs(self.cell, self.spec, wanted=Wanted(inner=True))
        return texts, self.core.Program(texts.inference)

    def differentiated(self, y_given: bool, wanted: Wanted) -> tuple[Programs, Any, Any]:
        """The forward program that keeps what is needed for these gradients, and the backward program."""
        key = y_given, wanted
        if key not in self.training:
            texts = programs(self.cell, self.spec, y_given=y_given, wanted=wanted)
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


def refusal(cell: Cell, spec: Spec, x: Tensor, others: Iterable[Tensor] = ()) -> str | None:
    """Why the engine cannot run this, or None when it can; `others` are the states and parameters."""
    if x.dtype is not torch.float32 and x.dtype is not torch.float64:
        return f"the native engine computes in float32 and float64, not in {x.dtype}".replace("torch.", "")
    if not x.is_cpu:
        return f"the native engine runs on the CPU, x is on {x.device}"
    for tensor in (x, *others):
        if type(tensor) not in KINDS or tensor.layout is not torch.strided:
            kind = type(tensor).__name__
            return f"the native engine takes plain tensors, not {kind} of layout {tensor.layout}".replace(
                "torch.", ""
            )
    if x.is_neg():
        return "the native engine reads memory as it is, and x is a view that negates it"
    return observed() or absent() or untraceable(cell, spec)


def absent() -> str | None:
    """That the engine is not there, and what to do, or None where it is."""
    return None if native() is not None else f"the native engine is {why_not()}"


def observed() -> str | None:
    """Who wants to see the operations of the definition, if anyone does."""
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace records operations of torch alone"
    if torch._C._len_torch_dispatch_stack():
        return transformed() or "a dispatch mode is on: it sees the operations of the definition"
    return transformed()


def transformed() -> str | None:
    """Which derivative is being taken that the core knows nothing of, if one is."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "the native engine knows no transforms of torch.func"
    if torch.autograd.forward_ad._current_level >= 0:
        return "the native engine knows no forward-mode differentiation"
    return None


def under_vmap() -> bool:
    """Whether tensors may be whole batches that look like one row."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return False
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(level.key() == torch._C._functorch.TransformType.Vmap for level in stack)


def untraceable(cell: Cell, spec: Spec) -> str | None:
    """Why the cell's step cannot be written as a program, or None when it can; the core must be there."""
    try:
        _ = compiled(cell, spec).programs
    except Untraceable as error:
        return f"the cell's step is no step program: {error}"
    return None


_SAID: set[tuple[type[Cell], str]] = set()


def say_once(cell: Cell, what: str) -> None:
    """Warns that something else than the core runs this class of cells: once a process for each reason."""
    if (type(cell), what) not in _SAID:
        _SAID.add((type(cell), what))
        warnings.warn(f"{type(cell).__name__} {what}", stacklevel=5)
