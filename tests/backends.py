"""The backends as tests ask for them, with the native engine and without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elman.engine.extension import native, why_not
from tolerances import assert_equal

# Among parameters of a test: this one is left out where there is no engine, the others run.
NATIVE = pytest.param("native", marks=pytest.mark.native)
# The engine, or an error, where it is built; else whatever runs without it.
FASTEST = "native" if native() is not None else "auto"
# Derivatives that another backend takes: each class of cells says so once a process.
FALLS_BACK = pytest.mark.filterwarnings("ignore:.* runs (eagerly, step by step|by torch's kernels):UserWarning")
# What `explain` says of a cell that torch has kernels for, over plain inputs on the CPU.
SAID = (
    "native (the native engine runs the step program of any cell)"
    if native() is not None
    else f"torch (torch has kernels for this cell; the native engine, on average twice as fast, is {why_not()})"
)


def assert_engine_bits(got: Tensor, wanted: Tensor) -> None:
    """Equal in every bit by the engine, which promises that; up to rounding by whatever runs without it."""
    if FASTEST == "native":
        assert torch.equal(got, wanted)
    else:
        assert_equal(got, wanted)
