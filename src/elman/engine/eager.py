"""The reference execution: a cell's own step, run step by step with tensors and differentiated by PyTorch.

Every other backend is judged against this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.cells import Block, Cell, Inputs, Product, Spec, State, Step
from elman.cells.contract import Multiply, bind_weights
from elman.engine.operands import Operands


def multiplication(params: Mapping[str, Tensor]) -> Multiply:
    """One matrix product for all the gates of a call; the rows of a part of the gates are gathered once."""
    parts: dict[tuple[str, tuple[str, ...]], tuple[Tensor, Tensor | None]] = {}

    def rows(block: Block, gates: tuple[str, ...], name: str) -> Tensor:
        if gates == tuple(block.gates):
            return params[name]
        by_gate = dict(zip(block.gates, params[name].split(list(block.gates.values())), strict=True))
        return torch.cat([by_gate[g] for g in gates])

    def multiply(block: Block, gates: tuple[str, ...], v: Tensor) -> dict[str, Tensor]:
        key = block.weight, gates
        if key not in parts:
            bias = rows(block, gates, block.bias) if block.bias else None
            parts[key] = rows(block, gates, block.weight), bias
        product = linear(v, *parts[key])
        return dict(zip(gates, product.split([block.gates[g] for g in gates], -1), strict=True))

    return multiply


def inputs_by_step(spec: Spec, x: Tensor, multiply: Multiply) -> Iterator[Inputs]:
    """`x` of each step: the product by weight_ih is taken once for the whole sequence, then cut by `unbind`.

    Indexing `x[:, t]` instead would cost a full-length gradient at every step.
    """
    by_time = x.transpose(0, 1)
    steps = by_time.unbind(0)
    if "ih" not in spec.blocks:
        return (Inputs(raw=step) for step in steps)
    block = spec.blocks["ih"]
    product = Product(block, multiply)
    columns = {g: rows.unbind(0) for g, rows in multiply(block, product.gates, by_time).items()}
    return (
        Inputs(raw=step, ih=product, **dict(zip(columns, gates, strict=True)))
        for step, *gates in zip(steps, *columns.values(), strict=True)
    )


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
    weights = bind_weights(spec, operands.params, multiply)
    inputs = list(inputs_by_step(spec, operands.x, multiply))
    on = None if active is None else active.unsqueeze(-1).unbind(1)
    starts = None if resets is None else resets.unsqueeze(-1).unbind(1)
    ys: list[Tensor] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        cut = t + 1 if reverse else t
        if starts is not None and cut < steps:
            state = {k: torch.where(starts[cut], operands.fresh[k], v) for k, v in state.items()}
        step = cell.step(inputs[t], State(**state), weights)
        new = step_states(cell, spec, step, rows)
        state = new if on is None else {k: torch.where(on[t], new[k], old) for k, old in state.items()}
        ys.append(step.y)
    y = torch.stack(ys[::-1] if reverse else ys, 1)
    return (y if active is None else y.masked_fill(~active[..., None], 0.0)), state


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
