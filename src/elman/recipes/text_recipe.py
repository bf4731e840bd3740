"""The job of every recipe that turns a text into one answer: prepare, train, measure beside baselines, write."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from elman.data import (
    Batch,
    Labels,
    Table,
    Vocabulary,
    choose_columns,
    drop_empty,
    imbalance,
    read_table,
)
from elman.data.vocabulary import PADDING, UNKNOWN
from elman.errors import UserError
from elman.recipes.baselines import Predict, Rows, measure_baselines
from elman.recipes.contract import Request
from elman.recipes.job import Asked, Job, JobConfig, Lesson, batches, needed
from elman.recipes.measures import measure, scikit_learn
from elman.recipes.settings import often_enough
from elman.recipes.text_model import Scale, Settings, TextModel, build_network
from elman.recipes.text_parts import Prepared, prepare_parts
from elman.training import TrainSettings

LEAST_STEPS = 150  # fewer do not leave the majority class


class _LabelsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["classes", "numbers"]
    names: list[str]


class _ScaleConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: float
    deviation: float


class TextConfig(JobConfig):
    """What `config.json` of a text model holds, and nothing else."""

    settings: Settings
    labels: _LabelsConfig
    scale: _ScaleConfig


@dataclass(frozen=True)
class TextRecipe(Job[Prepared, TextModel]):
    """A text in, a class or a number out.

    Attributes:
        default_data: reads the recipe's own data, with the columns text, label and perhaps group.
        class_baselines: methods for classes of any data, besides those that every text recipe has.
        more_baselines: methods that fit the recipe's own data only.
        example: a text to try the model on.
    """

    settings: Settings
    default_data: Callable[[], Table] = field(kw_only=True)
    class_baselines: Mapping[str, Predict] = field(default_factory=dict, kw_only=True)
    more_baselines: Mapping[str, Predict] = field(default_factory=dict, kw_only=True)
    example: str = field(default="not bad at all", kw_only=True)
    config = TextConfig
    arrangement = "many to one"
    reads_table = True

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, self.example], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """What counts, and what the baselines need."""
        scikit_learn("metrics")
        if request.data is None:
            for baseline in self.more_baselines.values():
                baseline(Rows([], []), [])

    def read(self, asked: Asked) -> Prepared:
        """The rows, cleaned, labelled and dealt out."""
        own = asked.data is None
        table = self.default_data() if own else read_table(asked.data)
        columns = choose_columns(table, asked.text, asked.label)
        if not own and columns.guessed:
            guesses = " and ".join(f"--{role} {getattr(columns, role)!r}" for role in columns.guessed)
            asked.say(f"columns guessed: {guesses}")
        prepared = prepare_parts(table, columns.text, str(columns.label), asked.settings.data, own)
        if prepared.dropped:
            asked.say(f"{prepared.dropped} rows without a text are left out")
        counts = prepared.labels.counts(prepared.targets)
        if counts and (warning := imbalance(prepared.labels, counts)):
            asked.say(warning)
        return prepared

    def build(self, prepared: Prepared, settings: Settings, say: Callable[[str], None]) -> TextModel:
        """Networks over the vocabulary of the training part."""
        labels, rows = prepared.labels, prepared.rows(prepared.parts.train)
        if labels.kind == "classes" and len(set(rows.targets)) < 2:
            what, fix = "the training part must hold two classes or more", "give more rows, or more groups"
            raise UserError(what, where=prepared.table.source, found=len(set(rows.targets)), fix=fix)
        settings = _fitting(settings, labels, say)
        train = often_enough(settings.train, self.settings.train, len(rows.texts), LEAST_STEPS, say)
        settings, data = settings.model_copy(update={"train": train}), settings.data
        vocabulary = Vocabulary.train(rows.texts, data.vocabulary, data.vocabulary_size, data.lowercase)
        network = build_network(settings.model, len(vocabulary), labels)
        return TextModel(network, vocabulary, labels, settings, _scale(rows.targets, labels))

    def rebuild(self, config: TextConfig, vocabulary: Vocabulary | None) -> TextModel:
        """The model that `config` describes."""
        vocabulary, labels = needed(vocabulary, config), Labels(config.labels.kind, tuple(config.labels.names))
        network = build_network(config.settings.model, len(vocabulary), labels)
        scale = Scale(config.scale.mean, config.scale.deviation)
        return TextModel(network, vocabulary, labels, config.settings, scale)

    def lesson(self, model: TextModel, prepared: Prepared) -> Lesson:
        """-ln p of the class, or the squared error; the validation part by what the test part is measured by."""
        train, validation = prepared.rows(prepared.parts.train), prepared.rows(prepared.parts.validation)
        sequences = model.encode(validation.texts)
        return Lesson(
            loss=_loss(model.settings.model.unknown, model.labels),
            batches=batches(model.encode(train.texts), _scaled(train.targets, model), model.settings.train),
            validate=lambda _: measure(model.labels, validation.targets, model.codes(sequences)),
            rows=len(train.texts),
        )

    def spelled(self, model: TextModel, prepared: Prepared, batch: Batch) -> dict[str, list[list[str]]]:
        """The pieces of each text as they are written there."""
        texts, most = prepared.rows(prepared.parts.train).texts, model.settings.data.max_length
        tokens = [model.vocabulary.tokens(unicodedata.normalize("NFC", texts[row])) for row in batch.rows.tolist()]
        return {"recurrent": [pieces[:most] for pieces in tokens]}

    def measure(self, model: TextModel, prepared: Prepared) -> dict[str, Any]:
        """What the model is worth on the test part."""
        test = prepared.rows(prepared.parts.test)
        return measure(model.labels, test.targets, model.codes(model.encode(test.texts)))

    def measure_data(self, model: TextModel, asked: Asked) -> dict[str, Any]:
        """The same on the rows of a table."""
        table, about = read_table(asked.data), model.config["data"]
        names = choose_columns(
            table, _column(table, asked.text, about["text"]), _column(table, asked.label, about["label"])
        )
        table, dropped = drop_empty(table, names.text)
        targets = model.labels.encode(table.column(str(names.label)), table.where)
        codes = model.codes(model.encode(table.column(names.text)))
        said = {"columns": {"text": names.text, "label": names.label}, "rows_without_text": dropped}
        return {**measure(model.labels, targets, codes), **said}

    def baselines(self, model: TextModel, prepared: Prepared, request: Request) -> dict[str, dict[str, Any]]:
        """Counting words, lexicons: see `elman.recipes.baselines`."""
        more = dict(self.class_baselines) if prepared.labels.kind == "classes" else {}
        more |= self.more_baselines if request.data is None else {}
        train, test = prepared.rows(prepared.parts.train), prepared.rows(prepared.parts.test)
        return measure_baselines(prepared.labels, train, test, more)


def _column(table: Table, given: str | None, trained: str) -> str | None:
    return given or (trained if trained in table.columns else None)


def _fitting(settings: Settings, labels: Labels, say: Callable[[str], None]) -> Settings:
    """The settings with a metric to watch that these labels have."""
    classes = ("accuracy", "macro_f1")
    numbers = ("rmse", "mae", "r2")
    known, instead = (classes, "macro_f1") if labels.kind == "classes" else (numbers, "rmse")
    watch = settings.train.watch
    if watch in known:
        return settings
    if watch != TrainSettings().watch:
        raise UserError(f"no such metric for {labels.kind}", where="train.watch", found=watch, fix=str(known))
    say(f"labels are numbers: the best epoch is chosen by {instead}")
    return settings.model_copy(update={"train": settings.train.model_copy(update={"watch": instead})})


def _scale(targets: Sequence[float], labels: Labels) -> Scale:
    if labels.kind == "classes":
        return Scale()
    numbers = torch.tensor(targets, dtype=torch.float64)
    return Scale(float(numbers.mean()), float(numbers.std(correction=0)) or 1.0)


def _scaled(targets: Sequence[float], model: TextModel) -> Sequence[float]:
    if model.labels.kind == "classes":
        return targets
    return [(target - model.scale.mean) / model.scale.deviation for target in targets]


def _loss(unknown: float, labels: Labels) -> Callable[[nn.Module, Batch], Tensor]:
    """Softmax with cross-entropy, -ln p_c, for classes; squared error for numbers."""

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        inputs = batch.inputs
        if unknown:
            inputs = _with_unknown(inputs, unknown)
        outputs = network(inputs, batch.lengths)  # (members, B, outputs): each member learns for itself
        if batch.targets is None:
            raise ValueError("training needs targets")
        if labels.kind == "numbers":
            return mse_loss(outputs[..., 0], batch.targets.to(outputs.dtype).expand(outputs.shape[:2]))
        return cross_entropy(outputs.flatten(0, 1), batch.targets.repeat(len(outputs)))

    return loss


def _with_unknown(inputs: Tensor, share: float) -> Tensor:
    """The pieces with some of them made unknown, subwords and all."""
    hidden = torch.rand(inputs.shape[:2], device=inputs.device) < share
    if inputs.dim() == 2:
        return inputs.masked_fill(hidden & (inputs != PADDING), UNKNOWN)
    nothing = inputs.new_zeros(inputs.shape[-1])
    nothing[0] = UNKNOWN
    return torch.where((hidden & (inputs[..., 0] != PADDING))[..., None], nothing, inputs)
