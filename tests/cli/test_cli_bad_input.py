"""What bad input gets: one clear message, exit code 2, no traceback, and no earlier run touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import reviews, run, train, write_csv

from elman.data.fetch import subprocess as fetching


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def untouched(model):
    """Nothing in the earlier run's folder may change."""
    before = hashes(model)
    yield model
    assert len(before) > 4 and hashes(model) == before


def refused_training(tmp_path: Path, data: Path, *parts: str, more: tuple[object, ...] = ()) -> None:
    """Training is refused with these parts in the message, and leaves no folder behind."""
    train(data, tmp_path / "run", *more).refused(*parts)
    assert not (tmp_path / "run").exists()


def test_missing_file(tmp_path):
    reviews(tmp_path / "reviews.csv")
    refused_training(tmp_path, tmp_path / "revews.csv", "revews.csv: no such file", "did you mean 'reviews.csv'?")


def test_empty_file(tmp_path):
    (tmp_path / "a.csv").write_text("")
    refused_training(tmp_path, tmp_path / "a.csv", "a.csv: the file is empty")


def test_no_such_column(tmp_path):
    data = reviews(tmp_path / "a.csv")
    wanted = ("no column 'txt'", "found: id, text, label", "did you mean 'text'? (--text)")
    refused_training(tmp_path, data, *wanted, more=("--text", "txt"))
    refused_training(tmp_path, data, "no column 'labl'", "'label'? (--label)", more=("--label", "labl"))


def test_one_class_only(tmp_path):
    data = write_csv(tmp_path / "a.csv", ["text", "label"], [[f"film {n}", "good"] for n in range(30)])
    refused_training(tmp_path, data, "a.csv", "'good'")


def test_empty_texts(tmp_path):
    data = write_csv(tmp_path / "a.csv", ["text", "label"], [[" ", n % 2] for n in range(30)])
    refused_training(tmp_path, data, "every text of column 'text' is empty", "30 rows")


def test_some_empty_texts_are_left_out_and_said(tmp_path):
    data = reviews(tmp_path / "a.csv")
    with data.open("a") as file:
        file.write("61,,good\n62, ,bad\n")
    result = train(data, tmp_path / "run", "--dry-run")
    assert result.code == 0 and "2 rows without a text are left out" in result.err


def test_an_empty_label_is_named_with_its_line(tmp_path):
    data = reviews(tmp_path / "a.csv")
    with data.open("a") as file:
        file.write("61,a film,\n")
    refused_training(tmp_path, data, "a.csv:62", "label")


def test_undecodable_bytes(tmp_path):
    data = reviews(tmp_path / "a.csv")
    data.write_bytes(data.read_bytes() + b"61,caf\xe9,good\n")
    refused_training(tmp_path, data, "a.csv:62: the text is not UTF-8", "byte 0xe9 at position 7", "CP1252")


def test_a_label_unseen_in_training(untouched, tmp_path):
    data = write_csv(tmp_path / "a.csv", ["text", "label"], [["a film", "good"], ["a film", "odd"]])
    result = run("evaluate", untouched, "--data", data)
    result.refused("a.csv:3", "one of the classes trained on: bad, good", "found: 'odd'")


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_damaged_model_folder(model, tmp_path, verb):
    for name in ("model.safetensors", "config.json", "tokenizer.json", "metrics.json"):
        copy = tmp_path / name
        shutil.copytree(model, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        run(verb, copy, *(["a film"] if verb == "predict" else [])).refused(name)


def test_a_foreign_or_missing_model_folder(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("{}")
    run("predict", tmp_path / "notes", "x").refused("notes: not a model folder: no manifest.json")
    run("predict", tmp_path / "none", "x").refused("none: no such folder", "that training wrote")
    run("evaluate", tmp_path / "notes" / "config.json").refused("config.json: not a folder")


def test_a_setting_that_does_not_exist(tmp_path):
    data = reviews(tmp_path / "a.csv")
    wanted = ("--set: no setting 'modle.cell'", "did you mean 'model.cell'?")
    refused_training(tmp_path, data, *wanted, more=("--set", "modle.cell=gru"))
    (tmp_path / "a.toml").write_text("[train]\nepoch = 3\n")
    wanted = ("a.toml: no setting 'train.epoch'", "'train.epochs'?")
    refused_training(tmp_path, data, *wanted, more=("--config", tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text("[train]\nepochs = \n")
    refused_training(tmp_path, data, "b.toml: ", "not TOML", "line 2", more=("--config", tmp_path / "b.toml"))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("train.epochs", ("--set", "key=value", "train.epochs")),
        ("train.epochs=0", ("--set: train.epochs", "greater than or equal to 1", "found: 0")),
        ("train.epochs=[many]", ("--set: train.epochs", "found: '[many]'")),
        ("model.cell=gro", ("no such cell", "did you mean 'gru'?")),
        ("model.pooling=men", ("--set: model.pooling", "'men' is none of last, mean, max, attention")),
    ],
)
def test_a_setting_that_cannot_be(tmp_path, change, parts):
    refused_training(tmp_path, reviews(tmp_path / "a.csv"), *parts, more=("--set", change))


def test_a_full_disk_while_training(tmp_path, untouched, reviews_csv, monkeypatch):
    monkeypatch.setattr(os, "fsync", _full)
    result = train(reviews_csv, tmp_path / "run")
    assert result.code == 2 and "Traceback" not in result.err and result.out == ""
    assert "no space left on the disk" in result.err.splitlines()[-1]
    assert result.err.splitlines()[-1].startswith(f"error: {tmp_path / 'run'}")


def test_a_full_disk_while_predictions_are_written(tmp_path, untouched, reviews_csv, monkeypatch):
    monkeypatch.setattr(os, "fsync", _full)
    out = tmp_path / "a.csv"
    run("predict", untouched, "--data", reviews_csv, "--out", out).refused("a.csv: no space left on the disk")
    assert list(tmp_path.iterdir()) == []


def test_no_network_for_the_data(tmp_path, monkeypatch):
    def offline(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: Could not find a version: no route\n")

    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "run", offline)
    fix = "elman data sentiment --from FILE"
    for arguments in (["data", "sentiment"], ["train", "sentiment", "--out", tmp_path / "run"]):
        result = run(*arguments)
        assert (result.code, result.out) == (2, "") and "Traceback" not in result.err
        assert "no route" in result.err and fix in result.err.splitlines()[-1]
    result = run("demo", "--out", tmp_path / "run")
    assert result.code == 2 and fix in result.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_an_archive_that_is_not_the_pinned_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.tar.gz").write_bytes(b"not it")
    run("data", "sentiment", "--from", tmp_path / "a.tar.gz").refused("a.tar.gz: ", "SHA-256")
    run("data", "--from", tmp_path / "a.tar.gz").refused("--from", "elman data NAME --from FILE")
    run("data", "sentimen").refused("no data set 'sentimen'", "did you mean 'sentiment'?")


def test_an_earlier_run_is_never_overwritten(untouched, reviews_csv, tmp_path):
    train(reviews_csv, untouched).refused(str(untouched), "already holds a run", "--resume")
    train(reviews_csv, untouched, "--set", "train.epochs=2", "--resume").refused("train.epochs")
    train(reviews_csv, untouched, "--set", "model.hidden_size=9", "--resume").refused(str(untouched))
    other = reviews(tmp_path / "a.csv")
    other.write_text(other.read_text().replace("lovely", "fine"))
    train(other, untouched, "--resume").refused(str(untouched))


def test_resume_needs_a_folder(reviews_csv):
    run("train", "sentiment", "--data", reviews_csv, "--resume").refused("--resume", "--out")


def test_a_folder_that_cannot_be_made_is_said(reviews_csv, tmp_path):
    (tmp_path / "file").touch()
    nowhere = ["/proc/nothere/run"] if Path("/proc/self").exists() else []  # root itself can make nothing there
    for name in ("file", "file/run", *nowhere):
        train(reviews_csv, tmp_path / name).refused(name, "cannot be written", "save elsewhere")


def test_several_processes_need_a_folder_and_only_the_first_one_reports(reviews_csv, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")  # what `torchrun` tells the second of two processes
    monkeypatch.setenv("WORLD_SIZE", "2")
    run("train", "sentiment", "--data", reviews_csv).refused("one folder", "found: 2 processes", "--out")
    monkeypatch.setattr("elman.recipes.text_recipe.TextRecipe.train", lambda *_: None)
    result = train(reviews_csv, tmp_path / "run", "--json")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_evaluate_takes_columns_of_other_rows_only(model):
    run("evaluate", model, "--label", "stars").refused("--label", "--data")


def test_predict_refuses_what_does_not_go_together(model, reviews_csv):
    run("predict", model, "x", "--data", reviews_csv).refused("--data")
    run("predict", model, "x", "--out", "a.csv").refused("--out", "--data")
    run("predict", model, "--words").refused("--words")
    run("predict", model, "x", " ").refused("text 2", "empty")
    run("predict", model, "--data", reviews_csv, "--out", "a.doc").refused("a.doc", ".csv, .tsv, .jsonl")
    run("predict", model, "--data", reviews_csv, "--out", "a.csv", "--json").refused("a.csv", ".jsonl")
    run("predict", model, "--data", reviews_csv, "--out", "no/a.csv").refused("no/a.csv", "no folder no")


def test_predict_refuses_a_table_that_has_its_columns(model, tmp_path):
    data = write_csv(tmp_path / "a.csv", ["text", "prediction"], [["a film", "good"]])
    run("predict", model, "--data", data).refused("a.csv", "found: prediction")
    run("predict", model, "--data", data, "--text", "txt").refused("no column 'txt'", "'text'?")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"\n", ("a line must hold a text",)),
        (b"{bad\n", ("JSON object",)),
        (b'{"txt": "a"}\n', ("a line must hold a text", "the keys txt")),
        (b'{"text": 3}\n', ("a line must hold a text", "found: 3")),
        (b'{"text": "a", "n": NaN}\n', ("NaN",)),
        (b'{"text": "a", "n": 1e999}\n', ("1e999",)),
        (b'{"text": "a", "prediction": 1}\n', ("must not have the key 'prediction'",)),
        (b"caf\xe9\n", ("not UTF-8", "byte 0xe9 at position 4")),
    ],
)
def test_a_bad_line_is_named_after_those_before_it_are_answered(model, line, parts):
    result = run("predict", model, stdin=b"a film\n" + line + b"a film\n")
    assert [json.loads(answer)["text"] for answer in result.out.splitlines()] == ["a film"]
    assert result.code == 2 and result.err.startswith("error: standard input:2: ")
    assert all(part in result.err for part in parts), result.err


def test_a_text_that_cannot_be_encoded_is_answered(model):
    assert json.loads(run("predict", model, "a \udc80 film", "--json").out)["text"] == "a \udc80 film"
    assert "a \\udc80 film" in run("predict", model, "a \udc80 film").out


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_standard_streams_that_are_full_or_closed(model):
    command = f"{shlex.quote(sys.executable)} -m elman predict {shlex.quote(str(model))}"
    full = subprocess.run(["sh", "-c", f"{command} good >/dev/full"], capture_output=True, text=True, check=False)
    closed = subprocess.run(["sh", "-c", f"{command} <&-"], capture_output=True, text=True, check=False)
    assert (full.returncode, closed.returncode) == (2, 2)
    assert full.stderr == "error: no space left on the device: standard output\n"
    assert "standard input is closed" in closed.stderr and "Traceback" not in closed.stderr


def test_an_archive_is_looked_at_where_the_data_is_kept_too(tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_bytes(b"not it")
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "data" / "sentiment").mkdir(parents=True)
    run("data", "sentiment", "--from", wrong).refused("wrong.tar.gz: ", "SHA-256")


def test_a_broken_link_among_texts_is_named(tmp_path):
    (tmp_path / "texts" / "good").mkdir(parents=True)
    (tmp_path / "texts" / "good" / "a.txt").write_text("a film")
    (tmp_path / "texts" / "good" / "b.txt").symlink_to(tmp_path / "gone")
    refused_training(tmp_path, tmp_path / "texts", "b.txt: a text must be a file", "a broken link")
