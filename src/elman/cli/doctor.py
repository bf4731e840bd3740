"""`elman doctor`: what is installed, what runs, and why the rest does not."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elman.errors import visible

_LIBRARIES = (
    "torch", "accelerate", "matplotlib", "numpy", "pydantic", "rich", "safetensors", "tokenizers", "typer",
)  # fmt: skip
_EXTRAS = {
    "sentiment": ("scikit-learn", "vaderSentiment"),
    "tables": ("datasets", "pandas", "pyarrow"),
    "tensorboard": ("tensorboard",),
}
_CELLS = ("rnn", "lstm", "gru")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False) -> None:
    """Say what is here, and what is missing.

    Versions, devices, backends, optional libraries and data.

    \b
    elman doctor
    """  # noqa: D301
    from elman.cli.console import results, write_json
    from elman.cli.tables import plain_table

    found = _findings()
    if as_json:
        write_json(found)
        return
    for topic, values in found.items():
        table = plain_table(topic, "")
        for name, value in values.items():
            table.add_row(name, visible(str(value)))
        results().print(table, "")


def _findings() -> dict[str, dict[str, Any]]:
    from elman import __version__
    from elman.cli.data import kept
    from elman.data import cache_folder

    installed = {name: _version(name) or "missing" for name in _LIBRARIES}
    return {
        "versions": {"elman": __version__, "python": platform.python_version(), **installed},
        "machine": _machine(),
        "backends": {name: _backend(name) for name in _backends()},
        "extras": {extra: _extra(extra) for extra in _EXTRAS},
        "data": {"cache": str(cache_folder()), **kept()},
    }


def _machine() -> dict[str, Any]:
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count()
    return {
        "platform": platform.platform(),
        "executable": sys.executable,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "accelerators": f"{count} x {accelerator.type}" if accelerator else "none that this torch can use",
        "native engine": _native_engine(),
    }


def _cpu() -> str:
    """The processor's name; Linux tells it in /proc/cpuinfo only."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", told.read_text(), re.M) if told.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def _native_engine() -> str:
    """The instruction sets that the compiled core may use here; where there is none, why, and what that costs."""
    from elman.engine.extension import GAIN, native, why_not

    core = native()
    if core is None:
        return (
            f"{why_not()}. Elman runs without it, slower: the engine is {GAIN['torch']} as torch's kernels "
            f"({', '.join(_CELLS)}), and {GAIN['eager']} as the definition, step by step in Python (all other "
            "cells, and resets)"
        )
    return f"built; instruction sets: {', '.join(core.instruction_sets())}"


def _backends() -> tuple[str, ...]:
    from elman.engine import RUNS

    return tuple(RUNS)


def _backend(name: str) -> str:
    """Whether each built-in cell runs forward and backward on a backend; the reason where one does not."""
    import torch

    from elman.engine.extension import native
    from elman.nn import Recurrent

    if name == "native" and native() is None:
        return "does not run: see native engine above"
    for cell in _CELLS:
        x = torch.ones(2, 3, 2, requires_grad=True)
        try:
            y, _ = Recurrent(cell, 2, 2, backend=name)(x, lengths=torch.tensor([3, 1]))
            y.sum().backward()
        except (RuntimeError, ValueError) as error:
            return f"does not run {cell}: {error}"
    return f"runs ({', '.join(_CELLS)}, forward and backward)"


def _extra(extra: str) -> str:
    missing = [name for name in _EXTRAS[extra] if _version(name) is None]
    return f"missing {', '.join(missing)}: pip install 'elman[{extra}]'" if missing else "installed"


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
