"""How a call is timed."""

from __future__ import annotations

import time
from collections.abc import Callable

AT_LEAST = 5  # calls
LONGEST = 4.0  # seconds a measurement, from the second call on


def measure(call: Callable[[], object], between: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call, for about `seconds` in all; `between` runs before each call, outside its time."""
    found: list[float] = []
    first = time.perf_counter()
    while (spent := time.perf_counter() - first) < seconds or len(found) < AT_LEAST:
        if spent > LONGEST and len(found) > 1:
            break
        between()
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def trial(call: Callable[[], object]) -> float:
    """Seconds of a call after a first one: enough to choose between a library's options."""
    call()
    times = measure(call, lambda: None, 0.05)
    return sorted(times)[len(times) // 2]
