"""What training, measuring and loading have in common in every recipe: the recipe itself gives what differs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from elman.data import Batches, Vocabulary
from elman.errors import UserError
from elman.export import ModelFolder, save_model
from elman.nn import Recurrent, explain
from elman.recipes.contract import Model, Recipe, Request, Trained
from elman.recipes.model_folder import FolderConfig, checked_config, load_weights, source_of, training_figures
from elman.recipes.own_cell import noted
from elman.recipes.settings import described, meaning
from elman.training import Fitted, TrainSettings, fit, process

BEGIN = "\u00b6"  # stands for a step that reads no text yet, where texts are shown


class JobSettings(BaseModel):
    """The choices of a job; a recipe's own adds those of its data and its network."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train: TrainSettings


@dataclass(frozen=True)
class Asked:
    """The data a job is asked to read.

    Attributes:
        data: a file, folder, hub name, table or DataFrame; None is the recipe's own data.
        text: the text column, where it is not to be guessed.
        label: the label column, where it is not to be guessed.
        settings: the recipe's settings.
        say: is told what was guessed and left out.
    """

    data: Any
    text: str | None
    label: str | None
    settings: Any
    say: Callable[[str], None]


class Prepared(Protocol):
    """Data ready to be learnt from: read, cleaned, and dealt out to training, validation and test."""

    @property
    def source(self) -> str:
        """The data, as messages name it."""

    @property
    def columns(self) -> tuple[str | None, str | None]:
        """The columns of texts and of labels, where there are any."""

    def shown(self) -> list[tuple[str, str]]:
        """What it holds, by name, for people: parts, labels."""

    def fingerprint(self) -> str:
        """A hash of all it holds and of its parts: whether data is still what it was."""


class JobModel(Model):
    """A trained model with one network.

    Attributes:
        network: what was trained.
        settings: the job's settings, all decided.
        vocabulary: the pieces of texts, where it reads any.
    """

    network: nn.Module
    settings: Any
    vocabulary: Vocabulary | None = None

    def described(self) -> dict[str, Any]:
        """What `config.json` holds besides the settings and the data; JSON values."""
        return {}

    def shown(self) -> list[tuple[str, str]]:
        """What there is to know of it before it is trained, by name, for people."""
        return []


@dataclass(frozen=True)
class Lesson:
    """What `elman.training.fit` is given.

    Attributes:
        loss: the mean loss over the rows of a batch.
        batches: of the training part.
        validate: measures the network on the validation part; what is no float is passed over.
        rows: of the training part.
        network: what is fitted, where that is not the model's network itself but something around it.
    """

    loss: Callable[[nn.Module, Any], Tensor]
    batches: Any
    validate: Callable[[nn.Module], Mapping[str, Any]]
    rows: int
    network: nn.Module | None = None


class _DataConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    own: bool
    source: str | None
    text: str | None
    label: str | None
    fingerprint: str


class JobConfig(FolderConfig):
    """What `config.json` of a job holds; a recipe's own narrows `settings` and adds what rebuilds its model."""

    settings: Any
    data: _DataConfig


P = TypeVar("P", bound=Prepared)
M = TypeVar("M", bound=JobModel)


@dataclass(frozen=True)
class Job(Recipe, Generic[P, M]):
    """A recipe whose steps are the usual ones; subclasses give what is theirs.

    Attributes:
        config: what `config.json` of its models holds.
    """

    config: ClassVar[type[JobConfig]]

    @abstractmethod
    def read(self, asked: Asked) -> P:
        """The data, ready to be learnt from; the same data, the same parts.

        Raises:
            UserError: the data cannot be read or learnt from; the file and line are named.
        """

    @abstractmethod
    def build(self, prepared: P, settings: Any, say: Callable[[str], None]) -> M:
        """An untrained model for the data, drawn from torch's generator, its settings decided."""

    @abstractmethod
    def rebuild(self, config: Any, vocabulary: Vocabulary | None) -> M:
        """The model that `config` describes; its weights are of no account."""

    @abstractmethod
    def lesson(self, model: M, prepared: P) -> Lesson:
        """How the model is taught."""

    @abstractmethod
    def measure(self, model: M, prepared: P) -> dict[str, Any]:
        """What the model is worth on the test part."""

    @abstractmethod
    def measure_data(self, model: M, asked: Asked) -> dict[str, Any]:
        """What the model is worth on all of a user's data."""

    @abstractmethod
    def baselines(self, model: M, prepared: P, request: Request) -> dict[str, dict[str, Any]]:
        """What others are worth on the same test part, fitted to the same training part."""

    def require(self, request: Request) -> None:
        """Raises `UserError` where a package that is needed only later is missing: better said at once."""

    def spelled(self, model: M, prepared: P, batch: Any) -> Mapping[str, list[list[str]]]:
        """The text that each recurrent layer reads of a batch of the lesson, a piece a step, by its own name.

        Nothing where the steps are no text.
        """
        return {}

    def finish(self, model: M, prepared: P) -> None:
        """What else goes into the model folder, such as a picture."""

    def prepare(self, request: Request) -> P:
        """The request's data, see `read`."""
        return self.read(Asked(request.data, request.text, request.label, request.settings, request.progress.say))

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it, by name; nothing is written."""
        prepared, model = self.begin(request)
        return [
            ("data", prepared.source),
            *prepared.shown(),
            *model.shown(),
            ("parameters", str(sum(p.numel() for p in model.network.parameters()))),
            ("runs", _runs(model.network)),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(model.settings)),
        ]

    def begin(self, request: Request) -> tuple[P, M]:
        """The data, and an untrained model for it, drawn from the seed of the settings."""
        say, settings, prepared = request.progress.say, cast(JobSettings, request.settings), self.prepare(request)
        say("; ".join([prepared.source, *(f"{name}: {value}" for name, value in prepared.shown())]))
        torch.manual_seed(settings.train.seed)
        model = self.build(prepared, settings, say)
        model.recipe = self
        return prepared, model

    def train(self, request: Request) -> Trained:
        """Train on the request's data, measure on its test part, and write the model folder."""
        self.require(request)
        prepared, model = self.begin(request)
        return self.finished(prepared, model, request)

    def finished(self, prepared: P, model: M, request: Request, *, baselines: bool = True) -> Trained:
        """Train an untrained model, measure it, with or without baselines beside it, and write its folder."""
        own_cell = noted(request.cell) if request.cell else {}  # before its file can change
        fitted, rows = self.teach(model, prepared, request, request.out)
        model.metrics = {
            "test": self.measure(model, prepared),
            "baselines": self.baselines(model, prepared, request) if baselines else {},
            "validation": fitted.best_metrics,
            "training": training_figures(fitted, model.network, rows),
        }
        text, label = prepared.columns
        model.folder = request.out
        model.config = {
            "recipe": self.name,
            "settings": model.settings.model_dump(),
            **own_cell,
            **model.described(),
            "data": {
                "own": request.data is None,
                "source": source_of(request.data),
                "text": text,
                "label": label,
                "fingerprint": prepared.fingerprint(),
            },
        }
        if process()[0] == 0:
            tokenizer = model.vocabulary.to_json() if model.vocabulary else None
            model.folder = save_model(
                request.out, model.network.state_dict(), model.config, tokenizer, model.metrics
            )
            self.finish(model, prepared)
        return Trained(model.folder, model.metrics, model)

    def teach(self, model: M, prepared: P, request: Request, out: Path) -> tuple[Fitted, int]:
        """Fits a model to the training part in a folder of its own; also says of how many rows that is."""
        lesson = self.lesson(model, prepared)
        fitted = fit(
            lesson.network or model.network,
            lesson.loss,
            lesson.batches,
            lambda network: {k: v for k, v in lesson.validate(network).items() if isinstance(v, float)},
            model.settings.train,
            out,
            about={"the data": prepared.fingerprint(), **meaning(model.settings), **_cell_of(request)},
            resume=request.resume,
            progress=request.progress,
        )
        return fitted, lesson.rows

    def load(self, folder: ModelFolder) -> M:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, self.config)
        vocabulary = Vocabulary.from_json(folder.tokenizer) if folder.tokenizer is not None else None
        model = self.rebuild(config, vocabulary)
        load_weights(model.network, folder)
        model.recipe, model.folder = self, folder.path
        model.config, model.metrics = folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: M, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on data; see `elman.recipes.contract.Model.evaluate`."""
        if data is not None:
            return self.measure_data(model, Asked(data, text, label, model.settings, silent))
        return self.measure(model, self.read_again(model))

    def read_again(self, model: M) -> P:
        """The data that a model was trained beside, dealt out as it was then.

        Raises:
            UserError: it was not kept, or is no longer what it was.
        """
        about = model.config["data"]
        fix = "name the data with --data"
        if about["source"] is None and not about["own"]:
            raise UserError(
                "this model was trained on data in memory, which is not kept", where=model.folder, fix=fix
            )
        text, label = (None, None) if about["own"] else (about["text"], about["label"])
        prepared = self.read(Asked(about["source"], text, label, model.settings, silent))
        if prepared.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            raise UserError(what, where=about["source"] or self.name, fix=fix)
        return prepared


def batches(inputs: Sequence[Any], targets: Any, train: TrainSettings) -> Batches:
    """The batches of a part, or this process's share of them."""
    rank, processes = process()
    return Batches(inputs, targets, batch_size=train.batch_size, seed=train.seed, rank=rank, processes=processes)


def needed(vocabulary: Vocabulary | None, config: FolderConfig) -> Vocabulary:
    """The vocabulary of a folder whose model cannot do without.

    Raises:
        UserError: there is none.
    """
    if vocabulary is None:
        raise UserError("the model folder must hold a tokenizer.json", where=config.recipe, found="none")
    return vocabulary


def files_of(data: str, found_in: Callable[[Path], Iterable[Path]], kind: str) -> list[str]:
    """The files of one kind in a folder, or the one file that is named.

    Raises:
        UserError: the folder holds none.
    """
    folder = Path(data).expanduser()
    if not folder.is_dir():
        return [data]
    found = [str(path) for path in found_in(folder)]
    if not found:
        raise UserError(f"the folder holds no {kind}", where=data)
    return found


def refuse_column(name: str | None, role: str, fix: str) -> None:
    """Refuses `--text` or `--label` where a job's data has no such column.

    Raises:
        UserError: one is named.
    """
    if name is not None:
        raise UserError(f"there is no column of {role}s to name here", where=f"--{role}", found=name, fix=fix)


def _runs(network: nn.Module) -> str:
    """What executes each recurrent layer of a network."""
    layers = [module for module in network.modules() if isinstance(module, Recurrent)]
    lines = {explain(layer, torch.zeros(1, 1, layer.input_size)) for layer in layers}
    return "\n".join(sorted(lines)) or "torch: no recurrent layer"


def _cell_of(request: Request) -> dict[str, str | None]:
    if request.cell is None:
        return {}
    about = noted(request.cell)["cell"]
    return {"the cell's options": about["options"], "the cell's source": about["sha256"]}


def silent(_: str) -> None:
    """Says nothing."""
