"""`elman compare` doing its work on tiny networks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli_program import Result, run
from matplotlib.image import imread

import elman
from elman import recipes
from elman.cli.compare import names_of
from elman.insight import trace_run
from elman.nn import Recurrent
from elman.recipes.comparison import _curve, health
from elman.recipes.settings import changed
from elman.training import Silent

TINY = (
    "model.hidden_size=12", "model.embedding_size=6", "model.members=1", "model.subwords=3000", "train.epochs=2",
    "train.track=off",
)  # fmt: skip
ZONEOUT = "Zoneout(LSTM, p=0.1)"


def compare(data: object, out: object, *more: object, cells: str = f"rnn,{ZONEOUT}") -> Result:
    settings = [part for change in TINY for part in ("--set", change)]
    return run("compare", "names", "--cells", cells, "--data", data, "--out", out, *settings, *more)


@pytest.fixture(scope="module")
def compared(reviews_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("compare") / "both"
    return out, compare(reviews_csv, out, "--equal-params")


def lines_of(out: Path) -> list[dict]:
    return json.loads((out / "compare.json").read_text())["cells"]


def test_cells_stand_side_by_side(compared):
    out, result = compared
    assert result.code == 0, result
    first, second = lines_of(out)
    assert (first["cell"], second["cell"]) == ("rnn", ZONEOUT)
    assert first["steps"] == second["steps"] > 0 and first["seconds"] >= 0
    for line in (first, second):
        assert 0 <= line["test"]["accuracy"] <= 1
        assert line["peak_memory"] is None or line["peak_memory"] > 50e6
        assert line["gradient"]["curve"][1] == 1.0 and line["gradient"]["memory"] > 0
        assert elman.load(out / line["folder"]).predict(["a lovely film"])[0] in ("bad", "good")
        row = next(row for row in result.out.splitlines() if row.startswith(line["cell"]))
        assert f"{line['test']['accuracy']:.3f}" in row and f"{line['parameters']:,}" in row
    height, width, _ = imread(out / "compare.png").shape
    assert width > height > 300


def test_equal_parameters_are_equal_and_their_units_said(compared):
    out, result = compared
    first, second = lines_of(out)
    assert first["hidden_size"] == 12 and second["hidden_size"] < 12
    assert abs(second["parameters"] / first["parameters"] - 1) <= 0.02
    assert f"{ZONEOUT}: model.hidden_size={second['hidden_size']}" in result.err
    for line in (first, second):
        model = elman.load(out / line["folder"])
        assert sum(p.numel() for p in model.network.parameters()) == line["parameters"]
        assert (model.settings.model.cell, model.settings.model.hidden_size) == (line["cell"], line["hidden_size"])


def test_a_finished_cell_is_not_trained_again(compared, reviews_csv, tmp_path):
    before, _ = compared
    out = shutil.copytree(before, tmp_path / "again")
    kept = lines_of(out)
    (out / "compare.json").write_text(
        json.dumps(json.loads((out / "compare.json").read_text()) | {"cells": kept[:1]})
    )
    kept[0]["seconds"] = 12345.0
    text = json.loads((out / "compare.json").read_text())
    text["cells"][0]["seconds"] = 12345.0  # what a second training would overwrite
    (out / "compare.json").write_text(json.dumps(text))
    shutil.rmtree(out / kept[1]["folder"])
    result = compare(reviews_csv, out, "--equal-params", "--resume", "--json")
    told = json.loads(result.out)
    assert [line["cell"] for line in told["cells"]] == ["rnn", ZONEOUT] and told["cells"][0] == kept[0]
    assert told["cells"][1]["test"] == kept[1]["test"]  # the same seed, the same bits
    assert told["cells"] == lines_of(out)


def test_another_comparison_is_not_resumed_in_its_place(compared, reviews_csv, tmp_path):
    out, _ = compared
    changed = compare(reviews_csv, out, "--resume", "--set", "train.epochs=3")
    changed.refused("train.epochs", "differs from the comparison being resumed: 2 then", "3")
    more = shutil.copy(reviews_csv, tmp_path / "more.csv")
    Path(more).write_text(reviews_csv.read_text() + "99,a new film,good\n")
    kept = json.loads((out / "compare.json").read_text())
    shutil.copytree(out, tmp_path / "other")
    (tmp_path / "other/compare.json").write_text(json.dumps(kept | {"data": str(more)}))
    other = compare(more, tmp_path / "other", "--resume")
    assert other.code == 2 and "data_fingerprint differs" in other.err
    compare(reviews_csv, out).refused("must be empty", "--resume")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    compare(reviews_csv, tmp_path / "mine", "--resume").refused("no comparison to resume")


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ("rnn", ("two cells", "--cells", "found: rnn")),
        ("rnn,lstn", ("no such cell", "did you mean 'lstm'?")),
        ("lstm,LSTM()", ("named twice", "--cells")),
        ("rnn,Zoneout(LSTM", ("a cell cannot be read",)),
        ("lstm,Projection(GRU, size=3)", ("do not fit together", "Projection(GRU, size=3)")),
    ],
)
def test_misuse_is_said_before_anything_is_trained(cells, parts, reviews_csv, tmp_path):
    result = compare(reviews_csv, tmp_path / "new", cells=cells)
    assert [line for line in result.err.splitlines() if line.startswith("error: ")] == result.err.splitlines()[1:]
    for part in parts:
        assert part in result.err
    assert result.code == 2 and not (tmp_path / "new").exists()


def test_settings_that_cannot_be_compared_are_refused(reviews_csv, tmp_path):
    out = tmp_path / "new"
    clash = compare(reviews_csv, out, "--set", "model.cell=gru")
    assert clash.code == 2 and "named by --cells" in clash.err
    few = compare(
        reviews_csv,
        out,
        "--equal-params",
        "--set",
        "model.hidden_size=1",
        "--set",
        "model.subwords=1",
        cells="rnn,lstm",
    )
    assert few.code == 2 and "within 2 %" in few.err and "model.hidden_size=4" in few.err
    assert not out.exists()


def test_a_recipe_without_a_cell_is_refused(monkeypatch, tmp_path):
    from elman.recipes.names import RECIPE
    from elman.training import TrainSettings

    class Plain(type(RECIPE.settings)):
        model: int = 1

    bare = Plain.model_construct(data=RECIPE.settings.data, model=1, train=TrainSettings())
    known = {"bare": type(RECIPE)("bare", "", bare, default_data=RECIPE.default_data)}
    monkeypatch.setattr(recipes, "registered", lambda: known)
    monkeypatch.setattr("elman.recipes.settings.changed", lambda settings, *_: settings)
    result = run("compare", "bare", "--cells", "rnn,gru", "--out", tmp_path / "new")
    assert result.code == 2 and "has no cell to choose" in result.err


def test_commas_in_brackets_belong_to_a_cell():
    assert names_of("rnn, Zoneout(LSTM, p=(0.1, 0.2)),gru") == ["rnn", "Zoneout(LSTM, p=(0.1, 0.2))", "gru"]
    assert names_of(" ,") == []


def test_the_curve_is_what_a_linear_network_keeps():
    layer = Recurrent("rnn", 1, 1, bias=False)
    torch.nn.init.constant_(layer.weight_hh_l0, 0.5)
    run = trace_run(layer, torch.zeros(1, 6, 1), loss=lambda returned: returned[0].sum())
    torch.testing.assert_close(_curve([run])[1:], 0.5 ** torch.arange(5.0, dtype=torch.float64))


def test_gradients_are_measured_where_the_rows_of_a_batch_are_fixed(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog sat on the log. " * 200)
    changes = {"model.hidden_size": 8, "model.embedding_size": 4, "train.batch_size": 48, "data.window": 32}
    recipe = recipes.get("autocomplete")
    request = recipes.request("autocomplete", changed(recipe.settings, changes), out=tmp_path, progress=Silent())
    prepared, model = recipe.begin(replace(request, data=str(text)))
    decided = model.settings
    assert health(recipe, model, prepared)["memory"] > 0 and model.settings == decided


def test_ctrl_c_leaves_a_comparison_that_goes_on(reviews_csv, tmp_path):
    settings = [part for change in TINY for part in ("--set", change)] + ["--set", "train.epochs=100000"]
    command = [sys.executable, "-m", "elman", "compare", "names", "--cells", "rnn,gru", "--data", str(reviews_csv)]
    environment = {**os.environ, "PYTHONPATH": str(Path(elman.__file__).parents[1])}
    with subprocess.Popen(
        [*command, "--out", "both", *settings], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        deadline = time.monotonic() + 120
        while not (tmp_path / "both/rnn/metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does
        _, err = started.communicate(timeout=60)
    assert started.returncode == 2 and "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("error: ") and "--out both --resume" in err.splitlines()[-1]
    assert json.loads((tmp_path / "both/compare.json").read_text())["cells"] == []
    assert any((tmp_path / "both/rnn/checkpoints").iterdir())
