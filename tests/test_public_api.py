"""The public names exactly, what importing does, and what stands nowhere in the source."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import elman

SOURCE = Path(elman.__file__).parent


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(elman.__all__) == [
        "Recurrent", "UserError", "__version__", "cells", "check_cell", "convert", "data", "draw", "explain",
        "insight", "load", "models", "nn", "revert", "train", "verify",
    ]  # fmt: skip
    assert sorted(dir(elman)) == sorted(elman.__all__)
    assert all(getattr(elman, name) is not None for name in elman.__all__)
    assert sorted(elman.nn.__all__) == [
        "GRU", "GRUCell", "LSTM", "LSTMCell", "Layers", "Pooling", "RNN", "RNNCell", "Recurrent", "Stream",
        "convert", "explain", "from_keras", "from_onnx", "initialise", "revert", "to_keras", "to_onnx",
    ]  # fmt: skip
    assert sorted(elman.models.__all__) == [
        "Attention", "CarriedState", "Committee", "EncoderDecoder", "Hypothesis", "LanguageModel", "ManyToMany",
        "ManyToOne", "Memory", "ModelStream", "OneToMany", "OneToOne", "Sampling", "WordEncoder",
        "Writer", "WritingCommittee", "beam_search", "consensus", "generate", "samples",
    ]  # fmt: skip


def test_importing_reads_no_environment_starts_nothing_and_loads_no_torch() -> None:
    script = """
import os, sys, threading, subprocess
class Watched(dict):
    def __getitem__(self, key): raise SystemExit(f"read {key}")
    get = __contains__ = __getitem__
before = threading.active_count()
os.environ = Watched()
import elman
assert "torch" not in sys.modules, "import elman must stay quick"
assert threading.active_count() == before
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pickle_in_any_load_path_and_no_dynamic_code() -> None:
    modules = r"^\s*(import|from) (pickle|dill|cloudpickle|marshal|shelve)\b"
    refused = re.compile(modules + r"|(?<!safetensors\.)torch\.load\(|\beval\(|\bexec\(")
    found = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if refused.search(line) and ".eval()" not in line
    ]
    assert not found


def test_the_version_stands_in_one_place_and_in_the_changelog() -> None:
    changelog = (SOURCE.parents[1] / "CHANGELOG.md").read_text()
    assert f"## {elman.__version__}" in changelog
    assert elman.__version__ not in (SOURCE.parents[1] / "pyproject.toml").read_text().split("[project]")[1][:200]
