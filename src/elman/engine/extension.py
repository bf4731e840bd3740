"""The compiled core, where it was built; the reason in words where it was not."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

_NAME = "elman._native"
# Training and inference, T = 128, on two cores with AVX-512: what is missed where something else runs instead.
GAIN = {"torch": "on average twice as fast", "eager": "2 to 40 times as fast"}


def native() -> ModuleType | None:
    """The extension `elman._native`, imported once, when first asked for; None where there is none.

    Example:
        >>> native() is None or "generic" in native().instruction_sets()
        True
    """
    found = _found()
    return found if isinstance(found, ModuleType) else None


def why_not() -> str | None:
    """Why there is no extension, and what to do; None where there is one.

    Example:
        >>> (native() is None) == (why_not() is not None)
        True
    """
    found = _found()
    return found if isinstance(found, str) else None


@cache
def _found() -> ModuleType | str:
    import torch  # noqa: F401 - first: the core uses the OpenMP pool that torch brings with it

    try:
        return importlib.import_module(_NAME)
    except ModuleNotFoundError as error:
        if error.name != _NAME:
            raise
        return _not_built()
    except ImportError as error:
        return f"built, but does not load here: {error}; fix: build elman again on this machine"


def _not_built() -> str:
    if (Path(__file__).parents[3] / "CMakeLists.txt").is_file():
        return "not built in this checkout; fix: `make native` (the compiler on Debian: apt-get install g++)"
    return (
        "not built: no C++ compiler when elman was installed, or it failed; fix: install one (Debian: apt-get "
        "install g++), then elman again with pip's `--force-reinstall --no-deps --no-cache-dir`; pip's `-v` shows "
        "what the compiler says"
    )
