"""Checkpoints: all that a run needs to go on as if it had never stopped, in safetensors and JSON.

`OUT/checkpoints/step-00000120/` is an atomic folder; `OUT/checkpoints/latest` names it and is written last.
Two are kept. The reader takes the latest, or the newest one whose every byte is as written.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from elman.errors import UserError
from elman.export import (
    atomic_folder,
    atomic_write,
    disk_errors,
    read_folder,
    tensors_from_bytes,
    tensors_to_bytes,
)

KEPT = 2
_FORMAT_VERSION = 1
_STEP = re.compile(r"step-\d{8,}")
_PARTS = ("model", "best", "optimizer", "generators")


class Standing(BaseModel):
    """Where a run stands: numbers only, in JSON.

    Sums over the epoch under way end in its line of `metrics.jsonl`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    step: int = Field(default=0, description="optimizer steps taken")
    epoch: int = Field(default=0, description="epochs finished and measured")
    batch: int = Field(default=0, description="batches of the epoch under way that are behind")
    seconds: float = Field(default=0.0, description="time spent, over all stops and resumes")
    epoch_seconds: float = Field(default=0.0, description="time spent in the steps of this epoch")
    epoch_loss: float = Field(default=0.0, description="sum over the epoch's rows")
    epoch_rows: int = 0
    epoch_tokens: int = 0
    epoch_norm: float = Field(default=0.0, description="sum of the gradient norms")
    epoch_norms: int = Field(default=0, description="number of the gradient norms")
    best: dict[str, float | None] | None = Field(default=None, description="metrics of the best epoch")
    stale: int = Field(default=0, description="epochs since the best one")
    finished: bool = False

    def count(self, loss: float, gradient_norm: float | None, rows: int, tokens: int) -> None:
        """Count a step in."""
        self.step += 1
        self.epoch_loss += loss * rows
        self.epoch_rows += rows
        self.epoch_tokens += tokens
        if gradient_norm is not None:
            self.epoch_norm += gradient_norm
            self.epoch_norms += 1

    def start_epoch(self) -> None:
        """Begin the sums of an epoch anew."""
        self.batch = self.epoch_rows = self.epoch_tokens = self.epoch_norms = 0
        self.epoch_loss = self.epoch_norm = self.epoch_seconds = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on.

    Attributes:
        identity: settings and surroundings that must be the same for the run to go on as itself.
        standing: where the run stands.
        model: the weights of the last step.
        best: the weights of the best epoch; empty before the first was measured.
        optimizer: the optimizer's tensors, each in its own dtype.
        generators: the random generators of every process, (processes, size).
        values: the optimizer's other values, and the fp16 scaler's.
        lines: `metrics.jsonl` so far.
    """

    identity: dict[str, Any]
    standing: Standing
    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    generators: dict[str, Tensor]
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)


def write_checkpoint(out: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, then `latest`, then drop all but the newest two.

    Args:
        out: the run's folder.
        checkpoint: what to keep.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: the disk is full or cannot be written; the checkpoints before are untouched.
    """
    state = {
        "format_version": _FORMAT_VERSION,
        "identity": checkpoint.identity,
        "standing": checkpoint.standing.model_dump(),
        "values": checkpoint.values,
    }
    folder = out / "checkpoints" / f"step-{checkpoint.standing.step:08d}"
    with atomic_folder(folder) as new:
        for part in _PARTS:
            (new / f"{part}.safetensors").write_bytes(tensors_to_bytes(getattr(checkpoint, part)))
        (new / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        (new / "metrics.jsonl").write_text(lines_to_text(checkpoint.lines), encoding="utf-8")
    atomic_write(folder.parent / "latest", folder.name.encode())
    with disk_errors(folder.parent):
        drop_others(out, folder, kept=1 if checkpoint.standing.finished else KEPT)  # the model itself is next
    return folder


def newest_checkpoint(out: Path, say: Callable[[str], None]) -> tuple[Path, Checkpoint] | None:
    """The checkpoint that `latest` names, or the newest valid one if that one is damaged.

    Args:
        out: the run's folder.
        say: is told of every checkpoint that had to be passed over, and why.

    Returns:
        Its folder and content; None if there has never been one.

    Raises:
        UserError: there are checkpoints and none is valid.
    """
    folders = checkpoint_folders(out)
    latest = out / "checkpoints" / "latest"
    named = latest.read_bytes().decode(errors="replace") if latest.is_file() else "nothing"
    if folders and named not in {folder.name for folder in folders}:
        say(f"{latest}: names {named!r}, which is not there; looking for the newest valid checkpoint")
    for folder in sorted(folders, key=lambda folder: (folder.name == named, _number(folder)), reverse=True):
        try:
            return folder, _read(folder)
        except UserError as error:
            say(f"passed over a checkpoint: {error}")
    if folders:
        what, fix = "every checkpoint is damaged", "train anew in another folder"
        raise UserError(what, where=out / "checkpoints", found=len(folders), fix=fix)
    return None


def checkpoint_folders(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, valid or not."""
    if not (out / "checkpoints").is_dir():
        return []
    entries = (out / "checkpoints").iterdir()
    ours = [e for e in entries if _STEP.fullmatch(e.name) and e.is_dir() and not e.is_symlink()]
    return sorted(ours, key=_number)


def drop_others(out: Path, newest: Path, kept: int = KEPT) -> None:
    """Remove what is not `newest` or the one before it: older ones, later ones it replaces, remains of a kill."""
    keep = [folder for folder in checkpoint_folders(out) if _number(folder) <= _number(newest)][-kept:]
    for entry in sorted((out / "checkpoints").iterdir()):
        ours = _STEP.match(entry.name.removeprefix(".")) and not entry.is_symlink()
        if ours and entry not in keep:
            shutil.rmtree(entry)


def lines_to_text(lines: list[dict[str, Any]]) -> str:
    """Lines of `metrics.jsonl`: one JSON object each."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _read(folder: Path) -> Checkpoint:
    files = read_folder(folder)
    try:
        state = json.loads(files["state.json"])
        if state.pop("format_version") != _FORMAT_VERSION:
            raise UserError("written by another version of Elman", where=folder, fix="resume it with that one")
        parts = {p: tensors_from_bytes(files[f"{p}.safetensors"], folder / f"{p}.safetensors") for p in _PARTS}
        return Checkpoint(
            identity=state["identity"],
            standing=Standing.model_validate(state["standing"]),
            values=state["values"],
            lines=[json.loads(line) for line in files["metrics.jsonl"].splitlines()],
            **parts,
        )
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("not a checkpoint of Elman's", where=folder, found=repr(error)) from error
