"""Tables that name files beside them: what a picture or a clip of a user's disk is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.data.readers import read_table
from elman.data.table import Table
from elman.errors import UserError

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


def table_and_folder(data: Any, kind: str, usual: str) -> tuple[Table, Path]:
    """A table, and the folder that its files are named from.

    Args:
        data: a folder that holds one table beside its files, or anything that `read_table` reads; files of a table
            in memory are named from the working folder on.
        kind: what the files are, as "pictures".
        usual: what the table should be, as "captions.csv with the columns file and caption".

    Raises:
        UserError: the folder holds no table, or several.
    """
    if not isinstance(data, str | Path):
        return read_table(data), Path()
    path = Path(data).expanduser()
    if not path.is_dir():
        return read_table(data), path.parent
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in _ENDINGS and not p.name.startswith("."))
    if len(tables) != 1:
        found = ", ".join(table.name for table in tables) or "none"
        fix = f"put one {usual} there, or name the table itself"
        raise UserError(f"a folder of {kind} needs one table about them", where=path, found=found, fix=fix)
    return read_table(tables[0]), path


def column_called(table: Table, name: str | None, usual: Sequence[str], role: str, option: str) -> str:
    """The column that a user named, or else the first of the usual names that there is.

    Raises:
        UserError: there is no such column; `option` is where to name it.

    Example:
        >>> column_called(Table({"Picture": ["a.png"]}, "a.csv"), None, ("file", "picture"), "file", "--text")
        'Picture'
    """
    if name is not None:
        table.column(name)
        return name
    by_name = {column.strip().casefold(): column for column in table.columns}
    for one in usual:
        if one in by_name:
            return by_name[one]
    what, fix = f"which column holds the {role}s is not clear", f"name it with {option} COLUMN"
    raise UserError(what, where=table.source, found=", ".join(table.columns), fix=fix)


def file_inside(folder: Path, name: str, where: str) -> Path:
    """The file of a row, which must be there and inside the folder of its table.

    Raises:
        UserError: it is not.
    """
    path = folder / name
    try:
        inside, there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise UserError("this names no file", where=where, found=repr(name[:80])) from error
    if not inside:
        what = "a file must lie inside the folder of its table"
        raise UserError(what, where=where, found=name, fix="copy it there")
    if not there:
        raise UserError("no such file", where=where, found=str(path))
    return path
