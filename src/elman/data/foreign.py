"""Tables that other libraries hold: pandas frames, Parquet files, data sets of the Hugging Face hub."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from elman.data.delimited import check_names
from elman.data.table import Table, is_missing
from elman.errors import UserError

_HUB_NAME = re.compile(r"(?P<name>\w[\w.-]{0,95}(/\w[\w.-]{0,95})?)(:(?P<split>\w[\w.%\[\]:+-]*))?", re.ASCII)


def read_frame(frame: Any) -> Table:
    """A pandas DataFrame, known by its methods; NaN, NaT and NA become None. The index is left out.

    Raises:
        UserError: no row, or a column name twice.
    """
    names = [str(name) for name in frame.columns]
    check_names(names, "DataFrame")
    if not len(frame):
        raise UserError("the DataFrame has no row", where="DataFrame", found=", ".join(names))
    columns = {}
    for number, name in enumerate(names):
        cells, missing = frame.iloc[:, number].tolist(), frame.iloc[:, number].isna().tolist()
        columns[name] = [None if gone else plain(cell) for cell, gone in zip(cells, missing, strict=True)]
    return Table(columns, "DataFrame")


def read_parquet(path: Path) -> Table:
    """A Parquet file, by `pyarrow`, which also comes with `datasets`.

    Raises:
        UserError: pyarrow is not installed, the file is damaged, has no row, or a column name twice.
    """
    parquet = _library("pyarrow.parquet", "reading Parquet files", "pyarrow")
    try:
        table = parquet.read_table(path)
    except (ValueError, OSError) as error:
        raise UserError("this is no Parquet file that can be read", where=path, found=_first(error)) from error
    check_names(table.column_names, path)
    if not table.num_rows:
        raise UserError("the file has no row", where=path, found=", ".join(table.column_names))
    cells = {name: [plain(cell) for cell in table[name].to_pylist()] for name in table.column_names}
    return Table(cells, str(path))


def is_hub_name(source: str) -> bool:
    """Whether a name means the hub: `hf:...`, or `owner/name` that is no path, where `datasets` is there."""
    if source.startswith("hf:"):
        return True
    match = _HUB_NAME.fullmatch(source)
    plausible = match is not None and "/" in source and not Path(source).suffix
    return plausible and not Path(source).exists() and importlib.util.find_spec("datasets") is not None


def read_hub(source: str) -> Table:
    """A data set of the Hugging Face hub: `hf:owner/name`, with `:split` where it is not `train`.

    Labels that the data set names are read as their names; the hub's -1, "no label", becomes None.

    Raises:
        UserError: `datasets` is not installed, the name is none, or the hub does not answer with it.
    """
    match = _HUB_NAME.fullmatch(source.removeprefix("hf:"))
    if match is None:
        raise UserError("a hub name is owner/name or owner/name:split", where=source, found=source)
    datasets = _library("datasets", "reading from the Hugging Face hub", "datasets")
    split = match["split"] or "train"
    try:
        data = datasets.load_dataset(match["name"], split=split)
    except (OSError, ValueError, RuntimeError) as error:
        fix = "check the name, the split and the network; a file can be given instead"
        what = f"no file here has this name, and the hub gave no data set {match['name']!r}, split {split!r}"
        raise UserError(what, where=source, found=_first(error), fix=fix) from error
    if not len(data):
        raise UserError("the data set has no row", where=source, found=", ".join(data.column_names))
    return Table({name: _hub_column(data, name) for name in data.column_names}, source)


def _hub_column(data: Any, name: str) -> list[Any]:
    names = getattr(data.features.get(name), "names", None)
    cells = [plain(cell) for cell in data[name]]
    if names is None:
        return cells
    return [None if cell is None or cell < 0 else names[cell] for cell in cells]


def plain(cell: Any) -> Any:
    """A cell as Python itself would write it: scalars and arrays of numpy unpacked, NaN as None."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    return None if is_missing(cell) and not isinstance(cell, str) else cell


def _library(module: str, purpose: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"{purpose} needs {package}", fix=f"pip install {package}") from error


def _first(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
