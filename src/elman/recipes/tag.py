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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batch, Vocabulary
from elman.data.bible import read_bible
from elman.data.plain_text import CASES, MARKS, marked_text
from elman.data.tagged import Tagged
from elman.data.tagged_readers import read_marked, read_tagged
from elman.data.tagged_table import TagColumns
from elman.data.vocabulary import PADDING, UNKNOWN
from elman.errors import UserError
from elman.recipes.contract import Request
from elman.recipes.job import Asked, Job, Lesson, batches, needed
from elman.recipes.measures import Measures, measure_tags
from elman.recipes.settings import often_enough
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
from elman.training import TrainSettings

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
class TagRecipe(Job[Prepared, TagModel]):
    """Words in, a tag for each out."""

    settings: Settings
    config = TagConfig
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, EXAMPLE], ["evaluate", folder]]

    def read(self, asked: Asked) -> Prepared:
        """The rows of words; the recipe's own are dealt out by book."""
        prepared, read = prepared_data(asked.data, asked.text, asked.label, asked.settings.data)
        for note in read.notes:
            asked.say(note)
        return replace(prepared, columns=(asked.text, asked.label))

    def build(self, prepared: Prepared, settings: Settings, say: Callable[[str], None]) -> TagModel:
        """A network over the words of the training part."""
        words = [word[:LONGEST_WORD] for row in prepared.parts["train"].words for word in row]
        rows = len(prepared.parts["train"])
        train = often_enough(settings.train, self.settings.train, rows, LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        vocabulary = Vocabulary.train(words, "whole", settings.data.vocabulary_size)
        return _model(settings, vocabulary, prepared.kinds, marks=prepared.marks)

    def rebuild(self, config: TagConfig, vocabulary: Vocabulary | None) -> TagModel:
        """The model that `config` describes."""
        return _model(config.settings, needed(vocabulary, config), config.kinds, marks=config.marks)

    def lesson(self, model: TagModel, prepared: Prepared) -> Lesson:
        """-ln p of each word's tags; which epoch is best, macro-F1 on the validation part says."""
        codes, encoded = prepared.codes("train"), model.encode(prepared.parts["train"].words)
        own_codes, own = prepared.codes("validation"), model.encode(prepared.parts["validation"].words)
        asked = model.settings.model
        sizes = [len(names) for names in model.kinds.values()]
        return Lesson(
            loss=tag_loss(encoded.pieces, sizes, asked.unknown, _offsets(codes, sizes, asked.balance)),
            batches=batches(encoded.sequences, codes, model.settings.train),
            validate=lambda _: measure_model(model, own_codes, own),
            rows=len(codes),
        )

    def spelled(self, model: TagModel, prepared: Prepared, batch: Batch) -> dict[str, list[list[str]]]:
        """The words."""
        words = prepared.parts["train"].words
        return {"recurrent": [[*words[row]] for row in batch.rows.tolist()]}

    def measure(self, model: TagModel, prepared: Prepared) -> Measures:
        """Accuracy and macro-F1 over the words of the test part."""
        return measure_model(model, prepared.codes("test"), model.encode(prepared.parts["test"].words))

    def measure_data(self, model: TagModel, asked: Asked) -> Measures:
        """The same on a user's words."""
        about, settings = model.config["data"], asked.settings.data
        if model.marks:
            read = _read_marked(asked.data, asked.text, asked.label)
            rows = read.cut(settings.longest, settings.shortest, settings.seed)
        else:
            trained = TagColumns(about["text"], about["label"], settings.sentence)
            read = read_tagged(asked.data, TagColumns(asked.text, asked.label), trained)
            rows = read.cut(settings.max_length)
        return measure_model(model, tag_codes(rows, model.kinds), model.encode(rows.words))

    def baselines(self, model: TagModel, prepared: Prepared, request: Request) -> dict[str, Measures]:
        """The most frequent tag, trigrams, and the same network in one direction, trained alike."""
        found = counted(prepared)
        if model.settings.baselines.one_direction and model.settings.model.bidirectional:
            request.progress.say("baseline: the same network in one direction")
            torch.manual_seed(model.settings.train.seed)
            forwards = _model(_forwards(model.settings), model.vocabulary, model.kinds, marks=model.marks)
            self.teach(forwards, prepared, request, request.out / "one_direction")
            found["one_direction"] = self.measure(forwards, prepared)
        return found


def _model(settings: Settings, vocabulary: Vocabulary, kinds: Any, *, marks: bool) -> TagModel:
    network = build_network(settings.model, len(vocabulary), sum(map(len, kinds.values())))
    return TagModel(network, vocabulary, kinds, settings, marks=marks)


def _offsets(codes: Sequence[Codes], sizes: Sequence[int], balance: float) -> Tensor:
    """What is added to the scores in training: balance * ln(share) of each tag of each kind."""
    columns = zip(np.concatenate(codes).T, sizes, strict=True)
    shares = [(np.bincount(column, minlength=size) + 1) / (len(column) + size) for column, size in columns]
    return torch.from_numpy(balance * np.log(np.concatenate(shares))).float()


def counted(prepared: Prepared) -> dict[str, Measures]:
    """The baselines that count: the most frequent tag; that between the same two words."""
    kinds, test = prepared.kinds, np.concatenate(prepared.codes("test"))
    frequent = [np.bincount(column).argmax() for column in np.concatenate(prepared.codes("train")).T]
    columns = []
    for kind in kinds:
        # Which neighbour is asked first is chosen on the validation part, as the networks' best epoch is.
        choices = {first: _trigrams(prepared, "validation", kind, first)[1] for first in (True, False)}
        columns.append(_trigrams(prepared, "test", kind, choices[True] >= choices[False])[0])
    rows = {"rows": len(prepared.parts["test"])}
    return {
        "majority": measure_tags(kinds, test, np.tile(frequent, (len(test), 1))) | rows,
        "trigrams": measure_tags(kinds, test, np.stack(columns, 1)) | rows,
    }


def _trigrams(prepared: Prepared, part: str, kind: str, after_first: bool) -> tuple[Codes, float]:
    """The tags of one kind that the trigrams give a part, and their macro-F1."""
    kinds, parts = prepared.kinds, prepared.parts
    number = list(kinds).index(kind)
    train, truth = (np.concatenate(prepared.codes(name))[:, number] for name in ("train", part))
    found = trigram_tags(parts["train"].words, train, parts[part].words, after_first=after_first)
    return found, measure_tags({kind: kinds[kind]}, truth[:, None], found[:, None])["macro_f1"]


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
