"""What the contract promises of every registered cell, and what it refuses."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields, is_dataclass

import pytest
import torch

from elman import cells
from elman.cells import Cell, Step
from elman.engine import register
from elman.errors import UserError
from elman.nn import Recurrent
from every_cell import EVERY_CELL


@pytest.mark.parametrize("cell", EVERY_CELL.values(), ids=EVERY_CELL)
def test_a_cell_is_a_frozen_dataclass_that_hashes_compares_and_pickles(cell: Cell) -> None:
    assert is_dataclass(cell) and type(cell).__dataclass_params__.frozen
    assert cell == type(cell)(**{f.name: getattr(cell, f.name) for f in fields(cell)})
    assert hash(cell) == hash(pickle.loads(pickle.dumps(cell)))


@pytest.mark.parametrize("cell", EVERY_CELL.values(), ids=EVERY_CELL)
def test_every_parameter_has_a_gradient_that_agrees_with_differences(cell: Cell) -> None:
    torch.manual_seed(1)
    layer = Recurrent(cell, 2, 3, backend="eager", dtype=torch.float64)
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in layer.named_parameters()]

    def run(x: torch.Tensor, *params: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(names, params, strict=True))
        y, state = torch.func.functional_call(layer, named, (x,))
        return y, *state

    leaves = [p.detach().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (x, *leaves))
    assert torch.autograd.gradgradcheck(run, (x, *leaves))


def test_every_cell_can_be_imported_and_got_by_name() -> None:
    for name, cell in cells.registered().items():
        assert getattr(cells, cell.__name__) is cell
        assert type(EVERY_CELL[name]) is cell
    assert cells.get("GRU") == cells.get("gru")


def test_what_is_no_cell_is_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match="did you mean 'lstm'"):
        cells.get("lstn")
    with pytest.raises(UserError, match=r"write LSTM\(\)"):
        cells.get(type(EVERY_CELL["lstm"]))
    with pytest.raises(UserError, match="has its options already"):
        cells.get(EVERY_CELL["rnn"], nonlinearity="relu")
    with pytest.raises(UserError, match=r"missing.*'size'.*ProjectedLSTM\(\.\.\.\)"):
        cells.get("projectedlstm")


def test_the_equations_of_the_simple_network() -> None:
    torch.manual_seed(2)
    layer = Recurrent("rnn", 2, 3, backend="eager", dtype=torch.float64)
    x, s = torch.randn(1, 2, 2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    y, _ = layer(x)
    for t in range(2):
        s = torch.tanh(layer.weight_ih_l0 @ x[0, t] + layer.bias_ih_l0 + layer.weight_hh_l0 @ s + layer.bias_hh_l0)
        torch.testing.assert_close(y[0, t], s, rtol=1e-12, atol=1e-12)


@dataclass(frozen=True)
class Swapped(Cell):
    """Returns its states in another order than it declares."""

    gates = ("h",)
    states = ("h", "c")

    def step(self, x, s, w):
        return Step(c=s.c, h=x.h + w(s.h).h)


@dataclass(frozen=True)
class Wide(Cell):
    """Returns a state of another width than it declares."""

    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=torch.cat([s.h, s.h], -1))


@dataclass(frozen=True)
class Misspelt(Cell):
    """Asks for a gate it does not have."""

    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=x.g)


@pytest.mark.parametrize(
    ("cell", "error", "words"),
    [
        (Swapped(), ValueError, r"must return its states \['h', 'c'\] first"),
        (Wide(), ValueError, r"h of Wide\(\) must have shape \(2, 3\) after a step, got \(2, 6\)"),
        (Misspelt(), AttributeError, r"Inputs has no 'g'; there are \['h', 'ih', 'raw'\]"),
    ],
)
def test_a_step_that_breaks_the_contract_is_told_how(cell: Cell, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Recurrent(cell, 2, 3)(torch.zeros(2, 1, 2))


def test_names_must_not_hide_one_another() -> None:
    @dataclass(frozen=True)
    class Hidden(Cell):
        gates = ("raw",)

    with pytest.raises(ValueError, match="two meanings for one name"):
        Hidden().spec(2, 3)


def test_a_class_defined_again_under_its_name_is_another_operation() -> None:
    def defined(sign: int) -> Cell:
        @dataclass(frozen=True)
        class Again(Cell):
            gates = ("h",)

            def step(self, x, s, w):
                return Step(h=sign * x.h)

        return Again()

    first, second = defined(1), defined(-1)
    keys = [register(cell, cell.spec(2, 3)) for cell in (first, second, first)]
    assert keys[0] != keys[1]
    assert register(first, first.spec(2, 3)) == keys[0]


def test_a_part_of_the_gates_multiplies_by_their_rows_alone() -> None:
    torch.manual_seed(3)
    layer = Recurrent("resetbeforegru", 2, 3, dtype=torch.float64)
    x, h = torch.randn(1, 1, 2, dtype=torch.float64), torch.randn(1, 1, 3, dtype=torch.float64)
    y, _ = layer(x, (h,))
    u = layer.weight_ih_l0 @ x[0, 0] + layer.bias_ih_l0
    w, b = layer.weight_hh_l0, layer.bias_hh_l0
    r, z = (torch.sigmoid(u[i : i + 3] + w[i : i + 3] @ h[0, 0] + b[i : i + 3]) for i in (0, 3))
    n = torch.tanh(u[6:] + w[6:] @ (r * h[0, 0]) + b[6:])
    torch.testing.assert_close(y[0, 0], (1 - z) * n + z * h[0, 0], rtol=1e-12, atol=1e-12)
