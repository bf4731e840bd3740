"""Caption: what does a picture show? One picture in, a sentence out: one to many.

The data: about 3,800 emoji as OpenMoji draws them, with their English names; see `elman.data.captions.read_emoji`.
A convolutional network of this recipe's own turns the picture into numbers, which a recurrent network reads at
every step beside the word before; a beam search writes. What is tested was not seen in training, in whatever skin
tone, as a man or a woman.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batch, Vocabulary, split
from elman.data.batches import IGNORED
from elman.data.captions import read_captioned, read_emoji
from elman.data.distort import distorted
from elman.data.vocabulary import END, START
from elman.errors import UserError
from elman.recipes.caption_measures import Captioned, measure_captions, nearest_captions, sacrebleu
from elman.recipes.caption_model import CaptionModel, DataSettings, ModelSettings, Settings, build_network
from elman.recipes.contract import Request
from elman.recipes.job import BEGIN, Asked, Job, JobConfig, Lesson, batches, needed
from elman.recipes.settings import often_enough
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(side=32, test=0.2, validation=0.15),
    model=ModelSettings(
        cell="gru",
        hidden_size=256,
        embedding_size=64,
        channels=32,
        context_size=128,
        context="every step",
        dropout=0.4,
        blind=0.1,
        members=3,
        smoothing=0.1,
        beams=8,
        alpha=1.0,
        choice="consensus",
    ),
    train=TrainSettings(
        epochs=13, batch_size=64, learning_rate=1e-3, weight_decay=0.02, patience=None, watch="bleu"
    ),
)
LEAST_STEPS = 500  # where there are few pictures
# --------------------------------------------------------------------------------------------------------------


class CaptionConfig(JobConfig):
    """What `config.json` of a model of captions holds, and nothing else."""

    settings: Settings


@dataclass(frozen=True)
class CaptionRecipe(Job[Captioned, CaptionModel]):
    """A picture in, a caption out."""

    settings: Settings
    config = CaptionConfig
    arrangement = "one to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, "picture.png"], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """BLEU is counted by sacrebleu."""
        sacrebleu()

    def read(self, asked: Asked) -> Captioned:
        """The pictures and captions in their parts; one group is never cut in two."""
        chosen: DataSettings = asked.settings.data
        table = _table(asked)
        shares = (1 - chosen.validation - chosen.test, chosen.validation, chosen.test)
        if shares[0] <= 0:
            raise UserError(
                "the training part gets no picture", where="data.test and data.validation", found=shares
            )
        groups = table.column("group")
        parts = split(len(table), seed=chosen.seed, parts=shares, groups=groups)
        grids = np.stack(table.column("picture"))
        columns = (None, None) if asked.data is None else (asked.text, asked.label)
        return Captioned(grids, table.column("caption"), groups, parts, table.source, columns)

    def build(self, prepared: Captioned, settings: Settings, say: Callable[[str], None]) -> CaptionModel:
        """A network that writes the words of the training part."""
        rows = len(prepared.parts.train)
        train = often_enough(settings.train, self.settings.train, rows, LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        if rows // math.ceil(rows / train.batch_size) < 2:  # what is normalised over a batch needs two
            raise UserError("every batch must hold two pictures", where="train.batch_size", found=train.batch_size)
        _, captions = prepared.part(prepared.parts.train)
        vocabulary = Vocabulary.train(captions, "word", settings.data.vocabulary_size)
        return CaptionModel(build_network(settings.model, len(vocabulary)), vocabulary, settings)

    def rebuild(self, config: CaptionConfig, vocabulary: Vocabulary | None) -> CaptionModel:
        """The model that `config` describes."""
        known = needed(vocabulary, config)
        return CaptionModel(build_network(config.settings.model, len(known)), known, config.settings)

    def lesson(self, model: CaptionModel, prepared: Captioned) -> Lesson:
        """Distorted pictures; -ln p of each word after those before it."""
        grids, captions = prepared.part(prepared.parts.train)
        own, own_captions = prepared.part(prepared.parts.validation)
        encoded = model.vocabulary.encode(captions, model.settings.data.longest)

        def validate(_: nn.Module) -> dict[str, float]:
            found = measure_captions(own_captions, model.written(own, beams=1))
            return {name: found[name] for name in ("bleu", "exact_match")}

        return Lesson(
            loss=_loss(torch.from_numpy(grids), model.settings.model),
            batches=batches(
                [np.array([START, *ids]) for ids in encoded],
                [np.array([*ids, END]) for ids in encoded],
                model.settings.train,
            ),
            validate=validate,
            rows=len(captions),
        )

    def spelled(self, model: CaptionModel, prepared: Captioned, batch: Batch) -> dict[str, list[list[str]]]:
        """What stands before each word of the caption."""
        _, captions = prepared.part(prepared.parts.train)
        most, spell = model.settings.data.longest, model.vocabulary.tokens
        return {"recurrent": [[BEGIN, *spell(captions[row])[:most]] for row in batch.rows.tolist()]}

    def measure(self, model: CaptionModel, prepared: Captioned) -> dict[str, Any]:
        """Exact match and BLEU on the test part."""
        return _measured(model, *prepared.part(prepared.parts.test))

    def measure_data(self, model: CaptionModel, asked: Asked) -> dict[str, Any]:
        """The same on all of a user's pictures."""
        table = _table(asked)
        return _measured(model, np.stack(table.column("picture")), table.column("caption"))

    def baselines(self, model: CaptionModel, prepared: Captioned, request: Request) -> dict[str, dict[str, Any]]:
        """The caption of the most similar picture."""
        return nearest_captions(prepared, model.settings.data.phrases)


def _table(asked: Asked) -> Any:
    chosen: DataSettings = asked.settings.data
    if asked.data is None:
        return read_emoji(chosen.side)
    return read_captioned(asked.data, chosen.side, asked.text, asked.label, chosen.group)


def _loss(pictures: Tensor, chosen: ModelSettings) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(network: nn.Module, batch: Batch) -> Tensor:
        device = batch.inputs.device
        shown = pictures[batch.rows.cpu()].to(device)
        if chosen.shift or chosen.turn or chosen.zoom:
            shown = 1 - distorted(1 - shown, chosen.shift, chosen.turn, chosen.zoom)  # what comes in is white
        scores = network(shown, batch.inputs, batch.lengths)  # of each member, which learns for itself
        if batch.targets is None:
            raise ValueError("training needs targets")
        wanted = batch.targets.flatten().repeat(len(scores))
        return cross_entropy(scores.flatten(0, 2), wanted, ignore_index=IGNORED, label_smoothing=chosen.smoothing)

    return loss


def _measured(model: CaptionModel, grids: Any, captions: list[str]) -> dict[str, Any]:
    return measure_captions(captions, model.written(grids), model.settings.data.phrases)


RECIPE = CaptionRecipe(
    name="caption",
    summary="what does a picture show? a caption, word by word, for drawings or pictures of your own",
    settings=SETTINGS,
    margins={"exact_match": 0.0, "bleu": 0.0},
)
