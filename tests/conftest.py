"""What all tests share.

One thread, so that small work is quick and runs are alike; how hypothesis searches; what becomes of the tests of
the native engine where there is none: they are left out and the summary says so, or, with ELMAN_REQUIRE_NATIVE=1,
they fail.
"""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

from elman.engine.extension import why_not

REQUIRED = os.environ.get("ELMAN_REQUIRE_NATIVE", "").lower() not in ("", "0", "false", "no", "off")
LEFT_OUT = pytest.StashKey[list[str]]()

torch.set_num_threads(1)
settings.register_profile("elman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elman")


def pytest_runtest_setup(item: pytest.Item) -> None:
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
