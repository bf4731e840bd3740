"""Clips to a class for each frame: the settings, the networks they describe, and the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from elman.data.clips import Clip, clips_in, read_clip
from elman.errors import UserError
from elman.models import ManyToMany
from elman.models.steps import encode_steps
from elman.nn import Recurrent
from elman.recipes.job import JobModel, JobSettings, files_of
from elman.recipes.settings import STRICT, CellName
from elman.training import TrainSettings

PLACES = 7  # rows and columns in which a frame's contents are told apart


class DataSettings(BaseModel):
    """How clips become numbers, and clips become parts."""

    model_config = STRICT

    side: int = Field(
        28, ge=8, le=512, description="rows and columns a frame is brought to; not the default data's"
    )
    colours: bool = Field(False, description="read red, green and blue instead of grey; not the default data's")
    clips: int = Field(2000, ge=10, le=1_000_000, description="clips made of the default data, of all parts")
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the clips, or digits, kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share by which choices are made")
    seed: int = Field(0, ge=0, lt=2**32, description="start of the split into parts, and of the motions")


class ModelSettings(BaseModel):
    """The network: convolutions over each frame, then a recurrence over time."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    hidden_size: int = Field(96, ge=1, le=65_536, description="units in each layer and direction")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    bidirectional: bool = Field(True, description="also read backwards in time; false: a frame knows no later one")
    channels: int = Field(16, ge=1, le=4096, description="of the first convolution; the next have 2 and 4 times")
    features: int = Field(96, ge=1, le=65_536, description="numbers that the convolutions make of a frame")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of numbers zeroed while training")


class Settings(JobSettings):
    """All choices of the recipe."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


class FrameEncoder(nn.Sequential):
    """x = relu(norm(W conv(conv(conv(frame))) + b)), each convolution with batch norm and relu.

    What is kept is where things are: 7 x 7 places of 4 n numbers.

    Args:
        inputs: channels of a frame.
        channels: of the first convolution, n.
        features: numbers of x.

    Shapes:
        frame: (N, inputs, H, W). Returns (N, features).

    Example:
        >>> FrameEncoder(1, 8, 32)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 32])
    """

    def __init__(self, inputs: int, channels: int, features: int) -> None:
        super().__init__(
            _block(inputs, channels, 5, 2),
            _block(channels, 2 * channels, 3, 2),
            _block(2 * channels, 4 * channels, 3, 1),
            nn.AdaptiveAvgPool2d(PLACES),
            nn.Flatten(),
            nn.Linear(PLACES**2 * 4 * channels, features),
            nn.BatchNorm1d(features),  # without it most of the numbers die in the first steps: always 0
            nn.ReLU(),
        )


def _block(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class FrameByFrame(nn.Module):
    """The same without time: O_t = V encoder(frame_t) + b, for comparison.

    Shapes:
        As `ManyToMany`; the state is None.
    """

    def __init__(self, encoder: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Scores of each frame, (B, T, classes)."""
        return self.head(self.dropout(encode_steps(self.encoder, x, lengths))), None


def build_network(settings: ModelSettings, channels: int, classes: int) -> ManyToMany:
    """Convolutions over each frame of so many channels, a recurrence, and scores of so many classes."""
    recurrent = Recurrent(
        settings.cell,
        settings.features,
        settings.hidden_size,
        settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout if settings.num_layers > 1 else 0.0,
    )
    encoder = FrameEncoder(channels, settings.channels, settings.features)
    return ManyToMany(recurrent, classes, encoder=encoder, dropout=settings.dropout)


def build_frame_by_frame(settings: ModelSettings, channels: int, classes: int) -> FrameByFrame:
    """The same convolutions and scores, without the recurrence."""
    encoder = FrameEncoder(channels, settings.channels, settings.features)
    return FrameByFrame(encoder, settings.features, classes, settings.dropout)


def padded(clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
    """Frames of several clips from 0 to 1, (B, T, C, side, side), and the lengths (B,)."""
    lengths = torch.tensor([len(clip.frames) for clip in clips])
    frames = torch.zeros(len(clips), int(lengths.max()), *clips[0].frames.shape[1:])
    for row, clip in enumerate(clips):
        frames[row, : len(clip.frames)] = torch.from_numpy(clip.frames) / 255
    return frames, lengths


def frame_scores(network: nn.Module, clips: Sequence[Clip], batch_frames: int = 4096) -> list[Tensor]:
    """For each clip the probabilities of the classes of its frames, (T, classes)."""
    training, device = network.training, next(network.parameters()).device
    network.eval()
    found: list[Tensor] = []
    try:
        with torch.inference_mode():
            for batch in _batches(clips, batch_frames):
                frames, lengths = padded(batch)
                scores = network(frames.to(device), lengths=lengths)[0].softmax(-1).cpu()
                found += [row[:length] for row, length in zip(scores, lengths.tolist(), strict=True)]
    finally:
        network.train(training)
    return found


def _batches(clips: Sequence[Clip], batch_frames: int) -> list[list[Clip]]:
    """Clips in their order, so many together that their frames, padded, are not many more than asked for."""
    batches: list[list[Clip]] = []
    longest = 0
    for clip in clips:
        longest = max(longest, len(clip.frames))
        if not batches or longest * (len(batches[-1]) + 1) > batch_frames:
            batches.append([])
            longest = len(clip.frames)
        batches[-1].append(clip)
    return batches


class VideoModel(JobModel):
    """A trained model of clips: `predict`, `evaluate`."""

    def __init__(self, network: nn.Module, labels: Sequence[str], settings: Settings) -> None:
        self.network, self.labels, self.settings = network, list(labels), settings

    def described(self) -> dict[str, Any]:
        """What rebuilds the model besides its settings."""
        return {"labels": self.labels}

    def predict(self, inputs: Sequence[str | Path]) -> list[Any]:
        """For each clip its spans of frames with one label, with the mean probability of that label.

        Times are in seconds; `end` is when the next span starts, or the last frame is shown.

        Example:
            >>> import elman
            >>> elman.load("runs/video").predict(["clip.mkv"])[0][0]  # doctest: +SKIP
            {'start': 0.0, 'end': 0.8, 'first_frame': 0, 'last_frame': 7, 'label': '3 left', 'probability': 0.97}
        """
        if isinstance(inputs, str | Path):
            raise UserError("a list of clips is wanted", found=repr(inputs), fix="write predict([clip])")
        asked = self.settings.data
        clips = [read_clip(path, asked.side, asked.colours) for path in inputs]
        scores = frame_scores(self.network, clips)
        return [self._spans(clip, rows) for clip, rows in zip(clips, scores, strict=True)]

    def inputs(self, data: str) -> list[str]:
        """The clips of a folder, or the one clip.

        Raises:
            UserError: the folder holds none.
        """
        return files_of(data, clips_in, "clip")

    def codes(self, clips: Sequence[Clip]) -> list[list[int]]:
        """The class number of each frame of each clip."""
        return [rows.argmax(-1).tolist() for rows in frame_scores(self.network, clips)]

    def _spans(self, clip: Clip, scores: Tensor) -> list[dict[str, Any]]:
        best = scores.max(-1)
        spans = []
        for code, group in groupby(range(len(clip.frames)), key=lambda frame: int(best.indices[frame])):
            frames = list(group)
            end = min(frames[-1] + 1, len(clip.frames) - 1)
            spans.append(
                {
                    "start": round(clip.times[frames[0]], 3),
                    "end": round(clip.times[end], 3),
                    "first_frame": frames[0],
                    "last_frame": frames[-1],
                    "label": self.labels[code],
                    "probability": round(float(best.values[frames].mean()), 4),
                }
            )
        return spans
