"""Every way in which a network can be run, by every backend and number format, beside the definition in fp64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman.nn
from elman.cells import Cell
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.rnn import RNN
from elman.checking.parting import first_difference
from elman.checking.report import Line
from elman.checking.runs import (
    Call,
    Data,
    Reference,
    Subject,
    both_ways,
    by_definition,
    called,
    compared,
    data_for,
    reference,
    results,
)  # fmt: skip
from elman.engine import RUNS, native, torch_kernels
from elman.nn import Recurrent, Stream

Wanted = Callable[[str, torch.dtype], Reference]
FORMATS = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Grid:
    """What is run.

    Attributes:
        rows: sequences side by side.
        steps: of the longest.
        backends: by name.
        dtypes: number formats; bf16 is for what computes in it.
        compiled: whether `torch.compile` and `torch.export` are asked too; they take seconds.
        seed: of what the network is run over.
    """

    rows: int = 4
    steps: int = 7
    backends: tuple[str, ...] = tuple(RUNS)
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)
    compiled: bool = False
    seed: int = 0


def lines(subject: Subject, grid: Grid) -> Iterator[Line]:
    """A line for each backend, number format and way."""
    runs = _Runs(subject, grid)
    for backend in grid.backends:
        reasons = {dtype: refused(subject, runs.given["full"], backend, dtype) for dtype in grid.dtypes}
        if all(reasons.values()):
            yield Line(subject.name, backend, "", None, str(next(iter(reasons.values()))))
        for dtype, reason in reasons.items():
            if reason is None:
                yield from runs.by(backend, dtype)
    yield from runs.by_torch_nn()


class _Runs:
    """Every run of one network, and what the definition says of it, computed once a way and number format."""

    def __init__(self, subject: Subject, grid: Grid) -> None:
        self.subject, self.grid = subject, grid
        self.given = data_for(subject.stack, grid.rows, grid.steps, grid.seed)
        self.one_way, self.turned = not subject.stack.bidirectional, subject
        if self.one_way:
            self.turned, ragged = subject.both_ways(), self.given["lengths"]
            self.given["reversed"] = replace(ragged, state=tuple(s[:1].repeat(2, 1, 1) for s in ragged.state))
        self.wanted = cache(self._wanted)

    def _wanted(self, way: str, dtype: torch.dtype) -> Reference:
        source, call = (self.turned, both_ways) if way == "reversed" else (self.subject, by_definition)
        return reference(source, self.given[way], call, dtype)

    def by(self, backend: str, dtype: torch.dtype) -> Iterator[Line]:
        """All ways by one backend in one number format."""
        by = f"{backend} {FORMATS[dtype]}"
        for way, data in self.given.items():
            yield self._run(way, data, by, backend, dtype)
        layer = self.subject.layer(backend, dtype)
        if self.one_way:
            full = self.given["full"].to(dtype)
            yield _streamed(self.subject.name, by, layer, full, self.wanted("full", dtype))
        if self.grid.compiled and dtype is not torch.bfloat16:
            yield self._compiled(by, layer, dtype)
            yield self._exported(by, layer, dtype)

    def _run(self, way: str, data: Data, by: str, backend: str, dtype: torch.dtype) -> Line:
        if reason := refused(self.subject, data, backend, dtype):
            return Line(self.subject.name, way, by, None, reason)
        layer = (self.turned if way == "reversed" else self.subject).layer(backend, dtype)
        line = _line(self.subject.name, way, by, layer, data.to(dtype), called, self.wanted(way, dtype))
        if line.ok is False and way not in ("reversed", "noise"):
            parted = first_difference(self.subject, data, backend, dtype)
            return replace(line, said=f"{line.said}; {parted}" if parted else line.said)
        return line

    def _compiled(self, by: str, layer: Recurrent, dtype: torch.dtype) -> Line:
        """By `torch.compile` in one graph, with rows of other lengths."""
        compiled: Any = torch.compile(layer, fullgraph=True, backend="aot_eager")

        def call(_: Any, x: Tensor, state: Sequence[Tensor], data: Data) -> tuple[Tensor, Sequence[Tensor]]:
            return called(compiled, x, state, data)

        data = self.given["lengths"].to(dtype)
        try:
            return _line(self.subject.name, "compiled", by, layer, data, call, self.wanted("lengths", dtype))
        finally:
            torch._dynamo.reset()

    def _exported(self, by: str, layer: Recurrent, dtype: torch.dtype) -> Line:
        """By `torch.export`; values only."""
        data, exact = self.given["full"].to(dtype), self.wanted("full", dtype).only(_is_value)
        try:
            with torch.no_grad():
                y, final = torch.export.export(layer, (data.x, data.state)).module()(data.x, data.state)
        except Exception as error:  # whatever PyTorch says is what the report says
            return Line(self.subject.name, "exported", by, False, _said(error))
        got = dict(zip(exact.exact, (y, *final), strict=True))
        return Line(self.subject.name, "exported", by, *compared(got, exact, dtype))

    def by_torch_nn(self) -> Iterator[Line]:
        """torch.nn's own layer, and Elman's in its place, with the same weights."""
        stack = self.subject.stack
        if (found := same_in_torch(stack.cell)) is None:
            return
        name, options = found
        weights = {n: w for n, w in self.subject.weights.items() if not n.startswith("initial_")}
        for home, title in ((nn, "torch.nn"), (elman.nn, "elman.nn")):
            for dtype in (d for d in self.grid.dtypes if d is not torch.bfloat16):
                module = getattr(home, name)(
                    stack.input_size, stack.hidden_size, stack.num_layers, bias=stack.bias, batch_first=True,
                    bidirectional=stack.bidirectional, dtype=dtype, **options,
                )  # fmt: skip
                module.load_state_dict({n: w.to(dtype) for n, w in weights.items()})
                for way in ("full", "lengths"):
                    exact = self.wanted(way, dtype).only(lambda n: "initial_" not in n)
                    by, data = f"{title} {FORMATS[dtype]}", self.given[way].to(dtype)
                    yield _line(self.subject.name, way, by, module, data, _torch_call, exact)


def refused(subject: Subject, data: Data, backend: str, dtype: torch.dtype) -> str | None:
    """Why a backend cannot run this, or None when it can."""
    cell, x = subject.stack.cell, data.x.to(dtype)
    if backend == "native":
        return native.refusal(cell, subject.stack.resting[0], x)
    return torch_kernels.refusal(cell, x, data.resets) if backend == "torch" else None


def _line(subject: str, way: str, by: str, layer: nn.Module, data: Data, call: Call, wanted: Reference) -> Line:
    try:
        got = results(layer, data, call)
    except Exception as error:  # whatever a cell raises is what the report says
        return Line(subject, way, by, False, _said(error))
    return Line(subject, way, by, *compared(got, wanted, data.x.dtype))


def _is_value(name: str) -> bool:
    return not name.startswith("gradient")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _streamed(subject: str, by: str, layer: Recurrent, data: Data, wanted: Reference) -> Line:
    """In pieces of every kind: as one call bit for bit by the engine, else up to rounding; values only."""
    exact = wanted.only(_is_value)
    steps, engine = data.x.shape[1], by.startswith("native")
    with torch.no_grad():
        y, final = layer(data.x, data.state)
    once, said = dict(zip(exact.exact, (y, *final), strict=True)), ""
    for cut in ([1] * steps, [2, 1, 1, 1, steps], [1, 3, steps]):
        try:
            got = dict(zip(exact.exact, _in_pieces(layer, data, cut), strict=True))
        except Exception as error:  # whatever a cell raises is what the report says
            return Line(subject, "streamed", by, False, f"in pieces of {cut}: {_said(error)}")
        ok, said = compared(got, exact, data.x.dtype)
        parted = [name for name in got if engine and not torch.equal(got[name], once[name])]
        if ok and parted:
            ok, said = False, f"{parted[0]} has other bits than in one call"
        if not ok:
            return Line(subject, "streamed", by, False, f"in pieces of {cut}: {said}")
    return Line(subject, "streamed", by, True, "same bits" if engine else said)


def _in_pieces(layer: Recurrent, data: Data, cut: Sequence[int]) -> list[Tensor]:
    """The outputs and final states of a stream; a piece of one is a step."""
    stream, pieces, x = Stream(layer, state=data.state), [], data.x
    while x.shape[1]:
        size, *cut = cut
        pieces.append(stream.step(x[:, 0])[:, None] if size == 1 else stream.push(x[:, :size]))
        x = x[:, size:]
    return [torch.cat(pieces, 1), *stream.state]


def same_in_torch(cell: Cell) -> tuple[str, dict[str, Any]] | None:
    """The class of torch.nn for exactly this cell, and its options."""
    if type(cell) is RNN:
        return "RNN", {"nonlinearity": cell.nonlinearity}
    if type(cell) is ProjectedLSTM:
        return "LSTM", {"proj_size": cell.size}
    return {LSTM: ("LSTM", {}), GRU: ("GRU", {})}.get(type(cell))


def _torch_call(module: Any, x: Tensor, state: Sequence[Tensor], data: Data) -> tuple[Tensor, Sequence[Tensor]]:
    """Rows of length 0, which torch.nn does not take, go one step over zeros and give their states back."""
    hx = tuple(state) if len(state) > 1 else state[0]
    if data.lengths is None:
        y, final = module(x, hx)
        return y, final if isinstance(final, tuple) else (final,)
    packed = pack_padded_sequence(
        x.nan_to_num(0.0), data.lengths.clamp(min=1), batch_first=True, enforce_sorted=False
    )
    packed_y, final = module(packed, hx)
    y, _ = pad_packed_sequence(packed_y, batch_first=True, total_length=x.shape[1])
    empty = (data.lengths == 0)[:, None]
    finals = final if isinstance(final, tuple) else (final,)
    kept = [torch.where(empty, s, f) for s, f in zip(state, finals, strict=True)]
    return y.masked_fill(empty[..., None], 0.0), kept
