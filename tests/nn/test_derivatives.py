"""Derivatives of every kind, of every cell and drop-in: right, and where the engine cannot, said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn, tanh
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap

import elman
from backends import FALLS_BACK
from elman.cells import Cell, Inputs, State, Step, Weights
from elman.engine.unit import observed
from elman.nn import Recurrent
from every_cell import EVERY_CELL
from tolerances import assert_equal

Tensors = dict[str, Tensor]
pytestmark = [
    FALLS_BACK,
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
B, T, D, H = 3, 4, 2, 3
DROP_INS = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")


def layers(name: str, count: int = 1) -> list[nn.Module]:
    """So many of a cell's layers or of a drop-in, in eval mode and double precision."""
    torch.manual_seed(0)
    made: list[nn.Module] = []
    for _ in range(count):
        if name.endswith("Cell"):
            made.append(getattr(elman.nn, name)(D, H, dtype=torch.float64))
        elif name in DROP_INS:
            made.append(getattr(elman.nn, name)(D, H, bidirectional=True, batch_first=True, dtype=torch.float64))
        else:
            made.append(Recurrent(EVERY_CELL[name], D, H, 2, bidirectional=True, dtype=torch.float64))
    return [layer.eval() for layer in made]


def inputs(name: str) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(*((B, D) if name.endswith("Cell") else (B, T, D)), generator=g, dtype=torch.float64)


def output(layer: nn.Module, params: Tensors, x: Tensor, **options: Any) -> Tensor:
    y = functional_call(layer, params, (x,), options)
    return y[0] if isinstance(y, tuple) else y


def loss(layer: nn.Module, params: Tensors, x: Tensor, **options: Any) -> Tensor:
    return output(layer, params, x, **options).square().sum()


def params_of(layer: nn.Module) -> Tensors:
    return {name: p.detach() for name, p in layer.named_parameters()}


def gradients(layer: nn.Module, x: Tensor, **options: Any) -> Tensors:
    """By a plain backward pass."""
    leaves = {name: p.clone().requires_grad_() for name, p in params_of(layer).items()}
    found = torch.autograd.grad(loss(layer, leaves, x, **options), [*leaves.values()])
    return dict(zip(leaves, found, strict=True))


def by_definition(layer: nn.Module, function: Callable[[], Any]) -> Any:
    layer.backend = "eager"
    try:
        return function()
    finally:
        layer.backend = "auto"


everything = pytest.mark.parametrize("name", [*EVERY_CELL, *DROP_INS])


@everything
def test_the_gradient_in_eval_mode(name: str) -> None:
    (layer,), x = layers(name), inputs(name)
    found = gradients(layer, x)
    wanted = by_definition(layer, lambda: gradients(layer, x))
    layer.train()
    for key, value in gradients(layer, x).items():
        assert_equal(found[key], wanted[key], key)
        assert torch.equal(found[key], value)


@everything
def test_the_gradient_of_a_gradient(name: str) -> None:
    (layer,), x = layers(name), inputs(name)[:2]

    def second() -> list[Tensor]:
        leaves = [x.clone().requires_grad_(), *(p.clone().requires_grad_() for p in params_of(layer).values())]
        named = dict(zip(params_of(layer), leaves[1:], strict=True))
        first = torch.autograd.grad(loss(layer, named, leaves[0]), leaves, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]

    for found, wanted in zip(second(), by_definition(layer, second), strict=True):
        assert_equal(found, wanted)


@pytest.mark.parametrize("name", EVERY_CELL)
def test_the_gradient_of_a_gradient_where_one_leaf_is_computed_from_another(name: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(EVERY_CELL[name], D, H, initial_state="trainable", dtype=torch.float64)
    x, project = inputs(name), torch.randn(layer.stack.output_size, D, dtype=torch.float64)

    def second() -> list[Tensor]:
        leaves = {key: p.clone().requires_grad_() for key, p in params_of(layer).items()}
        y = output(layer, leaves, output(layer, leaves, x) @ project)  # the same weights twice
        first = torch.autograd.grad(y.square().sum(), [*leaves.values()], create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [*leaves.values()])]

    for found, wanted in zip(second(), by_definition(layer, second), strict=True):
        assert_equal(found / max(1, wanted.abs().max()), wanted / max(1, wanted.abs().max()))


@everything
def test_gradients_of_each_row_are_those_of_single_calls(name: str) -> None:
    (layer,), x = layers(name), inputs(name)
    found = vmap(grad(lambda p, row: loss(layer, p, row[None])), (None, 0))(params_of(layer), x)
    for i in range(B):
        for key, value in gradients(layer, x[i][None]).items():
            assert_equal(found[key][i], value, key)


@pytest.mark.parametrize("name", EVERY_CELL)
@pytest.mark.parametrize("outputs", ["all", "last"])
def test_each_row_of_its_own_length_and_with_its_own_resets(name: str, outputs: str) -> None:
    (layer,), x = layers(name), inputs(name)
    layer.outputs = outputs
    lengths, resets = torch.tensor([4, 0, 2]), torch.rand(B, T, generator=torch.Generator().manual_seed(2)) < 0.4

    def one(p: Tensors, row: Tensor, length: Tensor, starts: Tensor) -> Tensor:
        return loss(layer, p, row[None], lengths=length[None], resets=starts[None])

    found = vmap(grad(one), (None, 0, 0, 0))(params_of(layer), x, lengths, resets)
    for i in range(B):
        alone = gradients(layer, x[i][None], lengths=lengths[i][None], resets=resets[i][None])
        for key, value in alone.items():
            assert_equal(found[key][i], value, key)


@everything
def test_an_ensemble_is_its_members(name: str) -> None:
    members, x = layers(name, 3), inputs(name)
    params, _ = stack_module_state(members)
    together = vmap(lambda p: output(members[0], p, x))({n: p.detach() for n, p in params.items()})
    for member, y in zip(members, together, strict=True):
        assert_equal(y, output(member, params_of(member), x))


@everything
def test_forward_mode_and_jacobians_agree(name: str) -> None:
    (layer,), x = layers(name), inputs(name)[:2]
    params, direction = params_of(layer), inputs(name)[1:]

    def run(x: Tensor) -> Tensor:
        return output(layer, params, x)

    leaf = x.clone().requires_grad_()
    y = run(leaf)
    rows = [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in y.flatten()]
    jacobian = torch.stack(rows).reshape(*y.shape, *x.shape)
    assert_equal(jacrev(run)(x), jacobian)
    assert_equal(jacfwd(run)(x), jacobian)
    assert_equal(jvp(run, (x,), (direction,))[1], torch.tensordot(jacobian, direction, x.dim()))


@everything
def test_the_hessian(name: str) -> None:
    (layer,), x = layers(name), inputs(name)[:1]
    params = params_of(layer)
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(layer, params, leaf), leaf, create_graph=True)
    rows = [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in first.flatten()]
    assert_equal(hessian(lambda x: loss(layer, params, x))(x), torch.stack(rows).reshape(*x.shape, *x.shape))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_single_precision_takes_no_kernel_without_these_derivatives(name: str) -> None:
    layer, x = getattr(elman.nn, name)(D, H, batch_first=True), inputs("LSTM").float()
    params = params_of(layer)
    found = vmap(grad(lambda p, row: loss(layer, p, row[None])), (None, 0))(params, x)
    for i in range(B):
        for key, value in gradients(layer, x[i][None]).items():
            assert_equal(found[key][i], value, key)
    turned = jvp(lambda x: output(layer, params, x), (x,), (x,))[1]
    wanted = by_definition(layer, lambda: jvp(lambda x: output(layer, params, x), (x,), (x,))[1])
    assert_equal(turned, wanted)


def fresh_cell() -> Cell:
    """Of a class that nobody has run before, so that what is said once is said here."""

    @dataclass(frozen=True)
    class Fresh(Cell):
        gates = ("h",)

        def step(self, x: Inputs, s: State, w: Weights) -> Step:
            return Step(h=tanh(x.h + w(s.h).h))

    return Fresh()


@pytest.mark.native
def test_what_the_engine_leaves_to_the_definition_is_said_once() -> None:
    layer, x = Recurrent(fresh_cell(), D, H), torch.randn(B, T, D, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)[0].sum().backward()  # the engine's own
    with pytest.warns(
        UserWarning, match="^Fresh runs eagerly, step by step: .* knows no transforms of torch.func"
    ):
        vmap(lambda row: layer(row[None])[0])(x)
    with pytest.warns(UserWarning, match="^Fresh runs eagerly, step by step: a gradient that is itself differ"):
        torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(lambda row: layer(row[None])[0])(x)
        torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)


@pytest.mark.native
@pytest.mark.parametrize("made", [lambda: Recurrent("sru", D, H), lambda: elman.nn.LSTM(D, H, batch_first=True)])
def test_explain_tells_it_too(made: Callable[[], nn.Module]) -> None:
    layer, x, said = made(), torch.randn(B, T, D), []

    def one(row: Tensor) -> Tensor:
        said.append((elman.explain(layer, row[None]), observed()))
        return layer(row[None])[0]

    vmap(one)(x)
    text, reason = said[0]
    assert reason is not None
    assert ": eager (" in text
    assert reason in text
    assert ": native (" in elman.explain(layer, x)


def test_explain_of_a_single_step_under_a_transform() -> None:
    cell, said = elman.nn.GRUCell(D, H), []
    vmap(lambda row: said.append(elman.explain(cell, row[None])) or cell(row[None]))(torch.randn(B, D))
    assert said == ["GRUCell: eager (the native engine knows no transforms of torch.func)"]
