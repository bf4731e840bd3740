"""Settings from defaults, a TOML file and `--set key=value`, in that order; unknown keys are refused."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from elman import cells
from elman.engine.trace import Untraceable, trace
from elman.errors import UserError, did_you_mean
from elman.nn.pooling import KINDS
from elman.training import TrainSettings

S = TypeVar("S", bound=BaseModel)
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)  # of a block of settings


WIDTH = 2882880  # a multiple of every number of heads and blocks from 1 to 16, of 32 and of 64


def _known_cell(name: str) -> str:
    cell = cells.get(name)
    if "(" in name and (reason := _misfit(cell)) is not None:
        raise UserError("the parts of this cell do not fit together", where=name, found=reason)
    return name


def _misfit(cell: cells.Cell) -> str | None:
    """Why a cell's parts do not go together, whatever its size; None: nothing is known against it."""
    try:
        trace(cell, cell.spec(WIDTH, WIDTH))
    except Untraceable as error:  # what the engine cannot run may still be a good cell, unless widths differ
        return str(error) if "width" in str(error) else None
    except ValueError as error:
        return str(error)
    return None


def _known_poolings(names: str) -> str:
    if unknown := [kind for kind in names.split("+") if kind not in KINDS]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return names


CellName = Annotated[str, AfterValidator(_known_cell)]
PoolingNames = Annotated[str, AfterValidator(_known_poolings)]


def changed(defaults: S, changes: Mapping[str, Any], where: str = "settings") -> S:
    """The defaults with some values replaced, by dotted key; nested mappings are taken apart.

    Raises:
        UserError: a key does not exist, or a value is not what the key takes.

    Example:
        >>> from elman.training import TrainSettings
        >>> changed(TrainSettings(), {"epochs": 3}).epochs
        3
    """
    values = defaults.model_dump()
    known = dict(_leaves(values))
    for key, value in _leaves(changes):
        if key not in known:
            raise UserError(f"no setting {key!r}", where=where, fix=did_you_mean(key, known))
        *parents, last = key.split(".")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    try:
        return type(defaults).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{key}: {first['msg']}", where=where, found=repr(first["input"])) from error


def from_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        UserError: there is no such file, or it is not TOML; the line is named.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError("the settings file cannot be read", where=path, found=error.strerror) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError("the settings file is not TOML", where=path, found=str(error)) from error


def from_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["train.epochs=3", "model.cell=gru"]` as a mapping; values are JSON where they can be read as such.

    Raises:
        UserError: there is no `=`.

    Example:
        >>> from_assignments(["train.epochs=3", "train.clip=null", "model.cell=gru"])
        {'train.epochs': 3, 'train.clip': None, 'model.cell': 'gru'}
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UserError("a setting is changed by key=value", where="--set", found=assignment)
        changes[key.strip()] = _value(value.strip())
    return changes


def described(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Each setting's dotted key, value and meaning."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from described(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description or ""


def meaning(settings: BaseModel) -> dict[str, Any]:
    """The settings that make a run what it is, besides those of the loop, by dotted key."""
    return {name: value for name, value, _ in described(settings) if not name.startswith("train.")}


def often_enough(
    train: TrainSettings, default: TrainSettings, rows: int, steps: int, say: Callable[[str], None]
) -> TrainSettings:
    """More epochs where there are few rows, unless the user chose their number: few steps learn nothing.

    Args:
        train: what is asked for.
        default: the recipe's own; what differs from it, the user chose.
        rows: of the training part.
        steps: to be taken at least.
        say: is told of it.
    """
    least = math.ceil(steps / math.ceil(rows / train.batch_size))
    if train.epochs != default.epochs or least <= train.epochs:
        return train
    patience = least if train.patience == default.patience else train.patience
    say(f"few rows: {least} epochs instead of {train.epochs} (train.epochs changes it)")
    return train.model_copy(update={"epochs": least, "patience": patience})


def _value(text: str) -> Any:
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or numbers and brackets beyond all measure
        return text


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
