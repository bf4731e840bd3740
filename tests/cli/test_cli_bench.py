"""`elman bench` on tiny shapes: what it says, never how fast anything is."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from cli_program import run

from elman.engine.extension import why_not
from elman.nn import drop_in

TINY = ("--shapes", "2x3,1x4", "--steps", "5", "--threads", "1")


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(importlib.import_module("elman.cli.bench"), "_SECONDS", 0.001)
    monkeypatch.setattr(importlib.import_module("elman.cli.side_by_side"), "_PEAK_SECONDS", 0.001)


def test_a_row_for_every_cell_shape_and_work():
    found = json.loads(run("bench", *TINY, "--json").out)
    shapes = [(row["cell"], row["rows"], row["units"], row["work"]) for row in found["rows"]]
    works = ("inference", "training")
    assert shapes == [(c, *s, w) for c in ("rnn", "gru", "lstm") for s in ((2, 3), (1, 4)) for w in works]
    assert (found["threads"], found["steps"], found["torch"]) == (1, 5, torch.__version__)
    for row in found["rows"]:
        assert row["elman_ms"] > 0 and row["ratio"] == pytest.approx(row["torch_ms"] / row["elman_ms"])
        assert (row["of_peak"] is None) == (found["peak_gflops"] is None)


def test_training_does_three_times_the_products_of_inference(monkeypatch):
    monkeypatch.setattr("elman.cli.side_by_side.peak_of", lambda threads: 2.0)
    for row in json.loads(run("bench", *TINY, "--cells", "gru", "--json").out)["rows"]:
        products = 2 * row["rows"] * 5 * 3 * row["units"] * 2 * row["units"]
        flops = products * (3 if row["work"] == "training" else 1)
        assert row["of_peak"] == pytest.approx(flops / (row["elman_ms"] / 1e3) / 2e9)


def test_the_table_says_means_and_what_was_lost(monkeypatch):
    in_turn = {"inference": [2e-3, 1e-3], "training": [1e-3, 4e-3]}
    monkeypatch.setattr(
        "elman.cli.side_by_side._in_turn",
        lambda calls, changed, _: in_turn["training" if changed else "inference"],
    )
    result = run("bench", *TINY, "--cells", "lstm")
    assert result.code == 0, result
    lines = [line.split() for line in result.out.splitlines()]
    assert ["lstm", "2", "3", "inference", "2.000", "1.000", "2.00"] in [line[:7] for line in lines]
    assert ("this is torch beside itself" in result.out) == (why_not() is not None)
    assert "training: torch.nn takes 0.25 times as long (geometric mean of 2)" in result.out
    assert "slower than torch.nn: lstm 2x3 training, lstm 1x4 training\n" in result.out


@pytest.mark.parametrize("wrong", ["outputs", "gradients"])
def test_no_speed_is_told_where_results_are_wrong(monkeypatch, wrong):
    forward = drop_in.GRU.forward

    def broken(self, x, hx=None):
        y, state = forward(self, x, hx)
        return (y * 1.001 if wrong == "outputs" else y.detach() + (y - y.detach()) * 1.001), state

    monkeypatch.setattr(drop_in.GRU, "forward", broken)
    result = run("bench", *TINY, "--cells", "gru,rnn", "--json")
    assert result.code == 1
    told = {
        (row["cell"], row["work"]): (row["torch_ms"] is None, row["elman_ms"] is None)
        for row in json.loads(result.out)["rows"]
    }
    assert told == {
        ("gru", "inference"): (False, wrong == "outputs"),
        ("gru", "training"): (False, True),
        ("rnn", "inference"): (False, False),
        ("rnn", "training"): (False, False),
    }
    assert "wrong results: gru 2x3 " in run("bench", *TINY, "--cells", "gru").out


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    run("bench", "--shapes", "1x2", "--steps", "2", "--cells", "rnn", "--threads", before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "option, value, parts",
    [
        ("--cells", "lstn", ("--cells: no such cell", "lstn", "did you mean 'lstm'?")),
        ("--shapes", "2x3,32", ("--shapes: not a shape", "found: 32", "as 32x256")),
        ("--shapes", "0x4", ("--shapes: not a shape", "found: 0x4")),
    ],
)
def test_what_cannot_be_measured_is_refused(option, value, parts):
    run("bench", option, value).refused(*parts)
