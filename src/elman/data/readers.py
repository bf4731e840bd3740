"""From what a user has, a file, a folder, a frame or a name, to a `Table`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from elman.data.delimited import read_delimited
from elman.data.folders import read_folder
from elman.data.foreign import is_hub_name, plain, read_frame, read_hub, read_parquet
from elman.data.json_rows import read_json_lines, read_json_list
from elman.data.table import Table
from elman.errors import UserError

if TYPE_CHECKING:
    import pandas

Source: TypeAlias = "str | Path | Table | pandas.DataFrame | Mapping[str, Sequence[Any]]"

_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json_list,
    ".parquet": read_parquet,
}


def read_table(source: Source) -> Table:
    """Read a table from whatever a user gives as data.

    Args:
        source: a `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json` or `.parquet` file; a folder `label/file.txt`;
            a hub name, `hf:owner/name[:split]`, or `owner/name` where `datasets` is installed; a pandas
            DataFrame; a mapping from column names to cells; a `Table`, which is returned as it is.

    Returns:
        The table. Each row knows the file and the line it came from.

    Raises:
        UserError: the source is missing, empty, damaged or of another kind; the file and line are named.

    Example:
        >>> read_table({"text": ["good", "bad"], "label": ["yes", "no"]}).column("label")
        ['yes', 'no']
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str) and is_hub_name(source):
        return read_hub(source)
    if isinstance(source, str | Path):
        return _read_path(Path(source).expanduser())
    if isinstance(source, Mapping):
        return _read_mapping(source)
    if all(hasattr(source, name) for name in ("columns", "iloc", "isna")):
        return read_frame(source)
    fix = "give a file, a folder, a DataFrame or a mapping from column names to lists"
    raise UserError("this is no data that can be read", found=type(source).__name__, fix=fix)


def _read_path(path: Path) -> Table:
    try:
        if path.is_dir():
            return read_folder(path)
        if not path.exists():
            raise _missing(path)
        if not path.is_file():
            raise UserError("this is neither a file nor a folder", where=path)
    except OSError as error:
        raise UserError("the data cannot be read", where=path, found=error.strerror) from error
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = path.suffix or "no ending"
        raise UserError("the kind of a file is told by its ending", where=path, found=found, fix=_kinds())
    return reader(path)


def _read_mapping(source: Mapping[str, Sequence[Any]]) -> Table:
    for name, cells in source.items():
        if isinstance(cells, str) or not hasattr(cells, "__iter__"):
            raise UserError("a column must be a list of cells", where=name, found=repr(cells))
    table = Table({str(name): [plain(cell) for cell in cells] for name, cells in source.items()}, "data")
    if not len(table):
        raise UserError("the data has no row", where="data", found=", ".join(table.columns))
    return table


def _missing(path: Path) -> UserError:
    if not path.parent.is_dir():
        return UserError("no such file: its folder does not exist", where=path, found=f"no folder {path.parent}")
    names = sorted(sibling.name for sibling in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=1)
    readable = [name for name in names if Path(name).suffix.lower() in _READERS]
    shown = f"data files here: {', '.join(readable[:10])}" if readable else "no data file is in this folder"
    return UserError("no such file or folder", where=path, fix=f"did you mean {near[0]!r}?" if near else shown)


def _kinds() -> str:
    return f"give one of {', '.join(_READERS)}, or a folder label/file.txt"
