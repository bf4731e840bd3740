"""The training loop: epochs of steps, each epoch measured, checkpoints between, the best weights at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic

from accelerate.utils import set_seed
from torch import Tensor, nn

from elman.errors import UserError
from elman.export import first_not_finite
from elman.training.accelerator import make_accelerator, release, total
from elman.training.batches import B, Batches
from elman.training.checkpoint import Checkpoint, Standing, write_checkpoint
from elman.training.generators import restore_generators, take_generators
from elman.training.interrupt import Interrupted, StopRequest
from elman.training.lock import FolderLock
from elman.training.measure import better, checked
from elman.training.optimizers import (
    build_optimizer,
    learning_rate,
    restore_state,
    set_learning_rate,
    state_of,
)
from elman.training.progress import Progress, Silent, console_progress
from elman.training.record import Record
from elman.training.resume import claim, identity, refuse_another_run
from elman.training.settings import TrainSettings
from elman.training.step import Stepper
from elman.training.watch import Watch


@dataclass(frozen=True)
class Fitted:
    """What training came to; the model itself holds the best weights.

    Attributes:
        best_metrics: what `validate` gave for the best epoch.
        steps: optimizer steps taken.
        epochs: epochs finished.
        seconds: time spent, over all stops and resumes.
        history: the lines of `metrics.jsonl` that end an epoch.
    """

    best_metrics: dict[str, float | None]
    steps: int
    epochs: int
    seconds: float
    history: list[dict[str, Any]]


def fit(  # noqa: PLR0913 - what a run is made of
    model: nn.Module,
    loss: Callable[[nn.Module, B], Tensor],
    batches: Batches[B],
    validate: Callable[[nn.Module], Mapping[str, float]],
    settings: TrainSettings,
    out: str | Path,
    *,
    about: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Train a model and leave it with the weights of its best epoch.

    `out` receives `metrics.jsonl` (a line for every epoch and every `log_steps` steps), `checkpoints/`, and
    TensorBoard's curves if tracked. On the CPU, a run that was killed at any moment and resumed ends with the same
    bits, weights and metrics, as one that was not. What is to survive a kill must be in the model's `state_dict`.

    Args:
        model: trained in place; moved to the device.
        loss: gives the mean loss over the rows of a batch, a scalar; it must call the module it is handed.
        batches: the training part.
        validate: measures the model, which is in eval mode; called after each epoch on every process, the first
            one's numbers count. It must give `settings.watch`.
        settings: what to do.
        out: the run's folder.
        about: whatever else makes this run what it is, such as a hash of its data; JSON values. A run is only
            resumed with the same.
        resume: go on with the run in `out`; without one there, start from the beginning.
        progress: told what happens; by default a bar on a terminal and plain lines elsewhere, on standard error.

    Returns:
        What training came to.

    Raises:
        UserError: `out` holds a run and `resume` is False; the run there has other settings; the loss or a
            gradient is not finite; memory or the disk is full.
        Interrupted: SIGINT or SIGTERM came; the step was finished and a checkpoint written.

    Example:
        >>> fitted = fit(model, loss, batches, validate, TrainSettings(epochs=5), "runs/first")  # doctest: +SKIP
        >>> fitted.best_metrics["macro_f1"]  # doctest: +SKIP
        0.63
    """
    if not len(batches):
        raise UserError("training needs at least one batch", found="none", fix="give more training rows")
    before = dict(model.__dict__)
    run = _Run(model, batches, validate, settings, Path(out).resolve(), progress)
    run.about = dict(about or {})
    try:
        if run.begin(loss, resume):
            with StopRequest() as stop:
                while not run.standing.finished:
                    run.take_steps(stop)
                    run.measure()
                run.save()
        return run.end()
    finally:
        run.close()
        release(model, before)


class _Run(Generic[B]):
    """A run under way: the prepared parts, where it stands, and what it has seen."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches[B],
        validate: Callable[[nn.Module], Mapping[str, float]],
        settings: TrainSettings,
        out: Path,
        progress: Progress | None,
    ) -> None:
        self.standing = Standing()
        self.about: dict[str, Any] = {}
        self._lock = FolderLock(Path(out))
        self._model, self._batches, self._validate = model, batches, validate
        self._settings, self._out = settings, out
        self._best: dict[str, Tensor] = {}
        self._accelerator = make_accelerator(settings, out)
        told = progress or console_progress()
        self._progress: Progress = told if self._accelerator.is_main_process else Silent()
        every = settings.insight_every
        self._watch = None if every is None else Watch(model, every, settings.clip, self._progress.say)
        self._record = Record(self._accelerator, out, settings.log_steps, self._progress)
        self._optimizer = build_optimizer(settings, model.parameters())
        self._total = settings.epochs * math.ceil(len(batches) / settings.accumulate)

    def begin(self, loss: Callable[[nn.Module, B], Tensor], resume: bool) -> bool:
        """Claim the folder, prepare, stand where the run stood; returns whether there is something left to do."""
        self._identity = {
            **self.about,
            **identity(self._settings, self._accelerator, len(self._batches)),
        }
        saved = claim(self._out, resume, self._accelerator, self._progress, self._lock)
        if saved is not None:
            refuse_another_run(saved, self._identity, self._model.state_dict(), self._out)
        prepared, optimizer = self._accelerator.prepare(self._model, self._optimizer)
        see = None if self._watch is None else self._watch.see
        self._step = Stepper(self._accelerator, prepared, optimizer, loss, self._settings.clip, see)
        set_seed(self._settings.seed, device_specific=True)
        if saved is not None:
            self._restore(saved)
        self._record.open(self.standing, saved.lines if saved else [], self._total)
        self._model.train()
        self._saved_at = time.monotonic()
        return not self.standing.finished

    def take_steps(self, stop: StopRequest) -> None:
        """The steps that are left of the epoch under way."""
        left = self._batches.epoch(self.standing.epoch, start=self.standing.batch)
        for group in _grouped(left, self._settings.accumulate):
            rows = sum(int(batch.lengths.shape[0]) for batch in group)
            tokens = sum(int(batch.tokens) for batch in group)
            rows_of_all, tokens_of_all, stopping, due = total(
                self._accelerator, [rows, tokens, stop.asked, self._checkpoint_due()]
            )
            rate = learning_rate(self._settings, self.standing.step, self._total)
            set_learning_rate(self._optimizer, rate)
            with self._looking() as insight:
                result = self._step(group, rows_of_all, self.standing.step + 1)
            self.standing.count(result.loss, result.gradient_norm, int(rows_of_all), int(tokens_of_all))
            self.standing.batch += len(group)
            self._record.step(self.standing, result, rate, None if self._watch is None else self._watch.far)
            if insight:
                self._record.insight(self.standing, insight)
            if stopping or due:
                self.save()
            if stopping:
                what = f"training was stopped after step {self.standing.step}; a checkpoint is written"
                fix = "go on with the same command and --resume (resume=True)"
                raise Interrupted(what, where=self._out, fix=fix)

    def _looking(self) -> AbstractContextManager[dict[str, Any]]:
        return nullcontext({}) if self._watch is None else self._watch.looking(self.standing.step + 1)

    def measure(self) -> None:
        """Validate, remember the weights if they are the best, and decide whether to go on."""
        standing, settings = self.standing, self._settings
        if broken := first_not_finite(self._model.state_dict()):
            what = f"the weights must stay finite; {broken} is not after step {standing.step}"
            raise UserError(
                what, where=self._out, fix="lower train.learning_rate; the checkpoints before are kept"
            )
        self._model.eval()
        metrics = checked(self._accelerator, self._validate(self._model), settings.watch, standing.epoch + 1)
        self._model.train()
        standing.epoch += 1
        standing.stale += 1
        if standing.best is None or better(metrics, standing.best, settings.watch):
            standing.best, standing.stale = metrics, 0
            self._best = {name: t.detach().to("cpu", copy=True) for name, t in self._model.state_dict().items()}
        self._record.epoch(standing, metrics, learning_rate(settings, standing.step - 1, self._total))
        standing.start_epoch()
        tired = settings.patience is not None and standing.stale >= settings.patience
        if tired and standing.epoch < settings.epochs:
            self._progress.say(f"stopped early: {standing.stale} epochs without a better {settings.watch}")
        standing.finished = tired or standing.epoch == settings.epochs

    def save(self) -> None:
        """Write a checkpoint; every process gives its generators, the first one writes."""
        accelerator = self._accelerator
        states = take_generators(accelerator.device)
        generators = {n: accelerator.gather(s.to(accelerator.device)[None]).cpu() for n, s in states.items()}
        tensors, values = state_of(self._optimizer)
        scaler = {} if accelerator.scaler is None else accelerator.scaler.state_dict()
        if accelerator.is_main_process:
            checkpoint = Checkpoint(
                identity=self._identity,
                standing=self.standing,
                model=self._model.state_dict(),
                best=self._best,
                optimizer=tensors,
                generators=generators,
                values={"optimizer": values, "scaler": scaler},
                lines=self._record.lines,
            )
            write_checkpoint(self._out, checkpoint)
        # No process may end before the checkpoint stands: a launcher then kills the others.
        accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def end(self) -> Fitted:
        """Give the model its best weights."""
        self._model.load_state_dict(self._best)
        self._model.eval()
        standing = self.standing
        history = [line for line in self._record.lines if line["kind"] == "epoch"]
        return Fitted(dict(standing.best or {}), standing.step, standing.epoch, standing.seconds, history)

    def close(self) -> None:
        """Let go of the terminal and the trackers, however the run ended."""
        self._record.close()
        self._lock.drop()

    def _restore(self, saved: Checkpoint) -> None:
        self.standing, self._best = saved.standing, saved.best
        self._model.load_state_dict(saved.model)
        restore_state(self._optimizer, saved.optimizer, saved.values["optimizer"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(saved.values["scaler"])
        own = {name: states[self._accelerator.process_index] for name, states in saved.generators.items()}
        restore_generators(own, self._accelerator.device)

    def _checkpoint_due(self) -> bool:
        """Asked on every process, answered by the first: their clocks differ."""
        minutes = (time.monotonic() - self._saved_at) / 60
        return self._accelerator.is_main_process and minutes >= self._settings.checkpoint_minutes


def _grouped(batches: Iterator[B], size: int) -> Iterator[list[B]]:
    while group := list(islice(batches, size)):
        yield group
