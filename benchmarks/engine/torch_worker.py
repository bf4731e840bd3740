"""torch.nn's layers, time-major as they are inside."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.engine.grid import Case
from benchmarks.engine.problem import Arrays
from benchmarks.engine.torch_layers import Forward, load, prepared, set_threads
from benchmarks.engine.worker import Prepared, serve_library
from torch import Tensor, nn


def as_layer(module: nn.Module) -> Forward:
    """The call of a layer with torch.nn's signature."""

    def forward(x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        hx = tuple(state[None] for state in states)
        y, final = module(x, hx if len(hx) > 1 else hx[0])
        return y, [s[0] for s in (final if len(hx) > 1 else (final,))]

    return forward


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """`torch.nn.RNN`, `GRU` or `LSTM`."""
    module = getattr(nn, case.cell.upper())(case.units, case.units)
    return prepared(case, arrays, load(module, arrays), as_layer(module))


if __name__ == "__main__":
    set_threads()
    serve_library(prepare, ("torch",))
