"""What units and gates do along the data: which are saturated, which are dead."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from elman.insight.tracing import TracedRun, local_step

# By the derivative that PyTorch notes for the last operation: what squashes, and between which values.
_SQUASHING = {"SigmoidBackward0": (0.0, 1.0), "TanhBackward0": (-1.0, 1.0)}
_RECTIFYING = ("ReluBackward0",)


def taps(run: TracedRun) -> dict[str, Tensor]:
    """Every value that the cell's step names, taken along the data: states, output, gates; (P, B, T, width)."""
    found = [dict(_values(run, index)) for index in range(len(run.outputs))]
    return {name: torch.stack([one[name][0] for one in found]) for name in found[0]}


def saturation(run: TracedRun, margin: float = 0.05) -> dict[str, Tensor]:
    """The share of steps at which a unit of a gate is so near to its bounds that it hardly learns.

    A sigmoid is saturated within `margin` of 0 or 1, a tanh within 2 margin of -1 or 1: there both have less than
    a fifth of their largest derivative (for 0.05). Looked at is each value that a cell's step names and that comes
    straight out of a sigmoid or a tanh: gates, candidates, the RNN's state.

    Args:
        run: with or without a loss.
        margin: between 0 and 0.5.

    Returns:
        By name, (P, width), from 0 to 1; empty for a cell that squashes nothing.

    Raises:
        ValueError: margin is not between 0 and 0.5, or there is no step.

    Example:
        >>> from elman.insight.tracing import trace_run
        >>> from elman.nn import Recurrent, initialise
        >>> layer = initialise(Recurrent("lstm", 3, 4), bias_hh={"f": 20.0})
        >>> found = saturation(trace_run(layer, torch.randn(2, 6, 3)))
        >>> [*found], found["f"].tolist()
        (['i', 'f', 'g', 'o'], [[1.0, 1.0, 1.0, 1.0]])
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"margin must be between 0 and 0.5, got {margin}")
    run.need_steps(1)
    found: dict[str, list[Tensor]] = {}
    for index in range(len(run.outputs)):
        for name, (value, kind) in _values(run, index):
            if kind in _SQUASHING:
                low, high = _SQUASHING[kind]
                near = margin * (high - low)
                stuck = (value < low + near) | (value > high - near)
                found.setdefault(name, []).append(_share(run, stuck))
    return {name: torch.stack(shares) for name, shares in found.items()}


def dead_units(run: TracedRun) -> dict[str, Tensor]:
    """Which units of a relu are 0 at every step of every row: no gradient passes them, they learn nothing here.

    Returns:
        By name, (P, width), true where dead; empty for a cell without relu.

    Raises:
        ValueError: there is no step.

    Example:
        >>> from elman.cells import RNN
        >>> from elman.insight.tracing import trace_run
        >>> from elman.nn import Recurrent, initialise
        >>> layer = initialise(Recurrent(RNN("relu"), 3, 4), bias_hh=-100.0)
        >>> dead_units(trace_run(layer, torch.randn(2, 6, 3)))["h"].tolist()
        [[True, True, True, True]]
    """
    run.need_steps(1)
    found: dict[str, list[Tensor]] = {}
    for index in range(len(run.outputs)):
        for name, (value, kind) in _values(run, index):
            if kind in _RECTIFYING:
                found.setdefault(name, []).append(_share(run, value > 0) == 0)
    return {name: torch.stack(dead) for name, dead in found.items()}


def _share(run: TracedRun, true: Tensor) -> Tensor:
    """Of the steps that belong to rows, (width,)."""
    return (true & run.active[..., None]).sum((0, 1)) / run.active.sum()


def _values(run: TracedRun, index: int) -> Iterator[tuple[str, tuple[Tensor, str]]]:
    """Each value that the step names, (B, T, width), and the derivative of the operation it comes from."""
    before = {name: value[index].flatten(0, 1).requires_grad_() for name, value in run.before.items()}
    x = run.x(index).flatten(0, 1).requires_grad_()
    with torch.enable_grad():
        step = local_step(run, index, x, before)
    shape = run.active.shape
    for name, value in step.items():
        kind = value.grad_fn.name() if value.grad_fn is not None else ""
        yield name, (value.detach().unflatten(0, shape).masked_fill(~run.active[..., None], 0.0), kind)
