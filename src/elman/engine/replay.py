"""A traced program run as a cell: what the native engine computes, in tensors that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.cells import Cell, Gates, Inputs, Spec, State, Step, Weights
from elman.engine.program import MEANING, REDUCTIONS, Node, Program

Multiplied = Callable[[Node, Tensor], Tensor]


def evaluate(nodes: Sequence[Node], leaf: Callable[[Node], Tensor], multiply: Multiplied) -> list[Tensor]:
    """The value of every node.

    Args:
        nodes: each after its arguments.
        leaf: the value of a leaf that is no constant.
        multiply: the rows of a `product` node times an operand, without what the sum starts from.
    """
    values: list[Any] = []
    for n in nodes:
        args = [values[a] for a in n.args]
        if n.op == "const":
            values.append(float.fromhex(n.attr))
        elif not n.args:
            values.append(leaf(n))
        elif n.op == "product":
            values.append(sum(args[1:], multiply(n, args[0])))
        elif n.op == "torch":
            function, template, options = n.attr
            given = iter(args)
            values.append(function(*(next(given) if t is ... else t for t in template), **dict(options)))
        elif n.op in REDUCTIONS:
            values.append(reduction(n, args[0]))
        else:
            like = next(a for a in args if isinstance(a, Tensor))
            values.append(MEANING[n.op](*(a if isinstance(a, Tensor) else like.new_tensor(a) for a in args)))
    return values


def reduction(n: Node, v: Tensor) -> Tensor:
    """Over the units of a row: mean, sum, or 1 / sqrt(variance + eps)."""
    if n.op == "rstd":
        return torch.rsqrt(v.var(-1, correction=0, keepdim=True) + n.attr)
    return v.mean(-1, keepdim=True) if n.op == "mean" else v.sum(-1, keepdim=True)


def derived(prologue: Program | None, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is computed from the parameters alone, by name; PyTorch differentiates it."""
    if prologue is None:
        return {}

    def leaf(n: Node) -> Tensor:
        return params[n.parameter].narrow(0, n.row, n.width)

    def multiply(n: Node, v: Tensor) -> Tensor:
        return linear(v, leaf(n))

    values = evaluate(prologue.nodes, leaf, multiply)
    return {name: values[i].expand(prologue.nodes[i].width) for (name,), i in prologue.outputs.items()}


@dataclass(frozen=True, eq=False)
class Replay(Cell):
    """A program as a cell, for the eager run.

    Its spec has the biases and the derived vectors among the vectors: a product is W v alone.

    Args:
        program: a traced step.
    """

    program: Program
    gates_of: Mapping[tuple[str, int], tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        found = {}
        for block_name, block in self.program.spec.blocks.items():
            row = 0
            for gate, width in block.gates.items():
                found[block.weight, row] = block_name, gate
                row += width
        object.__setattr__(self, "gates_of", found)

    def spec(self, inputs: int = 0, hidden: int = 0, bias: bool = True) -> Spec:
        """The sizes are those of the program; the arguments have no part in it."""
        spec = self.program.spec
        biases = {b.bias: spec.params[b.bias].shape[0] for b in spec.blocks.values() if b.bias}
        plain = {name: replace(b, bias=None) for name, b in spec.blocks.items()}
        return replace(spec, blocks=plain, vectors={**spec.vectors, **biases})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The nodes of the program, one after the other."""
        states, weights = dict(s.items()), dict(w.items())
        taken: dict[tuple[str, int], Gates] = {}

        def leaf(n: Node) -> Any:
            if n.op in ("raw", "noise"):
                return x.raw if n.op == "raw" else x[n.attr]
            return states[n.attr] if n.op == "state" else weights[n.parameter].narrow(0, n.row, n.width)

        def multiply(n: Node, v: Tensor) -> Any:
            block, gate = self.gates_of[n.attr]
            if block == "ih" and v is x.raw:
                return x[gate]
            if (block, id(v)) not in taken:
                taken[block, id(v)] = weights[block][self.used(block)](v)
            return taken[block, id(v)][gate]

        values = evaluate(self.program.nodes, leaf, multiply)
        outputs = {key[-1]: values[i] for key, i in self.program.outputs.items()}
        states, y = {name: outputs.pop(name) for name in self.program.spec.states}, outputs.pop("y")
        return Step(**states, y=y, **outputs)

    def used(self, block: str) -> tuple[str, ...]:
        """The gates of a block that the program reads."""
        read = {n.attr for n in self.program.nodes if n.op == "product"}
        return tuple(gate for key, (name, gate) in self.gates_of.items() if name == block and key in read)
