"""What every recipe does with its model folder: a checked configuration, weights that fit, the common figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from elman.errors import UserError
from elman.export import ModelFolder, first_not_finite
from elman.training import Fitted


class CellConfig(BaseModel):
    """The cell of a user's own that a model runs: what it is called, its options, and the hash of its source."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    options: str
    sha256: str | None


class FolderConfig(BaseModel):
    """What `config.json` of every model holds; a recipe's own adds what rebuilds its model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format_version: int
    elman_version: str
    recipe: str
    cell: CellConfig | None = None


C = TypeVar("C", bound=FolderConfig)


def checked_config(folder: ModelFolder, kind: type[C]) -> C:
    """The configuration of a model folder.

    Raises:
        UserError: a key is missing, unknown, or holds what it cannot.
    """
    try:
        return kind.model_validate(folder.config)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"config.json: {key}: {first['msg']}", where=folder.path) from error


def load_weights(network: nn.Module, folder: ModelFolder) -> None:
    """Gives a network the weights of a folder, and sets it to evaluation.

    Raises:
        UserError: a weight is not finite, or they are another network's.
    """
    if broken := first_not_finite(folder.state):
        raise UserError("the weights must be finite", where=folder.path, found=f"{broken} is not")
    try:
        network.load_state_dict(dict(folder.state))
    except RuntimeError as error:
        what = "the weights are not those of the network that config.json describes"
        raise UserError(what, where=folder.path, found=str(error).splitlines()[-1].strip()) from error
    network.eval()


def training_figures(fitted: Fitted, network: nn.Module, rows: int) -> dict[str, Any]:
    """How long training took, over what and of what size, for `metrics.json`."""
    return {
        "epochs": fitted.epochs,
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
        "parameters": sum(p.numel() for p in network.parameters()),
        "rows": rows,
    }


def source_of(data: Any) -> str | None:
    """Where data named by the user is found again from another folder; None for what is in memory."""
    if not isinstance(data, str | Path):
        return None
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)
