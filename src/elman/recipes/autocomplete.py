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
from typing import Any, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Documents, Streams, Vocabulary, Window, composed, read_documents
from elman.data.bible import read_bible
from elman.data.vocabulary import START
from elman.errors import UserError
from elman.export import ModelFolder, save_model
from elman.models import CarriedState
from elman.nn import explain
from elman.recipes.character_model import (
    CharacterModel,
    DataSettings,
    Ids,
    ModelSettings,
    Settings,
    bits_per_character,
    build_network,
)
from elman.recipes.contract import Recipe, Request, Trained
from elman.recipes.document_parts import Prepared, deal, deal_own
from elman.recipes.model_folder import FolderConfig, checked_config, load_weights, training_figures
from elman.recipes.ngram import NGrams
from elman.recipes.settings import described
from elman.training import TrainSettings, fit, process

# ---- choices -------------------------------------------------------------------------------------------------
TEST = ("Job", "Ecclesiastes", "Acts", "Romans")  # Mark would leak through Matthew, Kings through Chronicles
VALIDATION = ("Ruth", "Esther", "Lamentations", "Jonah", "Habakkuk", "Titus", "James", "1 John")
LEAST_STEPS = 1000  # updates; fewer do not learn to spell
BASELINE_ORDER = 10  # of the longest n-grams; validation chooses the order
BASELINE_CHARACTERS = 5_000_000  # of the training part that n-grams are counted in
SETTINGS = Settings(
    data=DataSettings(window=64, vocabulary_size=1_000),
    model=ModelSettings(cell="lstm", embedding_size=64, hidden_size=512),
    train=TrainSettings(
        epochs=8, batch_size=32, learning_rate=3e-3, warmup=0.03, patience=3, watch="bits_per_character"
    ),
)
# --------------------------------------------------------------------------------------------------------------


class _DataConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    own: bool
    source: str | None
    text: str | None
    fingerprint: str


class Config(FolderConfig):
    """What `config.json` holds."""

    settings: Settings
    data: _DataConfig


@dataclass(frozen=True)
class AutocompleteRecipe(Recipe):
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
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [
            ["generate", folder, "--prompt", self.prompt],
            ["complete", folder, self.prompt],
            ["complete", folder],
            ["evaluate", folder],
        ]

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it: data, parts, network and settings, by name."""
        prepared, model, streams = self._begin(request)
        example = torch.zeros(1, 1, model.settings.model.embedding_size)
        return [
            ("data", f"{prepared.documents.source}: {prepared.about}"),
            *prepared.shown(),
            ("vocabulary", f"{len(model.vocabulary)} entries"),
            ("parameters", str(sum(p.numel() for p in model.network.parameters()))),
            ("updates", f"{len(streams)} an epoch"),
            ("runs", explain(model.network.recurrent, example)),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(model.settings)),
        ]

    def train(self, request: Request) -> Trained:
        """Train on the request's texts, measure on the test part, and write the model folder."""
        prepared, model, streams = self._begin(request)
        settings, fingerprint, parts = model.settings, prepared.fingerprint(), prepared.parts
        rank, processes = process()
        validation = [model.encode(text) for text in prepared.texts(parts.validation)]
        fitted = fit(
            CarriedState(model.network, settings.train.batch_size, rank, processes),
            _loss,
            streams,
            lambda _: {"bits_per_character": bits_per_character(model.network, validation)},
            settings.train,
            request.out,
            about={"the data": fingerprint, **_meaning(settings)},
            resume=request.resume,
            progress=request.progress,
        )
        model.metrics = {
            "test": _measured(model, prepared.texts(parts.test)),
            "baselines": _baselines(model, prepared, request.progress.say),
            "validation": fitted.best_metrics,
            "training": training_figures(fitted, model.network, len(parts.train)),
        }
        own, column = request.data is None, prepared.documents.column
        about = {"own": own, "source": _source(request.data), "text": column, "fingerprint": fingerprint}
        model.config = {"recipe": self.name, "settings": settings.model_dump(), "data": about}
        model.folder = request.out
        if rank == 0:
            state, tokenizer = model.network.state_dict(), model.vocabulary.to_json()
            model.folder = save_model(request.out, state, model.config, tokenizer, model.metrics)
        return Trained(model.folder, model.metrics, model)

    def load(self, folder: ModelFolder) -> CharacterModel:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, Config)
        if folder.tokenizer is None:
            raise UserError("a character model needs its tokenizer.json", where=folder.path)
        vocabulary = Vocabulary.from_json(folder.tokenizer)
        network = build_network(config.settings.model, len(vocabulary))
        load_weights(network, folder)
        model = CharacterModel(network, vocabulary, config.settings)
        model.recipe, model.folder = self, folder.path
        model.config, model.metrics = folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: CharacterModel, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on texts; see `elman.recipes.contract.Model.evaluate`."""
        _refuse_label(label)
        about, most = model.config["data"], model.settings.data.max_characters
        if data is not None:
            documents = read_documents(data, text or _column(data, about["text"]), most)
            said = {"columns": {"text": documents.column}} if documents.column is not None else {}
            return {**_measured(model, documents.texts), **said, "rows_without_text": documents.dropped}
        if about["source"] is None and not about["own"]:
            what = "this model was trained on texts in memory, which are not kept"
            raise UserError(what, where=model.folder, fix="name the texts to measure with --data")
        if about["own"]:
            prepared = deal_own(self.default_data(), self.own_parts)
        else:
            prepared = deal(read_documents(about["source"], about["text"], most), model.settings.data)
        if prepared.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            raise UserError(what, where=prepared.documents.source, fix="name the texts to measure with --data")
        return _measured(model, prepared.texts(prepared.parts.test))

    def prepare(self, request: Request) -> Prepared:
        """The request's texts, dealt out; what was left out is said.

        Raises:
            UserError: the data cannot be read or learnt from; the file and line are named.
        """
        _refuse_label(request.label)
        settings, say = cast(Settings, request.settings).data, request.progress.say
        if request.data is not None:
            prepared = deal(read_documents(request.data, request.text, settings.max_characters), settings)
        elif request.text is not None:
            what, fix = "--text names a column of your own data", "name that with --data"
            raise UserError(what, found=request.text, fix=fix)
        else:
            prepared = deal_own(self.default_data(), self.own_parts)
        documents = prepared.documents
        if documents.dropped:
            say(f"{documents.dropped} empty texts are left out")
        if documents.column is not None and request.text is None:
            say(f"column guessed: --text {documents.column!r}")
        parts = "; ".join(f"{name} {held}" for name, held in prepared.shown())
        say(f"{documents.source}: {prepared.about}; {parts}")
        return prepared

    def _begin(self, request: Request) -> tuple[Prepared, CharacterModel, Streams]:
        """The texts, an untrained model for them, and the streams it learns from."""
        prepared, settings, say = self.prepare(request), cast(Settings, request.settings), request.progress.say
        train = prepared.texts(prepared.parts.train)
        torch.manual_seed(settings.train.seed)
        vocabulary = _vocabulary(train, settings.data.vocabulary_size, prepared.documents.source)
        model = CharacterModel(build_network(settings.model, len(vocabulary)), vocabulary, settings)
        model.recipe = self
        texts = [np.concatenate([[START], model.encode(text)]).astype(np.int32) for text in train]
        rows = _rows(sum(map(len, texts)), settings, prepared.documents.source)
        rank, processes = process()
        streams = Streams(
            texts,
            rows=rows,
            k1=settings.data.window,
            k2=settings.data.reach,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        changes = {"batch_size": rows, **self._epochs(settings.train, len(streams), say)}
        model.settings = settings.model_copy(update={"train": settings.train.model_copy(update=changes)})
        return prepared, model, streams

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


def _source(data: Any) -> str | None:
    """Where data named by the user is found again from another folder; None for what is in memory."""
    if not isinstance(data, str | Path):
        return None
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


def _meaning(settings: Settings) -> dict[str, Any]:
    """The settings that make a run what it is, besides those of the loop, by dotted key."""
    return {name: value for name, value, _ in described(settings) if not name.startswith("train.")}


def _column(data: Any, trained: str | None) -> str | None:
    """The column trained on, where the data can be a table."""
    return None if isinstance(data, str | Path) and Path(data).suffix.lower() in ("", ".txt") else trained


def _refuse_label(label: str | None) -> None:
    if label is not None:
        raise UserError("a text is its own label here", where="--label", found=label, fix="leave it out")


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
