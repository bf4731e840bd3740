"""Forecast: what comes next in a series of numbers, with how sure that is.

The data: 19,226 half-hourly temperatures of the sea at a buoy on the Western Maine Shelf, February 2016 to March
2017. After every value the network says quantiles of the next steps, here the 48 half-hours of a day; the median
is the forecast. It is measured on the end of the series, beside the last value, the last day, and ARIMA.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from elman.data import Table, Vocabulary, read_table
from elman.data.series import Numbers, Series, read_series, series_columns
from elman.data.times import Clock
from elman.errors import UserError
from elman.insight.forecasts import Panel, plot_forecasts
from elman.recipes.contract import Request
from elman.recipes.forecast_baselines import Task, measured_baselines
from elman.recipes.forecast_measures import ahead, measures, origins, seasonal_error
from elman.recipes.forecast_model import ForecastConfig, ForecastModel, build_network
from elman.recipes.forecast_network import MEDIAN, Forecaster, Inputs, pinball, starting_point, usual_lags
from elman.recipes.forecast_settings import DataSettings, ModelSettings, Parts, Settings, cycles_of, fitted
from elman.recipes.forecast_windows import WindowBatch, Windows
from elman.recipes.job import Asked, Job, Lesson, refuse_column
from elman.training import TrainSettings, process

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(test=0.2, validation=0.1, origins=400),
    model=ModelSettings(cell="gru", hidden_size=32, members=3, dropout=0.5, lags=48, mirror=True),
    train=TrainSettings(
        epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=1.0, patience=None, watch="pinball"
    ),
)
FLOOR = 0.02  # the scale is never below this share of its mean
PICTURE = "forecast.png"
COLUMNS = "name the column of values with --label, that of times with --set data.time=COLUMN"
# --------------------------------------------------------------------------------------------------------------


def sea_surface_temperature() -> Table:
    """The default data, out of the package `bokeh_sampledata`.

    Raises:
        UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says to pandas
            module = importlib.import_module("bokeh_sampledata.sea_surface_temperature")
    except ImportError as error:
        what = "this recipe's own data needs bokeh_sampledata, which is not installed"
        raise UserError(what, fix="pip install 'elman[forecast]', or give your own with --data") from error
    frame = module.sea_surface_temperature
    times = [time.isoformat() for time in frame.index]
    return Table({"time": times, "temperature": frame["temperature"].tolist()}, "sea surface temperatures")


@dataclass(frozen=True)
class Prepared:
    """A series ready to be learnt from: its columns, its parts, the decided settings, and how it is read."""

    table: str
    time: str | None
    value: str
    series: Series
    parts: Parts
    settings: Settings
    inputs: Inputs
    scale: float

    @property
    def source(self) -> str:
        """The table, as messages name it, and how many values it has."""
        return f"{len(self.series)} values of {self.table}"

    @property
    def columns(self) -> tuple[None, str]:
        """The column of values is that of labels: what is foretold."""
        return None, self.value

    @property
    def horizon(self) -> int:
        """Steps that are forecast."""
        return cast(int, self.settings.data.horizon)

    @property
    def season(self) -> int:
        """Steps of a season."""
        return cast(int, self.settings.data.season)

    @cached_property
    def beside(self) -> tuple[dict[str, dict[str, Any]], dict[str, Numbers]]:
        """What others forecast of the test part is worth, and what it is; once, as ARIMA takes its time."""
        parts, places = self.parts, self.origins("test")
        task = Task(self.series, parts.train, parts.validation, places, self.horizon, self.season)
        return measured_baselines(task, self.scale)

    def origins(self, part: str) -> list[int]:
        """From where the validation or the test part is forecast."""
        begin, end = {
            "validation": (self.parts.train, self.parts.validation),
            "test": (self.parts.validation, self.parts.end),
        }[part]
        return origins(begin, end, self.horizon, self.season, self.settings.data.origins)

    def shown(self) -> list[tuple[str, str]]:
        """Its columns; how many values each part holds, and when it begins."""
        borders = {"train": 0, "validation": self.parts.train, "test": self.parts.validation, "": self.parts.end}
        parts = (
            f"{name} {borders[after] - borders[name]} from {self.series.time(borders[name])}"
            for name, after in pairwise(borders)
        )
        return [("columns", f"time {self.time!r}, value {self.value!r}"), ("parts", ", ".join(parts))]

    def fingerprint(self) -> str:
        """A hash of the values, their times and the parts: whether data is still what it was."""
        series = self.series
        about = f"{asdict(series.clock)} {series.start} {self.parts} {self.horizon} {self.season}"
        return hashlib.sha256(series.values.tobytes() + series.known.tobytes() + about.encode()).hexdigest()


@dataclass(frozen=True)
class ForecastRecipe(Job[Prepared, ForecastModel]):
    """A series of numbers in, quantiles of the next steps out.

    Attributes:
        default_data: reads the recipe's own data.
    """

    settings: Settings
    default_data: Callable[[], Table] = field(kw_only=True)
    config = ForecastConfig
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["evaluate", folder], ["predict", folder, "--data", "new.csv"]]

    def read(self, asked: Asked) -> Prepared:
        """The series, its parts, and how it is read; what was decided is said."""
        refuse_column(asked.text, "text", COLUMNS)
        own, settings = asked.data is None, asked.settings
        table, data = self.default_data() if own else read_table(asked.data), settings.data
        columns = series_columns(table, data.time, asked.label, data.time_format)
        if columns.guessed and not own:
            named = {"time": f"--set data.time={columns.time}", "value": f"--label {columns.value!r}"}
            asked.say(f"columns guessed: {' and '.join(named[role] for role in columns.guessed)}")
        if columns.time is None:
            asked.say("no column of times: rows are taken as equally far apart")
        if own:  # a value is there twice, and 24 are not there
            data = data.model_copy(update={"gaps": "interpolate", "duplicates": "mean"})
        series = read_series(
            table,
            columns.time,
            columns.value,
            gaps=data.gaps,
            duplicates=data.duplicates,
            pattern=data.time_format,
            say=asked.say,
        )
        decided, parts = fitted(settings, series, table.source, asked.say)
        season = cast(int, decided.data.season)
        scale = seasonal_error(series, season, parts.train, table.source)
        lags = usual_lags(season, decided.model.lags)
        cycles = cycles_of(decided.model, series.clock, parts.train)
        inputs = Inputs(lags, season, cast(int, decided.data.horizon), 1.0, cycles, series.clock)
        floor = FLOOR * float(inputs.distances(series.values[: parts.train]).mean())
        inputs = replace(inputs, floor=floor)
        return Prepared(table.source, columns.time, columns.value, series, parts, decided, inputs, scale)

    def build(self, prepared: Prepared, settings: Settings, say: Callable[[str], None]) -> ForecastModel:
        """Networks that start from the last value or the last season, whichever is nearer the training part."""
        network = build_network(prepared.settings, prepared.inputs.width)
        training = prepared.series.values[: prepared.parts.train]
        mix, reach = starting_point(training, prepared.inputs.scales(training), prepared.inputs)
        say(f"forecasts start from {'the last season' if bool(mix.any()) else 'the last value'}")
        for member in cast(list[Forecaster], list(network.members)):
            member.mix.copy_(mix)
            member.reach.copy_(reach)
        return ForecastModel(network, prepared.inputs, prepared.settings, prepared.time, prepared.value)

    def rebuild(self, config: ForecastConfig, vocabulary: Vocabulary | None) -> ForecastModel:
        """The model that `config` describes."""
        clock = Clock(config.clock.unit, config.clock.step, config.clock.form, config.clock.day)
        told = config.inputs
        inputs = Inputs(tuple(told.lags), told.season, told.horizon, told.floor, tuple(told.cycles), clock)
        network = build_network(config.settings, inputs.width)
        return ForecastModel(network, inputs, config.settings, config.time, config.value)

    def lesson(self, model: ForecastModel, prepared: Prepared) -> Lesson:
        """The pinball loss of forecasts from windows of the training part."""
        series, inputs, end = prepared.series, prepared.inputs, prepared.parts.train
        scales = inputs.scales(series.values[:end])
        return Lesson(
            loss=_loss,
            batches=Windows(series, inputs, scales, end, prepared.settings, *process()),
            validate=lambda _: _measure(model, prepared, "validation"),
            rows=end,
        )

    def measure(self, model: ForecastModel, prepared: Prepared) -> dict[str, Any]:
        """MASE, pinball loss and coverage of forecasts along the test part."""
        return _measure(model, prepared, "test")

    def measure_data(self, model: ForecastModel, asked: Asked) -> dict[str, Any]:
        """The same along a user's series."""
        refuse_column(asked.text, "text", COLUMNS)
        season, most = cast(int, model.settings.data.season), model.settings.data.origins
        series = model.series(asked.data, asked.label)
        source = str(asked.data) if isinstance(asked.data, str | Path) else "data"
        places = origins(model.needed, len(series), model.horizon, season, most)
        if not places:
            what = f"a series must have {model.needed + model.horizon} values or more to be measured on"
            raise UserError(what, where=source, found=len(series))
        scale = seasonal_error(series, season, len(series), source)
        truth, known = ahead(series, places, model.horizon)
        return {**measures(truth, known, model.quantiles(series, places, 0), scale), "rows": len(series)}

    def baselines(self, model: ForecastModel, prepared: Prepared, request: Request) -> dict[str, dict[str, Any]]:
        """The last value, the last season, and ARIMA."""
        request.progress.say("forecasting the test part by ARIMA")
        return prepared.beside[0]

    def finish(self, model: ForecastModel, prepared: Prepared) -> None:
        """A picture of forecasts beside the others' and what came."""
        _draw(model, prepared, prepared.beside[1])


def _loss(network: nn.Module, batch: WindowBatch) -> Tensor:
    """The mean pinball loss over the measured values, the members side by side."""
    lost = pinball(network(batch.inputs, batch.points, batch.seasonal), batch.targets).mean((0, -1))
    return (lost * batch.known).sum() / batch.known.sum().clamp(min=1)


def _measure(model: ForecastModel, prepared: Prepared, part: str) -> dict[str, Any]:
    """What the model is worth on a part, its state carried from one origin to the next."""
    places = prepared.origins(part)
    rows = places[-1] + prepared.horizon - places[0]
    begin = places[0] - cast(int, prepared.settings.model.context)
    truth, known = ahead(prepared.series, places, prepared.horizon)
    return {
        **measures(truth, known, model.quantiles(prepared.series, places, begin), prepared.scale),
        "rows": rows,
    }


def _draw(model: ForecastModel, prepared: Prepared, forecasts: dict[str, Numbers]) -> None:
    """The first, middle and last forecast of the test part: none is chosen for its looks."""
    places = prepared.origins("test")
    begin = places[0] - cast(int, prepared.settings.model.context)
    said = model.quantiles(prepared.series, places, begin)
    shown = sorted({0, len(places) // 2, len(places) - 1})
    panels = [
        Panel(
            title=prepared.series.time(places[number]),
            past=prepared.series.values[max(0, places[number] - 2 * prepared.horizon) : places[number] + 1],
            truth=prepared.series.values[places[number] + 1 : places[number] + 1 + prepared.horizon],
            low=said[number, :, 0],
            middle=said[number, :, MEDIAN],
            high=said[number, :, -1],
            others={name: found[number, :, MEDIAN] for name, found in forecasts.items()},
        )
        for number in shown
    ]
    plot_forecasts(panels, model.folder / PICTURE, value=prepared.value, step=prepared.series.clock.describe())


RECIPE = ForecastRecipe(
    name="forecast",
    summary="what comes next in a series of numbers, with quantiles",
    settings=SETTINGS,
    targets={"mase": 0.60},
    default_data=sea_surface_temperature,
)
