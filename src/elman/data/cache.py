"""Folders in the user's cache that are either whole or not there: written aside, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

_MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """Where fetched data is kept: `$ELMAN_CACHE`, else `$XDG_CACHE_HOME/elman`, else `~/.cache/elman`."""
    if chosen := os.environ.get("ELMAN_CACHE"):
        return Path(chosen).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a path that is not absolute.
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "elman"


def damage(folder: Path, origin: str, names: list[str]) -> str | None:
    """What is wrong with a kept folder, in words, or None where every file is what its manifest says.

    Args:
        folder: the folder.
        origin: what the files must have been taken from, as given to `keep`.
        names: the files that must be there.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["origin"] != origin:
            return "it was made from something else"
        for name in names:
            if hash_of((folder / name).read_bytes()) != manifest["files"][name]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def keep(folder: Path, origin: str, files: Mapping[str, bytes]) -> None:
    """Write files and their manifest as one folder, at once, in the place of an earlier one.

    Raises:
        OSError: the disk is full or the folder may not be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"origin": origin, "files": {name: hash_of(content) for name, content in files.items()}}
    written = {**files, _MANIFEST: json.dumps(manifest, indent=2).encode()}
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        ready = aside / "ready"
        ready.mkdir()
        for name, content in written.items():
            _write(ready / name, content)
        _sync(ready)
        if folder.exists():
            folder.rename(aside / "earlier")
        ready.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(aside)


def hash_of(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folder for this; NTFS journals its entries
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
