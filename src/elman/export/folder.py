"""The model folder: what a trained model is on disk. Tensors and JSON, nothing that could run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from elman import __version__
from elman.errors import UserError
from elman.export.atomic import atomic_folder, current
from elman.export.manifest import MANIFEST, read_folder
from elman.export.tensors import tensors_from_bytes, tensors_to_bytes

FORMAT_VERSION = 1
MODEL_FILES = _MODEL, _CONFIG, _TOKENIZER, _METRICS = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "metrics.json",
)


@dataclass(frozen=True)
class ModelFolder:
    """The content of a model folder.

    Attributes:
        config: what rebuilds the model, with `format_version` and `elman_version`.
        state: parameter and buffer names to tensors on the CPU, as `load_state_dict` takes them.
        tokenizer: the text of `tokenizer.json`, or None.
        metrics: what was measured, or None.
        path: where it was read from.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]
    tokenizer: str | None
    metrics: dict[str, Any] | None
    path: Path


def save_model(
    folder: str | Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    tokenizer: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, whole or not at all; an older one in its place is replaced in one move.

    Files of the older folder that its manifest does not name, such as a run's checkpoints, stay.

    Args:
        folder: where the folder will stand.
        state: the model's `state_dict`; tied tensors are written once.
        config: JSON values that rebuild the model; `format_version` and `elman_version` are added.
        tokenizer: the tokenizer as JSON text, where there is text.
        metrics: JSON values. Covered by the manifest like every other file: to change them, save again.

    Returns:
        The folder's absolute path.

    Raises:
        UserError: the disk is full, or the place cannot be written; an older folder is untouched.
        ValueError: `config` or `metrics` holds something JSON has no word for (NaN included).

    Example:
        >>> import tempfile, torch
        >>> path = save_model(Path(tempfile.mkdtemp()) / "model", {"bias": torch.zeros(3)}, {"cell": "lstm"})
        >>> read_model(path).config["cell"]
        'lstm'
    """
    versions = {"format_version": FORMAT_VERSION, "elman_version": __version__}
    files = {_MODEL: tensors_to_bytes(state), _CONFIG: _json({**config, **versions})}
    if tokenizer is not None:
        files[_TOKENIZER] = tokenizer.encode("utf-8")
    if metrics is not None:
        files[_METRICS] = _json(metrics)
    with atomic_folder(folder) as new:
        for name, data in files.items():
            (new / name).write_bytes(data)
    return Path(folder).resolve()


def read_model(folder: str | Path) -> ModelFolder:
    """Read a model folder; every byte is compared with the manifest before it is used.

    Args:
        folder: a folder written by `save_model`. Files that its manifest does not name are ignored.

    Raises:
        UserError: the folder does not exist, is not a model folder (says what is missing), is damaged (says
            which file), or was written by a newer Elman.
    """
    asked = Path(folder)
    try:
        return _read_model(asked, current(folder))
    except OSError as error:
        what = "the model folder cannot be read"
        raise UserError(what, where=asked, found=error.strerror or str(error)) from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError("this is no path of a model folder", where=repr(str(folder)), found=str(error)) from error


def _read_model(asked: Path, folder: Path) -> ModelFolder:
    if folder.name != asked.resolve().name:
        what = f"{asked}: replacing this model was cut short; the older version is read from {folder}"
        warnings.warn(what, RuntimeWarning, stacklevel=2)
    _refuse_foreign(folder, asked)
    files = read_folder(folder)
    for name in (_MODEL, _CONFIG):
        if name not in files:
            raise UserError(f"not a model folder: its manifest names no {name}", where=asked)
    config = _parsed(files[_CONFIG], folder / _CONFIG)
    _refuse_version(config.get("format_version"), folder / _CONFIG)
    tokenizer = files.get(_TOKENIZER)
    return ModelFolder(
        config=config,
        state=tensors_from_bytes(files[_MODEL], folder / _MODEL),
        tokenizer=None if tokenizer is None else _decoded(tokenizer, folder / _TOKENIZER),
        metrics=_parsed(files[_METRICS], folder / _METRICS) if _METRICS in files else None,
        path=folder,
    )


def _refuse_foreign(folder: Path, asked: Path) -> None:
    fix = "give the folder that training wrote"
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise UserError(what, where=asked, fix=fix)
    missing = [name for name in (MANIFEST, _MODEL, _CONFIG) if not (folder / name).exists()]
    if not missing:
        return
    if (folder / "checkpoints").is_dir() and missing[0] == MANIFEST:
        raise UserError("the training in this folder has not finished", where=asked, fix="finish it with --resume")
    raise UserError(f"not a model folder: no {', '.join(missing)} in it", where=asked, fix=fix)


def _refuse_version(version: object, where: Path) -> None:
    if type(version) is not int or version < 1:
        what = "format_version must be a whole number from 1"
        raise UserError(what, where=where, found=repr(version), fix="give a model folder written by Elman")
    if version > FORMAT_VERSION:
        what = f"this Elman ({__version__}) reads model folders up to format_version {FORMAT_VERSION}"
        raise UserError(what, where=where, found=version, fix="upgrade: pip install --upgrade elman")


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _decoded(data: bytes, where: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", where=where, found=error) from error


def _parsed(data: bytes, where: Path) -> dict[str, Any]:
    try:
        values = json.loads(_decoded(data, where))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError("not JSON", where=where, found=error) from error
    if not isinstance(values, dict):
        raise UserError("must hold one JSON object", where=where, found=type(values).__name__)
    return values
