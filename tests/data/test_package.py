"""What the package shows, what importing it costs, and the examples in its docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import elman.data

MODULES = [module.name for module in pkgutil.iter_modules(elman.data.__path__, "elman.data.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    outcome = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert outcome.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(examples) >= 12


def test_every_public_name_is_there():
    assert set(dir(elman.data)) == set(elman.data.__all__)
    assert all(callable(getattr(elman.data, name)) or name == "DATASETS" for name in elman.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Batchs'"):
        _ = elman.data.Batchs


def test_functions_are_not_hidden_by_modules_of_the_same_name():
    importlib.import_module("elman.data.split")
    importlib.import_module("elman.data.fetch")
    assert elman.data.split.__name__ == "split"
    assert elman.data.fetch.__name__ == "fetch"


def test_importing_loads_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "tokenizers", "datasets", "pyarrow"}
    code = f"import sys, elman.data; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
