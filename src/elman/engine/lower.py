"""A program as the text that the native engine executes; docs/design/engine.md defines the text.

Phases: a product or a reduction reads its operand whole, so it must wait for all units of it. Everything else
works unit by unit, and is done as late as its readers allow, so that few values outlive a phase. Registers: a
value read only beside where it is written is `local` and never leaves a block of units; any other is `wide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from elman.engine.differentiate import RAW
from elman.engine.fold import before_loop
from elman.engine.noise import threshold
from elman.engine.program import LEAVES, WHOLE, Node, Program, Tape, Value


@dataclass(frozen=True)
class Piece:
    """Nodes that are one statement of the text. Pieces of the same run share local registers."""

    op: str
    nodes: tuple[int, ...]
    phase: int
    width: int

    @property
    def run(self) -> tuple[Any, ...]:
        """Neighbouring products and strips of one width are one run; a statement of another kind is its own."""
        return (self.phase, self.width) if self.op in ("product", "strip") else (self.phase, self.op, self.nodes)


@dataclass
class Slots:
    """The places of values: numbered lines, and a pool of registers that are free again."""

    lines: list[str] = field(default_factory=list)
    free: dict[str, list[int]] = field(default_factory=dict)

    def new(self, line: str) -> int:
        """A place of its own."""
        self.lines.append(f"slot {line}")
        return len(self.lines) - 1

    def register(self, line: str) -> int:
        """A place that may have held another value before."""
        pool = self.free.get(line)
        return pool.pop() if pool else self.new(line)

    def release(self, slot: int) -> None:
        """Its value has been read for the last time."""
        self.free.setdefault(self.lines[slot].removeprefix("slot "), []).append(slot)


def lower(program: Program, direction: str) -> str:
    """The text of a program; `direction` is forward or backward."""
    program = with_copies(program)
    pieces = schedule(program)
    return "\n".join([*header(program, direction), *_Writer(program, pieces).lines()]) + "\n"


def header(program: Program, direction: str) -> Iterator[str]:
    """What the call passes in: the tensors and the states."""
    yield f"elman-program 1 {direction}"
    for name, param in program.spec.params.items():
        rows, columns = (*param.run_shape, 1, 1)[:2]
        yield f"param {name} {rows} {columns}"
    for name, width in program.spec.states.items():
        yield f"state {name} {width} {float(program.spec.initial.get(name, 0.0)).hex()}"
    for name in program.spec.drawn():
        noise = program.spec.noise[name]
        yield words("noise", noise.per, threshold(noise), float(noise.hit).hex(), float(noise.miss).hex())


def with_copies(program: Program) -> Program:
    """Every result is written by an operation of its own width, even where it is a leaf of the program.

    So is noise that is read whole: it is drawn for the units at hand.
    """
    tape = Tape()
    new: dict[int, Value] = {}
    for i, n in enumerate(program.nodes):
        drawn = {a: tape.node("copy", new[a]) for a in whole_arguments(n) if program.nodes[a].op == "noise"}
        new[i] = tape.copy_of(n, {**new, **drawn})
    outputs = {}
    for key, i in program.outputs.items():
        n = program.nodes[i]
        given = (n.op in LEAVES or before_loop(program, n)) and key[0] != "operand"
        outputs[key] = tape.node("copy", new[i], rows=True).id if given else new[i].id
    return replace(program, nodes=tuple(tape.nodes), outputs=outputs)


def schedule(program: Program) -> list[Piece]:
    """The statements in order: by phase; in it what reads whole rows, then products and strips, width by width."""
    phases = late(program, earliest(program))
    order = sorted((i for i, phase in enumerate(phases) if phase >= 0), key=lambda i: (phases[i], i))
    pieces: list[Piece] = []
    for phase, group in groupby(order, key=lambda i: phases[i]):
        pieces += phase_of(program, list(group), phase)
    return pieces


def phase_of(program: Program, here: list[int], phase: int) -> Iterator[Piece]:
    """The statements of one phase."""
    op = {i: program.nodes[i].op for i in here}
    for i in here:
        if op[i] in WHOLE and op[i] != "product":
            yield Piece(op[i], (i,), phase, program.nodes[i].width)
    for width in sorted({program.nodes[i].width for i in here}):
        mine = [i for i in here if program.nodes[i].width == width]
        for nodes in products(program, [i for i in mine if op[i] == "product"]):
            yield Piece("product", nodes, phase, width)
        strip = tuple(i for i in mine if op[i] not in WHOLE)
        if strip:
            yield Piece("strip", strip, phase, width)


def products(program: Program, nodes: list[int]) -> list[tuple[int, ...]]:
    """Products of one matrix with one operand together, rows in order; what another starts from comes first."""

    def chained(i: int) -> int:
        return max((1 + chained(a) for a in program.nodes[i].args[1:] if a in nodes), default=0)

    sites: dict[tuple[Any, ...], list[int]] = {}
    for i in nodes:
        n = program.nodes[i]
        sites.setdefault((chained(i), n.args[0], n.parameter), []).append(i)
    ordered = sorted(sites.items(), key=lambda site: site[0][0])
    return [tuple(sorted(found, key=lambda i: program.nodes[i].row)) for _, found in ordered]


def earliest(program: Program) -> list[int]:
    """The first phase in which each node can be done; -1 for what is there before the step."""
    phases: list[int] = []
    for n in program.nodes:
        if n.op in LEAVES or before_loop(program, n):
            phases.append(-1)
            continue
        waited = max((phases[a] + 1 for a in whole_arguments(n)), default=0)
        phases.append(max(0, waited, *(phases[a] for a in n.args)))
    return phases


def late(program: Program, phases: list[int]) -> list[int]:
    """Pointwise nodes moved to the phase of their first reader."""
    phases = list(phases)
    limit = [len(program.nodes)] * len(program.nodes)
    results = set(program.outputs.values())
    for i in reversed(range(len(program.nodes))):
        n = program.nodes[i]
        if phases[i] >= 0 and n.op not in WHOLE and i not in results and limit[i] < len(program.nodes):
            phases[i] = max(phases[i], limit[i])
        for a in n.args:
            limit[a] = min(limit[a], phases[i] - (a in whole_arguments(n)))
    return phases


class _Writer:
    """The registers and the lines of a scheduled program."""

    def __init__(self, program: Program, pieces: list[Piece]) -> None:
        self.program, self.pieces, self.slots = program, pieces, Slots()
        self.slot: dict[int, int] = {}
        self.run = {i: p.run for p in pieces for i in p.nodes}
        self.phase = {i: p.phase for p in pieces for i in p.nodes}
        inputs = [i for i, n in enumerate(program.nodes) if before_loop(program, n)]
        self.inputs = [i for group in products(program, inputs) for i in group]
        self.readers = readers(program, [i for p in pieces for i in p.nodes])
        self.results = set(program.outputs.values())
        self.read_whole = {a for i in self.run for a in whole_arguments(program.nodes[i])}
        self.state = {name: k for k, name in enumerate(program.spec.states)}
        self.noise = program.spec.drawn()
        self.param = {name: k for k, name in enumerate(program.spec.params)}

    def lines(self) -> Iterator[str]:
        """The slots, then the statements, then the results."""
        self.leaves()
        before = list(self.before())
        phases = groupby(self.pieces, key=lambda p: p.phase)
        body = [line for phase, pieces in phases for line in self.one(phase, pieces)]
        results = sorted(self.program.outputs.items(), key=self.rank)
        yield from (*self.slots.lines, *before, *body, *(line for key, i in results for line in self.out(key, i)))

    def leaves(self) -> None:
        """A slot for each leaf that anything but a product for many steps reads."""
        starts = {a for i in self.inputs for a in self.program.nodes[i].args[1:]}
        for i, n in enumerate(self.program.nodes):
            if n.op in LEAVES and (i in self.readers or i in starts or i in self.results):
                self.slot[i] = self.slots.new(words(n.op, *self.leaf(n), n.width))

    def leaf(self, n: Node) -> tuple[Any, ...]:
        """What distinguishes a leaf from others of its kind."""
        if n.op == "vector":
            return self.param[n.parameter], n.row
        if n.op == "noise":
            return (self.noise[n.attr],)
        if n.op in ("state", "after", "gradient"):
            return (self.state.get(n.attr, n.attr),)
        return () if n.op == "raw" else (n.attr,)

    def before(self) -> Iterator[str]:
        """The products of x_t."""
        for i in self.inputs:
            n = self.program.nodes[i]
            self.slot[i] = self.slots.new(words("input", n.width))
            starts = (self.slot[a] for a in n.args[1:])
            yield words("before", self.param[n.parameter], n.row, self.slot[i], *starts)

    def one(self, phase: int, pieces: Iterable[Piece]) -> Iterator[str]:
        """The statements of one phase. What an earlier phase read whole is now free."""
        for a, read in self.readers.items():
            if a in self.read_whole and a in self.run and self.phase[read[-1]] == phase - 1:
                self.release(a)
        yield "phase"
        for piece in pieces:
            yield from self.strip(piece) if piece.op == "strip" else self.statement(piece)

    def strip(self, piece: Piece) -> Iterator[str]:
        """Pointwise lines. A line may write over an operand that nothing reads after it."""
        yield words("strip", piece.width, len(piece.nodes))
        for i in piece.nodes:
            n = self.program.nodes[i]
            operands = [self.slot[a] for a in n.args]
            self.release_arguments(i)
            self.slot[i] = self.place(i)
            yield words(n.op, self.slot[i], *operands)

    def statement(self, piece: Piece) -> Iterator[str]:
        """A product or reduction. Its targets are places that it does not read."""
        for i in piece.nodes:
            self.slot[i] = self.place(i)
        first = self.program.nodes[piece.nodes[0]]
        if piece.op == "product":
            yield from self.product(piece, first)
        elif piece.op == "product_t":
            yield from self.product_t(first, self.slot[piece.nodes[0]])
        else:
            eps = () if first.attr is None else (float(first.attr).hex(),)
            yield words(piece.op, self.slot[first.args[0]], self.slot[piece.nodes[0]], *eps)
        for i in piece.nodes:
            self.release_arguments(i)

    def product(self, piece: Piece, first: Node) -> Iterator[str]:
        """Rows of a matrix times an operand."""
        yield words("product", self.param[first.parameter], self.slot[first.args[0]], len(piece.nodes))
        for i in piece.nodes:
            n = self.program.nodes[i]
            yield words("gate", n.row, self.slot[i], *(self.slot[a] for a in n.args[1:]))

    def product_t(self, n: Node, target: int) -> Iterator[str]:
        """The transposed rows of a matrix times several gradients."""
        yield words("product_t", self.param[n.parameter], target, len(n.args))
        yield from (words("from", row, self.slot[a]) for row, a in zip(n.attr[1], n.args, strict=True))

    def place(self, i: int) -> int:
        """A register for a computed value; a result has a slot to itself."""
        beside = self.run[i] == (self.phase[i], self.program.nodes[i].width) and all(
            self.run[r] == self.run[i] for r in self.readers.get(i, ())
        )
        line = words("local" if beside else "wide", self.program.nodes[i].width)
        return self.slots.new(line) if i in self.results else self.slots.register(line)

    def release_arguments(self, i: int) -> None:
        """Frees what node i is the last to read; what is read whole waits, for other units may still need it."""
        for a in dict.fromkeys(self.program.nodes[i].args):
            if self.readers[a][-1] == i and a not in self.read_whole:
                self.release(a)

    def release(self, a: int) -> None:
        """Frees the register of a computed value."""
        if a in self.run and a not in self.results:
            self.slots.release(self.slot[a])

    def rank(self, result: tuple[tuple[Any, ...], int]) -> tuple[Any, ...]:
        """Results in order: states, y, the rest by kind; gates and vectors by parameter and row."""
        (kind, *rest), _ = result
        kinds = ("state", "carry", "y", "raw", "keep", "tap", "gate", "vector", "operand")
        if kind in ("gate", "vector"):
            return kinds.index(kind), self.param[rest[0]], *rest[1:]
        return kinds.index(kind), self.state.get(rest[0], 0) if kind in ("state", "carry") else 0

    def out(self, key: tuple[Any, ...], i: int) -> Iterator[str]:
        """The line of a result."""
        kind, *rest = key
        if kind in ("state", "carry"):
            yield words("out", kind, self.state[rest[0]], self.slot[i])
        elif kind in ("y", "raw"):
            yield words("out", kind, self.slot[i])
        elif kind in ("keep", "tap"):
            yield words("out", kind, rest[0], self.slot[i])
        elif kind == "vector":
            yield words("out", kind, self.param[rest[0]], rest[1], self.slot[i])
        elif kind == "gate":
            name, row, operand = rest
            lies = RAW if operand == RAW else self.slot[self.program.outputs["operand", operand]]
            yield words("out", kind, self.param[name], row, self.slot[i], lies)


def readers(program: Program, order: list[int]) -> dict[int, list[int]]:
    """By node, those that read it, in the order in which they are done."""
    found: dict[int, list[int]] = {}
    for i in order:
        for a in dict.fromkeys(program.nodes[i].args):
            found.setdefault(a, []).append(i)
    return found


def whole_arguments(n: Node) -> tuple[int, ...]:
    """The arguments of which a node needs all units before its first; not what a product starts from."""
    if n.op not in WHOLE:
        return ()
    return n.args[:1] if n.op == "product" else n.args


def words(*parts: Any) -> str:
    """One statement."""
    return " ".join(map(str, parts))
