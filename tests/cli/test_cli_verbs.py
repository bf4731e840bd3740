"""Every verb doing its work on a tiny model."""

from __future__ import annotations

import csv
import datetime
import importlib
import io
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from cli_program import run, train

import elman
from elman.cli.predict_table import _WRITERS
from elman.data import DATASETS
from elman.engine.backends import RUNS
from elman.engine.extension import native

doctor_module = importlib.import_module("elman.cli.doctor")  # elman.cli.doctor itself is the verb
TEXT = "a lovely film"


def test_recipes_lists_them_and_the_settings_of_one():
    assert "sentiment" in run("recipes").out
    settings = {row["setting"]: row for row in json.loads(run("recipes", "sentiment", "--json").out)}
    assert settings["train.epochs"]["value"] >= 1 and settings["train.epochs"]["meaning"]
    assert "train.epochs" in run("recipes", "sentiment").out


def test_train_shows_folder_baselines_and_what_is_next(trained):
    folder, result = trained
    assert result.code == 0, result
    assert result.err.splitlines()[0] == f"folder: {folder}"
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = {line.split()[0]: line.split()[-2:] for line in result.out.splitlines() if line[:1].isalpha()}
    assert lines["majority"] == [f"{metrics['baselines']['majority'][m]:.3f}" for m in ("accuracy", "macro_f1")]
    assert lines["this"] == [f"{metrics['test'][m]:.3f}" for m in ("accuracy", "macro_f1")]
    best = max({"this model": metrics["test"], **metrics["baselines"]}.items(), key=lambda m: m[1]["accuracy"])[0]
    assert best in next(line for line in result.out.splitlines() if line.startswith("best accuracy: "))
    assert f"elman evaluate {folder}" in result.out
    assert "target" not in result.out  # a promise about other data


def test_train_chooses_a_free_folder_and_json_names_it(reviews_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sentiment").mkdir(parents=True)
    (tmp_path / "tiny.toml").write_text("[model]\nhidden_size = 9\ncell = 'rnn'\n[train]\nepochs = 1\n")
    changes = ["--config", "tiny.toml", "--set", "model.hidden_size=8", "--set", "train.track=off"]
    result = run("train", "sentiment", "--data", reviews_csv, *changes, "--json")
    told = json.loads(result.out)
    assert Path(told["folder"]) == tmp_path / "runs" / "sentiment-2"
    assert set(told["test"]) == {"accuracy", "macro_f1", "confusion", "rows"}
    assert result.err.startswith("folder: runs/sentiment-2\n")
    chosen = json.loads((tmp_path / "runs/sentiment-2/config.json").read_text())["settings"]["model"]
    assert (chosen["cell"], chosen["hidden_size"]) == ("rnn", 8)  # --set overrules the file


def test_dry_run_tells_the_plan_and_writes_nothing(reviews_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(reviews_csv, "run", "--dry-run")
    assert result.code == 0 and list(tmp_path.iterdir()) == []
    for part in ("text 'text', label 'label'", "bad 30, good 30", "train 42", "parameters", "layer 0: "):
        assert part in result.out, part
    assert json.loads(train(reviews_csv, "run", "--dry-run", "--json").out)["model.hidden_size"] == "8"


def test_evaluate_measures_the_test_part_again(model):
    stored = json.loads((model / "metrics.json").read_text())["test"]
    assert json.loads(run("evaluate", model, "--json").out) == {**stored, "labels": ["bad", "good"]}
    shown = run("evaluate", model).out
    assert "naive_bayes" in shown
    table = [line.split() for line in shown.splitlines()]
    assert [["bad", *map(str, stored["confusion"][0])], ["good", *map(str, stored["confusion"][1])]] == table[-2:]
    assert table[-3] == ["true", "\\", "predicted", "bad", "good"]


def test_evaluate_other_rows_leaves_the_baselines_out(model, reviews_csv):
    shown = run("evaluate", model, "--data", reviews_csv).out
    assert "60 rows" in shown and "naive_bayes" not in shown


def test_numbers_are_measured_and_predicted_as_numbers(numbers):
    measured = json.loads(run("evaluate", numbers, "--json").out)
    assert set(measured) == {"rmse", "mae", "r2", "rows"}
    shown = run("evaluate", numbers).out
    assert "ridge_regression" in shown and "confusion" not in shown and "predicted" not in shown
    answer = json.loads(run("predict", numbers, TEXT, "--json").out)
    assert set(answer) == {"text", "prediction"} and isinstance(answer["prediction"], float)
    assert f"{answer['prediction']:.4g}" in run("predict", numbers, TEXT, "--words").out


def test_predict_texts(model):
    expected = elman.load(model).probabilities([TEXT, "x"])
    told = [json.loads(line) for line in run("predict", model, TEXT, "x", "--json").out.splitlines()]
    assert [answer["text"] for answer in told] == [TEXT, "x"]
    for answer, probabilities in zip(told, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(probabilities, abs=1e-6)
        assert answer["prediction"] == max(probabilities, key=probabilities.__getitem__)
    assert f"{TEXT}\n  {told[0]['prediction']}  (bad {expected[0]['bad']:.2f}" in run("predict", model, TEXT).out


def test_words_show_how_the_verdict_moves(model):
    shown = run("predict", model, "[a] lovely film", "--words").out.splitlines()
    lines = [line.split() for line in shown if line[-1].isdigit()]
    assert [line[0] for line in lines] == ["[", "a", "]", "lovely", "film"]
    bars = [line[1] for line in lines]
    assert {len(bar) for bar in bars} == {24} and set("".join(bars)) <= set("-+")
    told = json.loads(run("predict", model, "[a] lovely film", "--words", "--json").out)["words"]
    for bar, word in zip(bars, told, strict=True):
        assert bar.count("-") == round(24 * word["probabilities"]["bad"])
    assert told[-1]["probabilities"] == pytest.approx(
        elman.load(model).probabilities(["[a] lovely film"])[0], abs=1e-5
    )


def test_a_table_comes_back_with_its_columns_and_the_answers(model, reviews_csv, tmp_path):
    out = tmp_path / "predictions.csv"
    result = run("predict", model, "--data", reviews_csv, "--out", out)
    assert (result.code, result.out) == (0, "")
    before, after = (list(csv.DictReader(io.StringIO(path.read_text()))) for path in (reviews_csv, out))
    assert list(after[0]) == ["id", "text", "label", "prediction", "probability_bad", "probability_good"]
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert [row["prediction"] for row in after] == elman.load(model).predict([row["text"] for row in before])
    assert run("predict", model, "--data", reviews_csv).out == out.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_file_is_replaced_only_by_force(model, reviews_csv, tmp_path):
    out = tmp_path / "predictions.jsonl"
    out.write_text("precious")
    run("predict", model, "--data", reviews_csv, "--out", out).refused(str(out), "--force")
    assert out.read_text() == "precious"
    assert run("predict", model, "--data", reviews_csv, "--out", out, "--force").code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 60 and set(rows[0]) >= {"id", "text", "label", "prediction", "probability_good"}


def test_a_row_without_a_text_keeps_its_place_and_gets_no_answer(model, tmp_path):
    (tmp_path / "some.csv").write_text('text,n\ngood,1\n"",2\nbad,3\n')
    result = run("predict", model, "--data", tmp_path / "some.csv")
    rows = list(csv.reader(io.StringIO(result.out)))
    assert rows[2] == ["", "2", "", "", ""] and all(rows[1]) and all(rows[3])
    assert "some.csv:3" in result.err


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_lines_of_text_and_json_become_json_lines(model, dash):
    result = run("predict", model, *dash, stdin=b'good film\r\n{"text": "bad [film]", "id": 7}\nlast')
    told = [json.loads(line) for line in result.out.splitlines()]
    assert [answer["text"] for answer in told] == ["good film", "bad [film]", "last"]
    assert told[1]["id"] == 7 and set(told[0]) == {"text", "prediction", "probabilities"}


def test_each_line_is_answered_before_the_next_is_given(model):
    command = [sys.executable, "-m", "elman", "predict", str(model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, **pipes, env={**env, "OMP_NUM_THREADS": "1"}) as process:
        impatience = threading.Timer(30, process.kill)
        impatience.start()
        for text in ("one", "two"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        process.wait()
        impatience.cancel()
    assert process.returncode == 0


def test_doctor_reports_what_is_there():
    told = json.loads(run("doctor", "--json").out)
    assert told["versions"]["elman"] == elman.__version__
    assert told["versions"]["torch"] == torch.__version__
    assert set(told["backends"]) == set(RUNS)
    built = native() is not None
    assert all(said.startswith("runs") == (built or name != "native") for name, said in told["backends"].items())
    engine = told["machine"]["native engine"]
    assert engine.startswith("built; instruction sets: ") if built else "slower" in engine and "fix: " in engine
    assert set(told["extras"]) == {"sentiment", "tables", "tensorboard"}
    assert run("doctor").code == 0


def test_doctor_says_why_a_backend_does_not_run_and_what_to_install(monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setitem(RUNS, "eager", broken)
    monkeypatch.setitem(doctor_module._EXTRAS, "tables", ("no-such-library",))
    told = json.loads(run("doctor", "--json").out)
    assert told["backends"]["eager"] == "does not run rnn: no such instruction"
    assert told["extras"]["tables"] == "missing no-such-library: pip install 'elman[tables]'"


def test_data_lists_licence_source_and_whether_it_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    row = json.loads(run("data", "--json").out)[0]
    assert row == {
        "data": "sentiment",
        "licence": DATASETS["sentiment"].licence,
        "source": "vaderSentiment==3.3.2 (PyPI)",
        "cache": "not fetched",
    }
    assert "MIT" in run("data").out


def test_dates_and_infinities_of_a_table_become_text_in_json_lines():
    columns = {"when": [datetime.date(2026, 1, 2)], "x": [math.inf], "y": [1.5], "n": [None]}
    line = json.loads(_WRITERS[".jsonl"](columns), parse_constant=str.upper)
    assert line == {"when": "2026-01-02", "x": "inf", "y": 1.5, "n": None}


def test_evaluate_says_which_columns_it_took_and_what_it_left_out(model, tmp_path):
    data = tmp_path / "more.csv"
    data.write_text("comment,verdict\na good film,good\n,bad\na bad film,bad\n")
    result = run("evaluate", model, "--data", data)
    assert result.code == 0 and "measured on 2 rows" in result.out
    assert "columns: text 'comment', label 'verdict'" in result.err
    assert "1 rows without a text are left out" in result.err
