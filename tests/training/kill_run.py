"""Kill a run again and again, resume it, and compare its end with that of a run nobody touched.

    python tests/training/kill_run.py FOLDER KILLS SEED

A parent that has loaded everything forks the runs and kills them with SIGKILL at random moments; no moment is
excluded, saves least of all, as there is one every few milliseconds. Prints the number of kills; exits with 1 at
the first difference.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # what the first optimizer of a process loads; once, before the forks
import training_toy

from elman.export import read_folder, tensors_to_bytes


def start(out: Path) -> int:
    """Fork a run that goes on with what is in the folder, if anything; returns its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # Between every step and every few of them, so that a kill meets steps to do again as well as saves.
            trained, _ = training_toy.run(out, resume=True, epochs=20, checkpoint_minutes=0.0003)
            (out / "final").write_bytes(tensors_to_bytes(trained.state_dict()))
            status = 0
        finally:
            os._exit(status)
    return pid


def end(out: Path) -> dict[str, object]:
    """All that a run leaves, without its times."""
    files: dict[str, object] = dict(read_folder(out / "checkpoints" / (out / "checkpoints/latest").read_text()))
    state = json.loads(files["state.json"])
    state["standing"] = training_toy.timeless([state["standing"]])
    files["state.json"] = state
    for name, lines in (("kept", files.pop("metrics.jsonl")), ("shown", (out / "metrics.jsonl").read_bytes())):
        files[name] = training_toy.timeless([json.loads(line) for line in lines.splitlines()])
    files["final"] = (out / "final").read_bytes()
    return files


def finished(pid: int) -> bool:
    """Wait for a run; whether it came to its end rather than to a kill."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run ended with {status}")
    return status == 0


def killed_run(out: Path, duration: float, moments: random.Random) -> int:
    """One run, killed until it comes through; returns the number of kills."""
    for kills in range(1000):
        pid = start(out)
        time.sleep(moments.uniform(0, duration))
        os.kill(pid, signal.SIGKILL)
        if finished(pid):
            return kills
    raise SystemExit("a run never ended")


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    begun = time.monotonic()
    if not finished(start(folder / "whole")):
        raise SystemExit("the run that nobody touched was killed")
    duration, expected = time.monotonic() - begun, end(folder / "whole")
    moments, done, runs = random.Random(seed), 0, 0
    while done < kills:
        out = folder / f"killed-{runs}"
        done, runs = done + killed_run(out, duration, moments), runs + 1
        found = end(out)
        different = [name for name in expected if expected[name] != found.get(name)]
        if different:
            raise SystemExit(f"run {runs} of seed {seed} after {done} kills differs in {different}")
        shutil.rmtree(out)
    sys.stdout.write(json.dumps({"kills": done, "runs": runs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
