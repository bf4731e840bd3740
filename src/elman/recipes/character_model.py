"""A character model: its settings, how many bits a text costs it, what it writes, how it would complete a word."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from elman.data import Streams, Vocabulary, character_ids, characters_of
from elman.data.vocabulary import END, PADDING, START, UNKNOWN
from elman.errors import UserError
from elman.models import Hypothesis, LanguageModel, Memory, Sampling, beam_search, generate
from elman.nn import Recurrent, Stream
from elman.recipes.job import JobModel
from elman.recipes.settings import STRICT, CellName
from elman.training import TrainSettings

Ids = np.ndarray[Any, np.dtype[np.int32]]

ROWS, STEPS = 64, 512  # documents that are read side by side, and characters of them at a time
PIECE = 4096  # characters of a prompt that are read at a time
LONGEST = 32  # characters of a completion
MOST = 100  # completions, beams
NEVER = (PADDING, UNKNOWN, END)  # are never written; START is the border between two texts


class DataSettings(BaseModel):
    """How texts become numbers, rows and parts."""

    model_config = STRICT

    test: float = Field(0.1, gt=0, lt=0.9, description="share of the texts kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share of the texts the best epoch is chosen by")
    seed: int = Field(0, ge=0, description="start of the split into parts")
    vocabulary_size: int = Field(1_000, ge=6, le=200_000, description="different characters at most")
    window: int = Field(64, ge=2, le=100_000, description="characters of a row between two updates")
    reach: int | None = Field(
        None, ge=2, le=100_000, description="characters that a gradient runs back; none: a window"
    )
    max_characters: int = Field(100_000_000, ge=1, description="characters of a user's data at most")


class ModelSettings(BaseModel):
    """The network: embedding, recurrent layers, head."""

    model_config = STRICT

    cell: CellName = Field("lstm", description="the recurrent cell")
    embedding_size: int = Field(64, ge=1, le=65_536, description="width of a character's vector")
    hidden_size: int = Field(512, ge=1, le=65_536, description="units in each layer")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of numbers zeroed in training")


class Settings(BaseModel):
    """All choices of a recipe for characters."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings(watch="bits_per_character")


def build_network(settings: ModelSettings, characters: int) -> LanguageModel:
    """The network for a vocabulary of so many entries."""
    layers = Recurrent(settings.cell, settings.embedding_size, settings.hidden_size, settings.num_layers)
    return LanguageModel(layers, characters, dropout=settings.dropout)


def bits_per_character(network: LanguageModel, documents: Sequence[Ids]) -> float:
    """The mean over all characters of -log2 p(character | those before it in its document), states carried.

    Args:
        network: measured in eval mode; its mode stays what it was.
        documents: numbers of characters, one character or more altogether.

    Example:
        >>> from elman.nn import Recurrent
        >>> network = LanguageModel(Recurrent("rnn", 2, 3), 8)
        >>> _ = torch.nn.init.zeros_(network.head.weight), torch.nn.init.zeros_(network.head.bias)
        >>> round(bits_per_character(network, [np.array([5, 6, 7], dtype=np.int32)]), 4)
        3.0
    """
    device, training = network.head.weight.device, network.training
    ordered = sorted((document for document in documents if len(document)), key=len)
    total = torch.zeros((), dtype=torch.float64)
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(ordered), ROWS):
            for nats in _nats(network, ordered[first : first + ROWS], device):
                total += nats.cpu().double().sum()
    network.train(training)
    return float(total) / math.log(2) / sum(map(len, ordered))


def _nats(network: LanguageModel, documents: Sequence[Ids], device: torch.device) -> Iterator[Tensor]:
    """-ln p of every character of documents read side by side, window by window, (B, T); 0 beyond an end."""
    lengths = torch.tensor([len(document) for document in documents])
    state = None
    for begin in range(0, int(lengths.max()), STEPS):
        left = (lengths - begin).clamp(0, STEPS)
        text = torch.zeros(len(documents), 1 + int(left.max()), dtype=torch.int64)
        for row, document in enumerate(documents):
            window = document[max(0, begin - 1) : begin + STEPS]
            text[row, int(begin == 0) : int(begin == 0) + len(window)] = torch.from_numpy(window)
        if begin == 0:
            text[:, 0] = START
        text, left = text.to(device), left.to(device)
        scores, state = network(text[:, :-1], state, lengths=left)
        nats = -scores.log_softmax(-1).gather(2, text[:, 1:, None])[..., 0]
        yield nats.masked_fill(torch.arange(nats.shape[1], device=device) >= left[:, None], 0.0)


class CharacterModel(JobModel):
    """A trained character model: `bits`, `generate`, `search`, `complete`, `evaluate`.

    Args:
        network: at work, in eval mode.
        vocabulary: of characters.
        settings: what it was trained with.

    Attributes:
        streams: the rows of text that it learns from, where it is to be trained.
    """

    streams: Streams | None = None
    network: LanguageModel
    vocabulary: Vocabulary

    def __init__(self, network: LanguageModel, vocabulary: Vocabulary, settings: Settings) -> None:
        self.network, self.vocabulary, self.settings = network, vocabulary, settings
        self.characters = characters_of(vocabulary)
        self._read: tuple[Ids, Stream] | None = None

    def shown(self) -> list[tuple[str, str]]:
        """The size of the vocabulary, and how often its weights will change."""
        updates = len(self.streams) if self.streams else 0
        return [("vocabulary", f"{len(self.vocabulary)} entries"), ("updates", f"{updates} an epoch")]

    def encode(self, text: str) -> Ids:
        """The numbers of a text's characters; what the model does not know is number 1.

        Raises:
            UserError: this is no text.
        """
        if not isinstance(text, str):
            raise UserError("a text is wanted", found=type(text).__name__)
        return character_ids(self.vocabulary, text)

    def unknown(self, text: str) -> list[str]:
        """The characters of a text that the model does not know, each once."""
        found = dict.fromkeys(unicodedata.normalize("NFC", text))
        return [character for character in found if self.encode(character)[0] == UNKNOWN]

    def bits(self, texts: Sequence[str]) -> float:
        """Bits for each character of some texts, the mean."""
        return bits_per_character(self.network, [self.encode(text) for text in texts])

    def generate(self, prompt: str | None, sampling: Sampling) -> Iterator[str]:
        """Goes on from a prompt, or begins a text; yields each character as it is written.

        It stops by itself where the model ends the text. What it does not know in the prompt is read as unknown.
        """
        memory, first = self._memory(prompt or "")
        asked = replace(sampling, end=START, never=NEVER)
        return self._written(generate(self.network, memory, first, asked))

    def search(self, prompt: str | None, beams: int, steps: int) -> list[tuple[str, float]]:
        """The likeliest texts of at most `steps` characters that `beams` find, with log p, likeliest first."""
        memory, first = self._memory(prompt or "")
        steps, beams = _within("steps", steps, 10_000), _within("beams", beams, MOST)
        (found,) = beam_search(
            self.network, memory, first, end=START, beams=beams, steps=steps, alpha=0.0, never=NEVER
        )
        return [(self._text(one), one.log_probability) for one in found]

    def complete(self, prompt: str, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest continuations up to the end of a word, with their probabilities, likeliest first.

        A continuation ends where the first word that it writes to ends: that of the prompt or, behind a whole
        word, the next. Its probability is that of its characters times that of no more of the word following.

        Raises:
            UserError: `prompt` is no text, or `count` is not from 1 to 100.
        """
        memory, first = self._memory(prompt)
        count = _within("count", count, MOST)
        memory.fixed["begun"] = torch.zeros(1, dtype=torch.bool, device=first.device)
        inside = torch.tensor([_in_word(c) for c in self.characters], device=first.device)
        beams = 4 * count
        (found,) = beam_search(
            _UpToWord(self.network, inside), memory, first, end=END, beams=beams, steps=LONGEST, alpha=0.0
        )
        texts = [(self._text(one), math.exp(one.log_probability)) for one in found if one.tokens]
        return texts[:count]

    def _written(self, steps: Iterator[Tensor]) -> Iterator[str]:
        for step in steps:
            number = int(step[0])
            if number == START:
                return
            yield self.characters[number]

    def _text(self, found: Hypothesis) -> str:
        return "".join(self.characters[number] for number in found.tokens)

    def _memory(self, prompt: str) -> tuple[Memory, Tensor]:
        """What is remembered of a prompt but for its last character, and that; START stands before the text."""
        ids = np.concatenate([[START], self.encode(prompt)]).astype(np.int32)
        device, before = self.network.head.weight.device, ids[:-1]
        known, stream = self._read or (ids[:0], Stream(self.network.recurrent))
        if not np.array_equal(known, before[: len(known)]):
            known, stream = ids[:0], stream.fork()
            stream.reset()
        stream = stream.fork()
        # What a longer prompt begins with was read before: typing on costs a character each.
        for begin in range(len(known), len(before), PIECE):
            piece = torch.from_numpy(before[begin : begin + PIECE]).long().to(device)
            with torch.inference_mode():
                stream.push(self.network.encoder(piece[None]))  # type: ignore[misc]
        self._read = before, stream
        return Memory(stream.fork()), torch.tensor([int(ids[-1])], device=device)


class _UpToWord:
    """Writes as a language model does up to the end of a word: all that can follow it together is END.

    `begun` in the memory says whether a row has written a character of a word.
    """

    def __init__(self, network: LanguageModel, inside: Tensor) -> None:
        self._network, self._inside, self._first = network, inside, True
        self._end = torch.tensor([END], device=inside.device)
        self._refused = torch.tensor((*NEVER, START), device=inside.device)

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        scores = self._network.advance(previous, memory)
        begun = memory.fixed["begun"]
        if not self._first:
            begun = begun | self._inside[previous]
        self._first, memory.fixed["begun"] = False, begun
        after = scores.masked_fill(self._inside, -torch.inf).logsumexp(1)
        ended = torch.where(begun, after, scores[:, START])
        refused = (begun[:, None] & ~self._inside).index_fill(1, self._refused, True)
        return scores.masked_fill(refused, -torch.inf).index_copy(1, self._end, ended[:, None])


def _in_word(character: str) -> bool:
    """Whether a character stands within words: letters, digits, their marks, an apostrophe."""
    return bool(character) and (character in "'\u2019" or unicodedata.category(character)[0] in "LNM")


def _within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise UserError(f"{name} must be from 1 to {most:,}", found=value)
    return value
