"""Autocomplete: which characters come next?

The data: the King James Bible of 1769, 66 books of 4.2 million characters. The network reads a text character by
character and says at each how likely every character is to be the next; it learns from windows on endless rows of
text, its states carried from window to window (Williams and Peng 1990). What it has learnt writes, and completes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Documents, Streams, Vocabulary, Window, composed, read_documents
from elman.data.bible import read_bible
from elman.data.vocabulary import START
from elman.errors import UserError
from elman.models import CarriedState
from elman.recipes.character_model import (
    CharacterModel,
    DataSettings,
    Ids,
    ModelSettings,
    Settings,
    bits_per_character,
    build_network,
)
from elman.recipes.contract import Request
from elman.recipes.document_parts import Prepared, deal, deal_own
from elman.recipes.job import Asked, Job, JobConfig, Lesson, needed, refuse_column
from elman.recipes.ngram import NGrams
from elman.training import TrainSettings, process

# ---- choices -------------------------------------------------------------------------------------------------
TEST = ("Job", "Ecclesiastes", "Acts", "Romans")  # Mark would leak through Matthew, Kings through Chronicles
VALIDATION = ("Ruth", "Esther", "Lamentations", "Jonah", "Habakkuk", "Titus", "James", "1 John")
LEAST_STEPS = 1000  # updates; fewer do not learn to spell
BASELINE_ORDER = 10  # of the longest n-grams; validation chooses the order
BASELINE_CHARACTERS = 5_000_000  # of the training part that n-grams are counted in
ITS_OWN = "leave it out: a text is its own label"
SETTINGS = Settings(
    data=DataSettings(window=64, vocabulary_size=1_000),
    model=ModelSettings(cell="lstm", embedding_size=64, hidden_size=384),
    train=TrainSettings(
        epochs=9, batch_size=32, learning_rate=3e-3, warmup=0.03, patience=3, watch="bits_per_character"
    ),
)
# --------------------------------------------------------------------------------------------------------------


class Config(JobConfig):
    """What `config.json` holds."""

    settings: Settings


@dataclass(frozen=True)
class AutocompleteRecipe(Job[Prepared, CharacterModel]):
    """A text in, what comes next out.

    Attributes:
        default_data: gives the recipe's own texts.
        own_parts: which of them are for "test" and "validation", by name.
        prompt: a text to try the model on.
    """

    settings: Settings
    default_data: Callable[[], Documents] = field(kw_only=True)
    own_parts: Mapping[str, Sequence[str]] = field(kw_only=True)
    prompt: str = field(default="In the beg", kw_only=True)
    config = Config
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [
            ["generate", folder, "--prompt", self.prompt],
            ["complete", folder, self.prompt],
            ["complete", folder],
            ["evaluate", folder],
        ]

    def read(self, asked: Asked) -> Prepared:
        """The texts, dealt out."""
        refuse_column(asked.label, "label", ITS_OWN)
        settings = asked.settings.data
        if asked.data is not None:
            prepared = deal(read_documents(asked.data, asked.text, settings.max_characters), settings)
        else:
            refuse_column(asked.text, "text", "name your own data with --data")
            prepared = deal_own(self.default_data(), self.own_parts)
        documents = prepared.documents
        if documents.dropped:
            asked.say(f"{documents.dropped} empty texts are left out")
        if documents.column is not None and asked.text is None:
            asked.say(f"column guessed: --text {documents.column!r}")
        return prepared

    def build(self, prepared: Prepared, settings: Settings, say: Callable[[str], None]) -> CharacterModel:
        """A network over the characters of the training part; fewer rows and more epochs where it is short."""
        train = prepared.texts(prepared.parts.train)
        vocabulary = _vocabulary(train, settings.data.vocabulary_size, prepared.source)
        model = CharacterModel(build_network(settings.model, len(vocabulary)), vocabulary, settings)
        rows = _rows(sum(len(model.encode(text)) + 1 for text in train), settings, prepared.source)
        model.settings = _changed(settings, {"batch_size": rows})
        model.updates = len(_streams(model, prepared))
        model.settings = _changed(settings, {"batch_size": rows, **self._epochs(model, say)})
        return model

    def rebuild(self, config: Config, vocabulary: Vocabulary | None) -> CharacterModel:
        """The model that `config` describes."""
        vocabulary = needed(vocabulary, config)
        return CharacterModel(build_network(config.settings.model, len(vocabulary)), vocabulary, config.settings)

    def lesson(self, model: CharacterModel, prepared: Prepared) -> Lesson:
        """-ln p of the next character, over endless rows of text whose states go on from window to window."""
        validation = [model.encode(text) for text in prepared.texts(prepared.parts.validation)]
        return Lesson(
            loss=_loss,
            batches=_streams(model, prepared),
            validate=lambda _: {"bits_per_character": bits_per_character(model.network, validation)},
            rows=len(prepared.parts.train),
            network=CarriedState(model.network, model.settings.train.batch_size, *process()),
        )

    def measure(self, model: CharacterModel, prepared: Prepared) -> dict[str, Any]:
        """Bits per character of the test part."""
        return _measured(model, prepared.texts(prepared.parts.test))

    def measure_data(self, model: CharacterModel, asked: Asked) -> dict[str, Any]:
        """The same of a user's texts."""
        refuse_column(asked.label, "label", ITS_OWN)
        text = asked.text or _column(asked.data, model.config["data"]["text"])
        documents = read_documents(asked.data, text, asked.settings.data.max_characters)
        said = {"columns": {"text": documents.column}} if documents.column is not None else {}
        return {**_measured(model, documents.texts), **said, "rows_without_text": documents.dropped}

    def baselines(self, model: CharacterModel, prepared: Prepared, request: Request) -> dict[str, dict[str, Any]]:
        """N-grams, the length of whose memory the validation part chooses."""
        return _baselines(model, prepared, request.progress.say)

    def _epochs(self, model: CharacterModel, say: Callable[[str], None]) -> dict[str, Any]:
        """More epochs where a text is short, unless the user chose their number: few updates learn nothing."""
        train, chosen = model.settings.train, self.settings.train
        least = math.ceil(LEAST_STEPS / model.updates)
        if train.epochs != chosen.epochs or least <= train.epochs:
            return {}
        say(f"little text: {least} epochs instead of {train.epochs} (train.epochs changes it)")
        patience = math.ceil(least / 4) if train.patience == chosen.patience else train.patience
        return {"epochs": least, "patience": patience}


def _changed(settings: Settings, train: Mapping[str, Any]) -> Settings:
    return settings.model_copy(update={"train": settings.train.model_copy(update=dict(train))})


def _streams(model: CharacterModel, prepared: Prepared) -> Streams:
    """The training part as endless rows, each text behind the sign of a beginning; or this process's rows."""
    settings, (rank, processes) = model.settings, process()
    texts = [model.encode(text) for text in prepared.texts(prepared.parts.train)]
    return Streams(
        [np.concatenate([[START], text]).astype(np.int32) for text in texts],
        rows=settings.train.batch_size,
        k1=settings.data.window,
        k2=settings.data.reach,
        seed=settings.train.seed,
        rank=rank,
        processes=processes,
    )


def _vocabulary(texts: Sequence[str], size: int, source: str) -> Vocabulary:
    """The characters seen twice or more: those seen once teach how likely something new is."""
    counts = Counter[str]()
    for text in texts:
        counts.update(composed(text))
    if not any(count > 1 and character.strip() for character, count in counts.items()):
        found = f"{len(counts)} different characters"
        raise UserError("no character of the training part comes twice", where=source, found=found)
    return Vocabulary.train(texts, "character", size, lowercase=False, least=2)


def _rows(characters: int, settings: Settings, source: str) -> int:
    """Rows side by side, fewer where the text is short: each has at least one window."""
    window = settings.data.window
    if characters <= window:
        fix = "give more text, or a smaller data.window"
        what = f"the training part is shorter than a window of {window} characters"
        raise UserError(what, where=source, found=f"{characters} characters", fix=fix)
    return max(1, min(settings.train.batch_size, (characters - 1) // (window * process()[1])))


def _loss(network: nn.Module, window: Window) -> Tensor:
    """-ln p of the next character, the mean over the steps that count."""
    scores = network(window.inputs, window.resets, window.advance)[:, -window.counted :]
    return cross_entropy(scores.flatten(0, 1), window.targets[:, -window.counted :].flatten())


def _measured(model: CharacterModel, texts: Sequence[str]) -> dict[str, Any]:
    ids = [model.encode(text) for text in texts]
    bits = bits_per_character(model.network, ids)
    return {"bits_per_character": bits, "rows": len(ids), "characters": sum(map(len, ids))}


def _baselines(model: CharacterModel, prepared: Prepared, say: Callable[[str], None]) -> dict[str, Any]:
    """Kneser-Ney and PPM n-grams of the training part, their orders chosen by the validation part."""
    train, validation, test = ([model.encode(text) for text in prepared.texts(part)] for part in prepared.parts)
    read = _first(train, BASELINE_CHARACTERS)
    if len(read) < len(train) or len(read[-1]) < len(train[-1]):
        say(f"n-grams are counted in the first {BASELINE_CHARACTERS:,} characters of the training part")
    size = len(model.vocabulary)
    symbols = size - 3  # no padding, start or end
    counts = NGrams(read, size=size, border=START, order=BASELINE_ORDER, symbols=symbols)
    found = {}
    for method in ("kneser_ney", "ppm"):
        chosen = counts.bits(validation, method)
        order = min(chosen, key=chosen.__getitem__)
        found[f"{method} (order {order})"] = {"bits_per_character": counts.bits(test, method)[order]}
    return found


def _first(documents: Sequence[Ids], characters: int) -> list[Ids]:
    """The documents, as many characters of them as there may be."""
    kept = []
    for document in documents:
        if characters > 0:
            kept.append(document[:characters])
        characters -= len(document)
    return kept


def _column(data: Any, trained: str | None) -> str | None:
    """The column trained on, where the data can be a table."""
    return None if isinstance(data, str | Path) and Path(data).suffix.lower() in ("", ".txt") else trained


def own_texts() -> Documents:
    """The default data: the books of the Bible, a text each."""
    books = read_bible()
    return Documents([*books.values()], [*books], "the King James Bible")


RECIPE = AutocompleteRecipe(
    name="autocomplete",
    summary="which characters come next? completes as you type, and goes on writing",
    settings=SETTINGS,
    targets={"bits_per_character": 1.75},
    default_data=own_texts,
    own_parts={"test": TEST, "validation": VALIDATION},
)
