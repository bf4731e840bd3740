"""What recipes that learn to go on writing have in common: endless rows of characters, bits, n-grams beside.

A recipe gives its texts and parts; its network learns from windows on rows of text, its states carried from window
to window (Williams and Peng 1990).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Streams, Vocabulary, Window, composed
from elman.data.vocabulary import START, UNKNOWN
from elman.errors import UserError
from elman.models import CarriedState
from elman.recipes.character_model import CharacterModel, Ids, Settings, bits_per_character, build_network
from elman.recipes.contract import Request
from elman.recipes.document_parts import Prepared
from elman.recipes.job import BEGIN, Asked, Job, JobConfig, Lesson, needed
from elman.recipes.ngram import NGrams
from elman.training import TrainSettings, process

LEAST_STEPS = 1000  # updates; fewer do not learn to spell
BASELINE_CHARACTERS = 5_000_000  # of the training part that n-grams are counted in; validation chooses their order


class CharacterConfig(JobConfig):
    """What `config.json` of a character model holds."""

    settings: Settings


@dataclass(frozen=True)
class CharacterJob(Job[Prepared, CharacterModel]):
    """A text in, what comes next out.

    Attributes:
        model: what is trained.
        longest: of the n-grams beside it.
    """

    settings: Settings
    config: ClassVar[type[CharacterConfig]] = CharacterConfig
    model: ClassVar[type[CharacterModel]] = CharacterModel
    longest: ClassVar[int] = 10
    arrangement = "many to many"

    @abstractmethod
    def read(self, asked: Asked) -> Prepared:
        """The texts, dealt out; what was left out is said."""

    def taught(self, texts: list[str], settings: Settings) -> list[str]:
        """What the network learns from, made of the training part's texts."""
        return texts

    def build(self, prepared: Prepared, settings: Settings, say: Callable[[str], None]) -> CharacterModel:
        """An untrained model and its streams: as many rows as the texts fill, as many epochs as they need."""
        texts = self.taught(prepared.texts(prepared.parts.train), settings)
        vocabulary = _vocabulary(texts, settings.data.vocabulary_size, prepared.source)
        model = self.model(build_network(settings.model, len(vocabulary)), vocabulary, settings)
        updates = len(self._lay_out(model, texts, prepared.source))
        changes = self._epochs(settings.train, updates, say)
        model.settings = settings.model_copy(update={"train": model.settings.train.model_copy(update=changes)})
        return model

    def rebuild(self, config: CharacterConfig, vocabulary: Vocabulary | None) -> CharacterModel:
        """The model that `config` describes."""
        pieces = needed(vocabulary, config)
        return self.model(build_network(config.settings.model, len(pieces)), pieces, config.settings)

    def lesson(self, model: CharacterModel, prepared: Prepared) -> Lesson:
        """Windows on rows of text, the states carried, -ln p of the next character."""
        validation = [model.encode(text) for text in prepared.texts(prepared.parts.validation)]
        streams = model.streams
        if streams is None:  # the model comes out of its folder
            texts = self.taught(prepared.texts(prepared.parts.train), model.settings)
            streams = self._lay_out(model, texts, prepared.source)
        return Lesson(
            loss=_loss,
            batches=streams,
            validate=lambda _: {"bits_per_character": bits_per_character(model.network, validation)},
            rows=len(prepared.parts.train),
            network=CarriedState(model.network, model.settings.train.batch_size, *process()),
        )

    def spelled(self, model: CharacterModel, prepared: Prepared, batch: Window) -> dict[str, list[list[str]]]:
        """The characters; ¶ where a text begins, � where one is unknown."""
        shown = {START: BEGIN, UNKNOWN: "\ufffd"}
        rows = [[shown.get(n) or model.characters[n] for n in row] for row in batch.inputs.tolist()]
        return {"recurrent": rows}

    def measure(self, model: CharacterModel, prepared: Prepared) -> dict[str, Any]:
        """Bits for each character of the test part."""
        return measured(model, prepared.texts(prepared.parts.test))

    def baselines(self, model: CharacterModel, prepared: Prepared, request: Request) -> dict[str, dict[str, Any]]:
        """Kneser-Ney and PPM n-grams of the training part, their orders chosen by the validation part."""
        texts = self.taught(prepared.texts(prepared.parts.train), model.settings)
        return _ngrams(model, texts, prepared, self.longest, request.progress.say)

    def _lay_out(self, model: CharacterModel, texts: list[str], source: str) -> Streams:
        """The texts as rows for the model, as many as they fill."""
        documents = [np.concatenate([[START], model.encode(text)]).astype(np.int32) for text in texts]
        settings = model.settings
        rows, (rank, processes) = _rows(sum(map(len, documents)), settings, source), process()
        model.settings = settings.model_copy(
            update={"train": settings.train.model_copy(update={"batch_size": rows})}
        )
        model.streams = Streams(
            documents,
            rows=rows,
            k1=settings.data.window,
            k2=settings.data.reach,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        return model.streams

    def _epochs(self, train: TrainSettings, updates: int, say: Callable[[str], None]) -> dict[str, Any]:
        """More epochs where a text is short, unless the user chose their number: few updates learn nothing."""
        chosen, least = self.settings.train, math.ceil(LEAST_STEPS / updates)
        if train.epochs != chosen.epochs or least <= train.epochs:
            return {}
        say(f"little text: {least} epochs instead of {train.epochs} (train.epochs changes it)")
        patience = math.ceil(least / 4) if train.patience == chosen.patience else train.patience
        return {"epochs": least, "patience": patience}


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


def measured(model: CharacterModel, texts: Sequence[str]) -> dict[str, Any]:
    """Bits for each character of some texts, the mean."""
    ids = [model.encode(text) for text in texts]
    bits = bits_per_character(model.network, ids)
    return {"bits_per_character": bits, "rows": len(ids), "characters": sum(map(len, ids))}


def _ngrams(
    model: CharacterModel, texts: Sequence[str], prepared: Prepared, longest: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """N-grams of what the network was taught, each method's order chosen by the validation part."""
    train = [model.encode(text) for text in texts]
    validation, test = ([model.encode(text) for text in prepared.texts(part)] for part in prepared.parts[1:])
    read = _first(train, BASELINE_CHARACTERS)
    if len(read) < len(train) or len(read[-1]) < len(train[-1]):
        say(f"n-grams are counted in the first {BASELINE_CHARACTERS:,} characters of the training part")
    size = len(model.vocabulary)
    symbols = size - 3  # no padding, start or end
    counts = NGrams(read, size=size, border=START, order=longest, symbols=symbols)
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
