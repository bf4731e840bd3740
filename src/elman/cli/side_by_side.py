"""A layer of Elman's beside the same one of torch.nn: results compared, then timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.engine.extension import native
from elman.nn import drop_in

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # products of H rows in a step
_ROUNDS, _AT_LEAST = 3, 3  # turns of each, calls a turn
_PEAK_SECONDS = 0.2
_PAUSE = 0.01  # seconds between two turns: the threads of the last one stop spinning
_CHANGE = 1e-6  # of every weight between two training steps: whatever is made of weights is made in the time
_TOLERANCE = 2e-5  # largest error in fp32, as a part of the largest entry: sums over 128 steps

Call = Callable[[], list[Tensor]]


class Row(NamedTuple):
    """One layer at one size; a time is missing where the results were not those of fp64. ratio: torch / elman."""

    cell: str
    rows: int
    units: int
    work: str
    torch_ms: float | None
    elman_ms: float | None
    ratio: float | None
    of_peak: float | None


def peak_of(threads: int) -> float | None:
    """The machine's own peak in GF/s, fp32 multiplications and additions; None without the compiled core."""
    core = native()
    return None if core is None else float(core.peak(threads, _PEAK_SECONDS)) / 1e9


def measured(
    cell: str, rows: int, units: int, steps: int, seconds: float, peak: float | None = None
) -> Iterator[Row]:
    """A row for inference and one for training: forward and backward with all gradients.

    Args:
        cell: "rnn", "gru" or "lstm".
        rows: sequences in a batch.
        units: H, and the width of the inputs.
        steps: length of the sequences.
        seconds: of one turn; each side has three.
        peak: of the machine, in GF/s.
    """
    layers = _layers(cell, units)
    x, dy = (torch.randn(steps, rows, units) for _ in range(2))
    for work in ("inference", "training"):
        theirs, ours, wanted = (_call(layer, x, dy, work == "training") for layer in layers)
        exact = wanted()
        good = [call for call in (theirs, ours) if _near(call(), exact)]
        changed = [list[Tensor](layer.parameters()) for layer in layers[:2]] if work == "training" else []
        times = dict(zip(good, _in_turn(good, changed, seconds), strict=True))
        torch_s, elman_s = times.get(theirs), times.get(ours)
        flops = 4 * rows * steps * _GATES[cell] * units**2 * (3 if work == "training" else 1)
        yield Row(
            cell,
            rows,
            units,
            work,
            torch_ms=None if torch_s is None else torch_s * 1e3,
            elman_ms=None if elman_s is None else elman_s * 1e3,
            ratio=None if torch_s is None or elman_s is None else torch_s / elman_s,
            of_peak=None if elman_s is None or peak is None else flops / elman_s / (peak * 1e9),
        )


def _layers(cell: str, units: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """torch.nn's, Elman's and the judge in fp64, with the same weights."""
    name = cell.upper()
    theirs = getattr(nn, name)(units, units)
    ours, judge = getattr(drop_in, name)(units, units), getattr(nn, name)(units, units)
    for layer in (ours, judge):
        layer.load_state_dict(theirs.state_dict())
    return theirs, ours, judge.double()


def _call(layer: nn.Module, x: Tensor, dy: Tensor, training: bool) -> Call:
    weights = list(layer.parameters())
    given = x.to(weights[0].dtype, copy=True).requires_grad_(training)
    dy = dy.to(given.dtype)

    def infer() -> list[Tensor]:
        with torch.no_grad():
            return [layer(given)[0]]

    def train() -> list[Tensor]:
        y = layer(given)[0]
        return [y.detach(), *torch.autograd.grad(y, [given, *weights], dy)]

    return train if training else infer


def _near(got: list[Tensor], wanted: list[Tensor]) -> bool:
    pairs = zip(got, wanted, strict=True)
    return all(float((g - w).abs().max()) <= _TOLERANCE * float(w.abs().max()) for g, w in pairs)


def _in_turn(calls: list[Call], changed: list[list[Tensor]], seconds: float) -> list[float]:
    """The median of each call's seconds over its turns; before every call `changed` weights move there or back."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(_ROUNDS):
        order = range(len(calls))
        for index in reversed(order) if turn % 2 else order:
            time.sleep(_PAUSE)
            times[index].append(_turn(calls[index], changed, seconds))
    return [statistics.median(one) for one in times]


def _turn(call: Call, changed: list[list[Tensor]], seconds: float) -> float:
    call()  # wakes the threads
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < _AT_LEAST:
        with torch.no_grad():
            for weights in changed:
                torch._foreach_add_(weights, _CHANGE if len(found) % 2 else -_CHANGE)
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)
