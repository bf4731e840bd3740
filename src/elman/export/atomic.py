"""Folders and files that are there whole or not at all.

A folder is written beside its place, synced to the disk, given a manifest, and only then renamed into place.
A replacement goes through two renames; between them the older version waits as `.NAME.old`, where a reader
finds it (`current`) and the next writer puts it back (`recover`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elman.errors import UserError
from elman.export.disk import disk_errors, sync_folder, write_synced
from elman.export.manifest import claimed, seal


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well, and vanishes when it does not.

    The block writes plain files into the folder it is given (no subfolders). At the end each file is synced,
    a `manifest.json` with the size and SHA-256 of each is added, and the folder is renamed into place. What
    the older `target` holds beyond its own manifest (somebody's notes, a run's checkpoints) is carried over.

    Args:
        target: where the folder will stand; its parents are made. One writer at a time.

    Yields:
        The temporary folder to write into.

    Raises:
        UserError: the disk is full, the place cannot be written, `target` is a file, or it holds a file of
            the same name that no manifest claims. `target` is untouched in each case.

    Example:
        >>> import tempfile
        >>> from elman.export import read_folder
        >>> folder = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(folder) as new:
        ...     size = (new / "config.json").write_bytes(b"{}")
        >>> read_folder(folder)
        {'config.json': b'{}'}
    """
    target = Path(target).resolve()
    new = _beside(target, "new")
    with disk_errors(target):
        if target.exists() and not target.is_dir():
            raise UserError("a file stands where a folder is to be written", where=target, fix="save elsewhere")
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        _remove(new)
        new.mkdir()
        try:
            yield new
            seal(new)
            _refuse_unclaimed(new, target)
            _swap(new, target)
        except BaseException:
            # The first error is the one to tell: a temporary that stays is removed by the next save.
            shutil.rmtree(new, ignore_errors=True)
            recover(target)
            raise


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part, even after a power cut.

    Args:
        path: the file; its folder must exist.
        data: the new content.

    Raises:
        UserError: the disk is full or the place cannot be written; the older file is untouched.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "latest"
        >>> atomic_write(path, b"step-00000120")
        >>> path.read_bytes()
        b'step-00000120'
    """
    path = Path(path)
    new = _beside(path, "new")
    with disk_errors(path):
        try:
            new.unlink(missing_ok=True)
            write_synced(new, data)
            os.replace(new, path)  # noqa: PTH105
            sync_folder(path.parent)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def current(target: str | Path) -> Path:
    """Where the newest whole version of a folder lies: in place, or aside if a replacement was cut short."""
    target = Path(target).resolve()
    aside = _beside(target, "old")
    return aside if aside.is_dir() and not target.exists() else target


def recover(target: str | Path) -> None:
    """Bring a replacement that was cut short to its end: forward if the new version is in place, else back.

    Args:
        target: the folder that was being replaced. Nothing happens where no replacement was under way.
    """
    target = Path(target).resolve()
    aside, gone = _beside(target, "old"), _beside(target, "gone")
    if aside.exists() and not target.exists():
        os.rename(aside, target)  # noqa: PTH104
        sync_folder(target.parent)
    elif aside.exists():
        _carry_over(aside, target)
        # Renamed before it is emptied: a half-emptied older version must never pass for one to carry over.
        os.rename(aside, gone)  # noqa: PTH104
    _remove(gone)


def _swap(new: Path, target: Path) -> None:
    if target.exists():
        os.rename(target, _beside(target, "old"))  # noqa: PTH104
    os.rename(new, target)  # noqa: PTH104
    sync_folder(target.parent)
    recover(target)


def _carry_over(aside: Path, target: Path) -> None:
    own = claimed(aside)
    for entry in sorted(aside.iterdir()):
        if entry.name not in own:
            os.rename(entry, target / entry.name)  # noqa: PTH104
    sync_folder(target)


def _refuse_unclaimed(new: Path, target: Path) -> None:
    if not target.exists():
        return
    both = {path.name for path in new.iterdir()} & {path.name for path in target.iterdir()}
    for name in sorted(both - claimed(target)):
        raise UserError(
            "saving would overwrite a file that belongs to no saved version of this folder",
            where=target / name,
            fix="move the file away or save elsewhere",
        )


def _beside(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
