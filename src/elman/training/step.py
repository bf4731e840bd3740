"""One optimizer step: forward, backward through time, the gradient's norm, the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from elman.errors import UserError
from elman.training.accelerator import total
from elman.training.batches import B, Batch


@dataclass(frozen=True)
class StepResult:
    """What one step has shown.

    Attributes:
        loss: mean over the rows of the step, all processes together.
        gradient_norm: Euclidean, before clipping; None when fp16 overflowed and the step was skipped.
    """

    loss: float
    gradient_norm: float | None


@dataclass(frozen=True)
class Stepper(Generic[B]):
    """Takes optimizer steps.

    Attributes:
        accelerator: holds the device, the precision and the processes.
        model: as prepared by Accelerate.
        optimizer: as prepared by Accelerate.
        loss: gives the mean loss over the rows of a batch, a scalar.
        clip: largest norm of the gradient, or None.
        see: is told the number of each step and its gradient's norm, while the gradients stand; or None.
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: AcceleratedOptimizer
    loss: Callable[[nn.Module, B], Tensor]
    clip: float | None
    see: Callable[[int, float], None] | None = None

    def __call__(self, group: Sequence[B], rows: float, number: int) -> StepResult:
        """One step over a group of batches whose gradients are accumulated.

        Args:
            group: the batches of this process.
            rows: rows of the step on all processes together; each row weighs the same, wherever it is.
            number: the step, named in errors.

        Raises:
            UserError: the loss or a gradient is not finite, or memory ran out; the weights are untouched.
        """
        try:
            loss = total(self.accelerator, [self._backward(group, rows)])[0]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise _too_large(group, number) from error
        self.accelerator.unscale_gradients(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        size = float(norm)
        overflow = self._overflow(size)
        if not math.isfinite(loss) or not (math.isfinite(size) or overflow):
            raise self._not_finite(loss, group, number)
        if self.see is not None and not overflow:
            self.see(number, size)
        if self.clip is not None and not overflow:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(loss, None if overflow else size)

    def _backward(self, group: Sequence[B], rows: float) -> float:
        """Add this process's gradients; returns its share of the mean loss."""
        share = 0.0
        for place, batch in enumerate(group):
            batch = batch.to(self.accelerator.device)
            weight = _rows(batch) / rows
            if place + 1 < len(group):
                with self.accelerator.no_sync(self.model):
                    share += self._backward_one(batch, weight)
            else:
                share += self._backward_one(batch, weight)
        return share

    def _backward_one(self, batch: B, weight: float) -> float:
        loss = self.loss(self.model, batch)
        # Several processes average their gradients, hence their number in the weight.
        self.accelerator.backward(loss * (weight * self.accelerator.num_processes))
        return float(loss.detach()) * weight

    def _overflow(self, norm: float) -> bool:
        """Whether the gradients left fp16's range only because of the scaling, which the scaler then lowers."""
        scaler = self.accelerator.scaler
        return scaler is not None and not math.isfinite(norm) and scaler.get_scale() > 1

    def _not_finite(self, loss: float, group: Sequence[Batch], number: int) -> UserError:
        named = self.accelerator.unwrap_model(self.model).named_parameters()
        bad = [name for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
        numbers = [row for batch in group for row in torch.as_tensor(batch.rows).flatten().tolist()]
        shown = ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
        self.optimizer.zero_grad()
        return UserError(
            "the loss and its gradient must be finite",
            where=f"step {number}",
            found=f"loss {loss}, first parameter with a gradient that is not finite: {next(iter(bad), 'none')}, "
            f"rows {shown}",
            fix="lower train.learning_rate, lower train.clip, or look for NaN in these rows",
        )


def _rows(batch: Batch) -> int:
    return int(batch.lengths.shape[0])


def _out_of_memory(error: BaseException) -> bool:
    known = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(k in str(error) for k in known)


def _too_large(group: Sequence[Batch], number: int) -> UserError:
    longest = max(int(batch.lengths.max()) for batch in group)
    largest = max(_rows(batch) for batch in group)
    return UserError(
        "memory ran out",
        where=f"step {number}",
        found=f"a batch of {largest} rows, the longest of {longest} steps",
        fix="halve train.batch_size and double train.accumulate, or cut the longest rows",
    )
