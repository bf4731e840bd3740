"""The job of every recipe that turns a text into one answer: prepare, train, measure beside baselines, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from elman.data import (
    Batch,
    Batches,
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
from elman.export import ModelFolder, save_model
from elman.models import ManyToOne
from elman.nn import explain
from elman.recipes.baselines import Predict, Rows, measure_baselines
from elman.recipes.contract import Recipe, Request, Trained
from elman.recipes.measures import measure, scikit_learn
from elman.recipes.model_folder import checked_config, load_weights, source_of, training_figures
from elman.recipes.settings import described, meaning, often_enough
from elman.recipes.text_config import TextConfig, config_of
from elman.recipes.text_model import Scale, Settings, TextModel, build_network
from elman.recipes.text_parts import Prepared, prepare_parts
from elman.training import TrainSettings, fit, process

LEAST_STEPS = 150  # fewer do not leave the majority class


@dataclass(frozen=True)
class TextRecipe(Recipe):
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
    arrangement = "many to one"
    reads_table = True

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, self.example], ["evaluate", folder]]

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it: data, parts, network and settings, by name."""
        prepared, model = self._begin(request)
        network = model.network
        example = torch.zeros(1, 1, model.settings.model.embedding_size)
        return [
            ("data", f"{len(prepared.table)} rows of {prepared.table.source}"),
            ("columns", f"text {prepared.text!r}, label {prepared.label!r}"),
            ("labels", prepared.shown_labels()),
            ("parts", prepared.shown_parts()),
            ("vocabulary", f"{len(model.vocabulary)} entries"),
            ("parameters", str(sum(p.numel() for p in network.parameters()))),
            ("runs", explain(cast(ManyToOne, network.members[0]).recurrent, example)),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(model.settings)),
        ]

    def train(self, request: Request) -> Trained:
        """Train on the request's data, measure on its test part, and write the model folder."""
        scikit_learn("metrics")  # needed after training: better said before it
        if request.data is None:
            for baseline in self.more_baselines.values():
                baseline(Rows([], []), [])
        prepared, model = self._begin(request)
        settings, fingerprint = model.settings, prepared.fingerprint()
        parts = {name: prepared.rows(part) for name, part in prepared.parts._asdict().items()}
        rank, processes = process()
        batches = Batches(
            model.encode(parts["train"].texts),
            _scaled(parts["train"].targets, model),
            batch_size=settings.train.batch_size,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        fitted = fit(
            model.network,
            _loss(settings.model.unknown, prepared.labels),
            batches,
            _validation(model, parts["validation"]),
            settings.train,
            request.out,
            about={"the data": fingerprint, **meaning(settings)},
            resume=request.resume,
            progress=request.progress,
        )
        more = dict(self.class_baselines) if prepared.labels.kind == "classes" else {}
        more |= self.more_baselines if request.data is None else {}
        test = parts["test"]
        model.metrics = {
            "test": measure(prepared.labels, test.targets, model.codes(model.encode(test.texts))),
            "baselines": measure_baselines(prepared.labels, parts["train"], test, more),
            "validation": fitted.best_metrics,
            "training": training_figures(fitted, model.network, len(parts["train"].texts)),
        }
        about = {
            "own": request.data is None,
            "source": source_of(request.data),
            "text": prepared.text,
            "label": prepared.label,
            "fingerprint": fingerprint,
        }
        model.config, model.folder = config_of(model, self.name, about), request.out
        if rank == 0:
            state = model.network.state_dict()
            tokenizer = model.vocabulary.to_json()
            model.folder = save_model(request.out, state, model.config, tokenizer, model.metrics)
        return Trained(model.folder, model.metrics, model)

    def load(self, folder: ModelFolder) -> TextModel:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, TextConfig)
        labels = Labels(config.labels.kind, tuple(config.labels.names))
        if folder.tokenizer is None:
            raise UserError("a text model needs its tokenizer.json", where=folder.path)
        vocabulary = Vocabulary.from_json(folder.tokenizer)
        network = build_network(config.settings.model, len(vocabulary), labels)
        load_weights(network, folder)
        scale = Scale(config.scale.mean, config.scale.deviation)
        model = TextModel(network, vocabulary, labels, config.settings, scale)
        model.recipe, model.folder = self, folder.path
        model.config, model.metrics = folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: TextModel, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on data; see `elman.recipes.contract.Model.evaluate`."""
        about = model.config["data"]
        if data is not None:
            table = read_table(data)
            columns = [_column(table, given, about[role]) for role, given in (("text", text), ("label", label))]
            names = choose_columns(table, *columns)
            table, dropped = drop_empty(table, names.text)
            targets = model.labels.encode(table.column(str(names.label)), table.where)
            codes = model.codes(model.encode(table.column(names.text)))
            said = {"columns": {"text": names.text, "label": names.label}, "rows_without_text": dropped}
            return {**measure(model.labels, targets, codes), **said}
        if about["source"] is None and not about["own"]:
            what = "this model was trained on a table in memory, which is not kept"
            raise UserError(what, where=model.folder, fix="name the rows to measure with --data")
        table = self.default_data() if about["own"] else read_table(about["source"])
        prepared = prepare_parts(table, about["text"], about["label"], model.settings.data, about["own"])
        if prepared.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            raise UserError(what, where=about["source"] or self.name, fix="name the rows to measure with --data")
        test = prepared.rows(prepared.parts.test)
        return measure(model.labels, test.targets, model.codes(model.encode(test.texts)))

    def _begin(self, request: Request) -> tuple[Prepared, TextModel]:
        """The rows, and an untrained model for them."""
        prepared = self.prepare(request)
        settings = _fitting(cast(Settings, request.settings), prepared.labels, request.progress.say)
        rows, say = len(prepared.parts.train), request.progress.say
        train = often_enough(settings.train, self.settings.train, rows, LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        model = _new_model(settings, prepared.rows(prepared.parts.train), prepared.labels)
        model.recipe = self
        classes = {prepared.targets[row] for row in prepared.parts.train}
        if prepared.labels.kind == "classes" and len(classes) < 2:
            what = "the training part must hold two classes or more"
            fix = "give more rows, or more groups"
            raise UserError(what, where=prepared.table.source, found=len(classes), fix=fix)
        return prepared, model

    def prepare(self, request: Request) -> Prepared:
        """The request's rows, cleaned, labelled and dealt out; what was guessed and left out is said.

        Raises:
            UserError: the data cannot be read or learnt from; the file and line are named.
        """
        say, settings = request.progress.say, cast(Settings, request.settings)
        table = self.default_data() if request.data is None else read_table(request.data)
        columns = choose_columns(table, request.text, request.label)
        if request.data is not None and columns.guessed:
            guesses = " and ".join(f"--{role} {getattr(columns, role)!r}" for role in columns.guessed)
            say(f"columns guessed: {guesses}")
        prepared = prepare_parts(table, columns.text, str(columns.label), settings.data, request.data is None)
        if prepared.dropped:
            say(f"{prepared.dropped} rows without a text are left out")
        labels, parts = prepared.shown_labels(), prepared.shown_parts()
        say(f"{len(prepared.table)} rows of {table.source}; labels: {labels}; parts: {parts}")
        counts = prepared.labels.counts(prepared.targets)
        if counts and (warning := imbalance(prepared.labels, counts)):
            say(warning)
        return prepared


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


def _new_model(settings: Settings, train: Rows, labels: Labels) -> TextModel:
    torch.manual_seed(settings.train.seed)
    data = settings.data
    vocabulary = Vocabulary.train(train.texts, data.vocabulary, data.vocabulary_size, data.lowercase)
    network = build_network(settings.model, len(vocabulary), labels)
    scale = Scale()
    if labels.kind == "numbers":
        numbers = torch.tensor(train.targets, dtype=torch.float64)
        scale = Scale(float(numbers.mean()), float(numbers.std(correction=0)) or 1.0)
    return TextModel(network, vocabulary, labels, settings, scale)


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


def _validation(model: TextModel, rows: Rows) -> Callable[[nn.Module], dict[str, float]]:
    sequences = model.encode(rows.texts)

    def validate(_: nn.Module) -> dict[str, float]:
        measures = measure(model.labels, rows.targets, model.codes(sequences))
        return {name: value for name, value in measures.items() if isinstance(value, float)}

    return validate
