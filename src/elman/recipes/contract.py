"""What a recipe is: a job with a default data set, told by a request and answered by a trained model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from elman.cells import Cell
from elman.errors import UserError
from elman.export import ModelFolder
from elman.models import Sampling
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
        cell: a cell of the user's own, which the settings name.
    """

    out: Path
    settings: BaseModel
    progress: Progress
    data: Any = None
    text: str | None = None
    label: str | None = None
    resume: bool = False
    cell: Cell | None = None


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
        writes: the ending of the file that holds what it writes, such as ".wav"; None: text, for the terminal.
        steps: how many steps it writes where no number is asked for.
    """

    recipe: Recipe
    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    writes: ClassVar[str | None] = None
    steps: ClassVar[int] = 500

    def predict(self, inputs: Sequence[str]) -> list[Any]:
        """An answer for each input: for a text, or for the path of a picture, a clip or a table."""
        what = f"a model of the recipe {self.recipe.name} predicts nothing"
        raise UserError(what, where=self.folder, fix="elman generate writes with it")

    def answers(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each input its `prediction`, and what else there is to say about it; JSON values."""
        return [{"prediction": answer} for answer in self.predict(inputs)]

    def inputs(self, data: str) -> list[str]:
        """The inputs in what a user names as data to be predicted; here the path itself is the one input."""
        return [data]

    def generate(self, prompt: str | None, sampling: Sampling) -> Iterator[str]:
        """Goes on from a prompt, or from nothing; yields each piece as it is written.

        Raises:
            UserError: the model does not write, or the prompt holds what it does not know.
        """
        fix = "elman predict answers with it"
        raise UserError(f"a {self.recipe.name} model does not write", where=self.folder, fix=fix)

    def write(self, prompt: str | None, sampling: Sampling, path: Path) -> str:
        """As `generate`, into a file of the kind `writes`; returns what there is to say about it, in a few words.

        Raises:
            UserError: the model writes no such file, the prompt holds what it does not know, or the file cannot be
                written.
        """
        raise UserError(f"a {self.recipe.name} model writes no file of its own", where=self.folder)

    def search(self, prompt: str | None, beams: int, steps: int) -> list[tuple[str, float]]:
        """The likeliest of what could follow a prompt, of at most so many steps, with log p, likeliest first.

        Raises:
            UserError: the model does not write, or the prompt holds what it does not know.
        """
        raise UserError(f"a {self.recipe.name} model does not write", where=self.folder)

    def opening(self, prompt: str | None) -> str:
        """A prompt as the model reads it, which what it generates stands behind.

        Raises:
            UserError: the prompt is nothing that the model goes on from.
        """
        return prompt or ""

    def outputs(self, out: Path) -> list[Path]:
        """The files that `save` writes."""
        return [out if out.suffix else out.with_name(out.name + (self.writes or ".txt"))]

    def save(self, text: str, out: Path) -> None:
        """Writes what was generated, its opening included, to the files that `outputs` names.

        Raises:
            UserError: the text is nothing that can be saved, or a file cannot be written.
        """
        (path,) = self.outputs(out)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError("the file cannot be written", where=path, found=error.strerror) from error

    def unknown(self, prompt: str) -> list[str]:
        """The pieces of a prompt that the model does not know, and reads as unknown."""
        return []

    def complete(self, prompt: str, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest continuations of a prompt with their probabilities, likeliest first.

        Raises:
            UserError: the model does not write, or the prompt holds what it does not know.
        """
        raise UserError(f"a {self.recipe.name} model does not write", where=self.folder)

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
        margins: how far it promises to stand above the best baseline of the same run, by measure.
        arrangement: of inputs and outputs, as "many to one".
        reads_table: whether `elman predict` takes a table of texts.
    """

    name: str
    summary: str
    settings: BaseModel
    targets: Mapping[str, float] = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    arrangement: ClassVar[str]
    reads_table: ClassVar[bool] = False

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model, each the words behind `elman`."""
        return [["evaluate", folder]]

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
