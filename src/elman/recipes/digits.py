"""Digits: which digit does a handwritten picture show? Row by row, or all at once.

The data: 1,797 pictures of 8 x 8 that scikit-learn ships; see `elman.recipes.digits_parts.handwritten_digits`.
Many to
one: the network reads a picture as a sequence of rows, downwards and upwards, and answers at the end. One to one,
with `model.arrangement`: the whole picture is one input, without time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import nll_loss

from elman.data import Labels, Vocabulary
from elman.recipes.contract import Request
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
from elman.recipes.job import Asked, Job, JobConfig, Lesson, batches, refuse_column
from elman.recipes.measures import measure, scikit_learn
from elman.recipes.settings import often_enough
from elman.training import TrainSettings

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
PIXELS = "leave it out; --label names the column of labels"
# --------------------------------------------------------------------------------------------------------------


class DigitsConfig(JobConfig):
    """What `config.json` of a model of pictures holds, and nothing else."""

    settings: Settings
    labels: list[str]
    height: int
    width: int
    white: float


@dataclass(frozen=True)
class DigitsRecipe(Job[Pictures, DigitsModel]):
    """A picture in, a class out."""

    settings: Settings
    config = DigitsConfig
    arrangement = "many to one"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, "picture.png"], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """scikit-learn counts what the classes are worth."""
        scikit_learn("metrics")

    def read(self, asked: Asked) -> Pictures:
        """The pictures, each once, in their parts."""
        refuse_column(asked.text, "text", PIXELS)
        pictures = prepare_pictures(asked.data, asked.label, asked.settings.data)
        if asked.data is not None and asked.label is None:
            asked.say(f"labels: {pictures.label!r}")
        if pictures.dropped:
            asked.say(f"{pictures.dropped} pictures are left out: an equal one is there")
        return pictures

    def build(self, prepared: Pictures, settings: Settings, say: Callable[[str], None]) -> DigitsModel:
        """A network for pictures of this size, which sees them as often as their number asks for."""
        train = self._fitting(settings.train, len(prepared.parts.train), say)
        settings = settings.model_copy(update={"train": train})
        height, width = prepared.grids.shape[1:]
        network = build_network(settings.model, height, width, len(prepared.labels.names))
        return DigitsModel(network, prepared.labels, settings, (height, width), prepared.white)

    def rebuild(self, config: DigitsConfig, vocabulary: Vocabulary | None) -> DigitsModel:
        """The model that `config` describes."""
        labels, shape = Labels("classes", tuple(config.labels)), (config.height, config.width)
        network = build_network(config.settings.model, *shape, len(labels.names))
        return DigitsModel(network, labels, config.settings, shape, config.white)

    def lesson(self, model: DigitsModel, prepared: Pictures) -> Lesson:
        """Distorted pictures, -ln p of their classes."""
        grids, codes = prepared.part(prepared.parts.train)
        own, own_codes = prepared.part(prepared.parts.validation)

        def validate(_: Any) -> dict[str, float]:
            scores = class_scores(model.network, own, len(model.labels.names))
            found = measure(model.labels, own_codes, scores.argmax(-1).tolist())
            loss = nll_loss(scores.clamp(min=1e-9).log(), torch.tensor(own_codes))
            return {"loss": float(loss), "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}

        return Lesson(
            loss=make_loss(model.settings.model),
            batches=batches(list(grids), codes, model.settings.train),
            validate=validate,
            rows=len(codes),
        )

    def measure(self, model: DigitsModel, prepared: Pictures) -> dict[str, Any]:
        """Accuracy, macro-F1 and confusion on the test part."""
        return _measured(model, *prepared.part(prepared.parts.test))

    def measure_data(self, model: DigitsModel, asked: Asked) -> dict[str, Any]:
        """The same on all of a user's pictures."""
        refuse_column(asked.text, "text", PIXELS)
        label = asked.label or _if_there(asked.data, model.config["data"]["label"])
        table, label = read_labelled(asked.data, label, asked.settings.data, model.shape)
        codes = [int(code) for code in model.labels.encode(table.column(label), table.where)]
        return _measured(model, np.stack(table.column("picture")) / np.float32(model.white), codes)

    def baselines(self, model: DigitsModel, prepared: Pictures, request: Request) -> dict[str, dict[str, Any]]:
        """Neighbours, support vectors, and networks that see the picture at once."""
        return measure_beside(prepared, model.settings)

    def _fitting(self, train: TrainSettings, rows: int, say: Callable[[str], None]) -> TrainSettings:
        """As many epochs as the pictures need, unless the user chose their number."""
        most = max(5, MOST_SEEN // rows)
        if train.epochs == self.settings.train.epochs and most < train.epochs:
            say(f"many pictures: {most} epochs instead of {train.epochs} (train.epochs changes it)")
            return train.model_copy(update={"epochs": most})
        return often_enough(train, self.settings.train, rows, LEAST_STEPS, say)


def _measured(model: DigitsModel, grids: Any, codes: list[int]) -> dict[str, Any]:
    return measure(model.labels, codes, model.codes(grids))


def _if_there(data: Any, label: str) -> str | None:
    columns = getattr(data, "columns", data)
    return label if not isinstance(data, str) and label in columns else None


RECIPE = DigitsRecipe(
    name="digits",
    summary="which digit does a picture show? read row by row or at once (or any pictures of your own)",
    settings=SETTINGS,
    targets={"accuracy": 0.97},
)
