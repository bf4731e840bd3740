"""Digits: which digit does a handwritten picture show? Row by row, or all at once.

The data: 1,797 pictures of 8 x 8 that scikit-learn ships; see `elman.recipes.digits_parts.handwritten_digits`.
Many to
one: the network reads a picture as a sequence of rows, downwards and upwards, and answers at the end. One to one,
with `model.arrangement`: the whole picture is one input, without time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch.nn.functional import nll_loss

from elman.data import Batches, Labels
from elman.errors import UserError
from elman.export import ModelFolder, save_model
from elman.models import ManyToOne
from elman.nn import explain
from elman.recipes.contract import Recipe, Request, Trained
from elman.recipes.digits_baselines import measure_beside
from elman.recipes.digits_model import (
    DataSettings,
    DigitsModel,
    ModelSettings,
    Settings,
    build_network,
    class_scores,
    make_loss,
)
from elman.recipes.digits_parts import Pictures, prepare_pictures, read_labelled
from elman.recipes.measures import measure, scikit_learn
from elman.recipes.model_folder import FolderConfig, checked_config, load_weights, source_of, training_figures
from elman.recipes.settings import described, meaning, often_enough
from elman.training import TrainSettings, fit, process

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(test=0.2, validation=0.15),
    model=ModelSettings(
        arrangement="many to one",
        cell="gru",
        hidden_size=128,
        bidirectional=True,
        pooling="last",
        members=3,
        dropout=0.0,
        shift=1.0,
        turn=10.0,
        zoom=0.1,
    ),
    train=TrainSettings(epochs=100, batch_size=64, learning_rate=5e-3, patience=None, watch="loss"),
)
LEAST_STEPS = 500  # where there are few pictures
MOST_SEEN = 500_000  # pictures in all epochs together, where there are many
# --------------------------------------------------------------------------------------------------------------


class _LabelsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    names: list[str]


class _DataConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    own: bool
    source: str | None
    label: str
    fingerprint: str


class DigitsConfig(FolderConfig):
    """What `config.json` of a model of pictures holds, and nothing else."""

    settings: Settings
    labels: _LabelsConfig
    height: int
    width: int
    white: float
    data: _DataConfig
    recipe: Literal["digits"]


@dataclass(frozen=True)
class DigitsRecipe(Recipe):
    """A picture in, a class out."""

    settings: Settings
    arrangement = "many to one"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, "picture.png"], ["evaluate", folder]]

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it, by name; nothing is written."""
        pictures, model = self._begin(request)
        member = model.network.members[0]
        recurrent = member.recurrent
        example = torch.zeros(1, 1, model.shape[1] if isinstance(member, ManyToOne) else pictures.grids[0].size)
        return [
            ("data", f"{len(pictures.codes)} pictures of {pictures.source}"),
            ("labels", _shown_labels(pictures)),
            ("parts", _shown_parts(pictures)),
            ("size", f"{model.shape[0]} x {model.shape[1]}"),
            ("parameters", str(sum(p.numel() for p in model.network.parameters()))),
            ("runs", "torch: a product" if recurrent is None else explain(cast(Any, recurrent), example)),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(model.settings)),
        ]

    def train(self, request: Request) -> Trained:
        """Train on the request's pictures, measure on the test part, and write the model folder."""
        scikit_learn("metrics")  # needed after training: better said before it
        pictures, model = self._begin(request)
        settings, fingerprint = model.settings, pictures.fingerprint()
        grids, codes = pictures.part(pictures.parts.train)
        rank, processes = process()
        batches = Batches(
            list(grids),
            codes,
            batch_size=settings.train.batch_size,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        fitted = fit(
            model.network,
            make_loss(settings.model),
            batches,
            _validation(model, pictures),
            settings.train,
            request.out,
            about={"the data": fingerprint, **meaning(settings)},
            resume=request.resume,
            progress=request.progress,
        )
        model.metrics = {
            "test": _measured(model, *pictures.part(pictures.parts.test)),
            "baselines": measure_beside(pictures, settings),
            "validation": fitted.best_metrics,
            "training": training_figures(fitted, model.network, len(codes)),
        }
        model.config, model.folder = _config_of(model, pictures, request.data, fingerprint), request.out
        if rank == 0:
            state = model.network.state_dict()
            model.folder = save_model(request.out, state, model.config, metrics=model.metrics)
        return Trained(model.folder, model.metrics, model)

    def load(self, folder: ModelFolder) -> DigitsModel:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, DigitsConfig)
        labels = Labels("classes", tuple(config.labels.names))
        network = build_network(config.settings.model, config.height, config.width, len(labels.names))
        load_weights(network, folder)
        model = DigitsModel(network, labels, config.settings, (config.height, config.width), config.white)
        model.recipe, model.folder = self, folder.path
        model.config, model.metrics = folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: DigitsModel, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on data; see `elman.recipes.contract.Model.evaluate`."""
        _refuse_text(text)
        about, asked = model.config["data"], model.settings.data
        if data is not None:
            table, label = read_labelled(data, label or _if_there(data, about["label"]), asked, model.shape)
            codes = [int(code) for code in model.labels.encode(table.column(label), table.where)]
            grids = np.stack(table.column("picture")) / np.float32(model.white)
            return _measured(model, grids, codes)
        if about["source"] is None and not about["own"]:
            what = "this model was trained on a table in memory, which is not kept"
            raise UserError(what, where=model.folder, fix="name the pictures to measure with --data")
        pictures = prepare_pictures(about["source"], None if about["own"] else about["label"], asked)
        if pictures.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            fix = "name the pictures to measure with --data"
            raise UserError(what, where=about["source"] or self.name, fix=fix)
        return _measured(model, *pictures.part(pictures.parts.test))

    def _begin(self, request: Request) -> tuple[Pictures, DigitsModel]:
        """The pictures, and an untrained model for them; what was guessed and left out is said."""
        _refuse_text(request.text)
        say, settings = request.progress.say, cast(Settings, request.settings)
        pictures = prepare_pictures(request.data, request.label, settings.data)
        if request.data is not None and request.label is None:
            say(f"labels: {pictures.label!r}")
        if pictures.dropped:
            say(f"{pictures.dropped} pictures are left out: an equal one is there")
        shown = f"labels: {_shown_labels(pictures)}; parts: {_shown_parts(pictures)}"
        say(f"{len(pictures.codes)} pictures of {pictures.source}; {shown}")
        train = self._fitting(settings.train, len(pictures.parts.train), say)
        settings = settings.model_copy(update={"train": train})
        torch.manual_seed(train.seed)
        height, width = pictures.grids.shape[1:]
        network = build_network(settings.model, height, width, len(pictures.labels.names))
        model = DigitsModel(network, pictures.labels, settings, (height, width), pictures.white)
        model.recipe = self
        return pictures, model

    def _fitting(self, train: TrainSettings, rows: int, say: Any) -> TrainSettings:
        """As many epochs as the pictures need, unless the user chose their number."""
        most = max(5, MOST_SEEN // rows)
        if train.epochs == self.settings.train.epochs and most < train.epochs:
            say(f"many pictures: {most} epochs instead of {train.epochs} (train.epochs changes it)")
            return train.model_copy(update={"epochs": most})
        return often_enough(train, self.settings.train, rows, LEAST_STEPS, say)


def _config_of(model: DigitsModel, pictures: Pictures, data: Any, fingerprint: str) -> dict[str, Any]:
    return {
        "recipe": "digits",
        "settings": model.settings.model_dump(),
        "labels": {"names": list(model.labels.names)},
        "height": model.shape[0],
        "width": model.shape[1],
        "white": model.white,
        "data": {
            "own": data is None,
            "source": source_of(data),
            "label": pictures.label,
            "fingerprint": fingerprint,
        },
    }


def _measured(model: DigitsModel, grids: Any, codes: list[int]) -> dict[str, Any]:
    return measure(model.labels, codes, model.codes(grids))


def _validation(model: DigitsModel, pictures: Pictures) -> Any:
    grids, codes = pictures.part(pictures.parts.validation)

    def validate(_: Any) -> dict[str, float]:
        scores = class_scores(model.network, grids, len(model.labels.names))
        found = measure(model.labels, codes, scores.argmax(-1).tolist())
        loss = nll_loss(scores.clamp(min=1e-9).log(), torch.tensor(codes))
        return {"loss": float(loss), "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}

    return validate


def _shown_labels(pictures: Pictures) -> str:
    counts = pictures.labels.counts(pictures.codes)
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _shown_parts(pictures: Pictures) -> str:
    return ", ".join(f"{name} {len(part)}" for name, part in pictures.parts._asdict().items())


def _if_there(data: Any, label: str) -> str | None:
    columns = getattr(data, "columns", data)
    return label if not isinstance(data, str) and label in columns else None


def _refuse_text(text: str | None) -> None:
    if text is not None:
        fix = "leave it out; --label names the column of labels"
        raise UserError("pictures have no column of texts", where="--text (text=)", found=text, fix=fix)


RECIPE = DigitsRecipe(
    name="digits",
    summary="which digit does a picture show? read row by row or at once (or any pictures of your own)",
    settings=SETTINGS,
    targets={"accuracy": 0.97},
)
