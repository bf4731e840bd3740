"""Fixtures of the engine's tests."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from elman.engine.extension import native, why_not
from elman.engine.native import memory_budget, set_memory_budget


@pytest.fixture
def core() -> Iterator[ModuleType]:
    """The compiled core; instruction set, threads and memory budget are as before afterwards."""
    found = native()
    assert found is not None, why_not()
    instructions, threads, budget = found.instructions(), torch.get_num_threads(), memory_budget()
    yield found
    found.set_instructions(instructions)
    torch.set_num_threads(threads)
    set_memory_budget(budget / 2**20)


@pytest.fixture
def poison(core: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever memory the core is given to write to is NaN before: scratch, what is kept, and the results."""
    memory = core.Memory

    def poisoned(size: int) -> object:
        taken = memory(size)
        ctypes.memset(taken.address, 0xFF, size)
        return taken

    monkeypatch.setattr(core, "Memory", poisoned)
    core.set_poison(True)
    torch.use_deterministic_algorithms(True)  # torch.empty is then filled with NaN
    yield
    torch.use_deterministic_algorithms(False)
    core.set_poison(False)
