"""`torch.compile` of the equations, the fastest of some numbers of steps in one graph.

A graph of all 128 steps takes minutes to compile; the loop over the graphs stays in Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from benchmarks.engine.equations import before, sequence, steps_of
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import Arrays, differentiated
from benchmarks.engine.torch_layers import prepared, set_threads
from benchmarks.engine.worker import Prepared, fastest, serve_library
from torch import Tensor

CHUNKS = (1, 8)


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """The fastest chunk."""
    torch._dynamo.reset()
    return fastest({str(chunk): _prepared(case, arrays, chunk) for chunk in CHUNKS})


def _prepared(case: Case, arrays: Arrays, chunk: int) -> Prepared:
    outside = ("x", "h0", "c0")
    p = {n: torch.from_numpy(arrays[n].copy()) for n in differentiated(arrays) if n not in outside}
    options = {"fullgraph": True, "dynamic": False}
    run, first = torch.compile(steps_of(case.cell), **options), torch.compile(before, **options)

    def forward(x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        return sequence(run, chunk, p, first(p, x), states)

    return prepared(case, arrays, p, forward, note=f"{chunk} steps a graph")


if __name__ == "__main__":
    set_threads()
    serve_library(prepare, ("torch",))
