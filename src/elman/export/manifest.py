"""The manifest of a folder: the size and SHA-256 of every file, so that no changed bit passes unnoticed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from elman.errors import UserError
from elman.export.disk import sync_file, sync_folder, write_synced

MANIFEST = "manifest.json"
_MEND = "restore the folder from a copy, or move it away and write it again"


@dataclass(frozen=True)
class _Entry:
    sha256: str
    size: int  # bytes


def seal(folder: Path) -> None:
    """Sync every file of a folder to the disk and add the manifest that names them.

    Args:
        folder: holds plain files only, and no manifest yet.

    Raises:
        ValueError: the folder holds a link or a subfolder.
    """
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.name}: a folder with a manifest holds plain files only")
        sync_file(path)
        data = path.read_bytes()
        entries[path.name] = _Entry(hashlib.sha256(data).hexdigest(), len(data))
    write_synced(folder / MANIFEST, _text(entries).encode())
    sync_folder(folder)


def read_folder(folder: str | Path) -> dict[str, bytes]:
    """The bytes of every file in the manifest, each compared with its size and SHA-256.

    Args:
        folder: a folder written by `atomic_folder`. Files its manifest does not name are not read.

    Returns:
        File name to bytes, the manifest itself left out.

    Raises:
        UserError: no manifest, or a file that is missing, damaged, a link, or named outside the folder.
    """
    folder = Path(folder)
    return {name: _checked(folder / name, entry) for name, entry in _entries(folder).items()}


def verify(folder: str | Path) -> None:
    """Compare every file in the manifest of a folder with its size and SHA-256.

    Args:
        folder: a folder written by `atomic_folder`.

    Raises:
        UserError: names the first file that is missing, damaged, a link, or named outside the folder.
    """
    folder = Path(folder)
    for name, entry in _entries(folder).items():
        _checked(folder / name, entry)


def claimed(folder: Path) -> set[str]:
    """The names a folder's manifest claims, its own included; none where there is no manifest.

    Raises:
        UserError: the manifest is damaged.
    """
    return {MANIFEST, *_entries(folder)} if (folder / MANIFEST).exists() else set()


def _entries(folder: Path) -> dict[str, _Entry]:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise UserError("no manifest: this is not a folder that was saved whole", where=path, fix=_MEND)
    try:
        text = path.read_bytes().decode("utf-8")
        files = json.loads(text)["files"].items()
        entries = {str(name): _Entry(str(e["sha256"]), int(e["size"])) for name, e in files}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("the file is damaged", where=path, found=repr(error), fix=_MEND) from error
    # Only the one way of writing it is taken, so that no changed bit can hide in spaces or doubled keys.
    if _text(entries) != text:
        raise UserError("the file is damaged", where=path, fix=_MEND)
    for name in entries:
        _refuse_leaving(name, path)
    return entries


def _text(entries: dict[str, _Entry]) -> str:
    files = {name: asdict(entry) for name, entry in entries.items()}
    return json.dumps({"files": files}, indent=1, sort_keys=True) + "\n"


def _refuse_leaving(name: str, manifest: Path) -> None:
    plain = PurePosixPath(name).name == name == PureWindowsPath(name).name and name not in {"", ".", ".."}
    if not plain or not name.isprintable():
        raise UserError("a file must lie directly in its folder", where=manifest, found=ascii(name), fix=_MEND)


def _checked(path: Path, entry: _Entry) -> bytes:
    if path.is_symlink():
        raise UserError("a link may not stand for a file here", where=path, fix=_MEND)
    if not path.is_file():
        raise UserError("the file is missing", where=path, fix=_MEND)
    data = path.read_bytes()
    if len(data) != entry.size:
        what = f"the file is damaged: {entry.size} bytes were written"
        raise UserError(what, where=path, found=f"{len(data)} bytes", fix=_MEND)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise UserError("the file is damaged: its SHA-256 has changed", where=path, fix=_MEND)
    return data
