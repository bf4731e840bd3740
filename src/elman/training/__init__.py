"""The training loop: settings in, the best weights out, and a run that no kill can damage."""

from __future__ import annotations

from elman.training.accelerator import process
from elman.training.batches import Batch, Batches
from elman.training.interrupt import Interrupted
from elman.training.loop import Fitted, fit
from elman.training.optimizers import build_optimizer, learning_rate, optimizer_names
from elman.training.progress import Bar, Lines, Progress, Silent, console_progress
from elman.training.settings import TrainSettings

__all__ = [
    "Bar",
    "Batch",
    "Batches",
    "Fitted",
    "Interrupted",
    "Lines",
    "Progress",
    "Silent",
    "TrainSettings",
    "build_optimizer",
    "console_progress",
    "fit",
    "learning_rate",
    "optimizer_names",
    "process",
]
