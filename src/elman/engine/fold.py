"""Rewrites that save work: sums fold into products, functions of parameters are hoisted, multiply-adds fuse."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from elman.cells import Param
from elman.engine.program import Node, Program, Tape, Value, prune


def uses(program: Program) -> Counter[int]:
    """How often each node is read, results included."""
    return Counter(a for n in program.nodes for a in n.args) + Counter(program.outputs.values())


def before_loop(program: Program | Tape, node: Node) -> bool:
    """Whether a node is a product of x_t that can be taken for many steps at once."""
    if node.op != "product" or program.nodes[node.args[0]].op != "raw":
        return False
    starts = [program.nodes[a] for a in node.args[1:]]
    return all(not n.rows or before_loop(program, n) for n in starts)


def fold_sums(program: Program) -> Program:
    """`x.i + w(h).i` becomes one accumulation: biases, then + U x, then + W h.

    A product that is read by one sum alone takes that sum in: it starts from the vectors and the products of x_t
    among the summands; the others are added afterwards.
    """
    count, tape = uses(program), Tape()
    new: dict[int, Value] = {}
    inner = {
        a
        for n in program.nodes
        if n.op == "add"
        for a in n.args
        if program.nodes[a].op == "add" and count[a] == 1 and program.nodes[a].width == n.width
    }

    def terms(i: int) -> list[int]:
        return [t for a in program.nodes[i].args for t in (terms(a) if a in inner else [a])]

    def can_grow(i: int, sum_: Node) -> bool:
        n = program.nodes[i]
        return n.op == "product" and n.rows and count[i] == 1 and n.width == sum_.width

    def as_it_was(i: int) -> Value:
        n = program.nodes[i]
        return new[i] if i in new else tape.copy_of(n, {a: as_it_was(a) for a in n.args})

    for i, n in enumerate(program.nodes):
        if i in inner:
            continue
        parts = terms(i) if n.op == "add" and n.rows else []
        growing = [new[a] for a in parts if can_grow(a, n)]
        others = [new[a] for a in parts if not can_grow(a, n)]
        new[i] = accumulate(tape, growing, others) if growing else as_it_was(i)
    outputs = {key: new[i].id for key, i in program.outputs.items()}
    return prune(replace(program, nodes=tuple(tape.nodes), outputs=outputs))


def accumulate(tape: Tape, products: list[Value], others: list[Value]) -> Value:
    """The sum of products and other summands, as a chain of products with the rest added at the end."""

    def can_start(v: Value) -> bool:
        known = (not v.node.rows and v.node.op != "const") or before_loop(tape, v.node)
        return known and v.node.width == products[0].node.width

    starts = sorted(filter(can_start, others), key=lambda v: v.node.rows)
    rest = [v for v in others if not can_start(v)]
    given = starts
    for p in sorted(products, key=lambda v: tape.nodes[v.node.args[0]].op != "raw"):
        given = [tape.add(replace(p.node, args=(p.node.args[0], *(v.id for v in given))))]
    total = given[0]
    for v in rest:
        total = total + v
    return total


def hoist(program: Program) -> Program:
    """What depends on parameters alone leaves the loop: the program's prologue computes it once a call."""
    nodes = list(program.nodes)
    fixed = [not n.rows and n.op not in ("vector", "const") for n in nodes]
    used = {a for i, n in enumerate(nodes) if not fixed[i] for a in n.args if fixed[a]}
    names = {i: f"derived{k}" for k, i in enumerate(sorted(used))}
    if not names:
        return program
    prologue = prune(Program(program.spec, program.nodes, {(name,): i for i, name in names.items()}))
    for i, name in names.items():
        nodes[i] = Node("vector", (), (name, 0), nodes[i].width, False)
    widths = {name: nodes[i].width for i, name in names.items()}
    spec = program.spec.extend(vectors=widths, params={name: Param((w,)) for name, w in widths.items()})
    return prune(Program(spec, tuple(nodes), program.outputs, prologue))


def fuse(program: Program) -> Program:
    """Makes a b + c and c - a b one instruction, with one rounding, where the product has no other reader."""
    count, tape = uses(program), Tape()
    new: dict[int, Value] = {}

    for i, n in enumerate(program.nodes):
        candidates = {"add": n.args[::-1], "sub": n.args[1:]}.get(n.op, ())
        factor = next((a for a in candidates if program.nodes[a].op == "mul" and count[a] == 1), None)
        if factor is None:
            new[i] = tape.copy_of(n, new)
            continue
        other = n.args[0] if n.args[1] == factor else n.args[1]
        a, b = program.nodes[factor].args
        new[i] = tape.node("fma" if n.op == "add" else "fnma", new[a], new[b], new[other])
    outputs = {key: new[i].id for key, i in program.outputs.items()}
    return prune(replace(program, nodes=tuple(tape.nodes), outputs=outputs))
