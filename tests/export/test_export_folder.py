"""The model folder: everything comes back as it was saved, and nothing else is taken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from elman.errors import UserError
from elman.export import (
    FORMAT_VERSION,
    atomic_folder,
    read_model,
    save_model,
    tensors_from_bytes,
    tensors_to_bytes,
)


def saved(tmp_path: Path, **changes):
    arguments = {"state": {"w": torch.arange(3.0)}, "config": {"cell": "lstm"}, **changes}
    return save_model(tmp_path / "model", **arguments)


def test_everything_comes_back(tmp_path):
    state = nn.LSTM(2, 3).state_dict() | {"steps": torch.tensor(7), "half": torch.ones(2).bfloat16()}
    path = saved(tmp_path, state=state, tokenizer='{"ä": 1}', metrics={"test": {"accuracy": 0.1 + 0.2}})
    model = read_model(path)
    assert model.config.keys() == {"cell", "format_version", "elman_version"}
    assert model.config["format_version"] == FORMAT_VERSION
    assert model.tokenizer == '{"ä": 1}'
    assert model.metrics == {"test": {"accuracy": 0.1 + 0.2}}
    assert model.state.keys() == state.keys()
    for name, tensor in state.items():
        assert model.state[name].dtype == tensor.dtype
        assert torch.equal(model.state[name], tensor)
    assert sorted(p.name for p in path.iterdir()) == [
        "config.json", "manifest.json", "metrics.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_what_was_read_can_be_saved_again_without_what_it_lacks(tmp_path):
    path = saved(tmp_path, tokenizer="{}", metrics={"loss": 1})
    model = read_model(path)
    save_model(path, model.state, model.config)
    again = read_model(path)
    assert (again.config, again.tokenizer, again.metrics) == (model.config, None, None)


def test_tied_tensors_are_written_once_and_come_back_tied():
    weight = torch.randn(100, 10)
    state = {"embedding": weight, "head": weight, "other": weight.clone(), "view": weight[:50], "turned": weight.T}
    data = tensors_to_bytes(state)
    assert 3 * 4000 < len(data) < 5 * 4000
    back = tensors_from_bytes(data, Path("x"))
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    assert back.keys() == state.keys()
    assert back["head"] is back["embedding"]
    assert tensors_to_bytes(state) == data
    assert tensors_from_bytes(tensors_to_bytes({}), Path("x")) == {}


def rewrite(path: Path, name: str, data: bytes) -> None:
    """Change one file and give the folder a manifest that fits."""
    files = {p.name: p.read_bytes() for p in path.iterdir() if p.name != "manifest.json"} | {name: data}
    with atomic_folder(path) as new:
        for each, content in files.items():
            (new / each).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("config.json", b'{"format_version": 2}', "reads model folders up to format_version 1; found: 2; upgrade"),
        ("config.json", b"{}", "format_version must be a whole number from 1; found: None"),
        ("config.json", b'{"format_version": true}', "format_version must be a whole number"),
        ("config.json", b'{"format_version": 0}', "format_version must be a whole number"),
        ("config.json", b"[]", "must hold one JSON object"),
        ("config.json", b"{", "not JSON"),
        ("config.json", b'{"a":' * 20000, "not JSON"),
        ("config.json", b"\xff", "not UTF-8"),
        ("model.safetensors", b"nothing", "not a safetensors file"),
        ("model.safetensors", b"\xff" * 16, "not a safetensors file"),
        ("metrics.json", b"NaN", "must hold one JSON object"),
        ("tokenizer.json", b"\xff", "not UTF-8"),
    ],
)
def test_foreign_content_is_refused(tmp_path, name, data, message):
    path = saved(tmp_path)
    rewrite(path, name, data)
    with pytest.raises(UserError, match=message) as caught:
        read_model(path)
    assert name in str(caught.value)


def test_a_pickle_is_refused_and_never_run(tmp_path):
    class Planted:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = saved(tmp_path)
    rewrite(path, "model.safetensors", pickle.dumps(Planted()))
    with pytest.raises(UserError, match="not a safetensors file"):
        read_model(path)
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_model(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        read_model(tmp_path / "file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no manifest\.json, model\.safetensors in it"):
        read_model(tmp_path / "foreign")
    (tmp_path / "foreign" / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"has not finished; .*--resume"):
        read_model(tmp_path / "foreign")


def test_a_file_outside_the_manifest_is_not_read(tmp_path):
    path = saved(tmp_path)
    (path / "tokenizer.json").write_text("planted")
    assert read_model(path).tokenizer is None


def test_edited_metrics_are_noticed(tmp_path):
    path = saved(tmp_path, metrics={"accuracy": 0.5})
    text = (path / "metrics.json").read_text()
    (path / "metrics.json").write_text(text.replace("0.5", "0.9"))
    with pytest.raises(UserError, match=r"metrics\.json: the file is damaged"):
        read_model(path)


def test_an_interrupted_replacement_is_read_and_said(tmp_path):
    path = saved(tmp_path)
    path.rename(tmp_path / ".model.old")
    with pytest.warns(RuntimeWarning, match="cut short"):
        assert read_model(path).config["cell"] == "lstm"


def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        saved(tmp_path, metrics={"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_plain_json_and_tensors(tmp_path):
    path = saved(tmp_path)
    assert json.loads((path / "config.json").read_text())["cell"] == "lstm"
    header = (path / "model.safetensors").read_bytes()
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["w"]["shape"] == [3]
