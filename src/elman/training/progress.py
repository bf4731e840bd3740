"""What is said while a model trains: a bar on a terminal, plain lines elsewhere, nothing where nobody reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from elman.errors import visible

Line = Mapping[str, float | int | str | None]
_QUIET_SECONDS = 10.0


class Progress(Protocol):
    """What the training loop tells, on the first process only.

    A line is what goes to `metrics.jsonl`: step, epoch, loss, gradient_norm, learning_rate, tokens_per_second,
    seconds, at the end of an epoch each metric as `validation_NAME`, and with `train.insight_every` the share of
    the gradient that reaches the far end of the sequences, as `far_gradient`.
    """

    def start(self, done: int, total: int) -> None:
        """Training begins: `done` of `total` steps lie behind it."""

    def step(self, line: Line) -> None:
        """A step is done."""

    def epoch(self, line: Line) -> None:
        """An epoch is done and measured."""

    def say(self, message: str) -> None:
        """Something a user should know, such as where a run was taken up again."""

    def stop(self) -> None:
        """Training has ended, well or not."""


class Silent:
    """Says nothing."""

    def start(self, done: int, total: int) -> None:
        """Nothing is shown."""

    def step(self, line: Line) -> None:
        """Nothing is shown."""

    def epoch(self, line: Line) -> None:
        """Nothing is shown."""

    def say(self, message: str) -> None:
        """Nothing is shown."""

    def stop(self) -> None:
        """Nothing is shown."""


class Lines:
    """Plain lines: one for each epoch, and one when nothing was said for ten seconds.

    Example:
        >>> lines = Lines(sys.stdout)
        >>> lines.start(done=0, total=10)
        >>> lines.epoch({"step": 5, "epoch": 1, "loss": 0.25, "validation_loss": 0.5})
        step 5/10  epoch 1  loss 0.2500  validation_loss 0.5000
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._total, self._spoken = stream, 0, time.monotonic()
        self._done, self._started = 0, time.monotonic()

    def start(self, done: int, total: int) -> None:
        """Remember the number of steps."""
        self._done, self._total, self._started = done, total, time.monotonic()

    def step(self, line: Line) -> None:
        """One line when ten seconds have passed since the last."""
        if time.monotonic() - self._spoken >= _QUIET_SECONDS:
            self.epoch(line)

    def epoch(self, line: Line) -> None:
        """One line."""
        self.say(f"step {line.get('step')}/{self._total}  {describe(line)}{self._left(line)}")

    def _left(self, line: Line) -> str:
        """The time left, once a second of this run tells."""
        steps, seconds = int(line.get("step") or 0) - self._done, time.monotonic() - self._started
        left = self._total - self._done - steps
        if seconds < 1 or steps < 1 or left < 1:
            return ""
        minutes, rest = divmod(round(seconds / steps * left), 60)
        return f"  {minutes}:{rest:02d} left"

    def say(self, message: str) -> None:
        """One line."""
        self._spoken = time.monotonic()
        print(visible(message), file=self._stream, flush=True)

    def stop(self) -> None:
        """Nothing is left open."""


class Bar:
    """A progress bar with loss, gradient norm, tokens a second and the time left; a line for each epoch."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=console)
        self._task = self._bar.add_task("", total=None)

    def start(self, done: int, total: int) -> None:
        """Show the bar."""
        self._bar.update(self._task, total=total, completed=done)
        self._bar.start()

    def step(self, line: Line) -> None:
        """Move the bar; it redraws itself ten times a second at most."""
        self._bar.update(self._task, completed=_number(line["step"]), description=describe(line))

    def epoch(self, line: Line) -> None:
        """A line above the bar."""
        self.say(describe(line))

    def say(self, message: str) -> None:
        """A line above the bar."""
        self._bar.console.print(visible(message), markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


def console_progress(stream: TextIO | None = None) -> Progress:
    """A bar where the stream is a terminal, plain lines where it is not.

    Args:
        stream: where to write; standard error by default, so that output can be piped.
    """
    stream = sys.stderr if stream is None else stream
    return Bar(Console(file=stream)) if stream.isatty() else Lines(stream)


def describe(line: Line) -> str:
    """The numbers of a line in words and four digits, those that are there, in a fixed order.

    Example:
        >>> describe({"epoch": 2, "loss": 0.12345, "tokens_per_second": 25300.0, "validation_macro_f1": 0.6})
        'epoch 2  loss 0.1235  25,300 tokens/s  validation_macro_f1 0.6000'
    """
    parts = [f"epoch {line['epoch']}"] if "epoch" in line else []
    parts += [f"loss {_number(line['loss']):.4f}"] if "loss" in line else []
    if line.get("gradient_norm") is not None:
        parts.append(f"gradient {_number(line['gradient_norm']):.2f}")
    if line.get("far_gradient") is not None:
        parts.append(f"far end {_number(line['far_gradient']):.1e}")
    if line.get("tokens_per_second") is not None:
        parts.append(f"{_number(line['tokens_per_second']):,.0f} tokens/s")
    measured = {name: value for name, value in line.items() if name.startswith("validation_")}
    parts += [f"{name} {_number(value):.4f}" for name, value in measured.items() if value is not None]
    return "  ".join(parts)


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
