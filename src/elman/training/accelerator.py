"""Devices, precision and several processes: the little of Accelerate that the loop uses."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import nn

from elman.errors import UserError
from elman.training.settings import TrainSettings


def make_accelerator(settings: TrainSettings, out: Path) -> Accelerator:
    """An Accelerator for the settings; under `accelerate launch` or `torchrun` it joins the other processes.

    Args:
        settings: reads precision, device and track.
        out: the run's folder; TensorBoard's files go to `out/tensorboard`.

    Raises:
        UserError: the device cannot compute in this precision, or TensorBoard is asked for and not installed.
    """
    # Accelerate keeps one state per process and refuses a second run in another precision or on another device.
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not joined)
    processes = process()[1]
    # Asked for any device where there is none, Accelerate would let each of several processes run on its own.
    cpu = settings.device == "cpu" or (processes > 1 and not torch.accelerator.is_available())
    fix = "set train.precision=no"
    try:
        accelerator = Accelerator(
            mixed_precision=settings.precision,
            cpu=cpu,
            log_with="tensorboard" if _tracks(settings) else None,
            project_dir=out,
        )
    except ValueError as error:
        if settings.precision == "no":
            raise
        raise UserError("not on this device", where="train.precision", found=error, fix=fix) from error
    if accelerator.num_processes != processes:
        what = f"{processes} processes were launched and have not found each other"
        raise UserError(what, found=accelerator.num_processes, fix="launch them with torchrun")
    # Accelerate computes in full precision, without a word, where it has no fp16.
    if settings.precision != "no" and not accelerator.native_amp:
        what = f"{settings.precision} cannot be computed on this device"
        raise UserError(what, where="train.precision", found=accelerator.device.type, fix=fix)
    return accelerator


def process() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are: what `torchrun` says.

    Known before `fit`, to give each process its part of the data.

    Example:
        >>> process()
        (0, 1)
    """
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def release(model: nn.Module, before: Mapping[str, object]) -> None:
    """Take off a model what Accelerate put on it, so that it can be copied, saved and trained again.

    Args:
        model: the model as it was given to `prepare`.
        before: its `__dict__` before that.
    """
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        if name in model.__dict__ and name not in before:
            del model.__dict__[name]


def total(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """The sum of each value over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    return [float(value) for value in accelerator.reduce(numbers, reduction="sum")]


def from_first(accelerator: Accelerator, values: Mapping[str, float]) -> dict[str, float]:
    """The first process's values on every process, so that all of them decide alike."""
    if accelerator.num_processes == 1:
        return dict(values)
    names = sorted(values)
    numbers = torch.tensor([values[n] for n in names], dtype=torch.float64, device=accelerator.device)
    return dict(zip(names, broadcast(numbers).tolist(), strict=True))


def _tracks(settings: TrainSettings) -> bool:
    installed = importlib.util.find_spec("tensorboard") is not None
    if settings.track == "tensorboard" and not installed:
        fix = "pip install 'elman[tensorboard]'"
        raise UserError("tensorboard is not installed", where="train.track", found="tensorboard", fix=fix)
    return installed and settings.track != "off"
