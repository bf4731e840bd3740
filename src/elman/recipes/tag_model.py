"""Words to tags: the settings, the network they describe, and the trained model ready to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import punctuation
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from torch import Tensor

from elman.data import Batches, Vocabulary, subwords
from elman.data.lines import read_lines
from elman.data.plain_text import plain_words, restored_text
from elman.data.subwords import MOST
from elman.data.tagged_readers import TABLES
from elman.data.vocabulary import UNKNOWN
from elman.errors import UserError
from elman.models import ManyToMany, WordEncoder
from elman.nn import Recurrent
from elman.recipes.job import JobConfig, JobModel
from elman.recipes.settings import STRICT, CellName
from elman.training import TrainSettings

Codes: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
LONGEST_WORD = 100  # characters; what is longer is no word, and is read as far as that
_WINDOW, _MARGIN = 400, 50  # a longer text is read in windows of so many words, which overlap by twice the margin


class DataSettings(BaseModel):
    """How data becomes rows of words, and rows become parts."""

    model_config = STRICT

    tags: Literal["given", "marks"] = Field(
        "given",
        description="what --data holds: words with tags, or plain text whose capitals and marks are learnt",
    )
    sentence: str | None = Field(None, description="column of a table that says which sentence a word belongs to")
    max_length: int = Field(200, ge=2, le=100_000, description="words of a row at most; a longer one is cut")
    shortest: int = Field(20, ge=2, le=100_000, description="words of a passage of plain text at least")
    longest: int = Field(60, ge=2, le=100_000, description="words of a passage of plain text at most")
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the rows kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share of the rows the best epoch is chosen by")
    seed: int = Field(0, ge=0, description="start of the split into parts and passages")
    vocabulary_size: int = Field(20_000, ge=6, le=10_000_000, description="words that have a vector of their own")

    @field_validator("longest")
    @classmethod
    def _not_shorter(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("shortest", value):
            raise ValueError("must not be less than data.shortest")
        return value


class ModelSettings(BaseModel):
    """The network: words and their n-grams, recurrent layers, a softmax for each word."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    embedding_size: int = Field(128, ge=1, le=65_536, description="width of a word's vector")
    hidden_size: int = Field(192, ge=1, le=65_536, description="units in each layer and direction")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    bidirectional: bool = Field(True, description="read the words in both directions")
    subwords: int = Field(20_000, ge=1, le=10_000_000, description="hashes of character n-grams of words")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of numbers zeroed in training")
    unknown: float = Field(0.1, ge=0, lt=1, description="share of words known by their n-grams alone in training")
    balance: float = Field(
        0.25,
        ge=0,
        le=1,
        description="0: the likeliest tag; 1: each tag as if all were equally frequent; or between",
    )


class BaselineSettings(BaseModel):
    """What is measured beside the model in the same run."""

    model_config = STRICT

    one_direction: bool = Field(True, description="train the same network forwards only, to be compared with")


class Settings(BaseModel):
    """All choices of the tagger."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    baselines: BaselineSettings = BaselineSettings()


class TagConfig(JobConfig):
    """What `config.json` of a tagger holds, and nothing else."""

    settings: Settings
    kinds: dict[str, list[str]]
    marks: bool


class Encoded(NamedTuple):
    """Rows of words as numbers of distinct words, and what the network reads of each of these; 0 is padding."""

    sequences: list[Codes]
    pieces: Tensor


def build_network(settings: ModelSettings, words: int, outputs: int) -> ManyToMany:
    """The network for a vocabulary of so many words."""
    recurrent = Recurrent(
        settings.cell,
        settings.embedding_size,
        settings.hidden_size,
        settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
    )
    encoder = WordEncoder(words, settings.subwords, settings.embedding_size)
    return ManyToMany(recurrent, outputs, encoder=encoder, dropout=settings.dropout)


class TagModel(JobModel):
    """A trained tagger: `tag`, `predict`, `evaluate`.

    Attributes:
        kinds: the tags of each kind, in the order of their numbers.
        marks: whether the tags are the capitals and marks of plain text.
    """

    network: ManyToMany
    vocabulary: Vocabulary

    def __init__(
        self,
        network: ManyToMany,
        vocabulary: Vocabulary,
        kinds: Mapping[str, Sequence[str]],
        settings: Settings,
        *,
        marks: bool,
    ) -> None:
        self.network, self.vocabulary = network, vocabulary
        self.kinds = {kind: tuple(names) for kind, names in kinds.items()}
        self.settings, self.marks = settings, marks

    def described(self) -> dict[str, Any]:
        """What `config.json` holds besides the settings and the data."""
        return {"kinds": {kind: list(names) for kind, names in self.kinds.items()}, "marks": self.marks}

    def shown(self) -> list[tuple[str, str]]:
        """The size of the vocabulary."""
        return [("vocabulary", f"{len(self.vocabulary)} entries")]

    def encode(self, rows: Sequence[Sequence[str]]) -> Encoded:
        """What the network reads of rows of words."""
        distinct = {word: number for number, word in enumerate(dict.fromkeys(w for row in rows for w in row), 1)}
        cut = [word[:LONGEST_WORD] for word in distinct]
        numbers = self.vocabulary.encode(cut)
        buckets = self.settings.model.subwords
        pieces = torch.zeros(len(cut) + 1, 1 + MOST, dtype=torch.int32)
        if cut:
            read = [(number[0], *subwords(word, buckets)) for number, word in zip(numbers, cut, strict=True)]
            pieces[1:] = torch.tensor(read, dtype=torch.int32)
        sequences = [np.array([distinct[word] for word in row], dtype=np.int64) for row in rows]
        return Encoded(sequences, pieces)

    def codes(self, encoded: Encoded, batch_size: int = 128) -> Codes:
        """(words, kinds) numbers of the likeliest tags, row after row."""
        windows = [window for row, ids in enumerate(encoded.sequences) for window in _windows(row, len(ids))]
        result = [np.zeros((len(ids), len(self.kinds)), dtype=np.int64) for ids in encoded.sequences]
        pieces = [encoded.sequences[window.row][window.begin : window.end] for window in windows]
        if not pieces:
            return np.zeros((0, len(self.kinds)), dtype=np.int64)
        training, device = self.network.training, self.network.head.weight.device
        table = encoded.pieces.to(device)
        self.network.eval()
        try:
            with torch.inference_mode():
                for batch in Batches(pieces, batch_size=batch_size, shuffle=False).epoch(0):
                    scores, _ = self.network(table[batch.inputs.to(device)], lengths=batch.lengths.to(device))
                    best = self.best(scores).cpu().numpy()
                    for number, found in zip(batch.rows.tolist(), best, strict=True):
                        row, begin, first, last, _ = windows[number]
                        result[row][first:last] = found[first - begin : last - begin]
        finally:
            self.network.train(training)
        return np.concatenate(result)

    def best(self, scores: Tensor) -> Tensor:
        """The number of the likeliest tag of each kind, (..., kinds)."""
        parts = scores.split([len(names) for names in self.kinds.values()], -1)
        return torch.stack([part.argmax(-1) for part in parts], -1)

    def tag(self, words: Sequence[str]) -> list[str]:
        """The tag of each word; the tags of several kinds are joined by "+".

        Args:
            words: the words of a sentence or of a whole text, as they stand in the training data: of capitals and
                marks, words in lower case.

        Raises:
            UserError: one text is given and not a list of words.

        Example:
            >>> import elman
            >>> elman.load("runs/tag").tag(["and", "god", "said"])  # doctest: +SKIP
            ['capital+none', 'capital+none', 'lower+,']
        """
        return ["+".join(tags.values()) for tags in self._tagged([_checked(words)])[0]]

    def predict(self, inputs: Sequence[str]) -> list[str]:
        """Each text with its capitals and marks restored, or as WORD/TAG WORD/TAG.

        A text is cut into words at its spaces, and around marks where the training data has these as words.
        A tagger of capitals and marks does not read those that the text has.

        Raises:
            UserError: a text holds no word; one text is given and not a list of texts.
        """
        return [answer["prediction"] for answer in self.answers(inputs)]

    def answers(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each text its `prediction`, and its `words`, each with its tags by their kind.

        A text begins with a capital, whatever the network says, which was trained on passages that begin anywhere.
        """
        if isinstance(inputs, str):
            raise UserError("a list of texts is wanted", found="one text", fix="write predict([text])")
        rows = [self._words(text, number) for number, text in enumerate(inputs, start=1)]
        found = self._tagged(rows)
        if self.marks and "case" in self.kinds:
            for tags in found:
                tags[0]["case"] = "capital"
        return [
            {
                "prediction": self._shown(words, tags),
                "words": [{"word": word, **of_word} for word, of_word in zip(words, tags, strict=True)],
            }
            for words, tags in zip(rows, found, strict=True)
        ]

    def inputs(self, data: str) -> list[str]:
        """The lines of a text file, but for the empty ones.

        Raises:
            UserError: the file is a table, cannot be read, or holds nothing.
        """
        if Path(data).suffix.lower() in TABLES:
            raise UserError("the texts to be tagged are the lines of a text file", where=data, found="a table")
        lines = [line.strip() for line in read_lines(Path(data).expanduser())]
        if not any(lines):
            raise UserError("the file holds no text", where=data)
        return [line for line in lines if line]

    def _tagged(self, rows: Sequence[Sequence[str]]) -> list[list[dict[str, str]]]:
        codes = iter(self.codes(self.encode(rows)).tolist())
        return [
            [
                {kind: names[code] for (kind, names), code in zip(self.kinds.items(), next(codes), strict=True)}
                for _ in row
            ]
            for row in rows
        ]

    def _words(self, text: str, number: int) -> list[str]:
        words = plain_words(text) if self.marks else self._cut(text)
        if not words:
            raise UserError("a text must hold a word", where=f"text {number}", found=repr(text[:60]))
        return words

    def _cut(self, text: str) -> list[str]:
        """The text cut at its spaces, and around marks where the model knows these as words of their own."""
        pieces = text.split()
        if all(number == [UNKNOWN] for number in self.vocabulary.encode([".", ","])):
            return pieces
        words: list[str] = []
        for piece, number in zip(pieces, self.vocabulary.encode(pieces), strict=True):
            inner = piece.strip(punctuation)
            if number != [UNKNOWN] or not inner:
                words.append(piece)
                continue
            before, after = piece.split(inner, 1)
            words += [*before, inner, *after]
        return words

    def _shown(self, words: Sequence[str], tags: Sequence[Mapping[str, str]]) -> str:
        if not self.marks:
            return " ".join(f"{word}/{'+'.join(tag.values())}" for word, tag in zip(words, tags, strict=True))
        cases, marks = ([tag.get(kind, "none") for tag in tags] for kind in ("case", "mark"))
        return restored_text(words, cases, marks)


class _Window(NamedTuple):
    """Words `begin` .. `end` of a row are read, `first` .. `last` are answered."""

    row: int
    begin: int
    first: int
    last: int
    end: int


def _windows(row: int, length: int) -> Iterator[_Window]:
    if length <= _WINDOW:
        yield _Window(row, 0, 0, length, length)
        return
    for first in range(0, length, _WINDOW - 2 * _MARGIN):
        last = min(length, first + _WINDOW - 2 * _MARGIN)
        yield _Window(row, max(0, first - _MARGIN), first, last, min(length, last + _MARGIN))


def _checked(words: Sequence[str]) -> list[str]:
    if isinstance(words, str):
        raise UserError("a list of words is wanted", found="one text", fix="write tag(text.split())")
    for number, word in enumerate(words):
        if not isinstance(word, str) or not word.strip():
            raise UserError(
                "every word must be a string that is not empty", where=f"word {number}", found=repr(word)
            )
    return list(words)
