"""Inner states on request, and the gradients of states, from the engine's own run, against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backends import FALLS_BACK, FASTEST
from elman.engine import unit
from elman.nn import Recurrent
from every_cell import EVERY_CELL
from tolerances import assert_equal


def layer_of(cell: str, backend: str, layers: int = 2) -> tuple[Recurrent, Tensor]:
    torch.manual_seed(0)
    layer = Recurrent(EVERY_CELL[cell], 3, 5, layers, bidirectional=True, backend=backend, dtype=torch.float64)
    return layer, torch.randn(4, 6, 3, dtype=torch.float64)


@pytest.mark.native
@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_states_gates_and_gradients_are_those_of_the_definition(cell, ragged):
    found = []
    for backend in ("native", "eager"):
        layer, x = layer_of(cell, backend)
        lengths = torch.tensor([6, 3, 0, 5]) if ragged else None
        resets = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.2 if ragged else None
        with layer.state_gradients() as gradients:
            y, state, inner = layer(x, lengths=lengths, resets=resets, return_all=True)
            (y.square().sum() + sum(s.sin().sum() for s in state) + inner[next(iter(inner))].sum()).backward()
        assert list(gradients) == [n + s for _, _, s in layer.stack.passes() for n in layer.stack.specs[0].states]
        found.append({**inner, **{f"gradient of {k}": g for k, g in gradients.items()}})
    got, wanted = found
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert_equal(got[name], value, name)
        if ragged:
            assert (got[name][2] == 0).all() and (got[name][1, 3:] == 0).all()


def test_a_gradient_is_the_derivative_by_the_state():
    """By the definition of a derivative: the steps from t on, begun from a state that is moved a little."""
    torch.manual_seed(0)
    layer, x = Recurrent("rnn", 3, 5, dtype=torch.float64), torch.randn(2, 6, 3, dtype=torch.float64)
    with layer.state_gradients() as gradients:
        layer(x)[0].square().sum().backward()
    with torch.no_grad():
        _, (state,) = layer(x[:, :3])
        moved = torch.randn_like(state)

        def loss(amount: float) -> Tensor:
            begun = state + amount * moved
            return layer(x[:, 3:], (begun,))[0].square().sum() + begun.square().sum()

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    torch.testing.assert_close(slope, (gradients["h_l0"][:, 2] * moved[0]).sum(), rtol=1e-7, atol=1e-8)


def test_asking_changes_no_bit_and_values_can_be_differentiated():
    layer, x = layer_of("lstm", FASTEST)
    y, state = layer(x)
    again, same, inner = layer(x, return_all=True)
    assert torch.equal(y, again) and all(map(torch.equal, state, same))
    assert torch.equal(inner["h_l1"], y[..., :5]) and torch.equal(inner["c_l1"][:, -1], state.c[2])
    torch.autograd.gradcheck(lambda v: tuple(layer(v, return_all=True)[2].values()), x[:2, :3].requires_grad_())


@FALLS_BACK
@pytest.mark.native
def test_second_derivatives_of_inner_values():
    layer, x = layer_of("gru", "native", layers=1)
    x = x[:2, :3].requires_grad_()
    torch.autograd.gradgradcheck(lambda v: tuple(layer(v, return_all=True)[2].values()), x, fast_mode=True)


@pytest.mark.native
def test_values_and_gradients_survive_running_steps_again(monkeypatch):
    found = []
    for budget in (256 << 20, 0):
        monkeypatch.setattr(unit, "_budget", budget)
        torch.manual_seed(0)
        layer, x = Recurrent("lstm", 3, 20), torch.randn(3, 300, 3)
        with layer.state_gradients() as gradients:
            _, _, inner = layer(x, return_all=True)
            inner["f_l0"].square().sum().backward()
        found.append([*inner.values(), *gradients.values()])
    assert all(map(torch.equal, *found))


def test_nothing_is_recorded_outside_and_the_last_run_counts():
    layer, x = layer_of("gru", "auto", layers=1)
    with layer.state_gradients() as gradients:
        assert len(gradients) == 0
        layer(x)[0].sum().backward()
        first = gradients["h_l0"].clone()
        (2 * layer(x)[0]).sum().backward()
        assert_equal(gradients["h_l0"], 2 * first)
    layer(3 * x)[0].sum().backward()
    assert_equal(gradients["h_l0"], 2 * first)


@pytest.mark.parametrize("backend", [FASTEST, "eager"])
def test_gradients_come_to_the_states_of_frozen_weights(backend):
    layer, x = layer_of("mingru", backend, layers=2)

    def found():
        with layer.state_gradients() as gradients:
            layer(x)[0].sum().backward()
        return dict(gradients)

    expected = found()
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_("l1" in name)
    assert_equal(found()["h_l0"], expected["h_l0"])
    layer.requires_grad_(False)
    assert_equal(found()["h_l0"], expected["h_l0"])
    assert x.grad is None


def test_recordings_nest():
    layer, x = layer_of("gru", "auto", layers=1)
    with layer.state_gradients() as outer:
        with layer.state_gradients() as inner:
            layer(x)[0].sum().backward()
        assert inner and not outer
        layer(2 * x)[0].sum().backward()
    assert not torch.equal(outer["h_l0"], inner["h_l0"])


@FALLS_BACK
@pytest.mark.native
def test_derivatives_of_derivatives_are_not_recorded_and_it_is_said():
    layer, x = layer_of("gru", "native", layers=1)
    with layer.state_gradients():
        y = layer(x.requires_grad_())[0]
        with pytest.raises(RuntimeError, match="without create_graph"):
            torch.autograd.grad(y.sum(), x, create_graph=True)


def test_the_kernels_of_torch_give_no_inner_values():
    layer, x = layer_of("lstm", "torch")
    with pytest.raises(ValueError, match="keep their inner states to themselves"):
        layer(x, return_all=True)
