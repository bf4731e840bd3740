"""Settings, optimizers by name, and the learning rate over the steps."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from elman.errors import UserError
from elman.training import TrainSettings, build_optimizer, learning_rate, optimizer_names


def test_every_setting_is_described():
    for name, field in TrainSettings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 3},
        {"epochs": 0},
        {"optimizer": "lion"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"clip": 0.0},
        {"warmup": 1.5},
        {"momentum": 1.0},
        {"patience": 0},
        {"precision": "fp8"},
        {"seed": -1},
        {"_target_": "os.system"},
        {"optimizer": "torch.optim.Adam"},
        {"checkpoint_minutes": float("inf")},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainSettings(**wrong)


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        TrainSettings().epochs = 3


@pytest.mark.parametrize("name", optimizer_names())
def test_every_name_builds_its_optimizer(name):
    optimizer = build_optimizer(TrainSettings(optimizer=name, learning_rate=0.5), nn.Linear(1, 1).parameters())
    assert type(optimizer).__name__.lower() == name
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["weight_decay"] == (0.01 if name == "adamw" else 0.0)


def test_weight_decay_and_momentum_reach_the_optimizer():
    settings = TrainSettings(optimizer="sgd", weight_decay=0.3, momentum=0.8)
    group = build_optimizer(settings, nn.Linear(1, 1).parameters()).param_groups[0]
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (0.3, 0.8, False)
    with pytest.raises(UserError, match=r"train\.momentum: .*found: 0\.8 with optimizer adam"):
        build_optimizer(TrainSettings(optimizer="adam", momentum=0.8), [nn.Parameter(torch.ones(1))])


def test_the_rate_rises_straight_then_follows_a_cosine():
    settings = TrainSettings(learning_rate=2.0, warmup=0.2)
    rates = [learning_rate(settings, step, 20) for step in range(20)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[12] == pytest.approx(1.0)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.03


def test_the_other_schedules():
    linear, constant = (TrainSettings(learning_rate=1.0, warmup=0.0, schedule=s) for s in ("linear", "constant"))
    assert [learning_rate(linear, step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [learning_rate(constant, step, 4) for step in range(4)] == [1.0] * 4
    assert learning_rate(TrainSettings(warmup=1.0, learning_rate=1.0), 3, 4) == 1.0
