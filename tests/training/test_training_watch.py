"""Gradients through time in training: what is recorded and said, and that the run stays what it was."""

from __future__ import annotations

import json

import pytest
import torch
import training_toy as toy
from torch import nn

from elman.errors import UserError
from elman.insight import by_distance, gradient_norms, trace_run
from elman.models import ManyToOne
from elman.nn import Recurrent, initialise
from elman.training import Silent, fit


class Told(Silent):
    def __init__(self):
        self.messages, self.lines = [], []

    def say(self, message):
        self.messages.append(message)

    def step(self, line):
        self.lines.append(dict(line))


def model(cell="gru", **options):
    torch.manual_seed(0)
    return ManyToOne(Recurrent(cell, 8, 8, **options), 12, encoder=nn.Embedding(12, 8), dropout=0.2)


def loss(network, batch):
    return nn.functional.cross_entropy(network(batch.inputs, batch.lengths), batch.targets)


def trained(out, network=None, lost=loss, **changes):
    told, network = Told(), network or model()
    settings = toy.settings(**{"accumulate": 1, "epochs": 2, **changes})
    fit(network, lost, toy.Batches(40, 8), lambda _: {"loss": 0.0}, settings, out, progress=told)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return network, told, [line for line in lines if line["kind"] == "insight"]


def test_a_watched_run_ends_with_the_same_bits(tmp_path):
    plain, told, none = trained(tmp_path / "plain")
    watched, told_more, lines = trained(tmp_path / "watched", insight_every=3)
    for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not none
    assert [line["step"] for line in lines] == [3, 6, 9]
    assert not any("far_gradient" in line for line in told.lines)
    assert ["far_gradient" in line for line in told_more.lines] == [False] * 2 + [True] * 8
    assert sum(v for k, v in lines[0].items() if k.startswith("share/")) == pytest.approx(1.0)
    assert lines[0]["clipped"] in (0, 1 / 3, 2 / 3, 1)


def test_the_far_end_is_what_a_traced_run_finds(tmp_path):
    network = model(num_layers=2, bidirectional=True).eval()
    network.train = lambda mode=True: network  # without dropout, to be traced as it was trained
    batch, found = next(toy.Batches(40, 8).epoch(0)), {}
    run = trace_run(network, batch.inputs, batch.lengths, loss=lambda scores: nn.functional.cross_entropy(
        scores, batch.targets))  # fmt: skip
    curves = by_distance(run, gradient_norms(run))
    for name, curve in zip(run.names, curves, strict=True):
        found[f"far_gradient/recurrent {name}"] = float(curve[-1] / curve.max())
    _, _, lines = trained(tmp_path / "out", network, insight_every=1, epochs=1)
    assert {k: v for k, v in lines[0].items() if k.startswith("far_gradient/")} == pytest.approx(found, rel=1e-4)
    assert lines[0]["far_gradient"] == pytest.approx(min(found.values()), rel=1e-4)


def test_a_gradient_that_vanishes_is_said_once_with_step_and_layer(tmp_path):
    network = model("rnn")
    initialise(network.recurrent, weight_hh=1e-3)
    _, told, _ = trained(tmp_path / "out", network, insight_every=2)
    said = [message for message in told.messages if "vanishes" in message]
    assert len(said) == 1
    assert said[0].startswith("step 2: the gradient vanishes in recurrent layer 0: ")


def test_a_gradient_that_explodes_is_said_with_step_and_parameter(tmp_path):
    calls = []

    def jumping(network, batch):
        calls.append(None)
        return loss(network, batch) * (1000 if len(calls) == 15 else 1)

    _, told, _ = trained(tmp_path / "out", lost=jumping, insight_every=100, epochs=4)
    said = [message for message in told.messages if "explodes" in message]
    assert len(said) == 1
    assert said[0].startswith("step 15: the gradient explodes: its norm ")
    assert " times the usual " in said[0]


def test_a_model_without_a_recurrent_layer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train.insight_every: the model has no recurrent layer"):
        trained(tmp_path / "out", toy.model(), insight_every=5)
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
