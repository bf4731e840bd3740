"""One run at a time in a folder."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from elman.errors import UserError

if sys.platform != "win32":
    import fcntl


class FolderLock:
    """Held by a run from its beginning to its end; the system drops it with the process, however that ends.

    Windows knows no `flock`: nothing is held there.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            UserError: another process holds it.
        """
        if sys.platform == "win32":
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            fix = "wait for it, or name another folder with --out (out=)"
            what = "another run is writing into this folder"
            raise UserError(what, where=self._path.parent, found=f"process {holder}", fix=fix) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def drop(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            with suppress(FileNotFoundError):  # the folder may have been moved meanwhile
                self._path.unlink()
            self._file.close()
            self._file = None
