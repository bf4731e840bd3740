"""Backpropagation through time: the backward step of a step program.

One step maps (x_t, s_{t-1}, parameters) to (y_t, s_t). Given the gradient of the loss with respect to y_t and s_t,
the backward step finds the gradient with respect to s_{t-1}, which is carried to step t-1, to x_t, and to every
parameter, which is added over the steps. It walks the forward nodes from the last to the first: when it comes to a
node, all that read it have passed their share, and `RULES` says in one line what it passes on to its arguments.

The gradient of a matrix is not formed at each step. The gradient of its product is handed out (`gate`), and after
the steps one large product of these with the operands is the gradient: dL/dW = sum over t of g_t v_t^T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from elman.engine.program import Node, Operand, Program, Tape, Value, prune

RAW = -1  # the operand of a product by which x_t itself is multiplied


def mean(v: Value) -> Any:
    """Over the units of a row."""
    return v if v.node.width == 1 else v.tape.node("mean", v, width=1)


def of(op: str, *operands: Operand) -> Any:
    """A pointwise operation that has no operator."""
    return next(v for v in operands if isinstance(v, Value)).tape.emit(op, *operands)


def select(condition: Value, a: Operand, b: Operand) -> Any:
    """Chooses a where the condition holds, else b."""
    return of("where", condition, a, b)


def tied(g: Value, lost: Value, a: Value, b: Value) -> Any:
    """The share of the winner of a maximum or minimum; a tie is halved, as in PyTorch."""
    return select(lost, 0.0, select(of("eq", a, b), 0.5 * g, g))


# g: the gradient of the result y; a, b, c: the arguments. PyTorch's conventions at ties, bounds and NaN.
RULES: Mapping[str, Callable[..., tuple[Value | None, ...]]] = {
    "add": lambda g, y, a, b: (g, g),
    "sub": lambda g, y, a, b: (g, -g),
    "mul": lambda g, y, a, b: (g * b, g * a),
    "div": lambda g, y, a, b: (g / b, -(g * y / b)),
    "neg": lambda g, y, a: (-g,),
    "exp": lambda g, y, a: (g * y,),
    "log": lambda g, y, a: (g / a,),
    "sqrt": lambda g, y, a: (g / (2.0 * y),),
    "rsqrt": lambda g, y, a: (-0.5 * g * (y * y * y),),
    "sigmoid": lambda g, y, a: (g * (y - y * y),),
    "tanh": lambda g, y, a: (g * (1.0 - y * y),),
    "relu": lambda g, y, a: (select(of("le", y, 0.0), 0.0, g),),
    "softplus": lambda g, y, a: (select(of("lt", 20.0, a), g, g * of("sigmoid", a)),),
    "abs": lambda g, y, a: (select(of("lt", 0.0, a), g, select(of("lt", a, 0.0), -g, 0.0)),),
    "max": lambda g, y, a, b: (tied(g, of("lt", a, b), a, b), tied(g, of("lt", b, a), a, b)),
    "min": lambda g, y, a, b: (tied(g, of("lt", b, a), a, b), tied(g, of("lt", a, b), a, b)),
    "where": lambda g, y, c, a, b: (None, select(c, g, 0.0), select(c, 0.0, g)),
    "lt": lambda g, y, a, b: (None, None),
    "le": lambda g, y, a, b: (None, None),
    "eq": lambda g, y, a, b: (None, None),
    "sum": lambda g, y, a: (g,),
    "mean": lambda g, y, a: (g / a.node.width,),
    # (a - m) r with the mean m and the reciprocal deviation r of a: what passes through them is in the first term.
    "normal": lambda g, y, a, m, r: (r * (g - mean(g) - y * mean(g * y)), None, None),
}


@dataclass(frozen=True)
class Wanted:
    """The gradients asked for beside those of the states, which are always carried.

    Attributes:
        x: of the inputs.
        params: of the parameters.
        inner: whether states and taps are returned step by step, so that gradients arrive at them too.
        states: of the states after each step, dL/ds_t, step by step.
    """

    x: bool = True
    params: bool = True
    inner: bool = False
    states: bool = False


def differentiate(forward: Program, wanted: Wanted = Wanted(), y_given: bool = True) -> Program:
    """The backward step of `forward`.

    Its leaves are `gradient`, what arrives at a state or, if `y_given`, at y; and `value`, a forward node, of
    which `plan` decides where it is read. Its results: `("carry", state)`; `("gate", matrix, row, operand)`, the
    gradient of a product with that forward node (`RAW`: with x_t); `("raw",)`, x_t's gradient apart from such
    products; `("vector", parameter, row)`, of each row of the batch; `("tap", k)`, of state k after the step.
    """
    walk = _Walk(forward, wanted)
    for key, i in forward.outputs.items():
        if key[0] == "state" or (key == ("y",) and y_given):
            walk.give(i, walk.tape.node("gradient", attr=key[-1], width=forward.nodes[i].width, rows=True))
    for j, (_, i) in enumerate(inner_values(forward) if wanted.inner else ()):
        walk.give(i, walk.tape.node("gradient", attr=f"tap {j}", width=forward.nodes[i].width, rows=True))
    for i in reversed(range(len(forward.nodes))):
        walk.visit(i)
    return prune(Program(forward.spec, tuple(walk.tape.nodes), {k: v.id for k, v in walk.results.items()}))


class _Walk:
    """The walk from the last node to the first, and the gradients collected on the way."""

    def __init__(self, forward: Program, wanted: Wanted) -> None:
        self.forward, self.wanted, self.tape = forward, wanted, Tape()
        self.gradient: dict[int, Value] = {}
        self.results: dict[tuple[Any, ...], Value] = {}
        self.useful = useful(forward, wanted)
        self.first: dict[tuple[str, int], int] = {}  # of the products of one matrix with one operand
        for i, n in enumerate(forward.nodes):
            if n.op == "product":
                self.first.setdefault((n.parameter, n.args[0]), i)

    def value(self, i: int) -> Value:
        """A value of the forward step."""
        n = self.forward.nodes[i]
        leaf: Value = self.tape.add(n if n.op == "const" else Node("value", (), i, n.width, n.rows))
        return leaf

    def give(self, i: int, g: Value | None) -> None:
        """Adds a share to the gradient of node i, in the width of the node."""
        n = self.forward.nodes[i]
        if g is None or not self.useful[i]:
            return
        if n.width < g.node.width:  # the node was spread over the units: their shares are collected
            g = self.tape.node("sum", g, width=1)
        elif n.width > g.node.width:  # every unit gets the same share
            g = self.tape.node("copy", g, width=n.width)
        self.gradient[i] = self.gradient[i] + g if i in self.gradient else g

    def visit(self, i: int) -> None:
        """Passes the gradient of node i on to its arguments."""
        n = self.forward.nodes[i]
        if i in self.gradient:
            g = self.gradient[i]
            for k, name in enumerate(self.forward.spec.states if self.wanted.states else ()):
                if self.forward.outputs["state", name] == i:
                    self.results["tap", k] = g
            if n.op == "product":
                self.product(n, g)
            elif n.op in RULES:
                shares = RULES[n.op](g, self.value(i), *map(self.value, n.args))
                for a, share in zip(n.args, shares, strict=True):
                    self.give(a, share)
            else:
                self.leaf(n, g)
        if n.op == "product" and self.first[n.parameter, n.args[0]] == i:
            self.operand(n)

    def product(self, n: Node, g: Value) -> None:
        """W v + starts: the starts get g; W's gradient is left to the product after the steps."""
        for start in n.args[1:]:
            self.give(start, g)
        of_x = self.forward.nodes[n.args[0]].op == "raw"
        if self.wanted.params or (of_x and self.wanted.x):
            self.results["gate", *n.attr, RAW if of_x else n.args[0]] = g

    def operand(self, n: Node) -> None:
        """All gates of W v are known: v gets W^T g, as one product over the gates."""
        v = n.args[0]
        gates = {
            m.row: self.gradient[i]
            for i, m in enumerate(self.forward.nodes)
            if i in self.gradient and m.op == "product" and m.parameter == n.parameter and m.args[0] == v
        }
        if gates and self.useful[v] and self.forward.nodes[v].op != "raw":
            rows = tuple(sorted(gates))
            width = self.forward.nodes[v].width
            back = (gates[row] for row in rows)
            self.give(v, self.tape.node("product_t", *back, attr=(n.parameter, rows), width=width))

    def leaf(self, n: Node, g: Value) -> None:
        """The gradients that the walk is for."""
        if n.op == "state":
            self.results["carry", n.attr] = g
        elif n.op == "raw":
            self.results[("raw",)] = g
        elif n.op == "vector":
            self.results["vector", *n.attr] = g


def inner_values(forward: Program) -> list[tuple[str, int]]:
    """Every state after the step, then every tap, by name."""
    kinds = ("state", "tap")
    return [(key[1], i) for kind in kinds for key, i in forward.outputs.items() if key[0] == kind]


def useful(forward: Program, wanted: Wanted) -> list[bool]:
    """For each node: does it depend on anything whose gradient is asked for?"""
    found: list[bool] = []
    for n in forward.nodes:
        leaf = n.op == "state" or (n.op == "raw" and wanted.x)
        of_parameter = n.op in ("product", "vector") and wanted.params
        found.append(leaf or of_parameter or any(found[a] for a in n.args))
    return found
