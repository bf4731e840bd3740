"""`check_cell`: a cell against the contract, and everything that runs it against its definition."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from elman import cells
from elman.cells import Cell
from elman.checking.report import Line, Report
from elman.checking.runs import Data, Subject, called, data_for, drawn, results
from elman.checking.ways import Grid, lines
from elman.engine import RUNS
from elman.engine.native import absent
from elman.engine.trace import Untraceable, position, trace
from elman.nn import __file__ as nn_file
from elman.nn.stack import Stack


def check_cell(  # noqa: PLR0913 - what is run, and how
    cell: Cell | type[Cell] | str,
    *,
    inputs: int = 5,
    hidden: int = 7,
    rows: int = 4,
    steps: int = 7,
    backends: Sequence[str] = tuple(RUNS),
    compiled: bool = False,
    seed: int = 0,
    strict: bool = False,
) -> Report:
    """Checks a cell: the contract, and that whatever runs it computes what its equations say.

    The judge is the definition itself in fp64, one row at a time from its first step to its last, differentiated
    by PyTorch. Every backend is compared with it in fp64 and fp32: outputs, final states and the gradients of x,
    of the states and of every parameter, over whole rows, rows of other lengths (0 among them, NaN behind their
    end), resets, from each row's end, and streamed in pieces; with biases and without.

    Args:
        cell: a cell, its class where all its options have defaults, or the name of one.
        inputs: width of x_t.
        hidden: number of units.
        rows: sequences side by side.
        steps: of the longest.
        backends: which are looked at; without "native" nothing is asked of the engine, nor that the step can be
            traced.
        compiled: whether `torch.compile` (`fullgraph=True`) and `torch.export` are asked too; they take seconds.
        seed: of the weights and of what they are run over.
        strict: raise what does not hold.

    Returns:
        A report: printed, a table; `.ok`, `.wrong`, `.raise_if_wrong()`. How fast the engine is beside the
        definition is told and not judged.

    Raises:
        elman.checking.Disagreement: with `strict`, where something does not hold.
        elman.UserError: there is no cell of that name, or its options are missing.

    Example:
        >>> report = check_cell("gru", backends=["eager", "torch"])
        >>> report.ok, len(report.wrong)
        (True, 0)
    """
    grid = Grid(rows=rows, steps=steps, backends=tuple(backends), compiled=compiled, seed=seed)
    with torch.random.fork_rng(devices=[]):
        report = Report(tuple(_lines(instance(cell), inputs, hidden, grid)))
    if strict:
        report.raise_if_wrong()
    return report


def _lines(cell: Cell, inputs: int, hidden: int, grid: Grid) -> Iterator[Line]:
    found = [*contract_lines(cell, inputs, hidden, grid)]
    yield from found
    if all(line.ok is not False for line in found if line.way != "traced"):
        for subject in subjects(cell, inputs, hidden, grid.seed):
            yield from lines(subject, grid)
        yield from _speed(cell, inputs, grid)


def instance(cell: Cell | type[Cell] | str) -> Cell:
    """A cell from itself, its class or its name.

    Raises:
        elman.UserError: there is no cell of that name, or its options are missing.
        TypeError: it is none of these.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        return cells.made(cell)
    if not isinstance(cell, Cell | str):
        raise TypeError(f"a cell is wanted, or the name of one, got {cell!r}")
    return cells.get(cell)


def subjects(cell: Cell, inputs: int, hidden: int, seed: int) -> Iterator[Subject]:
    """One layer with biases and trainable initial states, and one without either."""
    sizes = f"{inputs} inputs, {hidden} units"
    yield drawn(f"{cell!r}, {sizes}", Stack(cell, inputs, hidden), seed, starts=True)
    yield drawn(f"{cell!r}, {sizes}, no bias", Stack(cell, inputs, hidden, bias=False), seed)


def contract_lines(cell: Cell, inputs: int, hidden: int, grid: Grid) -> Iterator[Line]:
    """What the contract asks of the class, of its spec and of its step."""
    subject = f"{cell!r}: the contract"
    yield _hashable(subject, cell)
    try:
        spec = cell.spec(inputs, hidden)
        Stack(cell, inputs, hidden)
        made = drawn(subject, Stack(cell, inputs, hidden), grid.seed)
    except Exception as error:  # whatever a cell raises is what the report says
        yield Line(subject, "spec", "", False, _said(error))
        return
    yield Line(subject, "spec", "", True, ", ".join(f"{n} {tuple(p.shape)}" for n, p in spec.params.items()))
    data = data_for(made.stack, grid.rows, grid.steps, grid.seed)["full"]
    try:
        found = results(made.layer("eager", torch.float64), data, called)
        broken = [name for name, value in found.items() if not value.isfinite().all()]
        ok, said = not broken, f"not finite: {', '.join(broken)}" if broken else _shapes(made, grid)
    except Exception as error:
        ok, said = False, _said(error)
    yield Line(subject, "step", "", ok, said)
    if "native" in grid.backends and ok:
        try:
            program = trace(cell, spec)
            yield Line(subject, "traced", "", True, f"a program of {len(program.nodes)} nodes")
        except Untraceable as error:
            yield Line(subject, "traced", "", False, f"it runs without the engine, step by step: {error}")


def _hashable(subject: str, cell: Cell) -> Line:
    parameters = getattr(type(cell), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        said = f"{type(cell).__name__} must be a frozen dataclass: put @dataclass(frozen=True) above the class"
        return Line(subject, "class", "", False, said)
    try:
        hash(cell)
    except TypeError as error:
        return Line(subject, "class", "", False, f"its options must be hashable: {error}")
    return Line(subject, "class", "", True, "a frozen dataclass")


def _shapes(made: Subject, grid: Grid) -> str:
    spec = made.stack.specs[0]
    states = ", ".join(f"{name} {width}" for name, width in spec.states.items())
    return f"states {states}; output {spec.output}"


def _speed(cell: Cell, inputs: int, grid: Grid) -> Iterator[Line]:
    """A training step of the engine beside the definition's; told, not judged."""
    if "native" not in grid.backends:
        return
    subject, units = f"{cell!r}: the contract", 64
    if reason := absent():
        yield Line(subject, "speed", "", None, reason)
        return
    try:
        made = drawn(subject, Stack(cell, inputs, units), grid.seed)
        data = data_for(made.stack, 8, 32, grid.seed)["full"].to(torch.float32)
        engine, eager = (_seconds(made, backend, data) for backend in ("native", "eager"))
    except Exception as error:  # a cell may not have these sizes; nothing is judged here
        yield Line(subject, "speed", "", None, _said(error))
        return
    said = f"a training step of 8 rows, 32 steps, {units} units: {engine * 1e3:.2f} ms by the engine, "
    yield Line(subject, "speed", "", None, said + f"{eager / engine:.1f} times as long by the definition")


def _seconds(made: Subject, backend: str, data: Data) -> float:
    layer, times = made.layer(backend, torch.float32), []
    for _ in range(4):  # the first one compiles
        begin = time.perf_counter()
        results(layer, data, called)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _said(error: Exception) -> str:
    """What an error says, and the line of the cell at which it arose."""
    where = position(error)
    mine = any(str(folder) in where for folder in (Path(__file__).parent, Path(nn_file).parent))
    return f"{type(error).__name__}: {error}".splitlines()[0] + ("" if mine else where)
