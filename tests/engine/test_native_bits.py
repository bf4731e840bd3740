"""What the bits of a result depend on: on the row's own numbers, and on nothing around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from elman.cells import Cell, get
from elman.cells.lstm import ProjectedLSTM
from elman.engine import Operands, eager, native
from elman.engine.extension import native as extension
from elman.nn import Recurrent
from engine.agreement import Case
from engine.native_runs import Results, assert_agree, assert_same_bits, given, results, same_bits, weights_of_loss

core_module = extension()
SETS = core_module.instruction_sets() if core_module is not None else ["generic"]
CELLS = (get("rnn"), get("gru"), get("lstm"), ProjectedLSTM(size=20), get("layernormlstm"))
# Enough work for two threads, which share out the rows, the units of a row where H is large, or neither; several
# tiles of 64 units; more steps than a chunk and than a segment holds.
SHAPES = ((1, 700, 20, 70), (1, 150, 20, 200), (4, 300, 20, 130), (16, 100, 20, 130), (33, 60, 64, 64))
CASES = [
    Case(*shape, lengths=lengths, resets=resets, reverse=reverse)
    for shape, (lengths, resets, reverse) in zip(
        (*SHAPES, *SHAPES),
        (
            *((False, False, False), (True, False, False), (False, False, True), (True, True, False)),
            *((False, False, False), (False, True, True), (False, False, False), (True, True, True)),
            *((False, False, False), (True, False, True)),
        ),
        strict=True,
    )
]
pytestmark = [pytest.mark.native, pytest.mark.usefixtures("poison")]
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
cells = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
sets = pytest.mark.parametrize("instructions", SETS)


@sets
@dtypes
@cells
def test_threads_and_memory_change_no_bit(cell, dtype, instructions, core):
    core.set_instructions(instructions)
    for case in some(CASES, instructions):
        o = given(cell, case, dtype)
        with_everything = run_with(cell, case, o, 1, 256)
        for threads, megabytes in ((2, 256), (1, 0), (2, 0), (2, 0.5)):
            assert_same_bits(run_with(cell, case, o, threads, megabytes), with_everything)


@sets
@dtypes
@cells
def test_a_row_alone_has_the_bits_it_has_in_a_batch(cell, dtype, instructions, core):
    core.set_instructions(instructions)
    for case in some([case for case in CASES if case.rows > 1], instructions):
        case = replace(case, steps=case.steps // 5)
        o = given(cell, case, dtype)
        arriving = arriving_at(cell, case, dtype)
        together = results(native.run, cell, case, o, arriving)
        for rows in ([0], [case.rows // 2], [case.rows - 1], [2, 0, 3]):
            chosen = [d[rows] for d in arriving]
            few = results(native.run, cell, replace(case, rows=len(rows)), of_rows(o, rows), chosen)
            wanted = {name: value[rows] if of_a_row(name) else value for name, value in together.items()}
            assert_same_bits(few, wanted, of_a_row)


@sets
@dtypes
@cells
def test_a_sequence_may_be_cut_anywhere(cell, dtype, instructions, core):
    core.set_instructions(instructions)
    for shape in ((1, 40, 20, 200), (5, 70, 5, 70), (33, 20, 64, 64)):
        for reverse in (False, True):
            case = Case(*shape, resets=True, reverse=reverse)
            whole = given(cell, case, dtype)
            whole = whole if not reverse else replace(whole, resets=None)  # a reset there acts a step before
            y, final = inference(cell, case, whole)
            for at in (1, 7, 19):
                first, second = (slice(at, None), slice(0, at)) if reverse else (slice(0, at), slice(at, None))
                y_first, state = inference(cell, case, of_steps(whole, first))
                y_second, state = inference(cell, case, replace(of_steps(whole, second), state=state))
                assert same_bits(y_first, y[:, first])
                assert same_bits(y_second, y[:, second])
                assert all(same_bits(state[name], final[name]) for name in final)


@dtypes
@cells
def test_training_and_inference_have_the_same_bits(cell, dtype):
    for case in CASES:
        o = given(cell, case, dtype)
        y, final = inference(cell, case, o)
        trained = results(native.run, cell, case, o)
        assert same_bits(trained["y"], y)
        assert all(same_bits(trained[f"final {name}"], state) for name, state in final.items())


@sets
@cells
def test_every_instruction_set_computes_the_definition(cell, instructions, core):
    core.set_instructions(instructions)
    assert core.instructions() == instructions
    for case in (Case(5, 9, 70, 65, lengths=True, resets=True), Case(17, 4, 3, 130, reverse=True)):
        o = given(cell, case)
        assert_agree(results(native.run, cell, case, o), results(eager.run, cell, case, o))


def some(cases: list[Case], instructions: str) -> list[Case]:
    """All cases for the best instruction set, one in three for the others, whose kernels are the same source."""
    return cases if instructions == SETS[0] else cases[::3]


def run_with(cell: Cell, case: Case, o: Operands, threads: int, megabytes: float) -> Results:
    torch.set_num_threads(threads)
    native.set_memory_budget(megabytes)
    return results(native.run, cell, case, o)


def inference(cell: Cell, case: Case, o: Operands) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.no_grad():
        return native.run(cell, cell.spec(case.inputs, case.hidden, case.bias), o, case.reverse)


def arriving_at(cell: Cell, case: Case, dtype: torch.dtype) -> list[Tensor]:
    spec = cell.spec(case.inputs, case.hidden)
    shapes = [(case.rows, case.steps, spec.output), *((case.rows, width) for width in spec.states.values())]
    return weights_of_loss([torch.Size(shape) for shape in shapes], dtype)


def of_a_row(name: str) -> bool:
    """Whether a result has a row for each row of the batch: outputs, states and their gradients."""
    return name in ("y", "gradient of x") or name.startswith(("final ", "gradient of state "))


def of_rows(o: Operands, rows: list[int]) -> Operands:
    def of(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[rows]

    state = {name: value[rows] for name, value in o.state.items()}
    return replace(o, x=o.x[rows], state=state, lengths=of(o.lengths), resets=of(o.resets))


def of_steps(o: Operands, steps: slice) -> Operands:
    return replace(o, x=o.x[:, steps], resets=None if o.resets is None else o.resets[:, steps])


@pytest.mark.parametrize("steps", [3, 400])
@pytest.mark.parametrize("rows", [1, 5])
def test_two_directions_at_once_give_the_bits_of_one_after_the_other(steps, rows):
    torch.manual_seed(0)
    layer = Recurrent("lstm", 20, 48, 2, bidirectional=True)
    x = torch.randn(rows, steps, 20, requires_grad=True)
    lengths = torch.randint(0, steps + 1, (rows,))
    found = []
    for threads in (2, 1):  # ends as all tests begin
        torch.set_num_threads(threads)
        y, final = layer(x, lengths=lengths)
        gradients = torch.autograd.grad((y * y.cos()).sum() + final.c.sum(), [x, *layer.parameters()])
        found.append([y, *final, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
