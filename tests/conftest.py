"""What all tests share.

One thread, so that small work is quick and runs are alike; how hypothesis searches; what becomes of the tests of
the native engine where there is none: they are left out and the summary says so, or, with ELMAN_REQUIRE_NATIVE=1,
they fail. Tests that need a library which Elman does without (`needs`) are left out and counted where it is not
installed.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch
from hypothesis import HealthCheck, settings

from elman.engine.extension import why_not

REQUIRED = os.environ.get("ELMAN_REQUIRE_NATIVE", "").lower() not in ("", "0", "false", "no", "off")
LEFT_OUT = pytest.StashKey[list[str]]()

torch.set_num_threads(1)
settings.register_profile("elman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elman")


MISSING = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*libraries): left out, and counted, where one is not installed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    needed = [library for mark in item.iter_markers("needs") for library in mark.args]
    if missing := ", ".join(library for library in needed if find_spec(library) is None):
        item.config.stash.setdefault(MISSING, {})[item.nodeid] = missing
        pytest.skip(f"not installed: {missing}")
    reason = why_not() if item.get_closest_marker("native") else None
    if reason is None:
        return
    if REQUIRED:
        pytest.fail(f"ELMAN_REQUIRE_NATIVE is set, and the native engine is {reason}", pytrace=False)
    item.config.stash.setdefault(LEFT_OUT, []).append(item.nodeid)
    pytest.skip(f"the native engine is {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, []):
        said = f"{len(left_out)} tests of the native engine were left out: it is {why_not()}"
        terminalreporter.write_line(said, yellow=True)
    if missing := config.stash.get(MISSING, {}):
        libraries = ", ".join(sorted(set(missing.values())))
        said = f"{len(missing)} tests were left out, for want of libraries: {libraries}"
        terminalreporter.write_line(said, yellow=True)
