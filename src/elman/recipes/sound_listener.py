"""A listener: which word is said? A recurrent network over the loudness of bands of tone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batches
from elman.data.sounds import Wave
from elman.models import ManyToOne
from elman.nn import Recurrent
from elman.training import TrainSettings, build_optimizer, learning_rate

Loudness: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

BANDS, FRAME, HOP = 24, 256, 80  # 32 ms of sound every 10 ms, at 8 kHz
UNITS = 64
DEPTH = 8.0  # nats under the loudest band of a sound that are told apart: 35 dB
NOISES = (0.0, 0.02, 0.1)  # of a training sound's strength, added to a copy: what is spoken hisses a little
SETTINGS = TrainSettings(epochs=12, batch_size=32, learning_rate=5e-3)


def build_listener(words: int) -> ManyToOne:
    """The listener's network: (B, T, 24) loudnesses and their lengths -> (B, words) scores."""
    return ManyToOne(Recurrent("gru", BANDS, UNITS, bidirectional=True), words, pooling="mean", dropout=0.2)


def teach_listener(listener: ManyToOne, sounds: Sequence[Wave], codes: Sequence[int], seed: int) -> None:
    """Trains a listener in place on sounds of 8 kHz and the number of the word that each says."""
    random = np.random.Generator(np.random.PCG64(seed))
    heard = [loudness(_noisy(sound, noise, random)) for noise in NOISES for sound in sounds]
    batches = Batches(heard, list(codes) * len(NOISES), batch_size=SETTINGS.batch_size, seed=seed)
    optimizer = build_optimizer(SETTINGS, listener.parameters())
    done, steps = 0, SETTINGS.epochs * len(batches)
    listener.train()
    for epoch in range(SETTINGS.epochs):
        for batch in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(SETTINGS, done, steps)
            optimizer.zero_grad()
            scores = listener(batch.inputs, batch.lengths)
            cross_entropy(scores, _wanted(batch.targets)).backward()
            nn.utils.clip_grad_norm_(listener.parameters(), 1.0)
            optimizer.step()
            done += 1
    listener.eval()


def understood(listener: ManyToOne, sounds: Sequence[Wave]) -> list[int]:
    """The number of the word that is heard in each sound."""
    if not sounds:
        return []
    batches = Batches([loudness(sound) for sound in sounds], batch_size=64, shuffle=False)
    found = [0] * len(sounds)
    with torch.inference_mode():
        for batch in batches.epoch(0):
            for row, code in zip(
                batch.rows.tolist(), listener(batch.inputs, batch.lengths).argmax(1), strict=True
            ):
                found[row] = int(code)
    return found


def loudness(sound: Wave) -> Loudness:
    """The loudness of 24 bands of tone every 10 ms, (T, 24): ln of their energy, from -1 to 0 over 35 dB.

    The bands are triangles of equal width in mel, 2595 log10(1 + f / 700), from 100 to 4,000 Hz; the loudest one
    of the sound is 0.
    """
    padded = np.pad(sound, (FRAME // 2, FRAME // 2 + -len(sound) % HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * np.hanning(FRAME)
    energy = np.log((np.abs(np.fft.rfft(frames)) ** 2) @ _bands() + 1e-10)
    found: Loudness = ((energy - energy.max()) / DEPTH).clip(-1, 0).astype(np.float32)
    return found


@cache
def _bands() -> np.ndarray[Any, np.dtype[np.float64]]:
    """How much of each frequency is in each band, (129, 24)."""
    mel = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 4000 / 700), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    tones = np.linspace(0, 4000, FRAME // 2 + 1)[:, None]
    rising = (tones - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - tones) / (edges[2:] - edges[1:-1])
    return np.minimum(rising, falling).clip(0)


def _noisy(sound: Wave, share: float, random: np.random.Generator) -> Wave:
    strength = share * float(np.sqrt((sound**2).mean()))
    return sound + strength * random.standard_normal(len(sound), dtype=np.float32)


def _wanted(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise ValueError("a listener learns from the words that were said")
    return targets
