"""What every save needs of the disk: that bytes have reached it, and plain words where it refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elman.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG,
}  # fmt: skip


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it.

    Args:
        path: must not exist yet; a link in its place is refused, not followed.
        data: the content.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until the disk has the content of a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder, so that a rename outlives a power cut."""
    if os.name == "nt":  # Windows opens no folders; its renames are journalled
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Say what the disk refuses in words; an error of another kind passes as it is.

    Args:
        target: what was to be written.

    Raises:
        UserError: the disk or the quota is full, or the place may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            fix = "free some space or save elsewhere"
            raise UserError("no space left on the disk", where=target, fix=fix) from error
        if error.errno in _FORBIDDEN:
            fix = "save elsewhere"
            raise UserError("this cannot be written", where=target, found=error.strerror, fix=fix) from error
        raise
