"""What is told of a run: lines of metrics.jsonl, curves for TensorBoard, and the progress on the screen."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from elman.export import atomic_write, disk_errors
from elman.training.checkpoint import Standing, lines_to_text
from elman.training.progress import Progress
from elman.training.step import StepResult


class Record:
    """The lines of a run and where they go.

    A line holds kind ("step" or "epoch"), step, epoch (from 1), loss (of training: the step's, or the mean over
    the epoch's rows), gradient_norm (before clipping; the epoch's mean), learning_rate, tokens_per_second (of the
    epoch so far, its steps alone), seconds (of the whole run); at the end of an epoch `validation_NAME` for each
    metric.

    One of the kind "insight" holds step, epoch, `far_gradient` (the least share of the gradient that reaches the
    far end of the sequences in a layer), `far_gradient/LAYER` for each, `clipped` (of the steps since the last
    look), and `share/PARAMETER` (of the gradient's squared norm).

    Attributes:
        lines: all lines so far, those of the run before it was resumed included.
    """

    def __init__(self, accelerator: Accelerator, out: Path, log_steps: int, progress: Progress) -> None:
        self.lines: list[dict[str, Any]] = []
        self._accelerator, self._path = accelerator, out / "metrics.jsonl"
        self._log_steps, self._progress = log_steps, progress
        self._clock = time.monotonic()

    def open(self, standing: Standing, lines: Sequence[dict[str, Any]], steps: int) -> None:
        """Begin, or go on after the lines that the checkpoint holds; what came after it is run again."""
        self.lines = list(lines)
        if self._accelerator.is_main_process:
            atomic_write(self._path, lines_to_text(self.lines).encode())
        if not standing.finished:
            purge = {"tensorboard": {"purge_step": standing.step + 1}}
            self._accelerator.init_trackers("tensorboard", init_kwargs=purge)
            self._progress.start(standing.step, steps)
        self._clock = time.monotonic()

    def step(self, standing: Standing, result: StepResult, rate: float, far: float | None = None) -> None:
        """A step is done: shown always, with what reaches the far end if it is known; kept every `log_steps`."""
        standing.epoch_seconds += self._tick(standing)
        line = _line("step", standing, standing.epoch + 1, result.loss, result.gradient_norm, rate)
        self._progress.step(line if far is None else {**line, "far_gradient": far})
        if standing.step % self._log_steps == 0:
            self._keep(line)

    def insight(self, standing: Standing, found: Mapping[str, float | None]) -> None:
        """What a look at the gradients through time has found."""
        self._keep({"kind": "insight", "step": standing.step, "epoch": standing.epoch + 1, **found})

    def epoch(self, standing: Standing, metrics: Mapping[str, float | None], rate: float) -> None:
        """An epoch is done and measured."""
        self._tick(standing)
        norm = standing.epoch_norm / standing.epoch_norms if standing.epoch_norms else None
        line = _line("epoch", standing, standing.epoch, standing.epoch_loss / standing.epoch_rows, norm, rate)
        line |= {f"validation_{name}": value for name, value in metrics.items()}
        self._progress.epoch(line)
        self._keep(line)

    def close(self) -> None:
        """Let go of the screen and the trackers."""
        self._progress.stop()
        for tracker in self._accelerator.trackers:
            tracker.finish()

    def _keep(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if self._accelerator.is_main_process:
            with disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(lines_to_text([line]))
        numbers = {f"{line['kind']}/{name}": value for name, value in line.items() if isinstance(value, float)}
        self._accelerator.log(numbers, step=line["step"])

    def _tick(self, standing: Standing) -> float:
        now = time.monotonic()
        passed, self._clock = now - self._clock, now
        standing.seconds += passed
        return passed


def _line(
    kind: str, standing: Standing, epoch: int, loss: float, norm: float | None, rate: float
) -> dict[str, Any]:
    return {
        "kind": kind,
        "step": standing.step,
        "epoch": epoch,
        "loss": loss,
        "gradient_norm": norm,
        "learning_rate": rate,
        "tokens_per_second": standing.epoch_tokens / max(standing.epoch_seconds, 1e-9),
        "seconds": standing.seconds,
    }


def gradient_norms(folder: Path) -> list[float]:
    """The gradient norms of the steps that a run in this folder wrote down; none where it wrote nothing."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [line["gradient_norm"] for line in lines if line.get("kind") == "step" and line.get("gradient_norm")]
