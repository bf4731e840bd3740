"""Pictures to captions: the settings, the network they describe, and the trained model ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from elman.data import Vocabulary
from elman.data.captions import TONES
from elman.data.pictures import Grid, pictures_in, read_colours
from elman.data.vocabulary import END, PADDING, START, UNKNOWN
from elman.errors import UserError
from elman.models import Hypothesis, OneToMany, WritingCommittee, beam_search, consensus
from elman.nn import Recurrent
from elman.recipes.job import JobModel, JobSettings, files_of
from elman.recipes.settings import STRICT, CellName
from elman.training import TrainSettings

PLACES = 4  # rows and columns in which shapes are told apart
LEVELS = 4  # of red, green and blue in the first palette


class DataSettings(BaseModel):
    """How pictures become numbers, captions become tokens, and rows become parts."""

    model_config = STRICT

    side: int = Field(32, ge=16, le=512, description="rows and columns a picture is brought to")
    vocabulary_size: int = Field(8000, ge=6, le=1_000_000, description="words and marks known at most")
    longest: int = Field(30, ge=1, le=1000, description="words of a caption, at most; the rest is left out")
    group: str | None = Field(None, description="column whose equal values never straddle the parts")
    phrases: list[str] = Field(list(TONES), description="left out of captions in a second measure")
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the groups kept for the final measure")
    validation: float = Field(0.15, gt=0, lt=0.9, description="share by which choices are made")
    seed: int = Field(0, ge=0, description="start of the split into parts")


class ModelSettings(BaseModel):
    """The network, how its training pictures are distorted, and how it writes."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    hidden_size: int = Field(256, ge=1, le=65_536, description="units in each recurrent layer")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    embedding_size: int = Field(64, ge=1, le=65_536, description="numbers a word is read as")
    channels: int = Field(32, ge=1, le=4096, description="of the first convolution; the next have 2 and 4 times")
    context_size: int = Field(128, ge=1, le=65_536, description="numbers that say what the picture shows")
    context: Literal["start", "every step"] = Field("every step", description="where these numbers enter")
    dropout: float = Field(0.4, ge=0, lt=1, description="share of numbers zeroed while training")
    shift: float = Field(2.0, ge=0, le=100, description="pixels a training picture is moved by at most")
    turn: float = Field(10.0, ge=0, le=180, description="degrees it is turned by at most")
    zoom: float = Field(
        0.15, ge=0, lt=1, description="share of its size it is enlarged or made smaller by at most"
    )
    smoothing: float = Field(0.1, ge=0, lt=1, description="share of a word's probability that all words share")
    blind: float = Field(0.1, ge=0, lt=1, description="share of training pictures whose shapes are hidden")
    members: int = Field(3, ge=1, le=100, description="networks trained side by side that write together")
    beams: int = Field(8, ge=1, le=100, description="captions that are followed while one is written")
    alpha: float = Field(1.0, ge=0, le=10, description="how much length is made up for; 0 compares log p")

    choice: Literal["likeliest", "consensus"] = Field(
        "likeliest", description="of the captions found: the best by score, or the one most like the others"
    )


class Settings(JobSettings):
    """All choices of the recipe."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


class PictureEncoder(nn.Module):
    """A picture as numbers that say which shapes it shows, and which colours, wherever they are.

    s = conv(x), halved three times, 4 x 4 places;  k_j = sqrt(mean exp(-b_j |x - p_j|^2)), every second pixel;
    c = norm([V s + v;  W norm(k) + w]), with batch norms.

    The p_j are a palette of 64 colours that is learnt: k_j^2 is the share of the picture near p_j. Colours by
    themselves are understood on shapes never seen before.

    Args:
        channels: of the first convolution, n; the others have 2 n and 4 n.
        context_size: numbers of c, half of them of shapes.
        dropout: probability of zeroing a number of s, while training; a fourth of it for those of k.
        blind: probability that all of V s + v is hidden, while training, so that colours count by themselves.

    Shapes:
        x: (B, 3, H, W) from 0 to 1, H and W at least 8. Returns (B, context_size).

    Example:
        >>> PictureEncoder(8, 32)(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 32])
    """

    def __init__(self, channels: int, context_size: int, dropout: float = 0.0, blind: float = 0.0) -> None:
        super().__init__()
        widths = (3, channels, 2 * channels, 4 * channels)
        blocks = (_block(one, other) for one, other in pairwise(widths))
        self.shapes = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(PLACES), nn.Flatten())
        levels = torch.arange(LEVELS) / LEVELS + 0.5 / LEVELS
        self.palette = nn.Parameter(torch.cartesian_prod(levels, levels, levels))
        self.sharpness = nn.Parameter(torch.full((LEVELS**3,), 4.0))  # ln b
        self.norm = nn.BatchNorm1d(LEVELS**3)
        self.dropout, self.dropout_colours = nn.Dropout(dropout), nn.Dropout(dropout / 4)
        half = context_size // 2
        self.blind = nn.Dropout(blind)
        self.from_shapes = nn.Linear(PLACES**2 * 4 * channels, context_size - half)
        self.from_colours = nn.Linear(LEVELS**3, half)
        self.norm_all = nn.BatchNorm1d(context_size)

    def forward(self, x: Tensor) -> Tensor:
        """The numbers of each picture."""
        seen = self.blind(x.new_ones(len(x), 1))
        shapes = seen * self.from_shapes(self.dropout(self.shapes(x)))
        colours = self.from_colours(self.dropout_colours(self.norm(self.colours_of(x))))
        found: Tensor = self.norm_all(torch.cat([shapes, colours], 1))
        return found

    def colours_of(self, x: Tensor) -> Tensor:
        """k, the root of how much of each picture is near each colour of the palette, (B, 64)."""
        pixels, p = x[:, :, ::2, ::2].flatten(2).transpose(1, 2), self.palette
        far = pixels.square().sum(-1, keepdim=True) - 2 * pixels @ p.T + p.square().sum(-1)
        return ((-self.sharpness.exp() * far).exp().mean(1) + 1e-4).sqrt()


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


def build_network(settings: ModelSettings, words: int) -> WritingCommittee:
    """The networks for a vocabulary of so many words."""
    return WritingCommittee(_member(settings, words) for _ in range(settings.members))


def _member(settings: ModelSettings, words: int) -> OneToMany:
    every_step = settings.context == "every step"
    recurrent = Recurrent(
        settings.cell,
        settings.embedding_size + (settings.context_size if every_step else 0),
        settings.hidden_size,
        settings.num_layers,
        dropout=settings.dropout if settings.num_layers > 1 else 0.0,
    )
    return OneToMany(
        recurrent,
        words,
        context_size=settings.context_size,
        context=settings.context,
        embedding_size=settings.embedding_size,
        encoder=PictureEncoder(settings.channels, settings.context_size, settings.dropout, settings.blind),
        dropout=settings.dropout,
    )


class CaptionModel(JobModel):
    """A trained model of pictures and captions: `predict`, `search`, `evaluate`."""

    network: WritingCommittee
    vocabulary: Vocabulary

    def __init__(self, network: WritingCommittee, vocabulary: Vocabulary, settings: Settings) -> None:
        self.network, self.vocabulary, self.settings = network, vocabulary, settings

    def read(self, pictures: Sequence[str | Path]) -> Grid:
        """What the network reads of some files, (N, 3, side, side).

        Raises:
            UserError: a picture cannot be read; it is named.
        """
        if isinstance(pictures, str | Path):
            raise UserError("a list of pictures is wanted", found=repr(pictures), fix="write predict([picture])")
        side = self.settings.data.side
        grids = [read_colours(path, side) for path in pictures]
        return np.stack(grids) if grids else np.zeros((0, 3, side, side), dtype=np.float32)

    def predict(self, inputs: Sequence[str | Path]) -> list[Any]:
        """The caption of each picture.

        Example:
            >>> import elman
            >>> elman.load("runs/caption").predict(["drawing.png"])  # doctest: +SKIP
            ['woman running medium skin tone']
        """
        return self.written(self.read(inputs))

    def answers(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each picture its `prediction`, and the captions `found` with their probabilities, best first."""
        found = self.hypotheses(self.read(inputs))
        return [
            {
                "prediction": self._text(self._chosen(row)),
                "found": [[self._text(one), float(np.exp(one.log_probability))] for one in row],
            }
            for row in found
        ]

    def inputs(self, data: str) -> list[str]:
        """The pictures of a folder, or the one picture.

        Raises:
            UserError: the folder holds none.
        """
        return files_of(data, pictures_in, "picture")

    def written(self, grids: Grid, beams: int | None = None) -> list[str]:
        """The best caption of each of (N, 3, side, side) pictures."""
        return [self._text(self._chosen(found)) for found in self.hypotheses(grids, beams)]

    def hypotheses(self, grids: Grid, beams: int | None = None, batch_size: int = 128) -> list[list[Hypothesis]]:
        """The captions that a beam search finds for each picture, best first."""
        network, chosen = self.network, self.settings.model
        training, device = network.training, next(network.parameters()).device
        network.eval()
        found: list[list[Hypothesis]] = []
        try:
            for batch in torch.from_numpy(grids).split(batch_size) if len(grids) else ():
                found += beam_search(
                    network,
                    network.begin(batch.to(device)),
                    torch.full((len(batch),), START, device=device),
                    end=END,
                    beams=beams or chosen.beams,
                    steps=self.settings.data.longest + 1,
                    alpha=chosen.alpha,
                    never=(PADDING, UNKNOWN, START),
                )
        finally:
            network.train(training)
        return found

    def _chosen(self, found: Sequence[Hypothesis]) -> Hypothesis:
        if self.settings.model.choice == "likeliest":
            return found[0]
        return found[
            consensus([one.tokens for one in found], [float(np.exp(one.log_probability)) for one in found])
        ]

    def _text(self, hypothesis: Hypothesis) -> str:
        return self.vocabulary.decode(hypothesis.tokens)
