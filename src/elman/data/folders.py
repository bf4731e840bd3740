"""A folder of texts, one file each, in subfolders that name their label: `label/file.txt`."""

from __future__ import annotations

from pathlib import Path

from elman.data.lines import read_lines
from elman.data.table import Table
from elman.errors import UserError

_LAYOUT = "lay the texts out as FOLDER/label/file.txt"


def read_folder(folder: Path) -> Table:
    """A table with the columns text and label, in the order of the names. Hidden files are left out.

    An empty file is an empty text; a single line end at the end of a file is not part of its text.

    Raises:
        UserError: no text in any subfolder (a folder one level deeper is proposed), a link that leads out of
            the folder, or a file that is not UTF-8, with its line.
    """
    labels = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths = [path for label in labels for path in _texts(label)]
    if not paths:
        raise UserError("the folder holds no texts", where=folder, found=_found(folder), fix=_hint(labels))
    _check_links(paths, folder)
    return Table(
        {"text": [_read(path) for path in paths], "label": [path.parent.name for path in paths]},
        str(folder),
        files=[str(path) for path in paths],
    )


def _texts(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.glob("*.txt") if not p.is_dir() and not p.name.startswith("."))
    for path in paths:
        if not path.is_file():
            kind = "a broken link" if path.is_symlink() else "no regular file"
            raise UserError("a text must be a file that can be read", where=path, found=kind, fix="remove it")
    return paths


def _read(path: Path) -> str:
    if not path.stat().st_size:
        return ""
    return "".join(read_lines(path)).removesuffix("\n").removesuffix("\r")


def _check_links(paths: list[Path], folder: Path) -> None:
    inside = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(inside):
            fix = "copy the file into the folder"
            raise UserError("a text must lie inside its folder", where=path, found=path.resolve(), fix=fix)


def _found(folder: Path) -> str:
    entries = sorted(path.name for path in folder.iterdir())
    return f"{len(entries)} entries: {', '.join(entries[:5])}" if entries else "an empty folder"


def _hint(labels: list[Path]) -> str:
    deeper = [label for label in labels if any(_texts(path) for path in sorted(label.iterdir()) if path.is_dir())]
    return f"did you mean {str(deeper[0])!r}?" if deeper else _LAYOUT
