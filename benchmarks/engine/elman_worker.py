"""Elman: the drop-ins for the cells that torch.nn has, `Recurrent` for everything else.

ELMAN_BENCH_API=recurrent takes `Recurrent` for all; ELMAN_BENCH_BACKEND names a backend.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

import torch
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import Arrays
from benchmarks.engine.torch_layers import load, prepared, set_threads
from benchmarks.engine.torch_worker import as_layer
from benchmarks.engine.worker import Absent, Prepared, serve_library
from torch import Tensor

import elman
from elman.nn import Recurrent, drop_in

OWN_LAYER_KINDS = ("cells", "ragged")  # both lanes of these through the same class
PEAK_SECONDS = 0.5
API = os.environ.get("ELMAN_BENCH_API", "drop_in")
BACKEND = os.environ.get("ELMAN_BENCH_BACKEND", "auto")


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """The layer of a case; the note says which backend runs it."""
    if API == "drop_in" and case.kind not in OWN_LAYER_KINDS:
        module = getattr(drop_in, case.cell.upper())(case.units, case.units)
        module.backend = BACKEND
        note = elman.explain(module, torch.from_numpy(arrays["x"]))
        return prepared(case, arrays, load(module, arrays), as_layer(module), note=note)
    return _recurrent(case, arrays)


def _recurrent(case: Case, arrays: Arrays) -> Prepared:
    layer = Recurrent(case.cell, case.units, case.units, backend=BACKEND)
    lengths = torch.from_numpy(arrays["lengths"]) if case.ragged else None
    rows_first = arrays | {name: arrays[name].swapaxes(0, 1).copy() for name in ("x", "dy")}

    def forward(x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        y, final = layer(x, [s[None] for s in states], lengths=lengths)
        return y, [s[0] for s in final]

    note = elman.explain(layer, torch.from_numpy(rows_first["x"]))
    found = prepared(case, rows_first, load(layer, arrays), forward, note=note)
    return Prepared(found.call, lambda: _time_major(found.results()), found.change, found.note)


def _time_major(results: Arrays) -> Arrays:
    return results | {name: results[name].swapaxes(0, 1) for name in ("y", "d x") if name in results}


def peak(threads: int) -> dict[str, float]:
    """The machine's own peak in GF/s: fp32 multiplications and additions in a loop over a tile that stays put."""
    try:
        native = importlib.import_module("elman._native")
    except ImportError as error:
        raise Absent(str(error)) from error
    return {"peak": native.peak(threads, PEAK_SECONDS) / 1e9}


if __name__ == "__main__":
    set_threads()
    serve_library(prepare, ("torch",), peak=peak)
