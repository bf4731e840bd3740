"""Whether a run may start, or go on, in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from elman.errors import UserError
from elman.export import MODEL_FILES, disk_errors, recover
from elman.training.checkpoint import Checkpoint, checkpoint_folders, drop_others, newest_checkpoint
from elman.training.lock import FolderLock
from elman.training.progress import Progress
from elman.training.settings import TrainSettings

# These change neither weights nor metrics, so a run may go on with others.
_FREE = {"checkpoint_minutes", "insight_every", "track"}


def identity(settings: TrainSettings, accelerator: Accelerator, batches: int) -> dict[str, Any]:
    """What must be the same for a run to go on as itself.

    Args:
        settings: the settings asked for.
        accelerator: the device and the processes there are.
        batches: batches in an epoch on this process.

    Raises:
        UserError: the processes have different numbers of batches, and some would wait for ever.
    """
    counts = accelerator.gather(torch.tensor([batches], device=accelerator.device)).tolist()
    if len(set(counts)) > 1:
        fix = "give Batches this process's rank and the number of processes"
        raise UserError("every process needs the same number of batches", found=counts, fix=fix)
    return {
        **{f"train.{name}": value for name, value in settings.model_dump(exclude=_FREE).items()},
        "device": accelerator.device.type,
        "processes": accelerator.num_processes,
        "batches in an epoch": batches,
        "torch": str(torch.__version__),
    }


def claim(
    out: Path, resume: bool, accelerator: Accelerator, progress: Progress, lock: FolderLock
) -> Checkpoint | None:
    """Take a folder for a run.

    Args:
        out: the run's folder; made if it is not there.
        resume: whether to go on with the run that is there.
        accelerator: the first process writes, the others wait.
        progress: is told where the run is taken up.
        lock: taken before anything is changed.

    Returns:
        The checkpoint to go on from, or None to start from the beginning.

    Raises:
        UserError: the folder holds a run and `resume` is False, or no checkpoint in it is valid.
    """
    if accelerator.is_main_process:
        _refuse_place(out)
        if resume or not _held(out):
            with disk_errors(out):
                lock.take()
                (out / "checkpoints").mkdir(exist_ok=True)
                recover(out)
    accelerator.wait_for_everyone()
    if _held(out) and not resume:
        fix = "go on with --resume (resume=True), or choose another folder"
        raise UserError("this folder already holds a run, and a run is never overwritten", where=out, fix=fix)
    found = newest_checkpoint(out, progress.say) if resume else None
    accelerator.wait_for_everyone()
    if found is None:
        if (out / "manifest.json").exists():
            fix = "train in another folder"
            raise UserError("this folder holds a model and no checkpoint to resume", where=out, fix=fix)
        if resume:
            progress.say(f"no checkpoint in {out}: starting from the beginning")
        return None
    folder, checkpoint = found
    if accelerator.is_main_process:
        drop_others(out, folder)
    state = "finished, nothing to do" if checkpoint.standing.finished else "going on"
    progress.say(f"resumed from {folder}: {state}")
    return checkpoint


def _held(out: Path) -> bool:
    written = ("manifest.json", "metrics.jsonl")
    return bool(checkpoint_folders(out)) or any((out / name).exists() for name in written)


def _refuse_place(out: Path) -> None:
    """Say before training what would stop the model from being written into `out` after it."""
    fix = "name a new folder with --out (out=)"
    if Path.cwd().is_relative_to(out) or out.is_mount():
        what = "a run's folder is replaced in one move, so it can be neither where you stand nor a mounted disk"
        raise UserError(what, where=out, fix=fix)
    foreign = [name for name in MODEL_FILES if (out / name).exists()]
    if foreign and not (out / "manifest.json").exists():
        raise UserError("this folder holds files that a run would replace", where=out, found=foreign[0], fix=fix)
    parent = next(folder for folder in out.parents if folder.exists())
    if parent.is_dir() and not os.access(parent, os.W_OK | os.X_OK):
        raise UserError("nothing can be written here", where=parent, fix=fix)


def refuse_another_run(
    checkpoint: Checkpoint, now: Mapping[str, Any], state: Mapping[str, Tensor], out: Path
) -> None:
    """Refuse to go on with what would be another run.

    Args:
        checkpoint: the run in the folder.
        now: `identity` of the run asked for.
        state: the model's `state_dict`.
        out: the run's folder, named in errors.

    Raises:
        UserError: names the first setting or tensor that differs.
    """
    for name, value in now.items():
        before = checkpoint.identity.get(name)
        if before != value:
            what = f"{name} differs from the run being resumed: {before!r} then"
            same = f"resume with {name}={before}" if "." in name else "resume with the same"
            raise UserError(what, where=out, found=repr(value), fix=f"{same}, or start anew in another folder")
    then = {name: (tuple(t.shape), t.dtype) for name, t in checkpoint.model.items()}
    here = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    for name in sorted(then.keys() | here.keys()):
        if then.get(name) != here.get(name):
            what = f"the model differs from the one being resumed: {name} was {then.get(name, 'absent')}"
            raise UserError(what, where=out, found=here.get(name, "absent"), fix="resume with the same model")
