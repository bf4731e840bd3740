"""From a step to a program, its texts, and the program run again as a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, sigmoid, tanh

from elman.cells import Cell, Inputs, State, Step, Weights
from elman.cells.gru import GRU
from elman.cells.layer_norm_lstm import LayerNormLSTM
from elman.cells.lru import LRU
from elman.cells.lstm import LSTM
from elman.cells.min_gru import MinGRU
from elman.cells.rnn import RNN
from elman.engine import Operands, eager
from elman.engine.compiled import Untraceable, programs
from elman.engine.trace import trace
from engine.agreement import Case, check, names, operands
from engine.odd_cells import ODD_CELLS
from engine.text_machine import Text
from every_cell import EVERY_CELL
from tolerances import assert_equal


@dataclass(frozen=True)
class Made(Cell):
    """A cell whose step is given."""

    equation: Callable[[Inputs, State, Weights], Any]
    gates = ("a",)
    states = ("h", "c")
    vectors = ("v",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        found = self.equation(x, s, w)
        return found if isinstance(found, Step) else Step(h=tanh(found + x.a), c=s.c)


def lines(text: str) -> int:
    """Instructions of a step: pointwise lines, products and reductions."""
    return sum(len(p.lines) if p.op == "strip" else 1 for phase in Text(text).phases for p in phase)


def test_the_lstm_is_short() -> None:
    compiled = programs(LSTM(), LSTM().spec(5, 7))
    assert lines(compiled.inference) <= 9 and lines(compiled.forward) <= 9
    assert lines(compiled.backward) <= 20
    assert compiled.kept == (7, 7, 7, 7)


def test_what_other_cells_keep() -> None:
    assert programs(RNN(), RNN().spec(5, 7)).kept == ()
    assert programs(GRU(), GRU().spec(5, 7)).kept == (7, 7, 7, 7)
    assert programs(MinGRU(), MinGRU().spec(5, 7)).kept == (7, 7)
    # Of each gate's two normalised rows, themselves and one number; of the cell state, two numbers.
    kept = programs(LayerNormLSTM(), LayerNormLSTM().spec(5, 7)).kept
    assert sorted(kept) == [1] * 10 + [7] * 8


def test_products_fold_the_sums_after_them_and_the_lstm_needs_one_phase() -> None:
    text = Text(programs(LSTM(), LSTM().spec(5, 7)).inference)
    assert [len(words) for words in text.before] == [5, 5, 5, 5]  # both biases start the product of x
    assert [p.op for phase in text.phases for p in phase] == ["product", "strip"]
    assert [len(gate) for gate in text.phases[0][0].lines] == [4, 4, 4, 4]
    assert {s.kind for s in text.slots} == {"state", "vector", "input", "local"}


@pytest.mark.parametrize("cell", [*EVERY_CELL.values(), *ODD_CELLS], ids=repr)
def test_all_texts_name_the_same_parameters(cell: Cell) -> None:
    spec = cell.spec(5, 7)
    compiled = programs(cell, spec)
    texts = [Text(t) for t in (compiled.inference, compiled.forward, compiled.backward)]
    assert texts[0].params == texts[1].params == texts[2].params
    assert tuple(name for name, _, _ in texts[0].params) == compiled.params == tuple(compiled.spec.params)
    assert compiled.params[: len(spec.params)] == tuple(spec.params)
    assert all(name.startswith("derived") for name in compiled.params[len(spec.params) :])
    assert [s[:2] for s in texts[0].states] == [*spec.states.items()]
    assert [s[2] for s in texts[0].states] == [spec.initial.get(name, 0.0) for name in spec.states]


def test_equal_cells_and_sizes_share_their_texts() -> None:
    assert programs(LSTM(), LSTM().spec(5, 7)) is programs(LSTM(), LSTM().spec(5, 7))
    assert programs(LSTM(), LSTM().spec(5, 7)) is not programs(LSTM(), LSTM().spec(5, 8))
    assert programs(LSTM(), LSTM().spec(5, 7)) is not programs(LSTM(), LSTM().spec(5, 7, bias=False))
    assert programs(RNN("relu"), RNN().spec(5, 7)) is not programs(RNN(), RNN().spec(5, 7))


def test_a_function_of_parameters_alone_is_computed_once_and_differentiated() -> None:
    compiled = programs(LRU(), LRU().spec(5, 7))
    assert compiled.params[-3:] == ("derived0", "derived1", "derived2")
    params = {n: torch.rand(p.shape, requires_grad=True) for n, p in LRU().spec(5, 7).params.items()}
    derived = compiled.derived(params)
    size = torch.exp(-torch.exp(params["nu_log"]))
    angle = torch.exp(params["theta_log"])
    wanted = [size * torch.cos(angle), size * torch.sin(angle), torch.exp(params["gamma_log"])]
    found = sorted(derived.values(), key=lambda v: v.sum().item())
    for got, value in zip(found, sorted(wanted, key=lambda v: v.sum().item()), strict=True):
        assert_equal(got, value)
    assert all(v.requires_grad for v in derived.values())
    strips = [p for phase in Text(compiled.backward).phases for p in phase if p.op == "strip"]
    assert not {"exp", "cos", "sin"} & {words[0] for p in strips for words in p.lines}


@pytest.mark.parametrize("cell", [*EVERY_CELL.values(), *ODD_CELLS], ids=repr)
def test_the_program_run_as_a_cell_is_the_cell(cell: Cell) -> None:
    case = Case(lengths=True, resets=True, reverse=True, rows=3, steps=4)
    given, spec = operands(cell, case), cell.spec(case.inputs, case.hidden)
    compiled = programs(cell, spec)
    results = []
    for run, sizes in ((cell, spec), (compiled.replay, compiled.spec)):
        leaves = [leaf.clone().requires_grad_() for leaf in given.leaves()]
        live = Operands.from_leaves(spec, leaves, given.lengths, given.resets)
        params = {**live.params, **compiled.derived(live.params)}
        y, final = eager.run(run, sizes, replace(live, params=params), True)
        loss = (y**2).sum() + sum((s**3).sum() for s in final.values())
        options = {"allow_unused": True, "materialize_grads": True}
        first = torch.autograd.grad(loss, leaves, create_graph=True, **options)
        again = torch.autograd.grad(sum((g**2).sum() for g in first), leaves, **options)
        results.append((y, *final.values(), *first, *again))
    labels = ["y", *spec.states, *names(given), *(f"second derivative by {n}" for n in names(given))]
    for name, got, wanted in zip(labels, results[1], results[0], strict=True):
        assert_equal(got, wanted, name)


REFUSED: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "unknown operation": (lambda x, s, w: torch.cumsum(s.h, -1), "operation 'cumsum' is not in the engine's set"),
    "unknown method": (lambda x, s, w: s.h.softmax(-1), "operation 'softmax' is not in the engine's set"),
    "several values": (lambda x, s, w: torch.cat([s.h, s.c], -1), "operation 'cat' of several values"),
    "unknown option": (lambda x, s, w: torch.add(s.h, s.c, alpha=2), "operation 'add', called like this"),
    "branch": (lambda x, s, w: s.h if s.h > 0 else s.c, "cannot branch on a value"),
    "widths": (lambda x, s, w: s.h + x.raw, r"add of rows of widths \[3, 4\]"),
    "product of another width": (lambda x, s, w: w(x.raw).a, "weight_hh takes rows of width 4, not 3"),
    "a tensor": (lambda x, s, w: s.h * torch.ones(4), "not with a Tensor"),
    "a random number": (lambda x, s, w: s.h * torch.rand(()), "not with a Tensor"),
    "mean over rows": (lambda x, s, w: s.h - s.h.mean(), r"mean\(-1, keepdim=True\)"),
    "power": (lambda x, s, w: s.h**5, "the power 5"),
    "an attribute": (lambda x, s, w: s.h.dtype, "'dtype' of a value"),
    "arithmetic of conditions": (lambda x, s, w: (s.h > 0) + (s.c > 0), "add of conditions"),
    "a number as a condition": (lambda x, s, w: torch.where(s.h, s.h, s.c), "a comparison as its condition"),
    "a change in place": (lambda x, s, w: w.v.exp_() * s.h, "operation 'exp_' is not in the engine's set"),
    "threshold": (lambda x, s, w: torch.nn.functional.softplus(s.h, 1, 10), "threshold 20"),
    "an error of Python": (lambda x, s, w: s.h + {}["k"], "KeyError: 'k'"),
    "a name that is not there": (lambda x, s, w: s.q, "State has no 'q'"),
}


@pytest.mark.parametrize(("equation", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_as_a_program_is_refused_with_its_line(equation: Any, message: str) -> None:
    cell = Made(equation)
    here = f"{Path(__file__)}:{equation.__code__.co_firstlineno}"
    with pytest.raises(Untraceable, match=message) as raised:
        programs(cell, cell.spec(3, 4))
    assert str(raised.value).endswith(f"({here})")
    with pytest.raises(Untraceable, match=message):  # and again, from the cache
        programs(cell, cell.spec(3, 4))


WRONG: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "order": (lambda x, s, w: Step(c=s.c, h=s.h), r"states \['h', 'c'\] first.*returned \['c', 'h'\]"),
    "missing": (lambda x, s, w: Step(h=s.h), r"returned \['h'\]"),
    "width": (lambda x, s, w: Step(h=x.raw, c=s.c), r"h of Made\(.*\) must have 4 units after a step, got 3"),
    "y": (lambda x, s, w: Step(h=s.h, c=s.c, y=x.raw), "y of .* must have 4 units after a step, got 3"),
    "no rows": (lambda x, s, w: Step(h=w.v, c=s.c), "4 units after a step, got 4, the same for every row"),
}


@pytest.mark.parametrize(("equation", "message"), WRONG.values(), ids=WRONG)
def test_a_step_must_return_what_the_cell_declares(equation: Any, message: str) -> None:
    cell = Made(equation)
    with pytest.raises(Untraceable, match=message):
        trace(cell, cell.spec(3, 4))


def test_a_cell_that_cannot_be_looked_up_is_refused() -> None:
    class Mutable(RNN):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(Untraceable, match="must be hashable"):
        programs(Mutable(), RNN().spec(3, 4))


@pytest.mark.parametrize(
    "equation",
    [
        lambda x, s, w: torch.softmax(w.v, -1) * s.h,
        lambda x, s, w: w.v.roll(1, -1) + torch.nn.functional.gelu(w.v, approximate="tanh") * s.h,
        lambda x, s, w: (w.v * w.v + 1) ** 1.7 * s.h,
        lambda x, s, w: torch.add(w.v, w.v.norm(), alpha=0.5) * s.h,
        lambda x, s, w: w(w.v).a + torch.where(w.v > 0, w.v, 1.0) * s.h,
    ],
)
def test_any_function_of_parameters_is_allowed(equation: Any) -> None:
    check(Made(equation), Case())


def test_a_random_function_of_parameters_is_refused() -> None:
    cell = Made(lambda x, s, w: torch.nn.functional.dropout(w.v, 0.5) * s.h)
    with pytest.raises(Untraceable, match="operation 'dropout'"):
        programs(cell, cell.spec(3, 4))


def test_equal_values_are_one_and_numbers_are_folded() -> None:
    def equation(x: Any, s: Any, w: Any) -> Any:
        twice = sigmoid(x.a + w(s.h).a) * sigmoid(w(s.h).a + x.a)
        return twice * (2.0 * torch.tensor(0.0).item() + 1) + 0 * 1.0

    ops = [n.op for n in trace(Made(equation), Made(equation).spec(3, 4)).nodes]
    assert ops.count("sigmoid") == 1 and ops.count("const") == 0


def test_a_value_with_two_readers_is_not_fused_into_one_of_them() -> None:
    cell = Made(lambda x, s, w: x.a * s.h - x.a * s.h)  # 0, and not the rounding of the product
    strips = [p for phase in Text(programs(cell, cell.spec(3, 4)).inference).phases for p in phase]
    assert [words[0] for p in strips for words in p.lines if p.op == "strip"] == [
        "mul",
        "sub",
        "add",
        "tanh",
        "copy",
    ]


def test_minus_zero_is_not_zero() -> None:
    nodes = trace(Made(equation := lambda x, s, w: s.h / -0.0 + s.c / 0.0), Made(equation).spec(3, 4)).nodes
    assert {n.attr for n in nodes if n.op == "const"} == {(-0.0).hex(), (0.0).hex()}


def test_replay_calls_a_matrix_once_for_all_gates_of_an_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    multiplication = eager.multiplication

    def counted(params: Any) -> Any:
        multiply = multiplication(params)

        def count(block: Any, gates: tuple[str, ...], v: Tensor) -> Any:
            calls.append(gates)
            return multiply(block, gates, v)

        return count

    monkeypatch.setattr(eager, "multiplication", counted)
    compiled, given = programs(LSTM(), LSTM().spec(5, 7)), operands(LSTM(), Case(steps=2))
    eager.run(compiled.replay, compiled.spec, given)
    assert calls == [("i", "f", "g", "o")] * 3  # of x once, of h at each step
