"""Summarize: a few words that say what a text is about, written word by word or copied from it.

The data: docstrings of the standard library and of the installed torch; the first line is to be written, from what
follows it. See `elman.data.docstrings`. One network reads the text in both directions, another writes: at each
step it looks at the text, and chooses a word of its vocabulary or one that stands there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from elman.data import Batch, Batches, Vocabulary
from elman.recipes.contract import Request
from elman.recipes.job import BEGIN, Asked, Job, JobConfig, Lesson, batches, needed
from elman.recipes.measures import scikit_learn
from elman.recipes.settings import often_enough
from elman.recipes.summarize_baselines import measure_beside, measure_summaries, rouge
from elman.recipes.summarize_model import (
    ModelSettings,
    Settings,
    SummarizeModel,
    build_network,
    clipped,
    make_loss,
)
from elman.recipes.summarize_parts import DataSettings, Pairs, Rows, prepare_pairs, read_pairs
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(vocabulary="word", vocabulary_size=3000, lowercase=True, max_text=80, max_summary=24),
    model=ModelSettings(
        cell="gru",
        embedding_size=128,
        hidden_size=128,
        attention="multiplicative",
        copying=True,
        dropout=0.4,
        tied=True,
        members=3,
        search="agreement",
        draws=10,
        temperature=0.5,
    ),
    train=TrainSettings(epochs=9, batch_size=32, learning_rate=2e-3, patience=3, watch="loss"),
)
LEAST_STEPS = 1000  # where there are few rows
MOST_VALIDATED = 1000  # rows of the validation part that are written after each epoch
# --------------------------------------------------------------------------------------------------------------


class SummarizeConfig(JobConfig):
    """What `config.json` of a model of texts and summaries holds, and nothing else."""

    settings: Settings
    capitals: bool


@dataclass(frozen=True)
class SummarizeRecipe(Job[Pairs, SummarizeModel]):
    """A text in, a shorter one out."""

    settings: Settings
    config = SummarizeConfig
    arrangement = "many to many, of another length"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        text = (
            "Raise FileNotFoundError if the file does not exist. The name may be relative to the current folder."
        )
        return [["predict", folder, text], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """rouge-score measures, scikit-learn finds the nearest text."""
        rouge()
        scikit_learn("feature_extraction.text")

    def read(self, asked: Asked) -> Pairs:
        """The texts and their summaries, in their parts."""
        return prepare_pairs(asked.data, asked.text, asked.label, asked.settings.data, asked.say)

    def build(self, prepared: Pairs, settings: Settings, say: Callable[[str], None]) -> SummarizeModel:
        """A vocabulary of the training part and a network for it."""
        rows, data = prepared.part("train"), settings.data
        train = often_enough(settings.train, self.settings.train, len(rows.texts), LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        texts = [*rows.texts, *rows.summaries]
        vocabulary = Vocabulary.train(texts, data.vocabulary, data.vocabulary_size, data.lowercase)
        capitals = 2 * sum(one[:1].isupper() for one in rows.summaries) > len(rows.summaries)
        return SummarizeModel(build_network(settings.model, len(vocabulary)), vocabulary, settings, capitals)

    def rebuild(self, config: SummarizeConfig, vocabulary: Vocabulary | None) -> SummarizeModel:
        """The model that `config` describes."""
        vocabulary = needed(vocabulary, config)
        network = build_network(config.settings.model, len(vocabulary))
        return SummarizeModel(network, vocabulary, config.settings, config.capitals)

    def lesson(self, model: SummarizeModel, prepared: Pairs) -> Lesson:
        """-ln p of each summary's pieces; the epoch with the best ROUGE-L of the likeliest pieces is kept."""
        train = model.settings.train
        sources, summaries = model.encode(prepared.part("train"))
        kept = prepared.part("validation")
        kept = Rows(kept.texts[:MOST_VALIDATED], kept.summaries[:MOST_VALIDATED])
        own, own_summaries = model.encode(kept)
        own_batches = Batches([one.ids for one in own], batch_size=train.batch_size, shuffle=False)
        own_loss = make_loss(own_summaries, len(model.vocabulary))

        def validate(network: Any) -> dict[str, float]:
            device = next(network.parameters()).device
            with torch.no_grad():
                found = [
                    (float(own_loss(network, batch.to(device))), len(batch.rows)) for batch in own_batches.epoch(0)
                ]
            written = zip(model.summaries(own, fast=True), own, kept.texts, strict=True)
            score = measure_summaries(kept.summaries, [model.spell(*one) for one in written])
            loss = sum(loss * rows for loss, rows in found) / len(own)
            return {"rouge_l": score["rouge_l"], "loss": loss}

        return Lesson(
            loss=make_loss(summaries, len(model.vocabulary)),
            batches=batches([one.ids for one in sources], None, train),
            validate=validate,
            rows=len(sources),
        )

    def spelled(self, model: SummarizeModel, prepared: Pairs, batch: Batch) -> dict[str, list[list[str]]]:
        """The reader reads the text, the writer what stands before each piece of the summary."""
        rows, data, spell = prepared.part("train"), model.settings.data, model.vocabulary.tokens
        numbers = batch.rows.tolist()
        return {
            "reader": [spell(clipped(rows.texts[n], data.max_text))[: data.max_text] for n in numbers],
            "writer": [
                [BEGIN, *spell(clipped(rows.summaries[n], data.max_summary))[: data.max_summary]] for n in numbers
            ],
        }

    def measure(self, model: SummarizeModel, prepared: Pairs) -> dict[str, Any]:
        """ROUGE-L on the test part."""
        return _measured(model, prepared.part("test"))

    def measure_data(self, model: SummarizeModel, asked: Asked) -> dict[str, Any]:
        """The same on all of a user's rows."""
        trained = model.config["data"]
        table, (text, label), dropped = read_pairs(
            asked.data, asked.text, asked.label, asked.say, (trained["text"], trained["label"])
        )
        said = {"columns": {"text": text, "label": label}, "rows_without_text": dropped}
        return _measured(model, Rows(table.column(text), table.column(label))) | said

    def baselines(self, model: SummarizeModel, prepared: Pairs, request: Request) -> dict[str, dict[str, Any]]:
        """The first words of the text, and the summary of the nearest text."""
        train, validation, test = (prepared.part(name) for name in ("train", "validation", "test"))
        return measure_beside(train, validation, test, model.settings.data.max_summary)


def _measured(model: SummarizeModel, rows: Rows) -> dict[str, Any]:
    return measure_summaries(rows.summaries, model.predict(rows.texts))


RECIPE = SummarizeRecipe(
    name="summarize",
    summary="what is a text about, in a few words? (or any two columns of your own)",
    settings=SETTINGS,
    margins={"rouge_l": 0.05},
)
