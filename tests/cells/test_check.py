"""`check_cell` over every registered cell, and over cells and machinery that are wrong in one way each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, sigmoid, tanh
from torch.nn.functional import silu

from elman import check_cell
from elman.cells import Cell, Step
from elman.checking import Disagreement, Report
from elman.engine import LiveNetwork, compiled, operation, trace
from every_cell import EVERY_CELL, WRAPPED

# Said once a process by torch, by whichever call with a projection comes first; dynamo makes an autograd.Function.
pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]


@pytest.mark.parametrize("cell", [*EVERY_CELL.values(), *WRAPPED.values()], ids=[*EVERY_CELL, *WRAPPED])
def test_every_cell_holds(cell: Cell) -> None:
    report = check_cell(cell, hidden=10, strict=True)  # units for five heads
    draws = "WeightDrop" in repr(cell) or bool(cell.spec(5, 10).drawn())
    assert not draws or "noise" in {line.way for line in report.lines}


def test_a_report_says_who_did_what_and_how_far_off_it_was() -> None:
    report = check_cell("gru", compiled=True)
    assert report.ok and not report.wrong
    shown = str(report).splitlines()
    titles = next(line.split() for line in shown if line.split()[:1] == ["full"])
    assert titles == ["full", "lengths", "resets", "reversed", "streamed", "compiled", "exported"]
    assert any(line.split()[:2] == ["eager", "fp32"] and len(line.split()) == 9 for line in shown)
    assert any(line.split()[:2] == ["torch.nn", "fp64"] for line in shown)
    assert shown[-1].endswith("checks, all hold")
    seen = {(line.by, line.way) for line in report.lines if line.ok}
    assert {("torch fp64", "lengths"), ("elman.nn fp32", "full"), ("eager fp32", "exported")} <= seen
    assert ("torch fp64", "resets") not in seen  # torch's kernels have none: not looked at, and not called right


def here(text: str) -> str:
    """The line of this file that holds a text, as messages name it."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return f"{__file__}:{next(n for n, line in enumerate(lines, 1) if text in line)}"


class Thawed(Cell):
    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=tanh(x.h + w(s.h).h))


@dataclass(frozen=True)
class Unhashable(Thawed):
    sizes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Branching(Cell):
    gates = ("h",)

    def step(self, x, s, w):
        v = x.h + w(s.h).h
        return Step(h=v if v.sum() > 0 else -v)  # of the whole batch


@dataclass(frozen=True)
class Wide(Cell):
    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=torch.cat([s.h, s.h], -1))


@dataclass(frozen=True)
class Hidden(Cell):
    gates = ("raw",)


@dataclass(frozen=True)
class NoZeros(Cell):
    """Divides by the length of x, which is 0 over the padding."""

    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=tanh(w(s.h).h + x.h * torch.rsqrt(x.raw.square().sum(-1, keepdim=True))))


@dataclass(frozen=True)
class TwoFaced(Cell):
    """Computes one thing with tensors and another where it is looked at."""

    gates = ("h",)

    def step(self, x, s, w):
        v = x.h + w(s.h).h
        return Step(h=sigmoid(v) if isinstance(v, Tensor) else tanh(v))  # two faces


@dataclass(frozen=True)
class Memory(Cell):
    """An ordinary cell with two states, for what is broken around it."""

    gates = ("a", "b")
    states = ("h", "c")

    def step(self, x, s, w):
        r = w(s.h)
        c = 0.5 * s.c + silu(x.a + r.a)  # with silu
        return Step(h=tanh(c) * sigmoid(x.b + r.b), c=c)


def found(report: Report, way: str, words: str, by: str = "") -> None:
    """Asserts that a report is wrong there, and says so in these words."""
    assert not report.ok
    said = [line.said for line in report.wrong if line.way == way and line.by == by]
    assert said and re.search(words, said[0]), str(report)


@pytest.mark.parametrize(
    ("cell", "way", "words"),
    [
        (Thawed(), "class", r"Thawed must be a frozen dataclass: put @dataclass"),
        (Unhashable(), "class", "its options must be hashable: unhashable type: 'list'"),
        (Wide(), "step", r"h of Wide\(\) must have shape \(4, 7\) after a step, got \(4, 14\)"),
        (Hidden(), "spec", "two meanings for one name"),
        (Branching(), "traced", f"sum.* in a step is over the units.*{re.escape(here('of the whole batch'))}"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else "",
)
def test_what_breaks_the_contract_is_told_how_and_where(cell: Cell, way: str, words: str) -> None:
    report = check_cell(cell)
    found(report, way, words)
    with pytest.raises(Disagreement, match=words):
        report.raise_if_wrong()


def test_what_cannot_be_traced_is_right_by_the_definition_alone() -> None:
    report = check_cell(TwoFaced(), backends=["eager"])
    assert report.ok and {line.by for line in report.lines if line.by} == {"eager fp64", "eager fp32"}


def test_a_step_that_is_not_finite_over_the_padding_is_found() -> None:
    found(check_cell(NoZeros()), "lengths", r"^gradient of .* is nan, by the definition", "eager fp64")


@pytest.mark.native
def test_a_step_that_is_traced_as_another_is_found_at_its_node() -> None:
    place = re.escape(here("# two faces"))
    words = rf"the step and its program first differ at node \d+: tanh, for sigmoid \({place}\)"
    found(check_cell(TwoFaced()), "full", words, "native fp64")


def spelled_wrong(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setitem(trace.SPELLINGS, "silu", trace.SPELLINGS["relu"])
    place = re.escape(here("# with silu"))
    return "full", rf"y\[.*; the step and its program first differ at node \d+: relu, for silu \({place}\)"


def another_text(monkeypatch: pytest.MonkeyPatch, direction: str, old: str, new: str) -> None:
    lower = compiled._text
    changed = re.compile(old, re.M)
    monkeypatch.setattr(
        compiled, "_text", lambda p, way: changed.sub(new, lower(p, way)) if way == direction else lower(p, way)
    )


def computed_wrong(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    another_text(monkeypatch, "forward", r"^tanh ", "sigmoid ")
    return "lengths", r"y\[.*; native first differs at step 0 of 7, state h"


def differentiated_wrong(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    another_text(monkeypatch, "backward", r"^tanh ", "sigmoid ")
    return "full", r"^gradient of \S+\[[\d, ]+\] is \S+, by the definition \S+$"


def stepped_wrong(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    step = LiveNetwork.step
    monkeypatch.setattr(LiveNetwork, "step", lambda self, x, out=None: step(self, x, out).mul_(1 + 1e-15))
    return "streamed", r"in pieces of \[1, 1, 1, 1, 1, 1, 1\]: y has other bits than in one call"


def compiled_wrong(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    run = operation.run
    monkeypatch.setattr("elman.nn.stack.run_operation", lambda *given: (run(*given)[0] * 2, run(*given)[1]))
    return "compiled", r"y\[[\d, ]+\] is"


@pytest.mark.native
@pytest.mark.parametrize(
    "broken", [spelled_wrong, computed_wrong, differentiated_wrong, stepped_wrong, compiled_wrong]
)
def test_what_computes_something_else_is_found_and_where(
    broken: Callable[[pytest.MonkeyPatch], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Fresh(Memory):
        """Compiled by nobody before."""

    way, words = broken(monkeypatch)
    report = check_cell(Fresh(), compiled=broken is compiled_wrong)
    found(report, way, words, "native fp64")
    assert not [
        line for line in report.wrong if line.by.startswith("eager") and line.way not in ("compiled", "exported")
    ]


def test_a_sensitive_cell_may_lose_what_roundings_lose_and_no_more() -> None:
    @dataclass(frozen=True)
    class Sensitive(Cell):
        gates = ("h",)

        def step(self, x, s, w):
            return Step(h=0.5 * s.h + torch.sin(1e3 * x.h))

    report = check_cell(Sensitive(), backends=["eager"])
    assert report.ok, str(report)
    worst = max(float(line.said) for line in report.lines if line.by == "eager fp32")
    assert worst > 4e-5  # twice what the table allows


def test_a_check_draws_nothing_that_anybody_else_would_have_drawn() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_cell("rnn")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_no_cell_is_refused() -> None:
    with pytest.raises(TypeError, match="a cell is wanted"):
        check_cell(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="did you mean 'gru'"):
        check_cell("gruu")
    with pytest.raises(ValueError, match=r"options are wrong or missing.*size"):
        check_cell(type(EVERY_CELL["projectedlstm"]))
