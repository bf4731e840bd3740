"""Long sequences: seconds and memory of one forward and backward pass, in a process of its own.

As a program it measures one length and prints JSON. The loss is the sum of the last state.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine.fleet import ROOT, Fleet, environment
from benchmarks.engine.timing import measure

LENGTHS = (128, 1_000, 10_000, 100_000, 1_000_000)
INPUTS, UNITS = 8, 256
LIMIT = 8 << 30  # bytes of memory; beyond it a library has failed
LONGEST = 600.0  # seconds of a process
LIBRARIES = {"Elman": "elman", "torch.nn": "torch"}
Record = dict[str, Any]


def numbers(steps: int) -> dict[str, np.ndarray]:
    """Inputs (1, steps, 8) and the parameters of an LSTM."""
    source = np.random.default_rng(0)
    shapes = {"weight_ih": (4 * UNITS, INPUTS), "weight_hh": (4 * UNITS, UNITS)}
    shapes |= {"bias_ih": (4 * UNITS,), "bias_hh": (4 * UNITS,)}
    found = {n: source.uniform(-(UNITS**-0.5), UNITS**-0.5, s).astype(np.float32) for n, s in shapes.items()}
    return found | {"x": source.standard_normal((1, steps, INPUTS), np.float32)}


def run_long(fleet: Fleet, library: str, steps: int, threads: int, seconds: float) -> Record:
    """Measures one length in a new process and compares what it found."""
    path = fleet.folder / "long.npz"
    command = [sys.executable, "-m", "benchmarks.engine.long", library, str(steps), str(path), str(seconds)]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(threads),
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {LONGEST:.0f} s"}
    if ended.returncode:
        words = ended.stderr.splitlines()
        memory = any("memory" in word or "bad_alloc" in word for word in words[-3:])
        return {
            "failed": f"more than {LIMIT >> 30} GiB" if memory else (words or [f"exit {ended.returncode}"])[-1]
        }
    record: Record = json.loads(ended.stdout)
    record |= fleet.workers["judge"].ask("compare_long", steps=steps, path=str(path))
    path.unlink()
    if not record["passed"]:
        del record["seconds"], record["megabytes"]
    return record


def main(library: str, steps: int, path: Path, seconds: float) -> None:
    """The process of one length."""
    import torch
    from benchmarks.engine.torch_layers import load, set_threads

    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    set_threads()
    arrays = numbers(steps)
    x = torch.from_numpy(arrays["x"])
    layer = _layer(library)
    parameters = load(layer, arrays)
    lasts: list[torch.Tensor] = []

    def step(inputs: torch.Tensor) -> None:
        layer.zero_grad()
        last = layer(inputs)[0]
        last = last[:, -1] if last.dim() == 3 else last
        last.sum().backward()
        lasts[:] = [last.detach()]

    step(x[:, :16])  # libraries are loaded and threads are there
    layer.zero_grad()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts afresh
    times = measure(lambda: step(x), lambda: None, 0.0 if steps > 10_000 else seconds)
    found = {"seconds": statistics.median(times), "calls": len(times)}
    found["megabytes"] = (_memory("VmHWM") - before) / 1e6
    np.savez(path, y=lasts[0].numpy(), **{f"d {n}": p.grad.numpy() for n, p in parameters.items()})
    print(json.dumps(found))


def _layer(library: str) -> Any:
    if library == "torch":
        from torch import nn

        return nn.LSTM(INPUTS, UNITS, batch_first=True)
    from elman.nn import Recurrent

    return Recurrent("lstm", INPUTS, UNITS, outputs="last")


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
