"""Two processes over gloo: the same as one of double batch, and stopped and resumed together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_toy as toy
from safetensors.torch import load

from elman.training import Silent, fit
from tolerances import assert_equal

# Sums of 16 rows in another order, over 12 steps: rounding of float32, no more.
TOLERANCE = 1e-5


def lines(out: Path) -> list[dict[str, object]]:
    return toy.timeless([json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])


def test_two_processes(tmp_path):
    # Accelerate's own launcher starts several processes on CPUs by mpirun only.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(Path(__file__).with_name("two_processes.py")), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    model = toy.model(seed=0, dropout=0.0)
    one = fit(model, toy.loss, toy.Batches(44, 16), toy.validate, toy.sgd(), tmp_path / "one", progress=Silent())
    two = [line for line in lines(tmp_path / "plain") if line["kind"] == "epoch"]
    assert len(two) == len(one.history) == 4
    for a, b in zip(two, one.history, strict=True):
        for name in ("loss", "gradient_norm", "validation_loss"):
            assert a[name] == pytest.approx(b[name], rel=TOLERANCE), name

    model, streams = toy.carried(0, 1, rows=4), toy.streams(4, 0, 1)
    one = fit(model, toy.next_token_loss, streams, toy.no_measure, toy.sgd(), tmp_path / "text", progress=Silent())
    two = [line for line in lines(tmp_path / "carried") if line["kind"] == "epoch"]
    for a, b in zip(two, one.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=TOLERANCE)
    states = load((tmp_path / "carried" / "weights-0").read_bytes())["carried_h"]
    assert_equal(torch.cat([states[0], states[1]], 1), model.state_dict()["carried_h"][0])

    for run in ("carried", "carried-stopped", "plain", "whole", "stopped"):
        assert (tmp_path / run / "weights-0").read_bytes() == (tmp_path / run / "weights-1").read_bytes()
    # Told in step 5, agreed on before step 6.
    for rank in (0, 1):
        assert "stopped after step 6" in (tmp_path / f"interrupted-{rank}").read_text()
    assert (tmp_path / "stopped" / "weights-0").read_bytes() == (tmp_path / "whole" / "weights-0").read_bytes()
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    for rank in (0, 1):
        name = f"weights-{rank}"
        stopped = tmp_path / "carried-stopped" / name
        assert stopped.read_bytes() == (tmp_path / "carried" / name).read_bytes()
