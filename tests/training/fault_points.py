"""Break a save at each of its calls in turn, and look whether an older or the newer version is there, whole.

    python tests/training/fault_points.py FOLDER

kill: SIGKILL before each open, rename, removal, making of a folder and fsync. tear: power loss, that is SIGKILL at
each fsync of a file of which only half has reached the disk. full: each of these calls fails with ENOSPC.
Prints the number of points of each, for a model folder and for a checkpoint.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from elman.errors import UserError
from elman.export import read_model, save_model
from elman.training.checkpoint import Checkpoint, Standing, newest_checkpoint, write_checkpoint

EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
DONE, TOLD, BROKEN, BORNE = 0, 3, 4, 5


def tensors(value: int) -> dict[str, torch.Tensor]:
    return {"w": torch.full((3, 4), float(value))}


def save_a_model(folder: Path, value: int) -> None:
    save_model(folder / "model", tensors(value), {"value": value}, tokenizer="{}" if value == 1 else None)


def read_a_model(folder: Path) -> int:
    model = read_model(folder / "model")
    value = model.config["value"]
    assert torch.equal(model.state["w"], tensors(value)["w"])
    assert (model.tokenizer is not None) == (value == 1)
    return value


def save_a_checkpoint(folder: Path, value: int) -> None:
    standing = Standing(step=value, best={"loss": 1.0})
    whole = Checkpoint({}, standing, tensors(value), tensors(value), tensors(value), tensors(value))
    write_checkpoint(folder, replace(whole, lines=[{"step": value}]))


def read_a_checkpoint(folder: Path) -> int:
    found = newest_checkpoint(folder, lambda message: None)
    assert found is not None
    step = found[1].standing.step
    for part in (found[1].model, found[1].best, found[1].optimizer, found[1].generators):
        assert torch.equal(part["w"], tensors(step)["w"])
    return step


CASES: dict[str, tuple[Callable[[Path, int], None], Callable[[Path], int]]] = {
    "model": (save_a_model, read_a_model),
    "checkpoint": (save_a_checkpoint, read_a_checkpoint),
}


def arm(fault: str, point: int) -> Callable[[], bool]:
    """From now on, the call with this number breaks; tells whether it has come to that."""
    count = 0

    def strike(handle: int | None = None) -> None:
        nonlocal count
        count += 1
        if count != point:
            return
        if fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if handle is not None and fault == "tear":
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(handle: int) -> None:
        if fault != "tear" or stat.S_ISREG(os.fstat(handle).st_mode):
            strike(handle)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if fault != "tear" and event in EVENTS:
            strike()

    os.fsync = counted_fsync
    sys.addaudithook(watch)
    return lambda: count >= point


def broken_save(save: Callable[[Path, int], None], folder: Path, fault: str, point: int) -> int:
    """Save in a process of its own that breaks at this point; how it ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = BROKEN
    try:
        struck = arm(fault, point)
        save(folder, 3)
        # Making a folder that is already there may fail without harm.
        status = BORNE if struck() else DONE
    except UserError:
        status = TOLD
    finally:
        os._exit(status)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def break_everywhere(folder: Path, what: str, fault: str) -> int:
    """Break one kind of save in one way at every point; the number of points."""
    save, read = CASES[what]
    first = folder / "first"
    save(first, 1)
    save(first, 2)
    if what == "model":
        (first / "model" / "notes.txt").write_text("mine")
    for point in range(1, 1000):
        out = folder / f"point-{point}"
        shutil.copytree(first, out)
        status = broken_save(save, out, fault, point)
        ends = {DONE, TOLD, BORNE} if fault == "full" else {DONE, -signal.SIGKILL}
        assert status in ends, f"point {point}: ended with {status}"
        value = read(out)
        assert value in ({3} if status in (DONE, BORNE) else {2, 3}), f"point {point}: {value} is read"
        if fault == "full":
            assert not leftovers(out), f"point {point}: {leftovers(out)}"
        save(out, 3)
        assert read(out) == 3, f"point {point}: cannot be saved again"
        assert not leftovers(out), f"point {point}: {leftovers(out)}"
        if what == "model":
            assert (out / "model" / "notes.txt").read_text() == "mine", f"point {point}"
        shutil.rmtree(out)
        if status == DONE:
            return point - 1
    raise SystemExit("the save never came through")


def main(folder: Path) -> None:
    os.fsync = lambda handle: None  # its place is what counts here, and no disk need be waited for
    warnings.simplefilter("ignore", RuntimeWarning)  # an older version that is read says so
    cases = [(what, fault) for what in CASES for fault in ("kill", "tear", "full")]
    points = {f"{what} {fault}": break_everywhere(folder / what / fault, what, fault) for what, fault in cases}
    sys.stdout.write(json.dumps(points))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
