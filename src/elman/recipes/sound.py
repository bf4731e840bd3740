"""Sound: a word in, its sound out, sample by sample, 8,000 of them a second.

The data: digits spoken by a synthesiser in 16 voices; see `elman.data.spoken_digits`. One to many: the word
becomes a plan, the place within the word for each sample, and the network says how likely each of 256 levels is to
come next. What it speaks is judged by a listener, another network that never heard it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Streams, Vocabulary, Window
from elman.data.sounds import LEVELS, Levels, scipy, write_sound
from elman.errors import UserError
from elman.models import CarriedState, Sampling
from elman.recipes.contract import Request
from elman.recipes.job import Asked, Job, JobConfig, Lesson, refuse_column
from elman.recipes.sound_baselines import level_before, level_frequencies, linear_predictor
from elman.recipes.sound_listener import teach_listener, understood
from elman.recipes.sound_model import (
    MOST_SECONDS,
    RATE,
    DataSettings,
    ModelSettings,
    Settings,
    SoundModel,
    Voice,
    bits_per_sample,
)
from elman.recipes.sound_parts import Sounds, as_heard, documents, levels_of, prepare_sounds, read_words
from elman.training import Fitted, TrainSettings, process

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(places=32, emphasis=0.85, window=128),
    model=ModelSettings(cell="gru", level_size=64, place_size=32, hidden_size=192),
    train=TrainSettings(
        epochs=8, batch_size=16, learning_rate=4e-3, weight_decay=0.0, patience=None, watch="bits_per_sample"
    ),
)
JUDGED = 100  # spoken words that the listener judges
LEAST_STEPS = 2_000  # where there is little sound
# --------------------------------------------------------------------------------------------------------------


class SoundConfig(JobConfig):
    """What `config.json` of a model of spoken words holds, and nothing else."""

    settings: Settings
    words: list[str]
    samples: list[int]


@dataclass(frozen=True)
class SoundRecipe(Job[Sounds, SoundModel]):
    """A word in, a sound out."""

    settings: Settings
    config = SoundConfig
    arrangement = "one to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["generate", folder, "--prompt", "three"], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """SciPy filters and resamples."""
        scipy("signal")

    def read(self, asked: Asked) -> Sounds:
        """The sounds, each once, in their parts."""
        refuse_column(asked.label, "label", "leave it out; --text names the column of words")
        sounds = prepare_sounds(asked.data, asked.text, asked.settings.data)
        if sounds.columns[0] is not None and asked.text is None:
            asked.say(f"column guessed: --text {sounds.columns[0]!r}")
        if sounds.dropped:
            asked.say(f"{sounds.dropped} sounds are left out: an equal one is there")
        return sounds

    def build(self, prepared: Sounds, settings: Settings, say: Callable[[str], None]) -> SoundModel:
        """A network for these words, with rows and epochs that their sounds are enough for."""
        window, train = settings.data.window, settings.train
        samples = sum(len(prepared.levels[row]) for row in prepared.parts.train)
        rows = max(1, min(train.batch_size, samples // (window * process()[1])))
        least = math.ceil(LEAST_STEPS / max(1, samples // (rows * window)))
        if train.epochs == self.settings.train.epochs < least:
            say(f"little sound: {least} epochs instead of {train.epochs} (train.epochs changes it)")
            train = train.model_copy(update={"epochs": least})
        train = train.model_copy(update={"batch_size": rows})
        settings = settings.model_copy(update={"train": train})
        network = Voice(settings.model, len(prepared.words), settings.data.places)
        return SoundModel(network, prepared.words, prepared.median_samples(), settings)

    def rebuild(self, config: SoundConfig, vocabulary: Vocabulary | None) -> SoundModel:
        """The model that `config` describes.

        Raises:
            UserError: the words and their lengths do not belong together.
        """
        lengths = config.samples
        if len(config.words) != len(lengths) or not all(1 <= n <= MOST_SECONDS * RATE for n in lengths):
            found = f"{len(config.words)} words, lengths {lengths[:5]}"
            raise UserError("config.json: every word needs its number of samples", found=found)
        network = Voice(config.settings.model, len(config.words), config.settings.data.places)
        return SoundModel(network, config.words, config.samples, config.settings)

    def teach(self, model: SoundModel, prepared: Sounds, request: Request, out: Path) -> tuple[Fitted, int]:
        """The listener learns from the same words before."""
        levels, codes = prepared.part(prepared.parts.train)
        heard = as_heard(levels, model.settings.data.emphasis)
        teach_listener(model.network.listener, heard, codes, model.settings.train.seed)
        return super().teach(model, prepared, request, out)

    def lesson(self, model: SoundModel, prepared: Sounds) -> Lesson:
        """Endless rows of words, -ln p of each next level."""
        settings, (rank, processes) = model.settings, process()
        levels, codes = prepared.part(prepared.parts.train)
        validation = documents(*prepared.part(prepared.parts.validation), settings.data.places)
        speaker = model.network.speaker
        streams = Streams(
            documents(levels, codes, settings.data.places),
            rows=settings.train.batch_size,
            k1=settings.data.window,
            seed=settings.train.seed,
            rank=rank,
            processes=processes,
        )
        return Lesson(
            loss=_loss,
            batches=streams,
            validate=lambda _: {"bits_per_sample": bits_per_sample(speaker, validation)},
            rows=len(codes),
            network=CarriedState(speaker, settings.train.batch_size, rank, processes),
        )

    def measure(self, model: SoundModel, prepared: Sounds) -> dict[str, Any]:
        """Bits a sample of the test part, what the listener understands of it and of what is spoken, the speed."""
        return _measured(model, *prepared.part(prepared.parts.test))

    def measure_data(self, model: SoundModel, asked: Asked) -> dict[str, Any]:
        """The same on all of a user's sounds."""
        refuse_column(asked.label, "label", "leave it out; --text names the column of words")
        table, text = read_words(asked.data, asked.text, asked.settings.data)
        names = [str(word).strip() for word in table.column(text)]
        for row, name in enumerate(names):
            if name not in model.words:
                found, fix = repr(name), f"the words are {', '.join(model.words)}"
                raise UserError(
                    "a word must be one of those trained on", where=table.where(row), found=found, fix=fix
                )
        sounds = enumerate(table.column("sound"))
        levels = [levels_of(sound, asked.settings.data, table.where(row)) for row, sound in sounds]
        return _measured(model, levels, [model.words.index(name) for name in names])

    def baselines(self, model: SoundModel, prepared: Sounds, request: Request) -> dict[str, dict[str, Any]]:
        """Frequencies of levels, alone and after the one before, and a linear predictor; over the same levels."""
        train, validation, test = (prepared.part(part)[0] for part in prepared.parts)
        order, decay, bits = linear_predictor(train, validation, test)
        found = {
            "level_frequencies": level_frequencies(train, test),
            "level_before": level_before(train, test),
            f"linear_predictor (order {order}, decay {decay})": bits,
        }
        return {name: {"bits_per_sample": bits} for name, bits in found.items()}

    def finish(self, model: SoundModel, prepared: Sounds) -> None:
        """Ten words as WAV files, to be listened to."""
        folder = model.folder / "spoken"
        folder.mkdir(exist_ok=True)
        words = model.words[:10]
        for number, sound in enumerate(model.say(words, _sampling(0))):
            write_sound(folder / f"{number}.wav", sound, RATE)


def _loss(network: nn.Module, window: Window) -> Tensor:
    """-ln p of the next level, the mean over the steps that count."""
    scores = network(window.inputs, window.resets, window.advance)[:, -window.counted :]
    return cross_entropy(scores.flatten(0, 1), window.targets[:, -window.counted :].flatten() % LEVELS)


def _measured(model: SoundModel, levels: Sequence[Levels], codes: Sequence[int]) -> dict[str, Any]:
    settings, listener = model.settings.data, model.network.listener
    heard = understood(listener, as_heard(levels, settings.emphasis))
    words = min(len(model.words), JUDGED)
    wanted = [code for code in range(words) for _ in range(max(1, JUDGED // words))]
    spoken = understood(listener, model.say([model.words[code] for code in wanted], _sampling(1)))
    return {
        "bits_per_sample": bits_per_sample(model.network.speaker, documents(levels, codes, settings.places)),
        "understood": _share(spoken, wanted),
        "understood_of_the_data": _share(heard, codes),
        "times_real_time": _speed(model),
        "rows": len(codes),
        "samples": sum(map(len, levels)),
    }


def _speed(model: SoundModel) -> float:
    """Seconds of sound made in a second, one word at a time."""
    longest = max(range(len(model.words)), key=model.samples.__getitem__)
    start = time.perf_counter()
    (sound,) = model.say([model.words[longest]], _sampling(0))
    return len(sound) / RATE / (time.perf_counter() - start)


def _sampling(seed: int) -> Sampling:
    return Sampling(steps=10**9, seed=seed)


def _share(found: Sequence[int], wanted: Sequence[int]) -> float:
    return sum(f == w for f, w in zip(found, wanted, strict=True)) / max(len(wanted), 1)


RECIPE = SoundRecipe(
    name="sound",
    summary="speak a word, sample by sample (or any words of your own, from recordings)",
    settings=SETTINGS,
    targets={"understood": 0.8, "times_real_time": 1.0},
    margins={"bits_per_sample": 0.0},
)
