"""The reference execution: a cell's own step, run step by step with tensors and differentiated by PyTorch.

Every other backend is judged against this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.cells import Block, Cell, Inputs, Product, Spec, State, Step
from elman.cells.contract import Multiply, bias_by_gate, bind_weights
from elman.engine.noise import drawn_inputs
from elman.engine.operands import Operands, Record


def multiplication(params: Mapping[str, Tensor]) -> Multiply:
    """One matrix product for all the gates of a call; the rows of a part of the gates are gathered once."""
    parts: dict[tuple[str, str | None, tuple[str, ...]], tuple[Tensor, Tensor | None]] = {}

    def rows(block: Block, gates: tuple[str, ...], name: str) -> Tensor:
        if gates == tuple(block.gates):
            return params[name]
        by_gate = dict(zip(block.gates, params[name].split(list(block.gates.values())), strict=True))
        return torch.cat([by_gate[g] for g in gates])

    def multiply(block: Block, gates: tuple[str, ...], v: Tensor) -> dict[str, Tensor]:
        key = block.weight, block.bias, gates
        if key not in parts:
            bias = rows(block, gates, block.bias) if block.bias else None
            parts[key] = rows(block, gates, block.weight), bias
        product = linear(v, *parts[key])
        return dict(zip(gates, product.split([block.gates[g] for g in gates], -1), strict=True))

    return multiply


def inputs_by_step(spec: Spec, operands: Operands, multiply: Multiply) -> Iterator[Inputs]:
    """`x` of each step: a product of x_t by weight_ih is taken once for the whole sequence, then cut by `unbind`.

    Indexing `x[:, t]` instead would cost a full-length gradient at every step.
    """
    by_time = operands.x.transpose(0, 1)
    steps, block = by_time.unbind(0), spec.blocks.get("ih")
    columns: dict[tuple[str | None, tuple[str, ...]], dict[str, tuple[Tensor, ...]]] = {}

    def product(t: int) -> Multiply:
        def of_x(block: Block, gates: tuple[str, ...], v: Tensor) -> Mapping[str, Tensor]:
            if v is not steps[t]:
                return multiply(block, gates, v)
            key = block.bias, gates
            if key not in columns:
                columns[key] = {g: rows.unbind(0) for g, rows in multiply(block, gates, by_time).items()}
            return {g: rows[t] for g, rows in columns[key].items()}

        return of_x

    biases = {} if block is None else bias_by_gate(block, operands.part)
    for t, noise in enumerate(drawn_inputs(spec, operands.noise, operands.x)):
        ih = {} if block is None else {"ih": Product(block, product(t), biases)}
        yield Inputs(raw=steps[t], **ih, **noise)


def run(cell: Cell, spec: Spec, operands: Operands, reverse: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs a cell over a sequence, from the first step to the last or, reversed, from each row's own end.

    Beyond a row's length its state stands still and its output is 0. A reset at t separates step t-1 from
    step t: the reversed run meets it before step t-1.

    Returns:
        The outputs (B, T, output) and the states after the last step taken, by name, each (B, width).

    Raises:
        ValueError: the step's result is not what the cell declares.

    Example:
        >>> from elman.cells.rnn import RNN
        >>> spec = RNN().spec(3, 5)
        >>> params = {name: torch.zeros(p.shape) for name, p in spec.params.items()}
        >>> operands = Operands(torch.ones(2, 4, 3), {"h": torch.zeros(2, 5)}, {"h": torch.zeros(5)}, params)
        >>> y, final = run(RNN(), spec, operands)
        >>> y.shape, final["h"].shape
        (torch.Size([2, 4, 5]), torch.Size([2, 5]))
    """
    operands = operands.without_padding()
    active, resets, state = operands.active(), operands.resets, dict(operands.state)
    rows, steps = operands.x.shape[:2]
    if steps == 0:
        return operands.x.new_zeros(rows, 0, spec.output), state
    multiply = multiplication(operands.params)
    weights = bind_weights(spec, operands.params, multiply, operands.part)
    inputs = list(inputs_by_step(spec, operands, multiply))
    on = None if active is None else active.unsqueeze(-1).unbind(1)
    starts = None if resets is None else resets.unsqueeze(-1).unbind(1)
    ys: list[Tensor] = []
    inner: list[dict[str, Tensor]] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        cut = t + 1 if reverse else t
        if starts is not None and cut < steps:
            state = {k: torch.where(starts[cut], operands.fresh[k], v) for k, v in state.items()}
        step = cell.step(inputs[t], State(**state), weights)
        new = step_states(cell, spec, step, rows)
        state = new if on is None else {k: torch.where(on[t], new[k], old) for k, old in state.items()}
        ys.append(step.y)
        if operands.record is not None:
            inner.append({name: v for name, v in step.items() if name in new or name != "y"})
    if operands.record is not None:
        _note(spec, operands.record, inner[::-1] if reverse else inner, active)
    y = torch.stack(ys[::-1] if reverse else ys, 1)
    return (y if active is None else y.masked_fill(~active[..., None], 0.0)), state


def _note(spec: Spec, record: Record, inner: list[dict[str, Tensor]], active: Tensor | None) -> None:
    """Fills a record from the states and taps of each step; gradients come when they flow."""

    def whole(values: list[Tensor]) -> Tensor:
        found = torch.stack(values, 1)
        return found if active is None else found.masked_fill(~active[..., None], 0.0)

    if record.values is not None:
        record.values[0].update({name: whole([step[name] for step in inner]) for name in inner[0]})
    if record.gradients is None:
        return
    for name in spec.states:
        values = [step[name] for step in inner]
        found = torch.zeros_like(whole(values)).detach()
        record.gradients[0][name] = found
        for t, value in enumerate(values):
            if value.requires_grad:
                value.register_hook(lambda g, t=t, found=found: found[:, t].copy_(g.detach()))


def step_states(cell: Cell, spec: Spec, step: Step, rows: int) -> dict[str, Tensor]:
    """The states of a step, after checking that they are the declared ones."""
    values = dict(step.items())
    names = list(values)[: len(spec.states)]
    if names != list(spec.states):
        raise ValueError(
            f"{cell!r} must return its states {[*spec.states]} first and in that order; it returned {[*values]}"
        )
    for name, width in {**spec.states, "y": spec.output}.items():
        value = step.y if name == "y" else values[name]
        if value.shape != (rows, width):
            raise ValueError(
                f"{name} of {cell!r} must have shape {(rows, width)} after a step, got {tuple(value.shape)}"
            )
    return {name: values[name] for name in names}
