"""The texts of every cell, executed, against autograd on its definition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from elman.cells import Cell, Inputs, State, Step, Weights
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.reset_before_gru import ResetBeforeGRU
from elman.cells.sru import SRU
from engine.agreement import Case, check, operands
from engine.odd_cells import ODD_CELLS
from engine.text_machine import Text
from every_cell import EVERY_CELL

CELLS = [*EVERY_CELL.values(), *ODD_CELLS]
CASES = {
    "plain": Case(),
    "reversed": Case(reverse=True, seed=1),
    "lengths and resets": Case(lengths=True, resets=True, seed=2),
    "lengths and resets, reversed": Case(lengths=True, resets=True, reverse=True, seed=3),
    "no bias": Case(bias=False, seed=4),
    "inputs as wide as the state": Case(inputs=7, rows=1, resets=True, seed=5),
}
ASKED = {
    "no gradient at y": Case(y_given=False, resets=True),
    "not x": Case(want_x=False),
    "not the parameters": Case(want_params=False),
    "the states alone": Case(want_x=False, want_params=False, y_given=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_values_and_all_gradients_agree_with_autograd(cell: Cell, case: Case) -> None:
    check(cell, case)


@pytest.mark.parametrize("cell", [c for c in CELLS if not isinstance(c, ProjectedLSTM)], ids=repr)
def test_one_unit_is_enough(cell: Cell) -> None:
    check(cell, Case(hidden=1, inputs=1, lengths=True, resets=True))
    check(cell, Case(hidden=1, inputs=4))


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_what_is_not_asked_for_is_not_in_the_text(cell: Cell, case: Case) -> None:
    compiled = check(cell, case)
    text = Text(compiled.backward)
    kinds = {words[0] for words in text.outs}
    of_x = {words[-1] == "-1" for words in text.outs if words[0] == "gate"}
    assert ("y",) not in {s.name for s in text.slots if s.kind == "gradient"} or case.y_given
    assert "raw" not in kinds or case.want_x
    assert "vector" not in kinds or case.want_params
    assert False not in of_x or case.want_params
    assert True not in of_x or case.want_x or case.want_params


def test_gates_of_x_alone_are_handed_out_for_the_gradient_of_x() -> None:
    outs = Text(check(LSTM(), Case(want_params=False)).backward).outs
    gates = [words for words in outs if words[0] == "gate"]
    assert [(param, row, operand) for _, param, row, _, operand in gates] == [
        ("0", str(row), "-1") for row in (0, 7, 14, 21)
    ]


@pytest.mark.parametrize("cell", [LSTM(), ResetBeforeGRU(), SRU()], ids=repr)
def test_the_other_gradients_do_not_depend_on_what_is_asked(cell: Cell) -> None:
    case = Case(lengths=True, resets=True)
    for change in ({"want_x": False}, {"want_params": False}):
        check(cell, replace(case, **change))


@dataclass(frozen=True)
class Ties(Cell):
    """Maxima, minima and bounds of values that may be equal."""

    gates = ("a",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        tied = torch.maximum(x.raw, s.h) + 0.3 * torch.minimum(x.raw, s.h) * x.a
        zero = torch.relu(x.raw) * x.a + torch.abs(s.h) + torch.where(x.raw <= s.h, x.raw, x.a)
        bound = x.raw.clamp(-0.5, 0.5) * x.a + torch.maximum(x.raw, s.h.clamp(max=0.5))
        return Step(h=tied + 0.1 * zero - 0.2 * bound)


@pytest.mark.parametrize("steps", [1, 3])
def test_ties_and_bounds_follow_pytorch(steps: int) -> None:
    case = Case(rows=20, steps=steps, inputs=7, halves=True)
    given = operands(Ties(), case)
    assert (given.x[:, 0] == given.state["h"]).any() and (given.x == 0.5).any() and (given.x == 0).any()
    check(Ties(), case)
