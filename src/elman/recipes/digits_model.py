"""Pictures to classes: the settings, the networks they describe, and the trained model ready to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batch, Labels
from elman.data.distort import distorted
from elman.data.pictures import Grid, Ink, pictures_in, read_picture
from elman.errors import UserError
from elman.models import Committee, ManyToOne, OneToOne
from elman.nn import Recurrent
from elman.recipes.job import JobModel, files_of
from elman.recipes.settings import STRICT, CellName, PoolingNames
from elman.recipes.text_model import rounded
from elman.training import TrainSettings


class DataSettings(BaseModel):
    """How pictures become numbers, and rows become parts."""

    model_config = STRICT

    height: int | None = Field(None, ge=1, le=1024, description="rows of a picture; none: as the table is, or 8")
    width: int | None = Field(None, ge=1, le=1024, description="columns of a picture; none: as many as rows")
    ink: Ink = Field("auto", description="strokes of a picture file: dark, bright, or auto: not as its border")
    crop: bool = Field(True, description="cut a picture file to its ink, as the default data was")
    group: str | None = Field(None, description="column whose equal values never straddle the parts")
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the pictures kept for the final measure")
    validation: float = Field(0.15, gt=0, lt=0.9, description="share by which the best epoch is chosen")
    seed: int = Field(0, ge=0, description="start of the split into parts; the default data is cut by order")


class ModelSettings(BaseModel):
    """The network, and how its training pictures are distorted."""

    model_config = STRICT

    arrangement: Literal["many to one", "one to one"] = Field(
        "many to one", description="read row by row, each row a step; or the whole picture at once"
    )
    cell: CellName | None = Field("gru", description="the recurrent cell; none, one to one only: O = V x + b")
    hidden_size: int = Field(128, ge=1, le=65_536, description="units in each layer and direction")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    bidirectional: bool = Field(True, description="read the rows downwards and upwards; many to one only")
    pooling: PoolingNames = Field(
        "last", description="last, mean, max, attention, or several joined by +; many to one only"
    )
    members: int = Field(3, ge=1, le=100, description="networks trained side by side whose answers are averaged")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of numbers zeroed in training; many to one only")
    shift: float = Field(1.0, ge=0, le=100, description="pixels a training picture is moved by at most")
    turn: float = Field(10.0, ge=0, le=180, description="degrees it is turned by at most")
    zoom: float = Field(0.1, ge=0, lt=1, description="share of its size it is enlarged or made smaller by at most")


class Settings(BaseModel):
    """All choices of the recipe."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


def build_network(settings: ModelSettings, height: int, width: int, classes: int) -> Committee:
    """The networks for pictures of a size; each takes (B, H, W) and gives (B, classes) scores.

    Raises:
        UserError: pictures are to be read row by row without a cell.
    """
    if settings.arrangement == "many to one" and settings.cell is None:
        fix = "name one, or set model.arrangement to 'one to one'"
        raise UserError("reading row by row needs a cell", where="model.cell", found="none", fix=fix)
    return Committee(_member(settings, height, width, classes) for _ in range(settings.members))


def _member(settings: ModelSettings, height: int, width: int, classes: int) -> nn.Module:
    if settings.arrangement == "one to one":
        pixels, recurrent = height * width, None
        if settings.cell is not None:
            recurrent = Recurrent(settings.cell, pixels, settings.hidden_size, settings.num_layers)
        return OneToOne(pixels, classes, encoder=nn.Flatten(), recurrent=recurrent)
    rows = Recurrent(
        str(settings.cell),
        width,
        settings.hidden_size,
        settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
    )
    return ManyToOne(rows, classes, pooling=settings.pooling, dropout=settings.dropout)


def make_loss(settings: ModelSettings) -> Callable[[nn.Module, Batch], Tensor]:
    """Softmax with cross-entropy, -ln p_c, over distorted pictures; each member learns for itself."""

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        pictures = batch.inputs
        if settings.shift or settings.turn or settings.zoom:
            pictures = distorted(pictures, settings.shift, settings.turn, settings.zoom)
        scores = network(pictures)
        if batch.targets is None:
            raise ValueError("training needs targets")
        return cross_entropy(scores.flatten(0, 1), batch.targets.repeat(len(scores)))

    return loss


def class_scores(network: nn.Module, grids: Grid, classes: int, batch_size: int = 512) -> Tensor:
    """(N, classes) probabilities, the mean over the members, for (N, H, W) pictures."""
    training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        with torch.inference_mode():
            batches = torch.from_numpy(grids).split(batch_size) if len(grids) else ()
            found = [network(batch.to(device)).softmax(-1).mean(0).cpu() for batch in batches]
    finally:
        network.train(training)
    return torch.cat(found) if found else torch.zeros(0, classes)


class DigitsModel(JobModel):
    """A trained model of pictures: `predict`, `probabilities`, `evaluate`."""

    def __init__(
        self, network: Committee, labels: Labels, settings: Settings, shape: tuple[int, int], white: float
    ) -> None:
        self.network: nn.Module = network
        self.labels, self.settings, self.shape, self.white = labels, settings, shape, white

    def described(self) -> dict[str, Any]:
        """What `config.json` holds besides the settings and the data."""
        height, width = self.shape
        return {"labels": list(self.labels.names), "height": height, "width": width, "white": self.white}

    def shown(self) -> list[tuple[str, str]]:
        """The size of the pictures."""
        return [("size", f"{self.shape[0]} x {self.shape[1]}")]

    def read(self, pictures: Sequence[Any]) -> Grid:
        """What the network reads, (N, H, W), of paths of pictures or of arrays (H, W) in the data's units.

        Raises:
            UserError: a picture cannot be read, or an array has another shape or holds what is no number from 0.
        """
        if not isinstance(pictures, list | tuple):
            fix = "write predict([picture])"
            raise UserError("a list of pictures is wanted", found=type(pictures).__name__, fix=fix)
        grids = [self._one(picture, row) for row, picture in enumerate(pictures)]
        return np.stack(grids) if grids else np.zeros((0, *self.shape), dtype=np.float32)

    def probabilities(self, pictures: Sequence[Any]) -> list[dict[str, float]]:
        """The probability of each class, for each picture; see `read`."""
        rows = class_scores(self.network, self.read(pictures), len(self.labels.names)).tolist()
        return [dict(zip(self.labels.names, row, strict=True)) for row in rows]

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """The class of each picture; see `read`.

        Example:
            >>> import elman
            >>> elman.load("runs/digits").predict(["seven.png"])  # doctest: +SKIP
            ['7']
        """
        return self.labels.decode(self.codes(self.read(inputs)))

    def codes(self, grids: Grid) -> list[int]:
        """The class number of each of (N, H, W) pictures."""
        found: list[int] = class_scores(self.network, grids, len(self.labels.names)).argmax(-1).tolist()
        return found

    def answers(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each picture its `prediction` and the `probabilities` by name."""
        found = self.probabilities(list(inputs))
        return [{"prediction": max(row, key=row.__getitem__), "probabilities": rounded(row)} for row in found]

    def inputs(self, data: str) -> list[str]:
        """The pictures of a folder, or the one picture.

        Raises:
            UserError: the folder holds none.
        """
        return files_of(data, pictures_in, "picture")

    def _one(self, picture: Any, row: int) -> Grid:
        if isinstance(picture, str | Path):
            asked = self.settings.data
            return read_picture(picture, *self.shape, asked.ink, asked.crop)
        try:
            grid = np.asarray(picture, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UserError("a picture must be a path or numbers", where=f"picture {row}", found=error) from error
        if grid.shape != self.shape:
            what = f"this model reads pictures of {self.shape[0]} x {self.shape[1]}"
            raise UserError(what, where=f"picture {row}", found=f"shape {grid.shape}")
        if not (np.isfinite(grid).all() and (grid >= 0).all()):
            raise UserError("pixels must be finite numbers from 0", where=f"picture {row}")
        return grid / np.float32(self.white)
