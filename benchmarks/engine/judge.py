"""The judge: every case in fp64, by torch.nn or by the equations, and how far a lane's results are from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from benchmarks.engine.equations import before, sequence, steps_of
from benchmarks.engine.grid import BUILT_IN, Case
from benchmarks.engine.long import INPUTS, UNITS, numbers
from benchmarks.engine.problem import Arrays, differentiated, draw
from benchmarks.engine.torch_layers import Forward, load, prepared, set_threads
from benchmarks.engine.torch_worker import as_layer
from benchmarks.engine.worker import serve
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# Largest error among the entries of an array, as a part of the largest entry: sums over 128 steps of fp32.
TOLERANCE = 2e-5
REMEMBERED = 4000  # steps
FLOOR = 1e-30  # of what counts as a largest entry: denormals may be flushed to zero


def reference(case: Case) -> Arrays:
    """Outputs, final states and gradients in fp64."""
    arrays = draw(case)
    if case.cell not in BUILT_IN:
        outside = ("x", "h0", "c0")
        p = {n: torch.from_numpy(arrays[n]).double() for n in differentiated(arrays) if n not in outside}
        run = steps_of(case.cell)
        return prepared(case, arrays, p, lambda x, s: sequence(run, case.steps, p, before(p, x), s)).results()
    module = getattr(nn, case.cell.upper())(case.units, case.units).double()
    forward = _ragged(module, arrays["lengths"]) if case.ragged else as_layer(module)
    return prepared(case, arrays, load(module, arrays), forward).results()


def errors(got: Arrays, wanted: Arrays) -> dict[str, float]:
    """The largest error of each array; infinite where a result is missing, has another shape or is no number."""
    return {name: _error(got.get(name), value) for name, value in wanted.items()}


def _error(got: np.ndarray | None, wanted: np.ndarray) -> float:
    if got is None or got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), FLOOR))


def _ragged(module: nn.Module, lengths: np.ndarray) -> Forward:
    layer = as_layer(module)

    def forward(x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
        y, final = layer(packed, states)
        return pad_packed_sequence(y)[0], final

    return forward


def _verdict(found: dict[str, float]) -> dict[str, Any]:
    worst = max(found, key=found.__getitem__)
    return {"passed": found[worst] <= TOLERANCE, "worst": worst, "error": min(found[worst], 1e30)}


class Judge:
    """The handlers of the judge's process; it keeps the references of one row of the table."""

    def __init__(self) -> None:
        self.references: dict[str, Arrays] = {}

    def compare(self, case: dict[str, Any], path: str) -> dict[str, Any]:
        """The worst array of a lane, and whether it is near enough."""
        wanted = self.references.get(str(case))
        if wanted is None:
            wanted = self.references[str(case)] = reference(Case(**case))
        with np.load(path) as got:
            return _verdict(errors(dict(got), wanted))

    def compare_long(self, steps: int, path: str) -> dict[str, Any]:
        """A long sequence against its last steps alone: an LSTM of random weights has forgotten the others."""
        arrays = numbers(steps)
        layer = nn.LSTM(INPUTS, UNITS, batch_first=True).double()
        parameters = load(layer, arrays)
        y = layer(torch.from_numpy(arrays["x"][:, -REMEMBERED:]).double())[0][:, -1]
        y.sum().backward()
        wanted = {"y": y.detach().numpy()} | {f"d {n}": p.grad.numpy() for n, p in parameters.items()}
        with np.load(path) as got:
            return _verdict(errors(dict(got), wanted))

    def forget(self) -> dict[str, Any]:
        """Frees the references."""
        self.references.clear()
        return {}


if __name__ == "__main__":
    set_threads()
    judge = Judge()
    commands = {"compare": judge.compare, "compare_long": judge.compare_long, "forget": judge.forget}
    serve({"hello": lambda: {"versions": {}}, **commands})
