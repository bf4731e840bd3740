"""The command line run in this process, and one tiny model for all tests."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from elman.cli import main

TINY = ("model.hidden_size=8", "model.embedding_size=8", "train.epochs=1", 'train.track="none"')


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


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """`elman ARGUMENTS`, with bytes on standard input, neither end a terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
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


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


@pytest.fixture(scope="session")
def trained(reviews_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a tiny trained model, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, train(reviews_csv, folder)


@pytest.fixture
def model(trained: tuple[Path, Result]) -> Path:
    folder, result = trained
    assert result.code == 0, result
    return folder


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that predicts numbers."""
    place = tmp_path_factory.mktemp("numbers")
    rows: list[list[object]] = [[f"a film of kind {n}", n + 0.5] for n in range(40)]
    result = train(write_csv(place / "scores.csv", ["text", "score"], rows), place / "run")
    assert result.code == 0, result
    return place / "run"
