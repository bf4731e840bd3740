"""kill -9 at random moments and at every call of a save: nothing is lost, and the end is the same to the bit.

`ELMAN_KILLS=200 pytest tests/training/test_training_kill.py` for the long form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("ELMAN_KILLS", "3"))


def script(name: str, *arguments: object) -> dict[str, int]:
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_killed_and_resumed_run_ends_with_the_same_bits(tmp_path):
    assert script("kill_run.py", tmp_path, KILLS, 7)["kills"] >= KILLS


def test_a_fault_at_any_call_of_a_save_loses_nothing(tmp_path):
    points = script("fault_points.py", tmp_path)
    # Fewer points than these and the faults would not have reached all that a save consists of.
    assert points.keys() == {f"{w} {f}" for w in ("model", "checkpoint") for f in ("kill", "tear", "full")}
    assert all(count >= (2 if "tear" in case else 20) for case, count in points.items()), points
