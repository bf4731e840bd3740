"""Windows of the training part, drawn anew in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from elman.data.series import Numbers, Series
from elman.recipes.forecast_model import warm_up
from elman.recipes.forecast_network import Inputs, window_targets
from elman.recipes.forecast_settings import Settings

_ALIKE = 16  # neighbouring windows tell the same: an epoch takes one of so many
_LEAST_STEPS, _MOST_STEPS = 25, 200  # of an epoch
_POINTS = 16  # steps of a window from which is forecast, many to many


@dataclass(frozen=True)
class WindowBatch:
    """Windows side by side.

    Args:
        inputs: what the network reads, (B, T, width).
        points: the steps from which it forecasts, (P,).
        seasonal: the moves of the last season at these, (B, P, H, 2).
        targets: what came after these, in scales from them, (B, P, H).
        known: whether each was measured, (B, P, H).
        rows: the places where the windows begin, (B,).
    """

    inputs: Tensor
    points: Tensor
    seasonal: Tensor
    targets: Tensor
    known: Tensor
    rows: Tensor

    @property
    def lengths(self) -> Tensor:
        """T for each window, (B,)."""
        return torch.full((len(self.inputs),), self.inputs.shape[1])

    @property
    def tokens(self) -> int:
        """Steps of all windows."""
        return self.inputs.shape[0] * self.inputs.shape[1]

    def to(self, device: torch.device | str) -> WindowBatch:
        """The same windows on another device."""
        names = ("inputs", "points", "seasonal", "targets", "known", "rows")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class Windows:
    """Batches of windows at places drawn by seed and epoch; inputs and targets lie before `end`.

    Args:
        series: the whole series.
        inputs: how it is read.
        scales: of its steps.
        end: the training part's end.
        settings: the decided settings.
        rank: which of the processes this is, from 0.
        processes: how many share an epoch.
    """

    def __init__(
        self,
        series: Series,
        inputs: Inputs,
        scales: Numbers,
        end: int,
        settings: Settings,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._series, self._inputs, self._scales = series, inputs, scales
        self._context, self._horizon = cast(int, settings.model.context), cast(int, settings.data.horizon)
        self._places = end - inputs.first - self._context - self._horizon + 1
        self._settings, self._rank, self._processes = settings, rank, processes
        self._size = settings.train.batch_size
        wanted = -(-self._places // (_ALIKE * self._size * processes))
        self._steps = min(max(_LEAST_STEPS, wanted), _MOST_STEPS)
        warm, last = warm_up(settings), self._context - 1
        self.points = np.unique(np.linspace(warm, last, min(_POINTS, last - warm + 1)).round().astype(np.int64))

    def __len__(self) -> int:
        """Batches in an epoch, on each process."""
        return self._steps

    def epoch(self, number: int, start: int = 0) -> Iterator[WindowBatch]:
        """The batches of an epoch on this process, from the one with index `start` on."""
        random = np.random.Generator(np.random.PCG64([self._settings.train.seed % 2**64, number]))
        shape = (self._steps, self._processes, self._size)
        begins = self._inputs.first + random.integers(self._places, size=shape)[start:, self._rank]
        signs = random.choice([-1.0, 1.0], size=shape)[start:, self._rank]
        return (self._batch(begin, sign) for begin, sign in zip(begins, signs, strict=True))

    def _batch(self, begins: Numbers, signs: Numbers) -> WindowBatch:
        places = begins[:, None] + np.arange(self._context)
        inputs = self._inputs.read(self._series.values, self._scales, self._series.start, places)
        seasonal = self._inputs.seasonal(self._series.values, self._scales, places[:, self.points])
        targets, known = window_targets(self._series, self._scales, places[:, self.points], self._horizon)
        if self._settings.model.mirror:
            sign = torch.from_numpy(signs.astype(np.float32))[:, None, None]
            lags = len(self._inputs.lags)
            inputs = torch.cat([inputs[..., :lags] * sign, inputs[..., lags:]], -1)
            seasonal, targets = seasonal * sign[..., None], targets * sign
        return WindowBatch(
            inputs, torch.from_numpy(self.points), seasonal, targets, known, torch.from_numpy(begins)
        )
