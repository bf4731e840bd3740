"""What a recipe is: a job with a default data set, told by a request and answered by a trained model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from elman.export import ModelFolder
from elman.training import Progress


@dataclass(frozen=True)
class Request:
    """What a user asks of a recipe.

    Attributes:
        out: the folder the run and the model go to.
        data: a file, folder, hub name, table or DataFrame; None is the recipe's own data.
        text: the text column, where it is not to be guessed.
        label: the label column, where it is not to be guessed.
        settings: the recipe's settings, changed.
        resume: go on with the run in `out`.
        progress: is told what happens.
    """

    out: Path
    settings: BaseModel
    progress: Progress
    data: Any = None
    text: str | None = None
    label: str | None = None
    resume: bool = False


@dataclass(frozen=True)
class Trained:
    """A finished training: the model folder, what `metrics.json` holds, and the model, ready to use."""

    folder: Path
    metrics: Mapping[str, Any]
    model: Model


class Model(ABC):
    """A trained model out of its folder.

    Attributes:
        recipe: what trained it.
        folder: where it stands.
        config: what its `config.json` holds.
        metrics: what its `metrics.json` holds.
    """

    recipe: Recipe
    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @abstractmethod
    def predict(self, texts: Sequence[str]) -> list[str] | list[float]:
        """An answer for each text."""

    def evaluate(self, data: Any = None, text: str | None = None, label: str | None = None) -> dict[str, Any]:
        """What the model is worth on labelled data, or on the test part it was trained beside.

        Args:
            data: a file, folder, hub name, table or DataFrame; None is the test part.
            text: the text column; by default the one it was trained on.
            label: the label column; by default the one it was trained on.

        Raises:
            UserError: the data cannot be read, or is no longer what the model was trained beside.
        """
        return self.recipe.evaluate(self, data, text, label)


@dataclass(frozen=True)
class Recipe(ABC):
    """One application.

    Attributes:
        name: what it is called on the command line.
        summary: one line about it.
        settings: its choices, before the user changes any.
        targets: what it promises on its own data, by measure; a run says whether it was reached.
    """

    name: str
    summary: str
    settings: BaseModel
    targets: Mapping[str, float] = field(default_factory=dict)
    arrangement: ClassVar[str]

    @abstractmethod
    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it, by name; nothing is written."""

    @abstractmethod
    def train(self, request: Request) -> Trained:
        """Train, measure, and write the model folder."""

    @abstractmethod
    def load(self, folder: ModelFolder) -> Model:
        """The model in a folder that this recipe wrote."""

    @abstractmethod
    def evaluate(self, model: Any, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """See `Model.evaluate`."""
