"""What `config.json` of a text model says: enough to build the model again, and nothing that is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from elman.recipes.model_folder import FolderConfig
from elman.recipes.text_model import Settings, TextModel


class _LabelsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["classes", "numbers"]
    names: list[str]


class _ScaleConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: float
    deviation: float


class _DataConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    own: bool
    source: str | None
    text: str
    label: str
    fingerprint: str


class TextConfig(FolderConfig):
    """What `config.json` of a text model holds, and nothing else."""

    settings: Settings
    labels: _LabelsConfig
    scale: _ScaleConfig
    data: _DataConfig


def config_of(model: TextModel, recipe: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.json` needs to build the model again."""
    return {
        "recipe": recipe,
        "settings": model.settings.model_dump(),
        "labels": {"kind": model.labels.kind, "names": list(model.labels.names)},
        "scale": {"mean": model.scale.mean, "deviation": model.scale.deviation},
        "data": dict(data),
    }
