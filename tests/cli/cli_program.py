"""The command line run in this process, and what it is given."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from elman.cli import main

TINY = ("model.hidden_size=8", "model.embedding_size=8", "train.epochs=1", "train.track=off")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def refused(self, *parts: str) -> None:
        """One message on standard error with these parts, exit code 2, nothing else."""
        assert self.code == 2, self
        messages = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(messages) == 1 and self.err.splitlines()[-1] == messages[0], self.err
        assert "Traceback" not in self.err and self.out == ""
        for part in parts:
            assert part in messages[0], (part, messages[0])


def run(*arguments: object, stdin: bytes = b"", encoding: str = "utf-8") -> Result:
    """`elman ARGUMENTS`, with bytes on standard input, neither end a terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        sys.stdin = before
    return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def train(data: object, out: object, *more: object) -> Result:
    """Train a tiny model."""
    settings = [part for change in TINY for part in ("--set", change)]
    return run("train", "sentiment", "--data", data, "--out", out, *settings, *more)


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def reviews(path: Path) -> Path:
    """Sixty made-up reviews: columns id, text, label."""
    draw = random.Random(0)
    words = {"good": ["lovely", "great", "charming"], "bad": ["awful", "dull", "boring"]}
    rows = [[n, f"a {draw.choice(words[c])} film, the {n}th", c] for n in range(30) for c in words]
    return write_csv(path, ["id", "text", "label"], rows)
