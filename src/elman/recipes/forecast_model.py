"""A trained forecaster: tables of what comes next, and a live series that takes one value at a time."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from elman.data import Table, read_table
from elman.data.series import Numbers, Series, read_series, series_columns
from elman.data.times import Clock, Form
from elman.errors import UserError
from elman.models import Committee
from elman.nn import Recurrent, Stream
from elman.recipes.forecast_network import MEDIAN, QUANTILES, Forecaster, Inputs, RunningScale
from elman.recipes.forecast_settings import Settings
from elman.recipes.job import JobConfig, JobModel

_PIECE = 4096  # values of a long series that are read at once
NAMES = tuple(f"q{round(100 * level)}" for level in QUANTILES)


class _ClockConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    unit: Literal["month", "microsecond", "row"]
    step: int
    form: Form
    day: int


class _InputsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    lags: list[int]
    season: int
    horizon: int
    floor: float
    cycles: list[str]


class ForecastConfig(JobConfig):
    """What `config.json` of a forecaster holds, and nothing else."""

    settings: Settings
    clock: _ClockConfig
    inputs: _InputsConfig
    time: str | None
    value: str


def build_network(settings: Settings, width: int) -> Committee:
    """The networks that read so many numbers a step."""
    return Committee(_member(settings, width) for _ in range(settings.model.members))


def _member(settings: Settings, width: int) -> Forecaster:
    model = settings.model
    recurrent = Recurrent(model.cell, width, model.hidden_size, model.num_layers, dropout=model.dropout)
    return Forecaster(recurrent, cast(int, settings.data.horizon), dropout=model.dropout)


@dataclass(frozen=True)
class Forecast:
    """What is expected of the next H steps.

    Attributes:
        times: of the steps, as the series writes its own.
        quantiles: (H, 9), for 0.1 to 0.9, ascending.
        digits: decimals that mean something; what is shown is rounded to them.
    """

    times: Sequence[str]
    quantiles: Numbers
    digits: int

    @property
    def median(self) -> Numbers:
        """The point forecast, (H,)."""
        return cast(Numbers, self.quantiles[:, MEDIAN])

    def rows(self) -> list[dict[str, Any]]:
        """A row a step: its time, the forecast (the median), and the other quantiles."""
        numbers = np.round(self.quantiles, self.digits)
        others = [(name, place) for place, name in enumerate(NAMES) if place != MEDIAN]
        return [
            {"time": time, "forecast": float(row[MEDIAN]), **{name: float(row[place]) for name, place in others}}
            for time, row in zip(self.times, numbers, strict=True)
        ]

    def csv(self) -> str:
        """The rows as CSV text with a header."""
        file = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()


class Live:
    """A series that goes on: each new value costs the same, however long the series is.

    Nothing of the past is kept but the values that lags reach, the scale, and the networks' states.

    Args:
        model: the forecaster.
        clock: names the steps.
        start: the tick of the first value to come.
    """

    def __init__(self, model: ForecastModel, clock: Clock, start: int) -> None:
        self._model, self._inputs, self.clock, self._tick = model, model.reading, clock, start
        self._past: deque[float] = deque(maxlen=model.reading.first + 1)
        self._scale = RunningScale(model.reading.first, model.reading.floor)
        self._streams = [Stream(cast(Forecaster, member).recurrent) for member in model.network.members]
        self._seen = 0
        self._now: tuple[float, Tensor, Tensor, list[Tensor]] | None = None

    @property
    def tick(self) -> int:
        """The tick of the value to come."""
        return self._tick

    def push(self, values: Numbers) -> None:
        """Several values at once; the same as one after the other."""
        for begin in range(0, len(values), _PIECE):
            self._push(values[begin : begin + _PIECE])

    def _push(self, values: Numbers) -> None:
        inputs, past = self._inputs, np.asarray([*self._past, *values], dtype=np.float64)
        fresh = len(past) - max(inputs.first, len(self._past))  # steps that can be read now and could not before
        begin = self._tick - len(self._past) * self.clock.step
        self._past.extend(values.tolist())
        self._tick += len(values) * self.clock.step
        if fresh <= 0:
            return
        scales = np.full(len(past), np.nan)
        distances = inputs.distances(past[len(past) - fresh - inputs.first :])
        scales[len(past) - fresh :] = [self._scale.add(distance) for distance in distances.tolist()]
        x = inputs.read(past, scales, begin, range(len(past) - fresh, len(past)))[None].to(self._model.device)
        states = [stream.push(x)[0, -1] for stream in self._streams]
        self._seen += fresh
        seasonal = inputs.seasonal(past, scales, [len(past) - 1]).to(self._model.device)[0]
        self._now = (float(scales[-1]), x[0, -1], seasonal, states)

    def forecast(self) -> Forecast | None:
        """What comes next, or None where too little has been seen: less than training always saw."""
        if self._now is None or self._seen <= self._model.warm_up:
            return None
        scale, x, seasonal, states = self._now
        with torch.inference_mode():
            said = torch.stack(
                [
                    cast(Forecaster, m).forecast(y, x, seasonal)
                    for m, y in zip(self._model.network.members, states, strict=True)
                ]
            ).mean(0)
        quantiles = self._past[-1] + scale * said.double().cpu().numpy()
        times = [self.clock.write(self._tick + step * self.clock.step) for step in range(len(quantiles))]
        return Forecast(times, quantiles, digits_of(scale))


class ForecastModel(JobModel):
    """A trained forecaster: `predict`, `forecast`, `update`, `evaluate`."""

    network: Committee

    def __init__(
        self, network: Committee, inputs: Inputs, settings: Settings, time: str | None, value: str
    ) -> None:
        self.network, self.reading, self.settings = network, inputs, settings
        self.time, self.value = time, value
        self._live: Live | None = None

    def described(self) -> dict[str, Any]:
        """What `config.json` holds besides the settings and the data."""
        inputs = {name: value for name, value in vars(self.reading).items() if name != "clock"}
        return {"clock": asdict(self.reading.clock), "inputs": inputs, "time": self.time, "value": self.value}

    def shown(self) -> list[tuple[str, str]]:
        """What is read at every step."""
        return [("reads", f"{len(self.reading.lags)} lags, calendar: {', '.join(self.reading.cycles) or 'none'}")]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.network.parameters()).device

    @property
    def horizon(self) -> int:
        """Steps that are forecast."""
        return cast(int, self.settings.data.horizon)

    @property
    def warm_up(self) -> int:
        """Steps the networks read before the first forecast that training learnt from."""
        return warm_up(self.settings)

    @property
    def needed(self) -> int:
        """Values a series must have before it is forecast."""
        return self.reading.first + self.warm_up + 1

    def predict(self, inputs: Sequence[str]) -> list[list[dict[str, Any]]]:
        """For the path of each table what comes after it: a row a step, with `time`, `forecast` and quantiles.

        Raises:
            UserError: a table cannot be read, its steps are not those trained on, or it is too short.
        """
        return [self.forecast(source).rows() for source in inputs]

    def forecast(self, data: Any) -> Forecast:
        """What comes after a series.

        Args:
            data: anything that has the columns trained on: a file, a DataFrame, a mapping from column names to
                lists; or a list or array of numbers.

        Raises:
            UserError: the data cannot be read, its steps are not those trained on, or it is too short.

        Example:
            >>> import elman
            >>> elman.load("runs/forecast").forecast("new.csv").median[:2]  # doctest: +SKIP
            array([4.52, 4.49])
        """
        return self._run(data)[1]

    def begin(self, data: Any) -> Forecast:
        """Takes a series as the past of the live one, which `update` goes on with; says what comes after it."""
        self._live, found = self._run(data)
        return found

    def update(self, value: float, time: object = None) -> Forecast | None:
        """One more value of the live series, at a cost that does not grow with it; says what comes next.

        Args:
            value: what was measured.
            time: when; needed for the first value of a series that was not begun, where the calendar is read.

        Returns:
            The forecast, or None as long as too few values have been seen (`needed`).

        Raises:
            UserError: the value is no finite number, or the time is not that of the next step.
        """
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise UserError("a value must be a finite number", where="update", found=repr(value))
        if self._live is None:
            if time is None and self.reading.cycles:
                what = "the calendar is read: the first value needs its time"
                raise UserError(what, where="update", fix="give time=, or begin(...) with the values before")
            clock = Clock("row", 1, "row") if time is None else self.reading.clock
            self._live = Live(self, clock, 0 if time is None else _tick(clock, time))
        elif time is not None and _tick(self._live.clock, time) != self._live.tick:
            found = f"{time}, where {self._live.clock.write(self._live.tick)} is next"
            fix = "give the values between, or begin(...) anew"
            raise UserError("values must come one step after the other", where="update", found=found, fix=fix)
        self._live.push(np.asarray([value], dtype=np.float64))
        return self._live.forecast()

    def series(self, data: Any, value: str | None = None) -> Series:
        """The series in a user's data, in steps like those trained on.

        Args:
            data: as for `forecast`.
            value: the column of values; by default the one trained on.

        Raises:
            UserError: the data cannot be read, or its steps are others.
        """
        table, asked = self._table(data), self.settings.data
        time = self.time if self.time in table.columns else None
        value = value or (self.value if self.value in table.columns else None)
        columns = series_columns(table, time or asked.time, value, asked.time_format)
        found = read_series(
            table,
            columns.time,
            columns.value,
            gaps=asked.gaps,
            duplicates=asked.duplicates,
            pattern=asked.time_format,
        )
        clock = self.reading.clock
        untimed = found.clock.unit == "row" and not self.reading.cycles
        if not untimed and (found.clock.unit, found.clock.step) != (clock.unit, clock.step):
            what = f"the model was trained on steps of {clock.describe()}"
            raise UserError(what, where=table.source, found=f"steps of {found.clock.describe()}")
        return found

    def quantiles(self, series: Series, places: Sequence[int], begin: int) -> Numbers:
        """Forecasts from several places of a series in one run that starts at `begin`: (N, H, 9)."""
        first = max(begin, self.reading.first)
        scales = self.reading.scales(series.values)
        x = self.reading.read(series.values, scales, series.start, range(first, places[-1] + 1))
        seasonal = self.reading.seasonal(series.values, scales, places)
        points = torch.as_tensor(places, device=self.device) - first
        training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode():
                said = (
                    self.network(x[None].to(self.device), points, seasonal[None].to(self.device))
                    .mean(0)[0]
                    .double()
                    .cpu()
                    .numpy()
                )
        finally:
            self.network.train(training)
        index = np.asarray(places)
        return cast(Numbers, series.values[index, None, None] + scales[index, None, None] * said)

    def _run(self, data: Any) -> tuple[Live, Forecast]:
        series = self.series(data)
        live = Live(self, series.clock, series.start)
        live.push(series.values)
        found = live.forecast()
        if found is None:
            what = f"a series must have {self.needed} values or more to be forecast by this model"
            raise UserError(what, where=self._table(data).source, found=len(series))
        return live, found

    def _table(self, data: Any) -> Table:
        if hasattr(data, "ndim") and not hasattr(data, "columns"):
            data = data.tolist()
        if isinstance(data, list | tuple):
            return Table({self.value: list(data)}, "data") if data else read_table({self.value: []})
        return read_table(data)


def warm_up(settings: Settings) -> int:
    """Steps of a window before the first from which is learnt."""
    context = cast(int, settings.model.context)
    return context - 1 if settings.model.arrangement == "many to one" else context // 4


def digits_of(scale: float) -> int:
    """Decimals that show a thousandth of the scale.

    Example:
        >>> digits_of(0.4), digits_of(250.0)
        (4, 1)
    """
    return max(0, 3 - math.floor(math.log10(scale)))


def _tick(clock: Clock, time: object) -> int:
    """The tick of a time that a user gives."""
    try:
        return clock.tick(time)
    except (ValueError, OverflowError) as error:
        raise UserError("this is no time", where="update", found=repr(time)) from error
