"""Tag: for each word a tag; here, which capitals and marks a text without any had.

The data: the King James Bible, its words in lower case without marks. For each word: did it begin with a
capital (case)? Which mark followed it (mark: none . , ; : ? !)? Four books are the test part. The books are cut
into passages of 20 to 60 words wherever that falls: where a passage ends says nothing of where a sentence does.

The network reads the words in both directions and answers at each of them, for each of the two kinds by itself:
together they would be fourteen tags, some so rare that their F1 is a matter of chance. macro_f1 is the mean of
the two kinds' macro-F1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batch, Batches, Vocabulary
from elman.data.bible import read_bible
from elman.data.plain_text import CASES, MARKS, marked_text
from elman.data.tagged import Tagged
from elman.data.tagged_readers import read_marked, read_tagged
from elman.data.tagged_table import TagColumns
from elman.data.vocabulary import PADDING, UNKNOWN
from elman.errors import UserError
from elman.export import ModelFolder, save_model
from elman.nn import explain
from elman.recipes.contract import Recipe, Request, Trained
from elman.recipes.measures import Measures, measure_tags
from elman.recipes.model_folder import checked_config, load_weights, source_of, training_figures
from elman.recipes.settings import described, meaning, often_enough
from elman.recipes.tag_model import (
    LONGEST_WORD,
    Codes,
    DataSettings,
    Encoded,
    ModelSettings,
    Settings,
    TagConfig,
    TagModel,
    build_network,
)
from elman.recipes.tag_parts import Prepared, prepare_marked, prepare_tagged, tag_codes
from elman.recipes.trigrams import trigram_tags
from elman.training import Fitted, TrainSettings, fit, process

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(shortest=20, longest=60, vocabulary_size=20_000),
    model=ModelSettings(
        cell="gru",
        embedding_size=128,
        hidden_size=192,
        num_layers=1,
        bidirectional=True,
        subwords=10_000,
        dropout=0.4,
        unknown=0.1,
        balance=0.25,
    ),
    train=TrainSettings(epochs=6, batch_size=64, learning_rate=4e-3, weight_decay=0.01),
)
TEST = ("Job", "Ecclesiastes", "Acts", "Romans")
VALIDATION = ("Ruth", "Esther", "Lamentations", "Jonah", "Habakkuk", "Hebrews", "1 John")
LEAST_STEPS = 300  # fewer do not leave the most frequent tag
EXAMPLE = "in the beginning god created the heaven and the earth and the earth was without form"
# --------------------------------------------------------------------------------------------------------------
KINDS = {"case": CASES, "mark": MARKS}


@dataclass(frozen=True)
class TagRecipe(Recipe):
    """Words in, a tag for each out."""

    settings: Settings
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, EXAMPLE], ["evaluate", folder]]

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it."""
        prepared, model = self._begin(request)
        example = torch.zeros(1, 1, model.settings.model.embedding_size)
        return [
            ("data", prepared.source),
            ("tags", prepared.shown_tags()),
            ("parts", prepared.shown_parts()),
            ("vocabulary", f"{len(model.vocabulary)} entries"),
            ("parameters", str(sum(p.numel() for p in model.network.parameters()))),
            ("runs", explain(model.network.recurrent, example)),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(model.settings)),
        ]

    def train(self, request: Request) -> Trained:
        """Train, measure beside the baselines on the test part, and write the model folder."""
        prepared, model = self._begin(request)
        run = _Run(prepared, model, request)
        fitted = run.fit(model, request.out)
        baselines, training = run.counted(), training_figures(fitted, model.network, len(prepared.parts["train"]))
        if model.settings.baselines.one_direction and model.settings.model.bidirectional:
            request.progress.say("baseline: the same network in one direction")
            forwards = self._model(_forwards(model.settings), model.vocabulary, model.kinds, marks=model.marks)
            training["one_direction_seconds"] = round(run.fit(forwards, request.out / "one_direction").seconds, 1)
            baselines["one_direction"] = run.measure(forwards, "test")
        model.metrics = {
            "test": run.measure(model, "test"),
            "baselines": baselines,
            "validation": fitted.best_metrics,
            "training": training,
        }
        model.folder = request.out
        model.config = {
            "recipe": self.name,
            "settings": model.settings.model_dump(),
            "kinds": {kind: list(names) for kind, names in model.kinds.items()},
            "marks": model.marks,
            "data": {
                "own": request.data is None,
                "source": source_of(request.data),
                "text": request.text,
                "label": request.label,
                "fingerprint": run.fingerprint,
            },
        }
        if process()[0] == 0:
            state, tokenizer = model.network.state_dict(), model.vocabulary.to_json()
            model.folder = save_model(request.out, state, model.config, tokenizer, model.metrics)
        return Trained(model.folder, model.metrics, model)

    def load(self, folder: ModelFolder) -> TagModel:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, TagConfig)
        if folder.tokenizer is None:
            raise UserError("a tagger needs its tokenizer.json", where=folder.path)
        vocabulary = Vocabulary.from_json(folder.tokenizer)
        model = self._model(config.settings, vocabulary, config.kinds, marks=config.marks)
        load_weights(model.network, folder)
        model.folder, model.config, model.metrics = folder.path, folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: TagModel, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on data; see `elman.recipes.contract.Model.evaluate`."""
        about, asked = model.config["data"], model.settings.data
        if data is not None:
            if model.marks:
                read = _read_marked(data, text, label)
            else:
                trained = TagColumns(about["text"], about["label"], asked.sentence)
                read = read_tagged(data, TagColumns(text, label), trained)
            passages = (asked.longest, asked.shortest, asked.seed)
            rows = read.cut(*passages) if model.marks else read.cut(asked.max_length)
            return measure_model(model, tag_codes(rows, model.kinds), model.encode(rows.words))
        if about["source"] is None and not about["own"]:
            what = "this model was trained on a table in memory, which is not kept"
            raise UserError(what, where=model.folder, fix="name the rows to measure with --data")
        prepared = prepared_data(about["source"], about["text"], about["label"], asked)[0]
        if prepared.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            raise UserError(what, where=about["source"] or self.name, fix="name the rows to measure with --data")
        return measure_model(model, prepared.codes("test"), model.encode(prepared.parts["test"].words))

    def _begin(self, request: Request) -> tuple[Prepared, TagModel]:
        """The rows, and an untrained model for them."""
        settings, say = cast(Settings, request.settings), request.progress.say
        prepared, read = prepared_data(request.data, request.text, request.label, settings.data)
        for note in read.notes:
            say(note)
        say(f"{prepared.source}: {prepared.shown_parts()}; tags: {prepared.shown_tags()}")
        train = often_enough(settings.train, self.settings.train, len(prepared.parts["train"]), LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        words = [word[:LONGEST_WORD] for row in prepared.parts["train"].words for word in row]
        vocabulary = Vocabulary.train(words, "whole", settings.data.vocabulary_size)
        return prepared, self._model(settings, vocabulary, prepared.kinds, marks=prepared.marks)

    def _model(self, settings: Settings, vocabulary: Vocabulary, kinds: Any, *, marks: bool) -> TagModel:
        torch.manual_seed(settings.train.seed)
        network = build_network(settings.model, len(vocabulary), sum(map(len, kinds.values())))
        model = TagModel(network, vocabulary, kinds, settings, marks=marks)
        model.recipe = self
        return model


class _Run:
    """What the model and its baselines share: the rows of each part, in words and in numbers."""

    def __init__(self, prepared: Prepared, model: TagModel, request: Request) -> None:
        self._prepared, self._request = prepared, request
        self.fingerprint = prepared.fingerprint()
        self._codes = {part: prepared.codes(part) for part in prepared.parts}
        self._encoded = {part: model.encode(rows.words) for part, rows in prepared.parts.items()}

    def fit(self, model: TagModel, out: Path) -> Fitted:
        """Trains a model; which epoch is best, the validation part says."""
        settings, encoded = model.settings, self._encoded["train"]
        rank, processes = process()
        batches = Batches(
            encoded.sequences,
            self._codes["train"],
            batch_size=settings.train.batch_size,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        sizes = [len(names) for names in model.kinds.values()]
        return fit(
            model.network,
            tag_loss(encoded.pieces, sizes, settings.model.unknown, self._offsets(settings.model.balance)),
            batches,
            lambda _: {k: v for k, v in self.measure(model, "validation").items() if isinstance(v, float)},
            settings.train,
            out,
            about={"the data": self.fingerprint, **meaning(settings)},
            resume=self._request.resume,
            progress=self._request.progress,
        )

    def _offsets(self, balance: float) -> Tensor:
        """What is added to the scores in training: balance * ln(share) of each tag of each kind."""
        codes = np.concatenate(self._codes["train"])
        shares = [
            (np.bincount(codes[:, k], minlength=len(names)) + 1) / (len(codes) + len(names))
            for k, names in enumerate(self._prepared.kinds.values())
        ]
        return torch.from_numpy(balance * np.log(np.concatenate(shares))).float()

    def measure(self, model: TagModel, part: str) -> Measures:
        """What a model is worth on a part."""
        return measure_model(model, self._codes[part], self._encoded[part])

    def counted(self) -> dict[str, Measures]:
        """The baselines that count: the most frequent tag; that between the same two words."""
        kinds, test = self._prepared.kinds, np.concatenate(self._codes["test"])
        frequent = [np.bincount(column).argmax() for column in np.concatenate(self._codes["train"]).T]
        # Which neighbour is asked first is chosen on the validation part, as the networks' best epoch is.
        after_first = [
            self._trigrams("validation", kind, True)[1] >= self._trigrams("validation", kind, False)[1]
            for kind in kinds
        ]
        columns = [self._trigrams("test", *choice)[0] for choice in zip(kinds, after_first, strict=True)]
        rows = {"rows": len(self._codes["test"])}
        return {
            "majority": measure_tags(kinds, test, np.tile(frequent, (len(test), 1))) | rows,
            "trigrams": measure_tags(kinds, test, np.stack(columns, 1)) | rows,
        }

    def _trigrams(self, part: str, kind: str, after_first: bool) -> tuple[Codes, float]:
        """The tags of one kind that the trigrams give a part, and their macro-F1."""
        kinds, parts = self._prepared.kinds, self._prepared.parts
        number = list(kinds).index(kind)
        train, truth = (np.concatenate(self._codes[name])[:, number] for name in ("train", part))
        found = trigram_tags(parts["train"].words, train, parts[part].words, after_first=after_first)
        measured = measure_tags({kind: kinds[kind]}, truth[:, None], found[:, None])
        return found, measured["macro_f1"]


def measure_model(model: TagModel, codes: Sequence[Codes], encoded: Encoded) -> Measures:
    """What a model is worth on rows of words with the numbers of their tags."""
    return measure_tags(model.kinds, np.concatenate(codes), model.codes(encoded)) | {"rows": len(codes)}


def tag_loss(
    pieces: Tensor, sizes: Sequence[int], unknown: float, offsets: Tensor
) -> Callable[[nn.Module, Batch], Tensor]:
    """Softmax with cross-entropy, -ln p_tag, a mean over the words of a batch, summed over the kinds.

    p = softmax(scores + offsets), where an offset is balance * ln(share of the tag in the training part). The
    highest of the scores alone is then the tag with the largest p / share^balance: with 0 the likeliest tag, with
    more a rare tag needs less to be said.

    Args:
        pieces: what the network reads of each distinct word, see `TagModel.encode`.
        sizes: the number of tags of each kind.
        unknown: the share of words whose own vector is hidden, so that n-grams learn to stand for it.
        offsets: (tags of all kinds,).

    Source:
        A. K. Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314v2.
    """

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        if batch.targets is None:
            raise ValueError("training needs targets")
        inputs = pieces.to(batch.inputs.device)[batch.inputs]
        if unknown:
            hidden = (torch.rand(batch.inputs.shape, device=inputs.device) < unknown) & (batch.inputs != PADDING)
            inputs[..., 0] = inputs[..., 0].masked_fill(hidden, UNKNOWN)
        scores, _ = network(inputs, lengths=batch.lengths)
        parts = (scores + offsets.to(scores.device)).split(list(sizes), -1)
        losses = [cross_entropy(one.flatten(0, 1), batch.targets[..., k].flatten()) for k, one in enumerate(parts)]
        return torch.stack(losses).sum()

    return loss


def _read_marked(data: Any, text: str | None, label: str | None) -> Tagged:
    if label is not None:
        raise UserError("plain text has no column of tags", where="--label", found=label)
    return read_marked(data, text)


def prepared_data(data: Any, text: str | None, label: str | None, asked: DataSettings) -> tuple[Prepared, Tagged]:
    """The rows of the recipe's own data, which are dealt out by book, or of the user's; and what was read."""
    if data is None:
        own = marked_text(read_bible(), "the King James Bible")
        return prepare_marked(own, asked, KINDS, {"validation": VALIDATION, "test": TEST}), own
    if asked.tags == "marks":
        read = _read_marked(data, text, label)
        return prepare_marked(read, asked, KINDS, {}), read
    read = read_tagged(data, TagColumns(text, label, asked.sentence))
    return prepare_tagged(read, asked), read


def _forwards(settings: Settings) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update={"bidirectional": False})})


RECIPE = TagRecipe(
    name="tag",
    summary="which capitals and marks did a text have? (or any tag of each word of your own)",
    settings=SETTINGS,
    margins={"macro_f1": 0.03},
)
