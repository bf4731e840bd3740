"""The forecaster: a causal recurrent network that says, after every step, quantiles of the steps to come.

What it reads and says has no unit. With y_t the series and s_t its running scale, the mean over the lags k and
over the past of |y_i - y_{i-k}|, with a weight that halves with every longest lag back,

    x_t = ((y_{t-k} - y_t) / s_t over some lags k;  sin and cos of the calendar)
    h_t = recurrent(x_1 .. x_t)
    y_{t+j} = b_{tj} + s_t r_j f_j(h_t, x_t),   j = 1 .. H.

b is where a forecast starts from: the last value y_t or, where that is much better on the training part, a mix of
it and the same place of the last season p_{tj} by least squares,

    b_{tj} = y_t + u_j (p_{tj} - y_t) + v_j (p_{tj} - p_{t0}).

r_j is the mean of |y_{t+j} - b_{tj}| / s_t on the training part. f is linear, so that a linear autoregression is a
part of it (as in LSTNet, arXiv:1703.07015v3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from elman.data.series import Numbers, Series
from elman.data.times import Clock
from elman.nn import Recurrent

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MEDIAN = QUANTILES.index(0.5)
_MUCH = 0.8  # share of the last value's error that a mix with the last season must come below to be used
_SAMPLE = 20_000  # steps that this is judged by, at most
_FARTHEST = 20.0  # scales from y_t beyond which a lag counts as this far


class RunningScale:
    """s_t, one value at a time: the recent mean distance of a value from those before it, never below a floor.

    Args:
        memory: steps in which it forgets half.
        floor: what it is at least, so that a series that stands still has a scale.

    Example:
        >>> scale = RunningScale(memory=1, floor=0.1)
        >>> [scale.add(distance) for distance in (2.0, 2.0, 5.0)]
        [2.0, 2.0, 3.7142857142857144]
    """

    def __init__(self, memory: int, floor: float) -> None:
        self._keep, self._floor = 0.5 ** (1 / memory), floor
        self._sum = self._weight = 0.0

    def add(self, distance: float) -> float:
        """The scale after one more distance."""
        self._sum = self._keep * self._sum + distance
        self._weight = self._keep * self._weight + 1.0
        return max(self._sum / self._weight, self._floor)


@dataclass(frozen=True)
class Inputs:
    """How values become what the network reads; all that x_t depends on is y_1 .. y_t.

    Attributes:
        lags: the steps back that are read, ascending.
        season: m.
        horizon: H.
        floor: the least scale.
        cycles: cycles of the calendar that are read.
        clock: names the calendar's place of a step.
    """

    lags: tuple[int, ...]
    season: int
    horizon: int
    floor: float
    cycles: tuple[str, ...]
    clock: Clock

    @property
    def width(self) -> int:
        """Numbers that are read each step."""
        return len(self.lags) + 2 * len(self.cycles)

    @property
    def first(self) -> int:
        """The first step that can be read: before it, lags or the scale would reach beyond the beginning."""
        return max(self.lags[-1], self.season)

    def scales(self, values: Numbers) -> Numbers:
        """s_t of every step, (n,); NaN before the first that can be read."""
        scale, scales = RunningScale(self.first, self.floor), np.full(len(values), np.nan)
        scales[self.first :] = [scale.add(distance) for distance in self.distances(values).tolist()]
        return scales

    def distances(self, values: Numbers) -> Numbers:
        """The mean over the lags of |y_t - y_{t-k}|, from the first step on that can be read."""
        total = np.zeros(max(0, len(values) - self.first))
        for lag in self.lags:
            total += np.abs(values[self.first :] - values[self.first - lag : len(values) - lag])
        return total / len(self.lags)

    def read(self, values: Numbers, scales: Numbers, start: int, places: Numbers | Sequence[int]) -> Tensor:
        """x_t of some steps of a series that begins at tick `start`: (...) -> (..., width)."""
        index = np.asarray(places, dtype=np.int64)
        now, scale = values[index][..., None], scales[index][..., None]
        lagged = np.clip((values[index[..., None] - np.asarray(self.lags)] - now) / scale, -_FARTHEST, _FARTHEST)
        parts = [lagged, *(self._cycle(cycle, start + index * self.clock.step) for cycle in self.cycles)]
        return torch.from_numpy(np.concatenate(parts, -1).astype(np.float32))

    def seasonal(self, values: Numbers, scales: Numbers, places: Numbers | Sequence[int]) -> Tensor:
        """(p_{tj} - y_t) / s_t and (p_{tj} - p_{t0}) / s_t of some steps: (...) -> (..., H, 2)."""
        index = np.asarray(places, dtype=np.int64)[..., None]
        back = self.season * (1 + np.arange(self.horizon) // self.season)  # whole seasons, from the past
        then = values[index + np.arange(1, self.horizon + 1) - back]
        moved = np.stack([then - values[index], then - values[index - self.season]], -1)
        return torch.from_numpy((moved / scales[index][..., None]).astype(np.float32))

    def _cycle(self, cycle: str, ticks: Numbers) -> Numbers:
        angle = 2 * np.pi * self.clock.phase(cycle, ticks)
        return np.stack([np.sin(angle), np.cos(angle)], -1)


class Forecaster(nn.Module):
    """Quantiles of the next H steps after chosen steps, in scales from y_t; they never cross.

    The median is one output, every other quantile its neighbour nearer to the median plus or minus
    softplus of an output of its own. Untrained it says where forecasts start from, with the spread of a normal
    distribution: what there is to learn is where that is wrong.

    Args:
        recurrent: layers of one direction.
        horizon: H.
        dropout: share of the states zeroed before the head, while training.

    Shapes:
        x: (B, T, width); points: (P,) steps; seasonal: (B, P, H, 2), see `Inputs`. Returns (B, P, H, 9).

    Raises:
        ValueError: the layers also read backwards, and would see what is to be forecast.

    Example:
        >>> network = Forecaster(Recurrent("gru", 3, 8), horizon=5)
        >>> quantiles = network(torch.randn(2, 7, 3), torch.tensor([4, 6]), torch.zeros(2, 2, 5, 2))
        >>> quantiles.shape, bool((quantiles.diff(dim=-1) >= 0).all())
        (torch.Size([2, 2, 5, 9]), True)
    """

    def __init__(self, recurrent: Recurrent, horizon: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if recurrent.stack.bidirectional:
            raise ValueError("a forecaster reads forwards alone: build its Recurrent with one direction")
        self.recurrent = recurrent
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(recurrent.output_size + recurrent.stack.input_size, horizon * len(QUANTILES))
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(_first_bias().repeat(horizon))
        self.reach: Tensor
        self.mix: Tensor
        self.register_buffer("reach", torch.ones(horizon))
        self.register_buffer("mix", torch.zeros(horizon, 2))

    def forward(self, x: Tensor, points: Tensor, seasonal: Tensor) -> Tensor:
        """Quantiles after the steps `points`."""
        y, _ = self.recurrent(x)
        return self.forecast(y[:, points], x[:, points], seasonal)

    def forecast(self, y: Tensor, x: Tensor, seasonal: Tensor) -> Tensor:
        """Quantiles from states, inputs and seasonal moves of the same steps, (..., H, 9)."""
        start = (seasonal * self.mix).sum(-1, keepdim=True)
        raw = self.head(torch.cat([self.dropout(y), x], -1)).unflatten(-1, (len(self.reach), len(QUANTILES)))
        median, apart = raw[..., MEDIAN : MEDIAN + 1], softplus(raw)
        above = apart[..., MEDIAN + 1 :].cumsum(-1)
        below = apart[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)
        return start + torch.cat([median - below, median, median + above], -1) * self.reach[:, None]


def _first_bias() -> Tensor:
    """The head's bias for one step ahead: median 0, the others as of a normal distribution of mean size 1."""
    normal = [NormalDist().inv_cdf(level) * (math.pi / 2) ** 0.5 for level in QUANTILES]
    apart = [abs(b - a) for a, b in pairwise(normal)]
    bias = [math.log(math.expm1(distance)) for distance in apart]
    return torch.tensor([*bias[:MEDIAN], 0.0, *bias[MEDIAN:]])


def pinball(quantiles: Tensor, truth: Tensor) -> Tensor:
    """max(q e, (q - 1) e) with e = truth - quantile, for each quantile, (..., 9).

    Source: R. Koenker and G. Bassett, Regression quantiles, Econometrica 46 (1978).

    Example:
        >>> pinball(torch.zeros(9), torch.tensor(1.0))[[0, 8]].tolist()
        [0.10000000149011612, 0.8999999761581421]
    """
    error = truth[..., None] - quantiles
    levels = torch.tensor(QUANTILES, dtype=error.dtype, device=error.device)
    return torch.maximum(levels * error, (levels - 1) * error)


def usual_lags(season: int, most: int) -> tuple[int, ...]:
    """The steps back that are read: a whole season, thinned where it is longer than `most`; 8 where there is none.

    Example:
        >>> usual_lags(4, 48), usual_lags(1, 5), len(usual_lags(1440, 48))
        ((1, 2, 3, 4), (1, 2, 3, 4, 5), 48)
    """
    longest = season if season > 1 else min(8, most)
    return tuple(sorted({round(lag) for lag in np.linspace(1, longest, min(longest, most))}))


def starting_point(values: Numbers, scales: Numbers, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The mix, u and v of every step ahead, (H, 2), and the reach, how far the series is from there, r, (H,).

    Example:
        >>> values = np.tile([1.0, 5.0, 2.0, 8.0], 20) + np.linspace(0, 1, 80)
        >>> inputs = Inputs((1, 2, 3, 4), 4, 2, 1e-6, (), Clock("row", 1, "row"))
        >>> mix, _ = starting_point(values, inputs.scales(values), inputs)
        >>> mix.round(decimals=2).abs().tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    last = len(values) - inputs.horizon
    places = np.arange(inputs.first, last, max(1, last // _SAMPLE))
    seasonal = inputs.seasonal(values, scales, places).double().numpy()
    mix, mixed, stayed = np.zeros((inputs.horizon, 2)), np.zeros(inputs.horizon), np.zeros(inputs.horizon)
    for step in range(inputs.horizon):
        moved = (values[places + step + 1] - values[places]) / scales[places]
        mix[step] = np.linalg.lstsq(seasonal[:, step], moved, rcond=1e-6)[0]
        stayed[step], mixed[step] = np.abs(moved).mean(), np.abs(moved - seasonal[:, step] @ mix[step]).mean()
    if mixed.mean() > _MUCH * stayed.mean():
        mix, mixed = np.zeros_like(mix), stayed
    return torch.from_numpy(mix).float(), torch.from_numpy(np.maximum(mixed, 1e-6)).float()


def window_targets(series: Series, scales: Numbers, places: Numbers, horizon: int) -> tuple[Tensor, Tensor]:
    """(y_{t+j} - y_t) / s_t of some steps, (..., H), and whether each was measured."""
    index = np.asarray(places, dtype=np.int64)[..., None]
    ahead = index + np.arange(1, horizon + 1)
    moved = (series.values[ahead] - series.values[index]) / scales[index]
    return torch.from_numpy(moved.astype(np.float32)), torch.from_numpy(series.known[ahead])
