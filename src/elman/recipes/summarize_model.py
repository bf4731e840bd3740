"""A text in, its summary out: the settings, the network they describe, what it reads, and what it writes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from elman.data import Batch, Batches, Vocabulary, read_documents, read_table
from elman.data.sequences import Sequences
from elman.data.texts import is_empty
from elman.data.vocabulary import END, PADDING, START, UNKNOWN
from elman.errors import UserError
from elman.models import Committee, EncoderDecoder, Hypothesis, Sampling, beam_search, consensus, samples
from elman.nn import Recurrent
from elman.recipes.job import JobModel, JobSettings
from elman.recipes.settings import STRICT, CellName
from elman.recipes.summarize_parts import DataSettings, Rows
from elman.training import TrainSettings

_LONGEST = 41  # characters of a piece and the space behind it
_ROOM = 1000  # characters of a piece and the white space behind it
_SENTENCE_ENDS = ".!?:"
_NO_SPACE_BEFORE, _NO_SPACE_BEHIND = frozenset(".,;:!?)]}%'\u2019"), frozenset("([{'\u2019")


class ModelSettings(BaseModel):
    """The network, and how it writes."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    embedding_size: int = Field(128, ge=1, le=65_536, description="width of a piece's vector")
    hidden_size: int = Field(128, ge=1, le=65_536, description="units in each layer and direction")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers that read, and that write")
    attention: Literal["additive", "multiplicative"] | None = Field(
        "multiplicative", description="how the writer looks at the text; none: it remembers it"
    )
    copying: bool = Field(True, description="words of the text can be written that the vocabulary lacks")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of numbers zeroed in training")
    tied: bool = Field(True, description="a piece is read and written by the same numbers; needs equal sizes")
    members: int = Field(1, ge=1, le=100, description="networks trained side by side that decide together")
    search: Literal["agreement", "beams"] = Field(
        "agreement", description="of summaries drawn, the one most like the others; or the likeliest by beams"
    )
    draws: int = Field(10, ge=1, le=1000, description="summaries that each network draws; agreement only")
    temperature: float = Field(
        0.5, gt=0, le=10, description="below 1 the likely are drawn oftener; agreement only"
    )
    beams: int = Field(4, ge=1, le=100, description="summaries that are kept at each step; beams only")
    length_bonus: float = Field(0.6, ge=0, le=10, description="how much length is made up for; beams only")


class Settings(JobSettings):
    """All choices of the recipe."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings(watch="rouge_l")


@dataclass(frozen=True)
class Source:
    """A text as the network reads it.

    Attributes:
        ids: its pieces; the number size + k stands for the k-th word that the vocabulary of that size lacks.
        new: those words, each as it is written first.
    """

    ids: list[int]
    new: list[str]


def read_source(vocabulary: Vocabulary, text: str, settings: Settings) -> Source:
    """The numbers of a text's first pieces; with copying, each unknown word has one of its own.

    Example:
        >>> known = Vocabulary.train(["a b"], "word")
        >>> read_source(known, "a c b d c", Settings())
        Source(ids=[4, 6, 5, 7, 6], new=['c', 'd'])
    """
    pieces = _pieces(vocabulary, text, settings.data.max_text)
    if not settings.model.copying or settings.data.vocabulary != "word":
        return Source([number for number, _ in pieces], [])
    new: dict[str, str] = {}
    for number, word in pieces:
        if number == UNKNOWN:
            new.setdefault(_key(word, settings), word)
    words = list(new.values())
    return Source(_numbered(pieces, words, len(vocabulary), settings), words)


def read_summary(vocabulary: Vocabulary, summary: str, source: Source, settings: Settings) -> list[int]:
    """The numbers of a summary and the end; a word that only its own text holds has the number it has there."""
    pieces = _pieces(vocabulary, summary, settings.data.max_summary)
    return [*_numbered(pieces, source.new, len(vocabulary), settings), END]


def _pieces(vocabulary: Vocabulary, text: str, most: int) -> list[tuple[int, str]]:
    """The first pieces of a text, each with its number and as it is written."""
    text = clipped(text, most)
    return list(zip(vocabulary.encode(text, most), vocabulary.tokens(text), strict=False))


def _numbered(pieces: Sequence[tuple[int, str]], new: Sequence[str], size: int, settings: Settings) -> list[int]:
    numbers = {_key(word, settings): size + place for place, word in enumerate(new)}
    return [numbers.get(_key(word, settings), UNKNOWN) if n == UNKNOWN else n for n, word in pieces]


def _key(word: str, settings: Settings) -> str:
    return word.lower() if settings.data.lowercase else word


def clipped(text: str, pieces: int) -> str:
    """The beginning of a text that holds its first pieces, with single spaces."""
    return " ".join(text[: pieces * _ROOM].split())[: pieces * _LONGEST]


def build_network(settings: ModelSettings, vocabulary_size: int) -> Committee:
    """Networks that read in both directions and write with attention and copying, as the settings say.

    Raises:
        UserError: copying is wanted without attention, which decides it; tied weights, and sizes that differ.
    """
    if settings.copying and settings.attention is None:
        fix = "set model.attention, or model.copying=false"
        raise UserError("copying is decided by attention", where="model.attention", found="none", fix=fix)
    if settings.tied and settings.embedding_size != settings.hidden_size:
        found = f"{settings.embedding_size} and {settings.hidden_size}"
        fix = "make model.embedding_size and model.hidden_size equal, or set model.tied=false"
        raise UserError("tied weights need one size", where="model.tied", found=found, fix=fix)
    return Committee(_member(settings, vocabulary_size) for _ in range(settings.members))


def _member(settings: ModelSettings, vocabulary_size: int) -> EncoderDecoder:
    width, hidden, layers = settings.embedding_size, settings.hidden_size, settings.num_layers
    between = settings.dropout if layers > 1 else 0.0
    return EncoderDecoder(
        Recurrent(settings.cell, width, hidden, layers, bidirectional=True, dropout=between),
        Recurrent(settings.cell, width, hidden, layers, dropout=between),
        vocabulary_size,
        attention=settings.attention,
        copying=settings.copying,
        unknown=UNKNOWN,
        dropout=settings.dropout,
        tied=settings.tied,
    )


def make_loss(summaries: Sequence[Sequence[int]], vocabulary_size: int) -> Callable[[nn.Module, Batch], Tensor]:
    """-ln p of each piece of the summaries, the mean over a batch; each member learns for itself.

    Of unknown pieces there is no loss: a word that is neither in the vocabulary nor in the text is never written.

    Args:
        summaries: the pieces of each row's summary and the end, by the row numbers of the batches.
        vocabulary_size: numbers from there on are words of the texts.
    """
    targets = Sequences(summaries)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        device = batch.inputs.device
        wanted, lengths = (tensor.to(device) for tensor in targets.pad(batch.rows.cpu(), PADDING))
        previous = torch.cat([wanted.new_full((len(wanted), 1), START), wanted[:, :-1]], 1)
        extra = new_words(batch.inputs, vocabulary_size)
        log_p = network(batch.inputs, batch.lengths, previous, lengths, extra=extra)  # (members, B, T, V)
        places = wanted.expand(len(log_p), -1, -1)[..., None]
        taught = (wanted != PADDING) & (wanted != UNKNOWN)
        losses: Tensor = -log_p.gather(3, places)[..., 0][:, taught]
        return losses.mean()

    return loss


def new_words(ids: Tensor, vocabulary_size: int) -> int:
    """How many words outside the vocabulary a batch numbers."""
    return max(0, int(ids.max()) + 1 - vocabulary_size)


class SummarizeModel(JobModel):
    """A trained model of texts and summaries: `predict`, `evaluate`."""

    network: Committee
    vocabulary: Vocabulary
    settings: Settings

    def __init__(
        self, network: Committee, vocabulary: Vocabulary, settings: Settings, capitals: bool = False
    ) -> None:
        self.network, self.vocabulary, self.settings, self.capitals = network, vocabulary, settings, capitals

    def described(self) -> dict[str, Any]:
        """Whether a summary begins with a capital."""
        return {"capitals": self.capitals}

    def shown(self) -> list[tuple[str, str]]:
        """The size of the vocabulary."""
        return [("vocabulary", f"{len(self.vocabulary)} pieces")]

    def encode(self, rows: Rows) -> tuple[list[Source], list[list[int]]]:
        """What the network reads of each text, and what it is to write."""
        sources = [read_source(self.vocabulary, text, self.settings) for text in rows.texts]
        pairs = zip(rows.summaries, sources, strict=True)
        return sources, [read_summary(self.vocabulary, one, source, self.settings) for one, source in pairs]

    def predict(self, inputs: Sequence[str]) -> list[Any]:
        """The summary of each text.

        Raises:
            UserError: a text shows nothing; its number is said, from 1.

        Example:
            >>> import elman
            >>> elman.load("runs/summarize").predict(["Raise KeyError if there is none."])  # doctest: +SKIP
            ['Return the value.']
        """
        if isinstance(inputs, str):
            raise UserError("a list of texts is wanted", found="one text", fix="write predict([text])")
        for number, text in enumerate(inputs, start=1):
            if is_empty(text):
                raise UserError("a text must not be empty", where=f"text {number}", found=repr(text))
        sources = [read_source(self.vocabulary, text, self.settings) for text in inputs]
        written = self.summaries(sources)
        return [self.spell(*one) for one in zip(written, sources, inputs, strict=True)]

    def inputs(self, data: str) -> list[str]:
        """The texts of a table, by the column trained on or the guessed one; or of .txt files, each whole."""
        path = Path(data).expanduser()
        if path.is_dir() or path.suffix.lower() == ".txt":
            return read_documents(path).texts
        table, trained = read_table(data), self.config["data"]["text"]
        return read_documents(table, trained if trained in table.columns else None).texts

    def summaries(self, sources: Sequence[Source], *, fast: bool = False, batch_size: int = 64) -> list[list[int]]:
        """The pieces of the summary of each source, without the end; fast: the likeliest piece at each step."""
        if not sources:
            return []
        training = self.network.training
        self.network.eval()
        try:
            ids = [source.ids for source in sources]
            batches = list(Batches(ids, batch_size=batch_size, shuffle=False).epoch(0))
            chosen = [one for batch in batches for one in self._written(batch, fast)]
        finally:
            self.network.train(training)
        order = [row for batch in batches for row in batch.rows.tolist()]
        return [pieces for _, pieces in sorted(zip(order, chosen, strict=True))]

    def _written(self, batch: Batch, fast: bool) -> list[list[int]]:
        batch = batch.to(next(self.network.parameters()).device)
        agreement = self.settings.model.search == "agreement" and not fast
        chosen = self._agreed if agreement else partial(self._likeliest, beams=1 if fast else None)
        return chosen(batch, new_words(batch.inputs, len(self.vocabulary)))

    def _agreed(self, batch: Batch, extra: int) -> list[list[int]]:
        """Of all that the members draw, the summary that the others agree with."""
        asked = self.settings.model
        steps, never = self._limits()
        drawn: list[Counter[tuple[int, ...]]] = [Counter() for _ in batch.rows]
        for number, member in enumerate(self._members()):
            sampling = Sampling(steps, asked.temperature, end=END, never=never, seed=number * steps)
            memory = member.begin(batch.inputs, batch.lengths, extra)
            found = samples(member, memory, _starts(batch), sampling, count=asked.draws)
            for row, texts in zip(drawn, found, strict=True):
                row.update(map(tuple, texts))
        rows = [[*row] for row in drawn]
        counts = [[*row.values()] for row in drawn]
        return [[*row[consensus(row, count)]] for row, count in zip(rows, counts, strict=True)]

    def _likeliest(self, batch: Batch, extra: int, beams: int | None) -> list[list[int]]:
        """Of all that the members find by beams, the summary with the best score."""
        asked = self.settings.model
        steps, never = self._limits()
        found: list[list[Hypothesis]] = [[] for _ in batch.rows]
        for member in self._members():
            memory = member.begin(batch.inputs, batch.lengths, extra)
            ways = beam_search(
                member,
                memory,
                _starts(batch),
                end=END,
                beams=beams or asked.beams,
                steps=steps,
                alpha=asked.length_bonus,
                never=never,
            )
            for row, more in zip(found, ways, strict=True):
                row += more
        return [max(row, key=lambda one: one.score).tokens for row in found]

    def _limits(self) -> tuple[int, tuple[int, ...]]:
        """How many pieces are written at most, and which never."""
        return self.settings.data.max_summary + 1, (PADDING, UNKNOWN, START)

    def _members(self) -> list[EncoderDecoder]:
        return cast("list[EncoderDecoder]", [*self.network.members])

    def spell(self, ids: Sequence[int], source: Source, text: str) -> str:
        """The text of written pieces; words are spelled, and joined to marks, as in the text where they stand."""
        data, known = self.settings.data, len(self.vocabulary)
        if data.vocabulary != "word":
            return self.vocabulary.decode(ids)
        text = clipped(text, data.max_text)
        words = [source.new[n - known] if n >= known else self.vocabulary.decode([n]) for n in ids]
        if data.lowercase:
            pairs = itertools.pairwise(self.vocabulary.tokens(text))
            spellings = {word.lower(): word for before, word in pairs if before[-1] not in _SENTENCE_ENDS}
            words = [spellings.get(word, word) for word in words]
        written = joined([word for word in words if word], text)
        begins = self.capitals and bool(ids) and ids[0] < known
        return written[:1].upper() + written[1:] if begins else written


def _starts(batch: Batch) -> Tensor:
    return batch.lengths.new_full(batch.lengths.shape, START)


def joined(words: Sequence[str], text: str) -> str:
    """Words and marks as a text: without a space where they stand so in another text, else as usual in English.

    Example:
        >>> joined(["Return", "os", ".", "path", "(", "a", ")", "."], "see os.path for more")
        'Return os.path (a).'
    """
    lower = text.lower()

    def touch(before: str, word: str) -> bool:
        if before[-1].isalnum() and word[0].isalnum():
            return False
        there = (before + word).lower() in lower
        return there or word[0] in _NO_SPACE_BEFORE or before[-1] in _NO_SPACE_BEHIND

    spaced = [word if touch(before, word) else f" {word}" for before, word in itertools.pairwise(words)]
    return "".join([*words[:1], *spaced])
