"""Every cell through the compiled core: values and all gradients, first and second, against its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backends import FALLS_BACK
from elman.cells import Cell
from elman.engine import Operands, eager, native
from engine.agreement import Case
from engine.native_runs import assert_agree, given, results
from engine.odd_cells import ODD_CELLS
from engine.test_programs_random import BLOCKS, PROGRAMS, Random, random_case
from every_cell import EVERY_CELL, WRAPPED

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("poison")]
OF_STEPS = [cell for cell in WRAPPED.values() if not cell.prepares]
CELLS = [*EVERY_CELL.values(), *ODD_CELLS, *OF_STEPS]
cells = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)


def assert_native_agrees(cell: Cell, case: Case) -> None:
    o = given(cell, case)
    assert_agree(results(native.run, cell, case, o), results(eager.run, cell, case, o))


@cells
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reversed"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_values_and_gradients(cell, bias, reverse):
    for ragged in (False, True):
        assert_native_agrees(cell, Case(bias=bias, reverse=reverse, lengths=ragged, resets=ragged))
        assert_native_agrees(cell, Case(bias=bias, reverse=reverse, resets=not ragged, halves=ragged, seed=1))


@cells
@pytest.mark.parametrize(
    "case",
    [
        Case(rows=1, steps=1, inputs=1, hidden=3),
        Case(rows=7, steps=5, inputs=16, hidden=16, lengths=True),
        Case(rows=26, steps=3, inputs=64, hidden=64, resets=True),
        Case(rows=5, steps=4, inputs=65, hidden=70, lengths=True, resets=True, reverse=True),
        Case(rows=30, steps=3, inputs=3, hidden=131),
    ],
    ids=lambda case: f"B{case.rows} I{case.inputs} H{case.hidden}",
)
def test_sizes_around_tiles_and_blocks(cell, case):
    assert_native_agrees(cell, case)


@cells
def test_of_the_final_states_or_the_output_alone(cell):
    case = Case(lengths=True)
    o = given(cell, case)
    spec = cell.spec(case.inputs, case.hidden)
    for pick in (lambda y, final: y.sum(), lambda y, final: sum(s.cos().sum() for s in final.values())):
        found = []
        for run in (native.run, eager.run):
            leaves = [leaf.detach().clone().requires_grad_() for leaf in o.leaves()]
            live = Operands.from_leaves(spec, leaves, o.lengths, o.resets, o.noise)
            loss = pick(*run(cell, spec, live))
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
            found.append(dict(enumerate(gradients)))
        assert_agree(*found)


def differentiable(cell: Cell, case: Case):
    """The run as a function of its leaves, and leaves to call it with."""
    o, spec = given(cell, case), cell.spec(case.inputs, case.hidden)

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        live = Operands.from_leaves(spec, leaves, o.lengths, o.resets, o.noise)
        y, final = native.run(cell, spec, live, case.reverse)
        return y, *final.values()

    return function, [leaf.clone().requires_grad_() for leaf in o.without_padding().leaves()]


SMALL = Case(rows=3, steps=3, inputs=2, hidden=3, lengths=True, resets=True, reverse=True)


@cells
def test_gradcheck(cell):
    assert torch.autograd.gradcheck(*differentiable(cell, SMALL))


@FALLS_BACK
@cells
def test_gradgradcheck(cell):
    assert torch.autograd.gradgradcheck(*differentiable(cell, SMALL), fast_mode=True)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs(block):
    for seed in range(block, PROGRAMS, BLOCKS):
        width = (1, 2, 3, 4, 16, 65)[seed % 6]
        case = replace(random_case(seed), rows=(1, 2, 3, 27)[seed % 4], inputs=width, hidden=width, y_given=True)
        try:
            assert_native_agrees(Random(seed), case)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {case}: {error}") from error
