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
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from elman.data import Table, read_table
from elman.data.series import Numbers, Series, read_series, series_columns
from elman.data.times import Clock
from elman.errors import UserError
from elman.export import ModelFolder, save_model
from elman.insight.forecasts import Panel, plot_forecasts
from elman.nn import explain
from elman.recipes.contract import Recipe, Request, Trained
from elman.recipes.forecast_baselines import Task, measured_baselines
from elman.recipes.forecast_measures import ahead, measures, origins, seasonal_error
from elman.recipes.forecast_model import ForecastConfig, ForecastModel, build_network
from elman.recipes.forecast_network import MEDIAN, Forecaster, Inputs, pinball, starting_point, usual_lags
from elman.recipes.forecast_settings import DataSettings, ModelSettings, Parts, Settings, cycles_of, fitted
from elman.recipes.forecast_windows import WindowBatch, Windows
from elman.recipes.model_folder import checked_config, load_weights, training_figures
from elman.recipes.settings import described
from elman.training import TrainSettings, fit, process

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

    source: str
    time: str | None
    value: str
    series: Series
    parts: Parts
    settings: Settings
    inputs: Inputs
    scale: float

    @property
    def horizon(self) -> int:
        """Steps that are forecast."""
        return cast(int, self.settings.data.horizon)

    @property
    def season(self) -> int:
        """Steps of a season."""
        return cast(int, self.settings.data.season)

    def origins(self, part: str) -> list[int]:
        """From where the validation or the test part is forecast."""
        begin, end = {
            "validation": (self.parts.train, self.parts.validation),
            "test": (self.parts.validation, self.parts.end),
        }[part]
        return origins(begin, end, self.horizon, self.season, self.settings.data.origins)

    def shown_parts(self) -> str:
        """How many values each part holds, and when it begins."""
        borders = {"train": 0, "validation": self.parts.train, "test": self.parts.validation, "": self.parts.end}
        names = list(borders)
        return ", ".join(
            f"{name} {borders[after] - borders[name]} from {self.series.time(borders[name])}"
            for name, after in pairwise(names)
        )

    def fingerprint(self) -> str:
        """A hash of the values, their times and the parts: whether data is still what it was."""
        series = self.series
        about = f"{asdict(series.clock)} {series.start} {self.parts} {self.horizon} {self.season}"
        return hashlib.sha256(series.values.tobytes() + series.known.tobytes() + about.encode()).hexdigest()


@dataclass(frozen=True)
class ForecastRecipe(Recipe):
    """A series of numbers in, quantiles of the next steps out.

    Attributes:
        default_data: reads the recipe's own data.
    """

    settings: Settings
    default_data: Callable[[], Table] = field(kw_only=True)
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["evaluate", folder], ["predict", folder, "--data", "new.csv"]]

    def plan(self, request: Request) -> list[tuple[str, str]]:
        """What `train` would do, without doing it: data, parts, network and settings, by name."""
        prepared, model = self._begin(request)
        network = cast(Forecaster, model.network.members[0])
        return [
            ("data", f"{len(prepared.series)} values of {prepared.source}"),
            ("columns", f"time {prepared.time!r}, value {prepared.value!r}"),
            ("parts", prepared.shown_parts()),
            (
                "reads",
                f"{len(prepared.inputs.lags)} lags, calendar: {', '.join(prepared.inputs.cycles) or 'none'}",
            ),
            ("parameters", str(sum(p.numel() for p in model.network.parameters()))),
            ("runs", explain(network.recurrent, torch.zeros(1, 1, prepared.inputs.width))),
            ("folder", str(request.out)),
            *((name, str(value)) for name, value, _ in described(prepared.settings)),
        ]

    def train(self, request: Request) -> Trained:
        """Train on the request's series, measure on its end, and write the model folder."""
        prepared, model = self._begin(request)
        settings, series = prepared.settings, prepared.series
        rank, processes = process()
        scales = prepared.inputs.scales(series.values[: prepared.parts.train])
        fitted_run = fit(
            model.network,
            _loss,
            Windows(series, prepared.inputs, scales, prepared.parts.train, settings, rank, processes),
            lambda _: {n: v for n, v in _measure(model, prepared, "validation").items() if isinstance(v, float)},
            settings.train,
            request.out,
            about={"the data": prepared.fingerprint(), **_meaning(settings)},
            resume=request.resume,
            progress=request.progress,
        )
        request.progress.say("forecasting the test part, and by ARIMA beside it")
        places = prepared.origins("test")
        parts = prepared.parts
        task = Task(series, parts.train, parts.validation, places, prepared.horizon, prepared.season)
        baselines, forecasts = measured_baselines(task, prepared.scale)
        model.metrics = {
            "test": _measure(model, prepared, "test"),
            "baselines": baselines,
            "validation": fitted_run.best_metrics,
            "training": training_figures(fitted_run, model.network, prepared.parts.train),
        }
        model.config, model.folder = _config(model, self.name, prepared, request.data), request.out
        if rank == 0:
            model.folder = save_model(request.out, model.network.state_dict(), model.config, metrics=model.metrics)
            _draw(model, prepared, forecasts)
        return Trained(model.folder, model.metrics, model)

    def load(self, folder: ModelFolder) -> ForecastModel:
        """The model in a folder that this recipe wrote.

        Raises:
            UserError: its configuration and its weights do not belong together.
        """
        config = checked_config(folder, ForecastConfig)
        clock = Clock(config.clock.unit, config.clock.step, config.clock.form, config.clock.day)
        told = config.inputs
        inputs = Inputs(tuple(told.lags), told.season, told.horizon, told.floor, tuple(told.cycles), clock)
        network = build_network(config.settings, inputs.width)
        load_weights(network, folder)
        model = ForecastModel(network, inputs, config.settings, config.data.time, config.data.value)
        model.recipe, model.folder = self, folder.path
        model.config, model.metrics = folder.config, folder.metrics or {}
        return model

    def evaluate(self, model: ForecastModel, data: Any, text: str | None, label: str | None) -> dict[str, Any]:
        """What the model is worth on a series; see `elman.recipes.contract.Model.evaluate`."""
        _refuse_text(text)
        season, most = cast(int, model.settings.data.season), model.settings.data.origins
        if data is not None:
            series = model.series(data, label)
            source = str(data) if isinstance(data, str | Path) else "data"
            places = origins(model.needed, len(series), model.horizon, season, most)
            if not places:
                what = f"a series must have {model.needed + model.horizon} values or more to be measured on"
                raise UserError(what, where=source, found=len(series))
            scale = seasonal_error(series, season, len(series), source)
            truth, known = ahead(series, places, model.horizon)
            return {**measures(truth, known, model.quantiles(series, places, 0), scale), "rows": len(series)}
        about = model.config["data"]
        if about["source"] is None and not about["own"]:
            what = "this model was trained on a series in memory, which is not kept"
            raise UserError(what, where=model.folder, fix="name the rows to measure with --data")
        table = self.default_data() if about["own"] else read_table(about["source"])
        prepared = self.prepare(
            model.settings, table, about["time"], about["value"], own=about["own"], say=lambda message: None
        )
        if prepared.fingerprint() != about["fingerprint"]:
            what = "the data is no longer what this model was trained beside"
            raise UserError(what, where=about["source"] or self.name, fix="name the rows to measure with --data")
        return _measure(model, prepared, "test")

    def _begin(self, request: Request) -> tuple[Prepared, ForecastModel]:
        """The series, and an untrained model for it."""
        _refuse_text(request.text)
        say, own = request.progress.say, request.data is None
        table = self.default_data() if own else read_table(request.data)
        settings = cast(Settings, request.settings)
        columns = series_columns(table, settings.data.time, request.label, settings.data.time_format)
        if columns.guessed and not own:
            named = {"time": f"--set data.time={columns.time}", "value": f"--label {columns.value!r}"}
            say(f"columns guessed: {' and '.join(named[role] for role in columns.guessed)}")
        if columns.time is None:
            say("no column of times: rows are taken as equally far apart")
        prepared = self.prepare(settings, table, columns.time, columns.value, own=own, say=say)
        say(f"{len(prepared.series)} values of {table.source}; parts: {prepared.shown_parts()}")
        torch.manual_seed(settings.train.seed)
        network = build_network(prepared.settings, prepared.inputs.width)
        series, inputs = prepared.series, prepared.inputs
        training = series.values[: prepared.parts.train]
        mix, reach = starting_point(training, inputs.scales(training), inputs)
        say(f"forecasts start from {'the last season' if bool(mix.any()) else 'the last value'}")
        for member in cast(list[Forecaster], list(network.members)):
            member.mix.copy_(mix)
            member.reach.copy_(reach)
        model = ForecastModel(network, inputs, prepared.settings, prepared.time, prepared.value)
        model.recipe = self
        return prepared, model

    def prepare(
        self, settings: Settings, data: Any, time: str | None, value: str, *, own: bool, say: Callable[[str], None]
    ) -> Prepared:
        """The series in a table, its parts, and how it is read; what was decided is said.

        Raises:
            UserError: the data cannot be read or learnt from; the line is named.
        """
        table = read_table(data)
        asked = settings.data
        if own:  # a value is there twice, and 24 are not there
            asked = asked.model_copy(update={"gaps": "interpolate", "duplicates": "mean"})
        series = read_series(
            table, time, value, gaps=asked.gaps, duplicates=asked.duplicates, pattern=asked.time_format, say=say
        )
        decided, parts = fitted(settings, series, table.source, say)
        season = cast(int, decided.data.season)
        scale = seasonal_error(series, season, parts.train, table.source)
        lags = usual_lags(season, decided.model.lags)
        cycles = cycles_of(decided.model, series.clock, parts.train)
        inputs = Inputs(lags, season, cast(int, decided.data.horizon), 1.0, cycles, series.clock)
        floor = FLOOR * float(inputs.distances(series.values[: parts.train]).mean())
        inputs = replace(inputs, floor=floor)
        return Prepared(table.source, time, value, series, parts, decided, inputs, scale)


def _refuse_text(text: str | None) -> None:
    if text is not None:
        fix = "name the column of values with --label, that of times with --set data.time=COLUMN"
        raise UserError("a series has no column of texts", where="--text", found=text, fix=fix)


def _meaning(settings: Settings) -> dict[str, Any]:
    """The settings that make a run what it is, besides those of the loop, by dotted key."""
    return {name: value for name, value, _ in described(settings) if not name.startswith("train.")}


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


def _config(model: ForecastModel, name: str, prepared: Prepared, data: Any) -> dict[str, Any]:
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    source = None if path is None else str(path.resolve()) if path.exists() else str(data)
    inputs = prepared.inputs
    return {
        "recipe": name,
        "settings": prepared.settings.model_dump(),
        "clock": asdict(inputs.clock),
        "inputs": {name: value for name, value in vars(inputs).items() if name != "clock"},
        "data": {
            "own": data is None,
            "source": source,
            "time": prepared.time,
            "value": prepared.value,
            "fingerprint": prepared.fingerprint(),
        },
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
