"""A stand-in for the native engine: executes a program's text with tensors, as docs/design/engine.md says.

It is strict where the engine may rely on the text: registers hold NaN until they are written, local ones lose
their value after a run and from one block of units to the next, and each block goes through a run by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import softplus

TILE = 3  # units in a block; small, so that rows have several
NAN = float("nan")
OPERATIONS: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "add": (2, torch.add),
    "sub": (2, torch.sub),
    "mul": (2, torch.mul),
    "div": (2, torch.div),
    "neg": (1, torch.neg),
    "fma": (3, lambda a, b, c: a * b + c),
    "fnma": (3, lambda a, b, c: c - a * b),
    "exp": (1, torch.exp),
    "log": (1, torch.log),
    "sqrt": (1, torch.sqrt),
    "rsqrt": (1, torch.rsqrt),
    "sigmoid": (1, torch.sigmoid),
    "tanh": (1, torch.tanh),
    "relu": (1, torch.relu),
    "softplus": (1, softplus),
    "abs": (1, torch.abs),
    "max": (2, torch.maximum),
    "min": (2, torch.minimum),
    "lt": (2, lambda a, b: (a < b).to(a.dtype)),
    "le": (2, lambda a, b: (a <= b).to(a.dtype)),
    "eq": (2, lambda a, b: (a == b).to(a.dtype)),
    "where": (3, lambda c, a, b: torch.where(c != 0, a, b)),
    "normal": (3, lambda a, b, c: (a - b) * c),
    "copy": (1, lambda a: a),
}


@dataclass
class Slot:
    kind: str
    name: tuple[str, ...]
    width: int


@dataclass
class Piece:
    op: str
    width: int
    words: tuple[str, ...]
    lines: list[list[str]] = field(default_factory=list)

    def targets(self) -> list[int]:
        """Slots that are written, in order."""
        if self.op in ("strip", "product"):
            return [int(line[1 if self.op == "strip" else 2]) for line in self.lines]
        return [int(self.words[1])]

    def read_whole(self) -> set[int]:
        """Slots of which every unit is needed at once."""
        if self.op == "product_t":
            return {int(line[2]) for line in self.lines}
        return set() if self.op == "strip" else {int(self.words[1 if self.op == "product" else 0])}


class Text:
    """A program's text, taken apart."""

    def __init__(self, text: str) -> None:
        lines = [line.split(" ") for line in text.splitlines()]
        assert text == "\n".join(" ".join(line) for line in lines) + "\n"
        assert lines[0][:2] == ["elman-program", "1"] and lines[0][2] in ("forward", "backward")
        self.backward = lines[0][2] == "backward"
        self.params: list[tuple[str, int, int]] = []
        self.states: list[tuple[str, int, float]] = []
        self.slots: list[Slot] = []
        self.before: list[list[int]] = []
        self.phases: list[list[Piece]] = []
        self.outs: list[list[str]] = []
        rest = iter(lines[1:])
        for line in rest:
            self.statement(line, rest)
        self.check_results()

    def check_results(self) -> None:
        """A result is written where it lies: once, by a statement, into a slot of its own."""
        written = Counter(slot for phase in self.phases for p in phase for slot in p.targets())
        for words in self.outs:
            slot = int(words[3] if words[0] == "gate" else words[-1])
            assert self.slots[slot].kind in ("local", "wide") and written[slot] == 1

    def statement(self, line: list[str], rest: Iterator[list[str]]) -> None:
        kind, *words = line
        if kind == "param":
            self.params.append((words[0], int(words[1]), int(words[2])))
        elif kind == "state":
            self.states.append((words[0], int(words[1]), float.fromhex(words[2])))
        elif kind == "slot":
            self.slots.append(Slot(words[0], tuple(words[1:-1]), int(words[-1])))
        elif kind == "before":
            self.before.append([int(w) for w in words])
        elif kind == "phase":
            self.phases.append([])
        elif kind == "out":
            self.outs.append(words)
        else:
            self.phases[-1].append(self.piece(kind, words, rest))

    def piece(self, kind: str, words: list[str], rest: Iterator[list[str]]) -> Piece:
        if kind in ("mean", "sum", "rstd"):
            return Piece(kind, 1, tuple(words))
        lines = [next(rest) for _ in range(int(words[-1]))]
        assert kind in ("strip", "product", "product_t")
        if kind == "product":
            widths = {self.slots[int(line[2])].width for line in lines}
            assert len(widths) == 1 and all(line[0] == "gate" for line in lines)
            return Piece(kind, widths.pop(), tuple(words), lines)
        if kind == "product_t":
            assert all(line[0] == "from" for line in lines)
            return Piece(kind, self.slots[int(words[1])].width, tuple(words), lines)
        return Piece(kind, int(words[0]), tuple(words), lines)


class Machine:
    """Executes a text on the rows of one step."""

    def __init__(self, text: Text, params: list[Tensor]) -> None:
        assert [(r, c) for _, r, c in text.params] == [(*p.shape, 1)[:2] for p in params]
        self.text, self.params = text, params
        self.values: list[Tensor] = []

    def rows(self, param: int, row: int, width: int) -> Tensor:
        assert 0 <= row <= row + width <= self.params[param].shape[0]
        return self.params[param][row : row + width]

    def step(self, x: Tensor, leaves: Callable[[Slot], Tensor]) -> list[Tensor]:
        """The value of every slot after a step on the given rows."""
        text, self.x = self.text, x
        self.values = []
        for slot in text.slots:
            if slot.kind in ("local", "wide", "input"):
                value = x.new_full((len(x), slot.width), NAN)
            elif slot.kind == "raw":
                value = x
            elif slot.kind == "const":
                value = x.new_full((len(x), 1), float.fromhex(slot.name[0]))
            elif slot.kind == "vector":
                value = self.rows(int(slot.name[0]), int(slot.name[1]), slot.width).expand(len(x), -1)
            else:
                value = leaves(slot)
            assert value.shape == (len(x), slot.width), slot
            self.values.append(value)
        for param, row, target, *starts in text.before:
            slot = text.slots[target]
            assert slot.kind == "input" and all(text.slots[s].kind in ("vector", "input") for s in starts)
            self.values[target] = sum((self.values[s] for s in starts), x @ self.rows(param, row, slot.width).T)
        for phase in text.phases:
            written, whole = (set().union(*(f(p) for p in phase)) for f in (Piece.targets, Piece.read_whole))
            assert not written & whole, "a register changes while other units still read it"
            for key, run in groupby(phase, lambda p: p.width if p.op in ("product", "strip") else id(p)):
                self.run(list(run), key)
        return self.values

    def run(self, pieces: list[Piece], width: int) -> None:
        """Neighbouring pieces of one width, block after block; a statement of another kind alone."""
        self.forget()
        if pieces[0].op not in ("product", "strip"):
            assert len(pieces) == 1
            self.whole(pieces[0])
            return
        before = list(self.values)
        blocks = [(lo, min(lo + TILE, width)) for lo in range(0, width, TILE)]
        for lo, hi in blocks[::-1]:
            self.forget()
            for piece in pieces:
                if piece.op == "strip":
                    self.strip(piece, lo, hi)
                else:
                    self.product(piece, lo, hi, before)
        self.forget()

    def forget(self) -> None:
        """Local registers hold nothing outside of a run."""
        results = {int(words[-2] if words[0] == "gate" else words[-1]) for words in self.text.outs}
        operands = {int(words[-1]) for words in self.text.outs if words[0] == "gate"}
        for i, slot in enumerate(self.text.slots):
            if slot.kind == "local" and i not in results | operands:
                self.values[i] = torch.full_like(self.values[i], NAN)

    def write(self, target: int, lo: int, hi: int, value: Tensor) -> None:
        assert self.text.slots[target].kind in ("local", "wide")
        new = self.values[target].clone()
        new[:, lo:hi] = value
        self.values[target] = new

    def read(self, slot: int, lo: int, hi: int, width: int) -> Tensor:
        assert self.text.slots[slot].width in (1, width)
        return self.values[slot][:, lo:hi] if self.text.slots[slot].width == width else self.values[slot]

    def strip(self, piece: Piece, lo: int, hi: int) -> None:
        for op, *numbers in piece.lines:
            target, *operands = map(int, numbers)
            count, function = OPERATIONS[op]
            assert len(operands) == count and self.text.slots[target].width == piece.width
            self.write(target, lo, hi, function(*(self.read(a, lo, hi, piece.width) for a in operands)))

    def product(self, piece: Piece, lo: int, hi: int, before: list[Tensor]) -> None:
        """All gates of a block at once, from the operand as it was before this run."""
        param, source = int(piece.words[0]), int(piece.words[1])
        assert self.text.slots[source].kind not in ("local", "vector", "const")
        results = []
        assert not set(piece.targets()) & {int(start) for line in piece.lines for start in line[3:]}
        for _, row, target, *starts in piece.lines:
            assert all(self.text.slots[int(s)].width == piece.width for s in starts)
            value = before[source] @ self.rows(param, int(row), piece.width)[lo:hi].T
            results.append((int(target), sum((self.values[int(s)][:, lo:hi] for s in starts), value)))
        for target, value in results:
            self.write(target, lo, hi, value)

    def whole(self, piece: Piece) -> None:
        if piece.op == "product_t":
            param, target = int(piece.words[0]), int(piece.words[1])
            assert target not in {int(source) for _, _, source in piece.lines}
            parts = [
                self.values[int(source)] @ self.rows(param, int(row), self.text.slots[int(source)].width)
                for _, row, source in piece.lines
            ]
            self.write(target, 0, piece.width, sum(parts[1:], parts[0]))
            return
        source, target = int(piece.words[0]), int(piece.words[1])
        v = self.values[source]
        if piece.op == "rstd":
            result = (v.var(-1, correction=0, keepdim=True) + float.fromhex(piece.words[2])).rsqrt()
        else:
            result = v.mean(-1, keepdim=True) if piece.op == "mean" else v.sum(-1, keepdim=True)
        self.write(target, 0, 1, result)


@dataclass
class Call:
    """What a run over a sequence is given besides parameters."""

    x: Tensor
    state: list[Tensor]
    fresh: list[Tensor]
    lengths: Tensor | None = None
    resets: Tensor | None = None
    reverse: bool = False

    def steps(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """In the order of the run: t, the rows that take that step, and those of them that start afresh before."""
        rows, steps = self.x.shape[:2]
        lengths = torch.full((rows,), steps) if self.lengths is None else self.lengths
        for t in reversed(range(steps)) if self.reverse else range(steps):
            here = torch.nonzero(t < lengths)[:, 0]
            cut = t + 1 if self.reverse else t
            if self.resets is None or cut == steps:
                yield t, here, here[:0]
            else:
                yield t, here, here[self.resets[here, cut] & (cut < lengths[here])]


@dataclass
class Record:
    """What a forward run leaves for the backward run."""

    before: list[Tensor]
    after: list[Tensor]
    kept: list[Tensor]


def forward(
    text: str, params: list[Tensor], call: Call, kept: tuple[int, ...]
) -> tuple[Tensor, list[Tensor], Record]:
    """Outputs, final states, and what was kept."""
    program = Text(text)
    assert not program.backward
    machine = Machine(program, params)
    outs = {tuple(words[:-1]): int(words[-1]) for words in program.outs}
    shape = call.x.shape[:2]
    state = [s.clone() for s in call.state]
    record = Record(*([call.x.new_full((*shape, s.shape[1]), NAN) for s in state] for _ in range(2)), kept=[])
    record.kept = [call.x.new_full((*shape, width), NAN) for width in kept]
    y = call.x.new_zeros(*shape, program.slots[outs["y",]].width)
    for t, here, afresh in call.steps():
        for k, s in enumerate(state):
            s[afresh] = call.fresh[k]
            record.before[k][here, t] = s[here]
        values = machine.step(call.x[here, t], lambda slot, here=here: state[int(slot.name[0])][here])
        for k, s in enumerate(state):
            s[here] = record.after[k][here, t] = values[outs["state", str(k)]]
        y[here, t] = values[outs["y",]]
        for j, array in enumerate(record.kept):
            array[here, t] = values[outs["keep", str(j)]]
    return y, state, record


@dataclass
class Gradients:
    x: Tensor
    state: list[Tensor]
    fresh: list[Tensor]
    params: list[Tensor]


def backward(
    text: str, params: list[Tensor], call: Call, record: Record, dy: Tensor | None, dstate: list[Tensor]
) -> Gradients:
    """Gradients of everything, from those of the outputs and of the final states."""
    program = Text(text)
    assert program.backward and not program.before
    assert not any(piece.op == "product" for phase in program.phases for piece in phase)
    machine = Machine(program, params)
    found = Gradients(
        torch.zeros_like(call.x),
        [d.clone() for d in dstate],
        [torch.zeros_like(f) for f in call.fresh],
        [torch.zeros_like(p) for p in params],
    )
    for t, here, afresh in reversed(list(call.steps())):

        def leaf(slot: Slot, t: int = t, here: Tensor = here) -> Tensor:
            if slot.kind == "gradient":
                array = dy[:, t] if slot.name == ("y",) else found.state[int(slot.name[0])]
                return array[here]
            source = {"state": record.before, "after": record.after, "saved": record.kept}[slot.kind]
            return source[int(slot.name[0])][here, t]

        values = machine.step(call.x[here, t], leaf)
        carried = dict.fromkeys(range(len(found.state)))
        for kind, *words in program.outs:
            collect(machine, found, (here, t), kind, [int(w) for w in words], values, carried)
        for k, d in enumerate(found.state):
            d[here] = 0.0 if carried[k] is None else carried[k]
            found.fresh[k] += d[afresh].sum(0)
            d[afresh] = 0.0
    return found


def collect(
    machine: Machine,
    found: Gradients,
    place: tuple[Tensor, int],
    kind: str,
    numbers: list[int],
    values: list[Tensor],
    carried: dict[int, Tensor | None],
) -> None:
    """One `out` line of a backward program."""
    here, t = place
    slots = machine.text.slots
    if kind == "carry":
        state, slot = numbers
        carried[state] = values[slot]
        assert slots[slot].width == machine.text.states[state][1]
    elif kind == "raw":
        found.x[here, t] += values[numbers[0]]
    elif kind == "vector":
        param, row, slot = numbers
        found.params[param][row : row + slots[slot].width] += values[slot].sum(0)
    else:
        assert kind == "gate"
        param, row, slot, operand = numbers
        rows = machine.rows(param, row, slots[slot].width)
        if operand == -1:
            found.x[here, t] += values[slot] @ rows
        v = machine.x if operand == -1 else values[operand]
        found.params[param][row : row + slots[slot].width] += values[slot].T @ v
