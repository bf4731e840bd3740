"""Where two programs part: a cell and its trace, node by node; the definition and a backend, step by step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from elman.cells import Cell, Spec, State, contract
from elman.cells.contract import bind_weights
from elman.checking.runs import Data, Subject
from elman.engine import RUNS, Operands, eager, replay
from elman.engine.program import Node, Program, Tape
from elman.engine.tolerances import TOLERANCES
from elman.engine.trace import Sym, record
from elman.nn.stack import fresh_states, prepared

_NOT_THE_AUTHOR = (
    str(Path(eager.__file__).parent), str(Path(torch.__file__).parent), contract.__file__, __file__
)  # fmt: skip


def first_difference(subject: Subject, data: Data, backend: str, dtype: torch.dtype) -> str:
    """Where the first layer of a network, run forwards, first differs from its definition; empty: nowhere.

    For the engine the definition is first compared with its traced program, operation by operation, and the
    folded program with both; then the backend with the definition, after every step.
    """
    stack, cell, spec, data = subject.stack, subject.stack.cell, subject.stack.resting[0], data.to(dtype)
    weights = [subject.weights[name].to(dtype) for name in stack.names]
    if cell.prepares:
        weights = prepared(stack, weights, None)
    fresh = fresh_states(spec, None, 0, data.x)
    before = [s[0] for s in data.state] or [f.expand(len(data.x), -1) for f in fresh.values()]
    operands = Operands(
        x=data.x,
        state=dict(zip(spec.states, before, strict=True)),
        fresh=fresh,
        params=dict(zip(spec.params, weights, strict=False)),
        lengths=data.lengths,
        resets=data.resets,
    ).without_padding()
    if backend == "native" and (node := node_apart(cell, spec, _exact(operands))):
        return node
    return step_apart(cell, spec, operands, backend)


def node_apart(cell: Cell, spec: Spec, operands: Operands) -> str:
    """The first operation of a cell's step that its program computes otherwise; empty: none.

    The step runs once on tensors, every operation noted, and once on symbols; each operation of the one must have
    a node of the other with its value.
    """
    tape, params, x = LocatedTape(), operands.params, operands.x[:, 0]
    program = record(tape, cell, spec)

    def leaf(n: Node) -> Tensor:
        if n.op == "raw":
            return x
        return operands.state[n.attr] if n.op == "state" else operands.part(n.parameter, n.row, n.width)

    def multiply(n: Node, v: Tensor) -> Tensor:
        return linear(v, params[n.parameter].narrow(0, n.row, n.width))

    values = replay.evaluate(program.nodes, leaf, multiply)
    by_tensors = eager.multiplication(params)
    weights = bind_weights(spec, params, by_tensors, operands.part)
    inputs = next(iter(eager.inputs_by_step(spec, operands, by_tensors)))
    with Noted() as noted:
        cell.step(inputs, State(**operands.state), weights)
    made = [done.value for done in noted.operations]
    for done in noted.operations:
        if any(_close(done.value, value) for value in values):
            continue
        here = [k for k, where in enumerate(tape.places) if where == done.place and _is_written(program, k)]
        strange = [k for k in here if not any(_close(value, values[k]) for value in made)] or here
        node = f"node {strange[0]}: {program.nodes[strange[0]].op}" if strange else "no node"
        return f"the step and its program first differ at {node}, for {done.name} ({done.place})"
    return ""


def _is_written(program: Program, k: int) -> bool:
    """Whether a node stands in the step itself: not a leaf, nor a product with its bias."""
    node, ops = program.nodes[k], [program.nodes[a].op for a in program.nodes[k].args]
    return bool(ops) and node.op != "product" and not (node.op == "add" and "product" in ops and "vector" in ops)


def step_apart(cell: Cell, spec: Spec, operands: Operands, backend: str) -> str:
    """The first step after which a state, or the output, of a backend is not the definition's; empty: none."""
    exact, dtype, whole = _exact(operands), operands.x.dtype, operands.x.shape[1]
    for steps in range(1, whole + 1):
        y, final = RUNS[backend](cell, spec, _first(operands, steps), False)
        wanted_y, wanted = eager.run(cell, spec, _first(exact, steps))
        pairs = [(f"state {name}", final[name], wanted[name]) for name in spec.states]
        for name, got, value in [*pairs, ("the output", y, wanted_y)]:
            if not _close(got, value, TOLERANCES[dtype]):
                return f"{backend} first differs at step {steps - 1} of {whole}, {name}"
    return ""


class Operation(NamedTuple):
    """What a step did with tensors: the function's name, the line of its author, and what came out."""

    name: str
    place: str
    value: Tensor


class Noted(TorchFunctionMode):
    """Notes every operation on tensors, but for those of the engine itself."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls the function."""
        value = function(*args, **(kwargs or {}))
        caller = sys._getframe(1).f_code.co_filename
        if isinstance(value, Tensor) and not caller.startswith(_NOT_THE_AUTHOR[0]):
            self.operations.append(
                Operation(getattr(function, "__name__", str(function)).strip("_"), place(), value)
            )
        return value


class LocatedTape(Tape):
    """A tape that knows the line of the author at which each node was made."""

    def __init__(self) -> None:
        super().__init__(Sym)
        self.places: list[str] = []

    def add(self, node: Node) -> Any:
        """As `Tape.add`."""
        value = super().add(node)
        if len(self.nodes) > len(self.places):
            self.places.append(place())
        return value


def place() -> str:
    """The line that is at work of the cell's author: the innermost one outside of PyTorch and the engine."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_AUTHOR):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _first(operands: Operands, steps: int) -> Operands:
    o = operands
    lengths = None if o.lengths is None else o.lengths.clamp(max=steps)
    resets = None if o.resets is None else o.resets[:, :steps]
    return replace(o, x=o.x[:, :steps], lengths=lengths, resets=resets)


def _exact(operands: Operands) -> Operands:
    def all_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.to(torch.float64) for name, t in tensors.items()}

    o = operands
    return replace(
        o, x=o.x.to(torch.float64), state=all_of(o.state), fresh=all_of(o.fresh), params=all_of(o.params)
    )


def _close(got: Any, wanted: Any, tolerance: float = TOLERANCES[torch.float64]) -> bool:
    if not isinstance(got, Tensor) or not isinstance(wanted, Tensor):
        return False
    if len({*got.shape[-1:], *wanted.shape[-1:]} - {1}) > 1:
        return False
    a, b = got.to(torch.float64), wanted.to(torch.float64)
    scale = b.abs().max().clamp(min=1.0) if b.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).logical_or(a.isnan() & b.isnan()).all())
