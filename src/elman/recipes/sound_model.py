"""Speech sample by sample: the settings, the network they describe, and the trained model ready to speak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from elman.data.sounds import LEVELS, SILENCE, Levels, Wave, from_mu_law, without_emphasis, write_sound
from elman.errors import UserError, did_you_mean
from elman.models import ManyToMany, ManyToOne, Memory, Sampling, generate
from elman.nn import Recurrent, Stream
from elman.recipes.job import JobModel, JobSettings
from elman.recipes.settings import STRICT, CellName
from elman.recipes.sound_listener import build_listener

RATE = 8000
MOST_SECONDS = 600  # of a sound
ROWS, PIECE = 16, 4000  # sounds that are measured side by side, and samples of them at a time
MOST_PLACES = 1_000_000  # of all words together


class DataSettings(BaseModel):
    """How sounds become numbers, and rows become parts."""

    model_config = STRICT

    file: str = Field("file", description="column of a table that names the sound files")
    group: str | None = Field(
        None, description="column, such as the speaker, whose values never straddle the parts"
    )
    test: float = Field(0.15, gt=0, lt=0.9, description="share of the sounds kept for the final measure")
    validation: float = Field(0.15, gt=0, lt=0.9, description="share by which the best epoch is chosen")
    seed: int = Field(0, ge=0, description="start of the split into parts")
    max_seconds: float = Field(10.0, gt=0, le=MOST_SECONDS, description="longest sound that is read")
    places: int = Field(32, ge=1, le=10_000, description="pieces of equal length that the plan cuts a word into")
    emphasis: float = Field(0.85, ge=0, lt=1, description="share of the sample before that is taken off each")
    window: int = Field(256, ge=2, le=100_000, description="samples of a row between two updates")


class ModelSettings(BaseModel):
    """The network: embeddings of the level before and of the place, recurrent layers, head."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    level_size: int = Field(64, ge=1, le=65_536, description="width of a level's vector")
    place_size: int = Field(32, ge=1, le=65_536, description="width of a place's vector")
    hidden_size: int = Field(192, ge=1, le=65_536, description="units in each layer")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")


class Settings(JobSettings):
    """All choices of the recipe."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()


class _Step(nn.Module):
    """What a step reads: the vector of the level before beside that of the place, of level + 256 place."""

    def __init__(self, places: int, level_size: int, place_size: int) -> None:
        super().__init__()
        self.levels, self.places = nn.Embedding(LEVELS, level_size), nn.Embedding(places, place_size)
        # Levels begin as neighbours: cosines of rising frequency over the scale.
        scale = (torch.arange(LEVELS) + 0.5)[:, None] * torch.arange(1, level_size + 1) * math.pi / LEVELS
        with torch.no_grad():
            self.levels.weight.copy_(scale.cos())

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.cat([self.levels(numbers % LEVELS), self.places(numbers // LEVELS)], -1)


class Speaker(ManyToMany):
    """p(x_{t+1} | x_1 .. x_t, plan) = softmax(V y_t + b), y_t = recurrent(E[x_t], P[place_t]).

    One to many: a word becomes a plan, the place of each sample, (word, how far along it); x_t are levels.

    Args:
        settings: sizes.
        places: number of places of all words together.

    Shapes:
        (B, T) numbers level + 256 place. Returns (B, T, 256) and the final states.

    Example:
        >>> speaker = Speaker(ModelSettings(hidden_size=8), places=4)
        >>> speaker(torch.randint(4 * 256, (2, 5)))[0].shape
        torch.Size([2, 5, 256])
    """

    encoder: _Step

    def __init__(self, settings: ModelSettings, places: int) -> None:
        width = settings.level_size + settings.place_size
        layers = Recurrent(settings.cell, width, settings.hidden_size, settings.num_layers)
        step = _Step(places, settings.level_size, settings.place_size)
        super().__init__(layers, LEVELS, encoder=step)

    def begin(self, places: Tensor) -> tuple[Memory, Tensor]:
        """What is remembered before the first sample of plans (B, T), and the silence before it."""
        first = torch.full((len(places),), SILENCE, device=places.device)
        return _Planned(Stream(self.recurrent, len(places)), plan=places), first

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each level after `previous`, (B, 256), at the next place of the plan."""
        if not isinstance(memory, _Planned):
            raise TypeError("a speaker goes on from the memory that its begin gave")
        level = self.encoder.levels.weight.index_select(0, previous)
        place = self.encoder.places.weight.index_select(0, memory.fixed["plan"][:, memory.said])
        memory.said += 1
        x = torch.cat([level, place], 1)
        return linear(memory.stream.step(x), self.head.weight, self.head.bias).log_softmax(1)


class _Planned(Memory):
    """A memory that also knows how many samples of the plan are said."""

    said = 0


def plan_of(word: int, samples: int, places: int) -> Levels:
    """The place of each sample: which word, and in which of its pieces of equal length.

    Example:
        >>> plan_of(2, 6, places=3)
        array([6, 6, 7, 7, 8, 8], dtype=int32)
    """
    return (word * places + np.arange(samples) * places // max(samples, 1)).astype(np.int32)


def numbered(levels: Levels, plan: Levels) -> Levels:
    """Levels with the silence before them, each with the place of what follows it: level + 256 place."""
    return np.append(SILENCE, levels).astype(np.int32) + LEVELS * np.append(plan, plan[-1:])


def bits_per_sample(speaker: Speaker, documents: Sequence[Levels]) -> float:
    """The mean over all samples of -log2 p(sample | those before it, plan).

    Args:
        speaker: measured in eval mode; its mode stays what it was.
        documents: from `numbered`, one sample or more altogether.

    Example:
        >>> speaker = Speaker(ModelSettings(hidden_size=4), places=2)
        >>> _ = nn.init.zeros_(speaker.head.weight), nn.init.zeros_(speaker.head.bias)
        >>> round(bits_per_sample(speaker, [numbered(np.array([1, 2], dtype=np.int32), plan_of(0, 2, 2))]), 4)
        8.0
    """
    training, nats = speaker.training, 0.0
    ordered = sorted(documents, key=len)
    speaker.eval()
    with torch.inference_mode():
        for first in range(0, len(ordered), ROWS):
            nats += _nats(speaker, ordered[first : first + ROWS])
    speaker.train(training)
    return nats / math.log(2) / sum(len(document) - 1 for document in documents)


def _nats(speaker: Speaker, documents: Sequence[Levels]) -> float:
    """The sum of -ln p over documents that are read side by side, piece by piece."""
    rows = [torch.from_numpy(document).long() for document in documents]
    lengths = torch.tensor([len(row) - 1 for row in rows])
    numbers = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(speaker.head.weight.device)
    state, nats = None, 0.0
    for begin in range(0, int(lengths.max()), PIECE):
        piece, left = numbers[:, begin : begin + PIECE + 1], (lengths - begin).clamp(0, PIECE)
        scores, state = speaker(piece[:, :-1], state, lengths=left)
        costs = cross_entropy(scores.transpose(1, 2), piece[:, 1:] % LEVELS, reduction="none").cpu().double()
        nats += float(costs.masked_fill(torch.arange(costs.shape[1]) >= left[:, None], 0).sum())
    return nats


class Voice(nn.Module):
    """What a model folder holds: who speaks, and who listened."""

    def __init__(self, settings: ModelSettings, words: int, places: int) -> None:
        super().__init__()
        self.speaker = Speaker(settings, words * places)
        self.listener: ManyToOne = build_listener(words)


class SoundModel(JobModel):
    """A trained model of spoken words: `say`, `generate`, `write`, `evaluate`.

    Args:
        network: at work, in eval mode.
        words: it can say.
        samples: that each of them takes, the median of the training part.
        settings: what it was trained with.
    """

    network: Voice
    writes = ".wav"
    steps = 10**9  # a word is as long as its plan

    def __init__(self, network: Voice, words: Sequence[str], samples: Sequence[int], settings: Settings) -> None:
        self.network, self.words, self.samples, self.settings = network, tuple(words), tuple(samples), settings

    def described(self) -> dict[str, Any]:
        """The words and their lengths."""
        return {"words": list(self.words), "samples": list(self.samples)}

    def shown(self) -> list[tuple[str, str]]:
        """The words."""
        return [("words", ", ".join(self.words))]

    def say(self, words: Sequence[str], sampling: Sampling) -> list[Wave]:
        """Words side by side, as sounds of 8,000 samples a second.

        Raises:
            UserError: a word was not among those trained on.

        Example:
            >>> import elman
            >>> from elman.models import Sampling
            >>> elman.load("runs/sound").say(["three"], Sampling(steps=4000, seed=1))  # doctest: +SKIP
        """
        codes = [self._code(word) for word in words]
        if not codes:
            return []
        said = torch.stack(list(self._steps(codes, sampling)), 1).cpu().numpy()
        return [self._wave(row[: self.samples[code]]) for row, code in zip(said, codes, strict=True)]

    def generate(self, prompt: str | None, sampling: Sampling) -> Iterator[str]:
        """The samples of a word as they are made, each a number from 0 to 255 with a line of its own."""
        steps = self._steps([self._code(prompt)], sampling)
        return (f"{int(step[0])}\n" for step in steps)

    def write(self, prompt: str | None, sampling: Sampling, path: Path) -> str:
        """Says a word into a WAV file; returns how long it is."""
        (sound,) = self.say([self.words[self._code(prompt)]], sampling)
        write_sound(path, sound, RATE)
        return f"{len(sound) / RATE:.2f} s"

    def search(self, prompt: str | None, beams: int, steps: int) -> list[tuple[str, float]]:
        """Refused: the likeliest sound of all is near silence."""
        raise UserError("sounds are drawn, not searched for", where="--beams", fix="lower --temperature instead")

    def _steps(self, codes: Sequence[int], sampling: Sampling) -> Iterator[Tensor]:
        steps = min(sampling.steps, max(self.samples[code] for code in codes))
        places = self.settings.data.places
        plans = [plan_of(code, self.samples[code], places)[:steps] for code in codes]
        whole = np.stack([np.pad(plan, (0, steps - len(plan)), mode="edge") for plan in plans])
        memory, first = self.network.speaker.begin(torch.from_numpy(whole).to(self.device))
        return generate(self.network.speaker, memory, first, replace(sampling, steps=steps))

    def _wave(self, levels: Levels) -> Wave:
        return without_emphasis(from_mu_law(levels), self.settings.data.emphasis)

    def _code(self, word: str | None) -> int:
        if word is not None and word.strip() in self.words:
            return self.words.index(word.strip())
        if word is None:
            raise UserError("a word to say is needed", where="--prompt", fix=did_you_mean("", self.words))
        fix = did_you_mean(word, self.words)
        raise UserError("a word must be one of those trained on", where="--prompt", found=repr(word), fix=fix)

    @property
    def device(self) -> torch.device:
        """Where the speaker's weights are."""
        return self.network.speaker.head.weight.device
