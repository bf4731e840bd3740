"""Checkpoints: exact, two kept, and the newest valid one found whatever happened to the others."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from elman.errors import UserError
from elman.training import TrainSettings, build_optimizer
from elman.training.checkpoint import (
    Checkpoint,
    Standing,
    checkpoint_folders,
    newest_checkpoint,
    write_checkpoint,
)
from elman.training.generators import restore_generators, take_generators
from elman.training.optimizers import restore_state, state_of

CPU = torch.device("cpu")


def checkpoint(step: int, **changes) -> Checkpoint:
    tensors = {"w": torch.full((2,), float(step))}
    return Checkpoint({"train.seed": 0}, Standing(step=step), tensors, tensors, {}, {}, **changes)


def names(out) -> list[str]:
    return [folder.name for folder in checkpoint_folders(out)]


def test_what_is_written_is_what_is_read(tmp_path):
    standing = Standing(step=3, epoch_loss=0.1 + 0.2, seconds=1e-300, best={"loss": 1 / 3, "f1": None})
    tensors = {"half": torch.randn(3).half(), "double": torch.randn(3).double(), "count": torch.tensor(3)}
    values = {"optimizer": {"0.momentum_buffer": None}, "scaler": {"scale": 65536.0}}
    whole = Checkpoint({"a": 1}, standing, tensors, {}, tensors, tensors, values, [{"loss": 0.1}, {"loss": None}])
    folder = write_checkpoint(tmp_path, whole)
    found = newest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    assert found[0] == folder == tmp_path / "checkpoints" / "step-00000003"
    read = found[1]
    assert (read.identity, read.standing, read.values, read.lines) == (
        whole.identity,
        whole.standing,
        whole.values,
        whole.lines,
    )
    assert read.best == {}
    for part in (read.model, read.optimizer, read.generators):
        assert {name: (t.dtype, t.tolist()) for name, t in part.items()} == {
            name: (t.dtype, t.tolist()) for name, t in tensors.items()
        }


def test_two_are_kept_and_latest_names_the_last(tmp_path):
    for step in (1, 2, 30, 100_000_000):
        write_checkpoint(tmp_path, checkpoint(step))
    assert names(tmp_path) == ["step-00000030", "step-100000000"]
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-100000000"


def test_an_older_step_written_later_takes_the_place_of_newer_ones(tmp_path):
    for step in (1, 5, 9, 7):
        write_checkpoint(tmp_path, checkpoint(step))
    assert names(tmp_path) == ["step-00000005", "step-00000007"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, name, damage):
    lines = [{"loss": 1.0}]
    write_checkpoint(tmp_path, checkpoint(1, lines=lines))
    path = write_checkpoint(tmp_path, checkpoint(2, lines=lines)) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    {
        "flip": lambda: path.write_bytes(data),
        "cut": lambda: path.write_bytes(data[:-1]),
        "remove": path.unlink,
    }[damage]()
    said: list[str] = []
    found = newest_checkpoint(tmp_path, said.append)
    assert found is not None
    assert found[1].standing.step == 1
    assert len(said) == 1
    assert name in said[0]


@pytest.mark.parametrize("latest", [None, b"", b"step-00000009", b"../../elsewhere", b"\xff\xfe"])
def test_a_wrong_latest_leads_to_the_newest_valid_one(tmp_path, latest):
    write_checkpoint(tmp_path, checkpoint(1))
    write_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / "checkpoints" / "latest"
    path.unlink() if latest is None else path.write_bytes(latest)
    said: list[str] = []
    found = newest_checkpoint(tmp_path, said.append)
    assert found is not None
    assert found[1].standing.step == 2
    assert "looking for the newest valid checkpoint" in said[0]


def test_no_valid_checkpoint_is_an_error_and_none_at_all_is_not(tmp_path):
    assert newest_checkpoint(tmp_path, pytest.fail) is None
    (write_checkpoint(tmp_path, checkpoint(1)) / "manifest.json").unlink()
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        newest_checkpoint(tmp_path, lambda message: None)


def test_a_linked_checkpoint_is_not_followed(tmp_path):
    elsewhere = write_checkpoint(tmp_path / "elsewhere", checkpoint(1))
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    (tmp_path / "out" / "checkpoints" / "step-00000001").symlink_to(elsewhere)
    assert newest_checkpoint(tmp_path / "out", pytest.fail) is None
    write_checkpoint(tmp_path / "out", checkpoint(2))
    assert elsewhere.is_dir()


def test_generators_go_on_where_they_were_even_between_a_pair_of_normal_draws():
    def draws():
        return random.gauss(0, 1), np.random.normal(), torch.randn(3).tolist(), random.random(), np.random.rand()  # noqa: NPY002

    random.gauss(0, 1), np.random.normal()  # noqa: NPY002 - each keeps the second half of a pair
    states = take_generators(CPU)
    expected = draws()
    stacked = {name: torch.stack([torch.zeros_like(state), state]) for name, state in states.items()}
    draws()
    restore_generators({name: both[1] for name, both in stacked.items()}, CPU)
    assert draws() == expected


@pytest.mark.parametrize("name", ["adamw", "nadam", "sgd"])
def test_optimizer_tensors_keep_their_dtype(name):
    def optimizer():
        layer = nn.Linear(2, 2).bfloat16()
        made = build_optimizer(TrainSettings(optimizer=name, momentum=0.9 * (name == "sgd")), layer.parameters())
        layer(torch.ones(1, 2).bfloat16()).sum().backward()
        return made

    first, second = optimizer(), optimizer()
    first.step()
    state = next(iter(first.state.values()))
    key = "momentum_buffer" if name == "sgd" else "exp_avg"
    state[key] = state[key].float() + 1e-4  # more than bfloat16 can hold
    tensors, values = state_of(first)
    restore_state(second, tensors, values)
    for a, b in zip(first.state.values(), second.state.values(), strict=True):
        assert a.keys() == b.keys()
        for each in a:
            assert torch.equal(a[each], b[each])
            assert a[each].dtype == b[each].dtype
            assert a[each].data_ptr() != b[each].data_ptr()
