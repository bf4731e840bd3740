"""The loop: resumed runs, refusals, early stopping, what it leaves on disk and in the model."""

from __future__ import annotations

import copy
import json
import signal

import pytest
import torch
import training_toy as toy
from torch import nn

from elman.errors import UserError
from elman.training import Interrupted, Silent, fit
from elman.training.checkpoint import checkpoint_folders


class Told(Silent):
    def __init__(self):
        self.messages = []

    def say(self, message):
        self.messages.append(message)


def fitted(out, *, loss=toy.loss, validate=toy.validate, model=None, told=None, resume=False, **changes):
    settings = toy.settings(**changes)
    batches = toy.Batches(40, settings.batch_size)
    model = model or toy.model()
    return fit(model, loss, batches, validate, settings, out, resume=resume, progress=told or Silent())


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class StopAt:
    """A loss that sends this process a signal on one of its calls."""

    def __init__(self, call: int, number: signal.Signals = signal.SIGINT) -> None:
        self.call, self.calls, self.number = call, 0, number

    def __call__(self, model, batch):
        self.calls += 1
        if self.calls == self.call:
            signal.raise_signal(self.number)
        return toy.noisy_loss(model, batch)


def test_the_same_seed_gives_the_same_bits(tmp_path):
    (a, first), (b, second), (c, _) = (
        toy.run(tmp_path / "a"),
        toy.run(tmp_path / "b"),
        toy.run(tmp_path / "c", seed=1),
    )
    assert same(a, b)
    assert not same(a, c)
    assert toy.timeless(first.history) == toy.timeless(second.history)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("call", [1, 3, 6, 10])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, call, number):
    whole, expected = toy.run(tmp_path / "whole")
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"stopped after step \d+.*--resume"):
        fitted(tmp_path / "out", loss=StopAt(call, number))
    assert signal.getsignal(number) is before
    resumed, found = toy.run(tmp_path / "out", resume=True)
    assert same(whole, resumed)
    assert toy.timeless(found.history) == toy.timeless(expected.history)
    assert (found.steps, found.epochs, found.best_metrics) == (12, 4, expected.best_metrics)


@pytest.mark.parametrize("optimizer", ["adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop", "sgd"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_every_optimizer_resumes_to_the_same_bits(tmp_path, optimizer, precision):
    momentum = 0.9 if optimizer in ("sgd", "rmsprop") else 0.0
    changes = {"optimizer": optimizer, "momentum": momentum, "precision": precision, "epochs": 2}
    whole, _ = toy.run(tmp_path / "whole", **changes)
    with pytest.raises(Interrupted):
        fitted(tmp_path / "out", loss=StopAt(5), **changes)
    resumed, _ = toy.run(tmp_path / "out", resume=True, **changes)
    assert same(whole, resumed)


def test_a_second_interrupt_stops_at_once(tmp_path):
    def impatient(model, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("training went on")

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "out", loss=impatient)


def test_resuming_a_finished_run_changes_nothing_and_says_so(tmp_path):
    first, expected = toy.run(tmp_path)
    told, again = Told(), toy.model(seed=3)
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    found = fitted(tmp_path, model=again, resume=True, told=told)
    assert same(first, again)
    assert found == expected
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines
    assert any("finished, nothing to do" in message for message in told.messages)


def test_resuming_without_a_run_starts_one_and_says_so(tmp_path):
    told = Told()
    assert fitted(tmp_path / "out", resume=True, told=told).epochs == 4
    assert any("starting from the beginning" in message for message in told.messages)


def test_a_run_is_never_overwritten(tmp_path):
    toy.run(tmp_path / "out", epochs=1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"out: this folder already holds a run.*--resume"):
        toy.run(tmp_path / "out", epochs=1)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 5}, "train.epochs"),
        ({"learning_rate": 0.02}, "train.learning_rate"),
        ({"seed": 1}, "train.seed"),
    ],
)
def test_resuming_with_other_settings_names_the_setting(tmp_path, changes, named):
    with pytest.raises(Interrupted):
        fitted(tmp_path, loss=StopAt(3))
    with pytest.raises(UserError, match=f"{named} differs from the run being resumed"):
        fitted(tmp_path, resume=True, **changes)
    assert fitted(tmp_path, resume=True, checkpoint_minutes=9.0).epochs == 4


def test_resuming_another_model_or_other_data_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        fitted(tmp_path, loss=StopAt(3))
    other = toy.model()
    other.extra = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"the model differs.*extra\.bias was absent"):
        fitted(tmp_path, resume=True, model=other)
    with pytest.raises(UserError, match="batches in an epoch differs"):
        fit(toy.model(), toy.loss, toy.Batches(60, 8), toy.validate, toy.settings(), tmp_path, resume=True)


def test_the_model_ends_with_the_best_weights(tmp_path):
    losses, states = iter([3.0, 1.0, 2.0, 2.5]), []

    def validate(model):
        assert not model.training
        states.append(copy.deepcopy(model.state_dict()))
        return {"loss": next(losses)}

    model = toy.model()
    result = fitted(tmp_path, model=model, validate=validate)
    assert result.best_metrics == {"loss": 1.0}
    assert all(torch.equal(value, states[1][name]) for name, value in model.state_dict().items())
    assert not all(torch.equal(value, states[3][name]) for name, value in model.state_dict().items())


def test_a_resumed_run_remembers_the_best_weights(tmp_path):
    losses, states = [1.0, 2.0, 3.0, 4.0], []

    def validate(model):
        states.append(copy.deepcopy(model.state_dict()))
        return {"loss": losses[len(states) - 1]}

    with pytest.raises(Interrupted):
        fitted(tmp_path, loss=StopAt(8), validate=validate)
    model = toy.model(seed=9)
    assert fitted(tmp_path, loss=toy.noisy_loss, validate=validate, model=model, resume=True).best_metrics == {
        "loss": 1.0
    }
    assert all(torch.equal(value, states[0][name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("watch", "values"), [("loss", [3.0, 2.0, 2.0, 2.5]), ("f1", [0.1, 0.2, 0.2, 0.1])])
def test_training_stops_when_nothing_improves(tmp_path, watch, values):
    given, told = iter(values), Told()
    result = fitted(
        tmp_path, validate=lambda _: {watch: next(given)}, watch=watch, patience=2, epochs=9, told=told
    )
    assert (result.epochs, result.best_metrics) == (4, {watch: values[1]})
    assert any("stopped early" in message for message in told.messages)
    assert fitted(tmp_path, resume=True, watch=watch, patience=2, epochs=9) == result


def test_a_metric_that_is_not_there_or_not_finite_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no metric 'los'; found: .*did you mean 'loss'\?"):
        fitted(tmp_path / "a", watch="los")
    with pytest.raises(UserError, match=r"epoch 1: undefined must be finite"):
        fitted(tmp_path / "b", watch="undefined")
    assert checkpoint_folders(tmp_path / "b") == []


def test_the_lines_say_what_happened(tmp_path):
    _, result = toy.run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"], line["epoch"]) for line in lines] == [
        (kind, 3 * epoch, epoch) for epoch in (1, 2, 3, 4) for kind in ("step", "epoch")
    ]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert epochs == result.history
    assert epochs[0]["validation_undefined"] is None
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    rates = [line["learning_rate"] for line in epochs]
    assert rates == sorted(rates, reverse=True)
    assert all(line["gradient_norm"] > 0 and line["tokens_per_second"] > 0 for line in lines)
    assert 0 < lines[0]["seconds"] <= lines[-1]["seconds"] == result.seconds


def test_the_model_is_left_as_it_was_found(tmp_path):
    model = toy.model()
    before = set(model.__dict__)
    fitted(tmp_path / "a", model=model, precision="bf16", epochs=1)
    assert set(model.__dict__) == before
    assert "forward" not in model.__dict__
    fitted(tmp_path / "b", model=copy.deepcopy(model), epochs=1)


def test_precision_that_the_device_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train\.precision: fp16 cannot be computed on this device"):
        fitted(tmp_path, precision="fp16")


def test_bf16_computes_in_bf16(tmp_path):
    seen = set()

    class Spy(toy.Model):
        def forward(self, inputs):
            seen.add(self.head(torch.ones(1, 8)).dtype)
            return super().forward(inputs)

    torch.manual_seed(0)
    fitted(tmp_path, model=Spy(), precision="bf16", epochs=1)
    assert seen == {torch.bfloat16}


def test_curves_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    toy.run(tmp_path, epochs=1, track="tensorboard")
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_no_batches_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least one batch"):
        fit(toy.model(), toy.loss, toy.Batches(0, 8), toy.validate, toy.settings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
