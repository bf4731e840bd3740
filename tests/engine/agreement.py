"""Whether a cell's texts compute what its definition says: values and every gradient, against autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import engine.text_machine as text_machine
from elman.cells import Cell
from elman.engine import Operands, eager, noise_key
from elman.engine.compiled import Programs, programs
from elman.engine.differentiate import Wanted
from tolerances import assert_equal


@dataclass(frozen=True)
class Case:
    """A call: sizes, where rows end and start afresh, and which gradients are given and asked for."""

    rows: int = 4
    steps: int = 6
    inputs: int = 5
    hidden: int = 7
    bias: bool = True
    lengths: bool = False
    resets: bool = False
    reverse: bool = False
    y_given: bool = True
    want_x: bool = True
    want_params: bool = True
    halves: bool = False  # x and states in steps of 0.5, so that values are equal to each other and to bounds
    seed: int = 0


def operands(cell: Cell, case: Case) -> Operands:
    """Random tensors; what lies beyond a row's length is NaN."""
    g = torch.Generator().manual_seed(case.seed)
    spec = cell.spec(case.inputs, case.hidden, case.bias)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64) * scale

    params = {n: normal(*p.shape, scale=spec.hidden**-0.5) for n, p in spec.params.items()}
    state = {k: normal(case.rows, width, scale=0.5) for k, width in spec.states.items()}
    fresh = {k: normal(width, scale=0.5) + spec.initial.get(k, 0.0) for k, width in spec.states.items()}
    x = normal(case.rows, case.steps, case.inputs)
    if case.halves:
        x, state = x.mul(2).round() / 2, {k: s.mul(2).round() / 2 for k, s in state.items()}
    lengths = resets = None
    if case.lengths:
        lengths = torch.randint(0, case.steps + 1, (case.rows,), generator=g)
        lengths[: min(3, case.rows)] = torch.tensor([case.steps, 0, case.steps // 2])[: case.rows]
        for row, length in enumerate(lengths.tolist()):
            x[row, length:] = float("nan")
    if case.resets:
        resets = torch.rand(case.rows, case.steps, generator=g) < 0.3
    return Operands(x, state, fresh, params, lengths, resets, noise_key(case.seed))


def check(cell: Cell, case: Case) -> Programs:
    """Asserts that the texts agree with the definition in fp64; returns them."""
    given = operands(cell, case)
    compiled = programs(
        cell,
        cell.spec(case.inputs, case.hidden, case.bias),
        y_given=case.y_given,
        wanted=Wanted(case.want_x, case.want_params),
    )
    y, final, wanted, dy, dfinal = by_definition(cell, case, given)
    with torch.no_grad():
        params = [*given.params.values(), *compiled.derived(given.params).values()]
        call = text_machine.Call(
            given.x, [*given.state.values()], [*given.fresh.values()], given.lengths, given.resets, case.reverse
        )
        got_y, got_final, _ = text_machine.forward(compiled.inference, params, call, ())
        again_y, again_final, record = text_machine.forward(compiled.forward, params, call, compiled.kept)
        assert torch.equal(got_y, again_y) and all(map(torch.equal, got_final, again_final))
        found = text_machine.backward(
            compiled.backward, params, call, record, dy if case.y_given else None, dfinal
        )
    assert_equal(got_y, y, "y")
    for (name, state), got in zip(final.items(), got_final, strict=True):
        assert_equal(got, state, name)
    gradients = named(given, found, compiled)
    for name, gradient in wanted.items():
        skipped = not case.want_x if name == "x" else name in given.params and not case.want_params
        if not skipped:
            assert_equal(gradients[name], gradient, f"gradient of {name}")
    return compiled


def by_definition(
    cell: Cell, case: Case, given: Operands
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor, list[Tensor]]:
    """Outputs, final states and gradients by name, by the eager run and autograd; what was given."""
    leaves = [leaf.clone().requires_grad_() for leaf in given.leaves()]
    spec = cell.spec(case.inputs, case.hidden, case.bias)
    live = Operands.from_leaves(spec, leaves, given.lengths, given.resets)
    y, final = eager.run(cell, spec, live, case.reverse)
    g = torch.Generator().manual_seed(case.seed + 1)
    dy = torch.randn(y.shape, generator=g, dtype=y.dtype)
    dfinal = [torch.randn(s.shape, generator=g, dtype=y.dtype) for s in final.values()]
    loss = sum(((d * s).sum() for d, s in zip(dfinal, final.values(), strict=True)), y.new_zeros(()))
    loss = loss + (dy * y).sum() if case.y_given else loss
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    states = {k: s.detach() for k, s in final.items()}
    return y.detach(), states, dict(zip(names(live), found, strict=True)), dy, dfinal


def names(operands: Operands) -> list[str]:
    """Of the leaves, in order."""
    states = list(operands.state)
    return ["x", *(f"state {k}" for k in states), *(f"fresh {k}" for k in states), *operands.params]


def named(given: Operands, found: text_machine.Gradients, compiled: Programs) -> dict[str, Tensor]:
    """The machine's gradients by name; those of derived vectors are passed on to what they are derived from."""
    direct = dict(zip(compiled.params, found.params, strict=True))
    params = {n: p.clone().requires_grad_() for n, p in given.params.items()}
    derived = {n: v for n, v in compiled.derived(params).items() if v.requires_grad}
    total = {n: direct[n] for n in params}
    if derived:
        arriving = [direct[n] for n in derived]
        extra = torch.autograd.grad(
            [*derived.values()], [*params.values()], arriving, materialize_grads=True, allow_unused=True
        )
        total = {n: direct[n] + e for n, e in zip(params, extra, strict=True)}
    values = [found.x, *found.state, *found.fresh, *total.values()]
    return dict(zip(names(given), values, strict=True))
