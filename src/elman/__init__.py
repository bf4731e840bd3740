"""Recurrent neural networks for PyTorch: a cell is its equations; everything else is derived from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from elman import cells, data, insight, models, nn
    from elman.checking import check_cell, verify
    from elman.errors import UserError
    from elman.insight import draw
    from elman.nn import Recurrent, convert, explain, revert
    from elman.recipes import load, train

# Loaded when first asked for, so that `import elman` and `elman --help` stay quick.
_HOME = {
    "UserError": "elman.errors",
    "draw": "elman.insight",
    "explain": "elman.nn",
    "Recurrent": "elman.nn",
    "convert": "elman.nn",
    "revert": "elman.nn",
    "load": "elman.recipes",
    "train": "elman.recipes",
    "check_cell": "elman.checking",
    "verify": "elman.checking",
}
_PACKAGES = ("cells", "data", "insight", "models", "nn")

__all__ = [
    "Recurrent",
    "UserError",
    "__version__",
    "cells",
    "check_cell",
    "convert",
    "data",
    "draw",
    "explain",
    "insight",
    "load",
    "models",
    "nn",
    "revert",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"elman.{name}")
    raise AttributeError(f"module 'elman' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
