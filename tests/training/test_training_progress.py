"""What is said while a model trains: on a terminal, in a file, and when it is time."""

from __future__ import annotations

import io

from rich.console import Console

from elman.training import Bar, Lines, console_progress
from elman.training.progress import describe

LINE = {
    "kind": "step", "step": 7, "epoch": 2, "loss": 0.5, "gradient_norm": 1.25, "learning_rate": 0.001,
    "tokens_per_second": 12345.6, "seconds": 3.0,
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_file_gets_lines():
    assert isinstance(console_progress(Terminal()), Bar)
    assert isinstance(console_progress(io.StringIO()), Lines)


def test_nothing_goes_to_standard_output(capsys):
    progress = console_progress()
    progress.start(0, 10)
    progress.epoch(LINE)
    progress.stop()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 7/10  epoch 2  loss 0.5000" in captured.err


def test_lines_for_epochs_at_once_and_for_steps_every_ten_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("elman.training.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start(0, 10)
    for seconds in (1.0, 8.9, 0.2, 9.8, 0.3):
        now[0] += seconds
        lines.step(LINE)
    lines.epoch({**LINE, "validation_macro_f1": 0.61234})
    text = stream.getvalue().splitlines()
    assert len(text) == 3
    assert text[0] == "step 7/10  epoch 2  loss 0.5000  gradient 1.25  12,346 tokens/s  0:04 left"
    assert text[2].endswith("validation_macro_f1 0.6123  0:09 left")


def test_the_bar_shows_where_training_stands():
    stream = Terminal()
    bar = Bar(Console(file=stream, width=150, force_terminal=True))
    bar.start(5, 10)
    bar.step(LINE)
    bar.epoch({**LINE, "validation_loss": 0.25})
    bar.say("[a message in brackets]")
    bar.stop()
    text = stream.getvalue()
    for part in (
        "7/10",
        "loss 0.5000",
        "gradient 1.25",
        "12,346 tokens/s",
        "validation_loss 0.2500",
        "[a message",
    ):
        assert part in text, part


def test_what_is_not_there_is_left_out():
    assert (
        describe({**LINE, "gradient_norm": None, "validation_f1": None}) == "epoch 2  loss 0.5000  12,346 tokens/s"
    )
