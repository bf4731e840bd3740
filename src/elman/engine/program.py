"""A step program: what one time step computes, as nodes in an order in which they can be evaluated.

A leaf node has no arguments and its attribute says which value it is:

- `raw`: x_t; `state`: a state before the step, by name; `vector`: (parameter, first row), the same for every row
  of the batch; `noise`: random numbers, by name; `const`: a number, written by `float.hex`;
- in a backward program also `gradient`: what arrives at a state or at `y`; `after`: a state after the step;
  `saved`: a kept value, by its number; `value`: a forward node, before `plan` decides where it comes from.

Operations with an attribute: `product` (matrix, first row), whose arguments are the operand and then what the sum
starts from; `product_t` (matrix, first rows), the transposed product of several gradients; `rstd` (eps); `torch`
(function, arguments, options), which PyTorch computes from parameters once a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from elman.cells import Spec

CONDITIONS = ("lt", "le", "eq")
REDUCTIONS = ("mean", "sum", "rstd")
WHOLE = ("product", "product_t", *REDUCTIONS)  # these read all units of an operand; the rest works unit by unit
LEAVES = ("raw", "state", "vector", "const", "noise", "gradient", "after", "saved", "value")

# What each pointwise operation means. A condition is 1 or 0 in the number format of what was compared.
MEANING: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": softplus,
    "abs": torch.abs,
    "max": torch.maximum,
    "min": torch.minimum,
    "lt": lambda a, b: (a < b).to(a.dtype),
    "le": lambda a, b: (a <= b).to(a.dtype),
    "eq": lambda a, b: (a == b).to(a.dtype),
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "normal": lambda v, mean, rstd: (v - mean) * rstd,
}


@dataclass(frozen=True)
class Node:
    """One value of a step.

    Attributes:
        op: an operation or the kind of a leaf.
        args: the nodes it is computed from.
        attr: what distinguishes it beside its arguments; see the head of this module.
        width: units in a row; 1 spreads over the units of what it is combined with.
        rows: false where it is the same for all rows of the batch.
    """

    op: str
    args: tuple[int, ...] = ()
    attr: Any = None
    width: int = 1
    rows: bool = True

    @property
    def parameter(self) -> str:
        """The name of the matrix of a product, or of the tensor a vector is part of."""
        return str(self.attr[0])

    @property
    def row(self) -> int:
        """The first row of a product's matrix or of a vector."""
        return int(self.attr[1])


@dataclass(frozen=True, eq=False)
class Program:
    """Nodes, and the names of those that are results.

    Attributes:
        spec: what the cell declares, with the derived vectors among its parameters.
        nodes: each after its arguments.
        outputs: results by the words of their `out` line: `("state", "h")`, `("y",)`, `("carry", "h")`, ...
        prologue: what is computed from the parameters alone, once a call; its outputs name vectors of `spec`.
    """

    spec: Spec
    nodes: tuple[Node, ...]
    outputs: Mapping[tuple[Any, ...], int]
    prologue: Program | None = None


class Value:
    """A node under construction; arithmetic on it appends to the tape."""

    __slots__ = ("id", "tape")

    def __init__(self, tape: Tape, id: int) -> None:
        self.tape, self.id = tape, id

    @property
    def node(self) -> Node:
        """The node itself."""
        return self.tape.nodes[self.id]

    def __add__(self, other: Operand) -> Any:
        return self.tape.emit("add", self, other)

    def __sub__(self, other: Operand) -> Any:
        return self.tape.emit("sub", self, other)

    def __rsub__(self, other: Operand) -> Any:
        return self.tape.emit("sub", other, self)

    def __mul__(self, other: Operand) -> Any:
        return self.tape.emit("mul", self, other)

    def __truediv__(self, other: Operand) -> Any:
        return self.tape.emit("div", self, other)

    def __rtruediv__(self, other: Operand) -> Any:
        return self.tape.emit("div", other, self)

    def __neg__(self) -> Any:
        return self.tape.emit("neg", self)

    __radd__, __rmul__ = __add__, __mul__


Operand = Value | float


class Tape:
    """A program under construction. Equal nodes are one node, and what is known already is computed already.

    Example:
        >>> tape = Tape()
        >>> x = tape.node("raw", width=3)
        >>> (x + 2).id == (1 + 1 + x * 1).id
        True
    """

    def __init__(self, value: type[Value] = Value) -> None:
        self.nodes: list[Node] = []
        self.index: dict[Node, int] = {}
        self.value = value

    def add(self, node: Node) -> Any:
        """The value of a node, which is appended unless it is there."""
        if node not in self.index:
            self.index[node] = len(self.nodes)
            self.nodes.append(node)
        return self.value(self, self.index[node])

    def node(
        self, op: str, *args: Value, attr: Any = None, width: int | None = None, rows: bool | None = None
    ) -> Any:
        """As `add`; width and dependence on the row follow from the arguments unless they are given."""
        wide = max((a.node.width for a in args), default=1) if width is None else width
        by_row = any(a.node.rows for a in args) if rows is None else rows
        return self.add(Node(op, tuple(a.id for a in args), attr, wide, by_row))

    def const(self, number: float) -> Any:
        """A number."""
        return self.node("const", attr=float(number).hex(), width=1, rows=False)

    def lift(self, value: Any) -> Any:
        """A value as it is, a number as a constant.

        Raises:
            TypeError: it is neither.
        """
        if isinstance(value, Value):
            return value
        if isinstance(value, (int, float)):
            return self.const(value)
        raise TypeError(f"a step computes with its arguments and with numbers, not with a {type(value).__name__}")

    def emit(self, op: str, *operands: Operand) -> Any:
        """A pointwise operation on values and numbers.

        Raises:
            ValueError: the widths differ, or conditions are used as numbers.
        """
        args: tuple[Value, ...] = tuple(map(self.lift, operands))
        if all(a.node.op == "const" for a in args):
            return self.const(MEANING[op](*map(_number, args)).item())
        if (known := _neutral(op, args)) is not None:
            return known
        if op not in ("where", "eq") and all(a.node.op in (*CONDITIONS, "const") for a in args):
            raise ValueError(f"{op} of conditions: use torch.where")
        if op == "add" and "neg" in (args[0].node.op, args[1].node.op):  # a + (-b) is a - b, in every bit
            a, b = args if args[1].node.op == "neg" else args[::-1]
            return self.emit("sub", a, self.value(self, b.node.args[0]))
        widths = sorted({a.node.width for a in args} - {1})
        if len(widths) > 1:
            raise ValueError(f"{op} of rows of widths {widths}")
        if op in ("add", "mul", "max", "min", "eq") and args[0].id > args[1].id:
            args = args[::-1]  # one spelling of a commutative operation
        return self.node(op, *args)

    def copy_of(self, node: Node, renamed: Mapping[int, Value]) -> Any:
        """A node of another program, over arguments that have a value here."""
        return self.add(replace(node, args=tuple(renamed[a].id for a in node.args)))


def _number(value: Value) -> Tensor:
    return torch.tensor(float.fromhex(value.node.attr), dtype=torch.float64)


def _neutral(op: str, args: tuple[Value, ...]) -> Value | None:
    """The argument that an operation with 0 or 1 returns unchanged, if it is one."""

    def is_const(value: Value, number: float) -> bool:
        return value.node.op == "const" and value.node.attr == number.hex()

    if op in ("add", "sub", "mul", "div"):
        neutral = 0.0 if op in ("add", "sub") else 1.0
        if is_const(args[1], neutral):
            return args[0]
        if op in ("add", "mul") and is_const(args[0], neutral):
            return args[1]
    return None


def prune(program: Program, keep: Iterable[tuple[Any, ...]] | None = None) -> Program:
    """The same without the nodes that no result needs; only the results named by `keep`, if given."""
    outputs = {key: program.outputs[key] for key in (program.outputs if keep is None else keep)}
    live: set[int] = set()
    stack = list(outputs.values())
    while stack:
        if (i := stack.pop()) not in live:
            live.add(i)
            stack += program.nodes[i].args
    new = {old: i for i, old in enumerate(sorted(live))}
    nodes = tuple(
        replace(program.nodes[i], args=tuple(new[a] for a in program.nodes[i].args)) for i in sorted(live)
    )
    return replace(program, nodes=nodes, outputs={key: new[i] for key, i in outputs.items()})
