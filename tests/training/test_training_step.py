"""One step: plain gradient descent to the bit, accumulation, clipping, and what stops it."""

from __future__ import annotations

import math

import pytest
import torch
import training_toy as toy
from torch import nn

from elman.errors import UserError
from elman.training import Silent, fit
from elman.training.checkpoint import checkpoint_folders


def one_step(tmp_path, model, batches, loss=toy.loss, **changes):
    settings = toy.settings(epochs=1, schedule="constant", warmup=0.0, accumulate=1, **changes)
    return fit(model, loss, batches, toy.validate, settings, tmp_path, progress=Silent())


def gradients(model, batch):
    model.train()
    toy.loss(model, batch).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_sgd_is_the_weight_minus_rate_times_gradient_to_the_bit(tmp_path):
    # A rate that is a power of two: the product is exact, however the sum is rounded.
    batches, model = toy.Batches(40, 40), toy.model(dropout=0.0)
    reference = toy.model(dropout=0.0)
    expected = gradients(reference, next(batches.epoch(0)))
    one_step(tmp_path, model, batches, optimizer="sgd", learning_rate=0.25, clip=None)
    for name, parameter in reference.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter.detach() - 0.25 * expected[name]), name


def test_the_norm_is_clipped_and_told_before_clipping(tmp_path):
    batches, model = toy.Batches(40, 40), toy.model(dropout=0.0)
    reference = toy.model(dropout=0.0)
    expected = gradients(reference, next(batches.epoch(0)))
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in expected.values()))
    result = one_step(tmp_path, model, batches, optimizer="sgd", learning_rate=1.0, clip=norm / 4)
    assert result.history[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for name, parameter in reference.named_parameters():
        moved = parameter.detach() - model.get_parameter(name).detach()
        torch.testing.assert_close(moved, expected[name] / 4, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("rows", "size", "parts"), [(32, 16, 2), (40, 16, 3)])
def test_accumulated_batches_equal_one_large_batch(tmp_path, rows, size, parts):
    # The second case ends with a batch of 8 rows: each row must weigh the same all the same.
    models = {}
    for name, batch_size, accumulate in (("large", rows, 1), ("parts", size, parts)):
        models[name] = toy.model(dropout=0.0)
        settings = toy.settings(epochs=3, accumulate=accumulate, optimizer="sgd", learning_rate=0.1)
        batches = toy.Batches(rows, batch_size)
        result = fit(models[name], toy.loss, batches, toy.validate, settings, tmp_path / name, progress=Silent())
        assert result.steps == 3
    for large, accumulated in zip(models["large"].parameters(), models["parts"].parameters(), strict=True):
        torch.testing.assert_close(large, accumulated, rtol=1e-5, atol=1e-6)


class Breaks(torch.autograd.Function):
    """Leaves the value and spoils the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


def test_a_gradient_that_is_not_finite_is_named_and_not_taken(tmp_path):
    model = toy.model()

    def loss(model, batch):
        outputs, _ = model.layer(model.embedding(batch.inputs))
        return nn.functional.cross_entropy(Breaks.apply(model.head(outputs[:, -1]))[:, :3], batch.targets)

    with pytest.raises(UserError) as caught:
        one_step(tmp_path, model, toy.Batches(40, 8), loss=loss)
    assert "step 1: the loss and its gradient must be finite" in str(caught.value)
    assert "first parameter with a gradient that is not finite: embedding.weight" in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), toy.model().parameters(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_by_itself(tmp_path, value):
    # Added to the loss, it has no gradient: the loss alone must be enough to stop.
    calls = []

    def loss(model, batch):
        calls.append(batch)
        return toy.loss(model, batch) + (value if len(calls) == 4 else 0.0)

    with pytest.raises(UserError, match=f"step 4: .*loss {value}, .*not finite: none"):
        one_step(tmp_path, toy.model(), toy.Batches(40, 8), loss=loss)


def test_the_rows_of_the_batch_are_named(tmp_path):
    batches = toy.Batches(40, 8)
    rows = list(batches.epoch(0))[2].rows.tolist()

    def loss(model, batch):
        return toy.loss(model, batch) * (math.nan if batch.rows.tolist() == rows else 1.0)

    with pytest.raises(
        UserError, match=r"step 3: .*loss nan, .*embedding\.weight, rows " + ", ".join(map(str, rows))
    ):
        one_step(tmp_path, toy.model(), batches, loss=loss, checkpoint_minutes=0.0)
    # What was written before the fault stays as it was.
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_names_batch_and_length(tmp_path, error):
    def loss(model, batch):
        raise error

    with pytest.raises(
        UserError, match=r"step 1: memory ran out; found: a batch of 8 rows, the longest of 6 steps"
    ):
        one_step(tmp_path, toy.model(), toy.Batches(40, 8), loss=loss)


def test_real_memory_that_runs_out_is_recognised(tmp_path):
    def loss(model, batch):
        return torch.empty(1 << 52).sum()

    with pytest.raises(UserError, match="memory ran out"):
        one_step(tmp_path, toy.model(), toy.Batches(40, 8), loss=loss)


def test_other_errors_pass_as_they_are(tmp_path):
    def loss(model, batch):
        raise RuntimeError("a fault of the model's own")

    with pytest.raises(RuntimeError, match="of the model's own"):
        one_step(tmp_path, toy.model(), toy.Batches(40, 8), loss=loss)
