"""The choices of the forecasting recipe, and what they come to for a series at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, Field

from elman.data.series import Series
from elman.data.times import Clock
from elman.errors import UserError
from elman.recipes.settings import STRICT, CellName
from elman.training import TrainSettings

_CYCLES = ("day", "week", "year")
_SEEN = 3  # times that a cycle of the calendar must go round in the training part to be read
_LEAST_CONTEXT = 8


class DataSettings(BaseModel):
    """How rows become a series, and the series parts."""

    model_config = STRICT

    time: str | None = Field(None, description="column of times; none: guessed; rows: rows are equally far apart")
    time_format: str | None = Field(None, description='how times are written, as "%d/%m/%Y %H:%M"; none: ISO 8601')
    gaps: Literal["refuse", "interpolate"] = Field("refuse", description="steps without a value")
    duplicates: Literal["refuse", "mean"] = Field("refuse", description="several values at one time")
    season: int | None = Field(
        None, ge=1, le=100_000, description="steps of a season; none: a day, a week or a year, by the step"
    )
    horizon: int | None = Field(
        None, ge=1, le=10_000, description="steps that are forecast; none: a season, or 12 where there is none"
    )
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the series, its end, kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share before it that the best epoch is chosen by")
    origins: int = Field(
        400, ge=1, le=100_000, description="forecasts a part is measured by, evenly spread, at most"
    )


class ModelSettings(BaseModel):
    """The network, and what it learns from."""

    model_config = STRICT

    arrangement: Literal["many to many", "many to one"] = Field(
        "many to many", description="learn from forecasts along a window, or from that after its last step alone"
    )
    cell: CellName = Field("gru", description="the recurrent cell")
    hidden_size: int = Field(32, ge=1, le=65_536, description="units in each layer")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    members: int = Field(3, ge=1, le=100, description="networks trained side by side whose quantiles are averaged")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of states zeroed in training")
    context: int | None = Field(
        None, ge=_LEAST_CONTEXT, le=100_000, description="steps of a window; none: seven seasons, from 32 to 512"
    )
    lags: int = Field(48, ge=1, le=2048, description="earlier values read at every step, at most")
    calendar: Literal["auto", "off"] = Field(
        "auto", description="auto: read those of day, week and year that the training part holds three times"
    )
    mirror: bool = Field(True, description="half of the windows upside down: what goes up might have gone down")


class Settings(BaseModel):
    """All choices of a forecasting recipe."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings(watch="pinball")


class Parts(BaseModel):
    """Where training ends and where the test begins; each value is in one part."""

    model_config = STRICT
    train: int
    validation: int
    end: int


def parts_of(size: int, asked: DataSettings, source: str) -> Parts:
    """The borders in time: training, then validation, then test.

    Raises:
        UserError: nothing is left to train on.
    """
    test, validation = int(size * asked.test), int(size * asked.validation)
    train = size - test - validation
    if asked.test + asked.validation >= 1 or train < 1:
        found = f"{asked.test} and {asked.validation}"
        raise UserError("the training part gets nothing", where="data.test and data.validation", found=found)
    return Parts(train=train, validation=train + validation, end=size)


def fitted(settings: Settings, series: Series, source: str, say: Callable[[str], None]) -> tuple[Settings, Parts]:
    """The settings with every `none` decided for a series; what was decided is said.

    Raises:
        UserError: the series is too short for a part, a window or a season.
    """
    data, model = settings.data, settings.model
    parts = parts_of(len(series), data, source)
    season = data.season or _season(series.clock, parts.train)
    if season == 1 and data.season is None:
        say("no season is known for these times; data.season=STEPS names one")
    if 2 * season > parts.train:
        what = "the training part must hold two seasons or more"
        raise UserError(
            what, where=source, found=f"{parts.train} steps, season {season}", fix="give more of the series"
        )
    horizon = data.horizon or max(1, min(season if season > 1 else 12, (len(series) - parts.validation) // 3))
    lag = min(season if season > 1 else 8, parts.train)
    room = (parts.train - lag - horizon) // 2
    context = model.context or max(
        _LEAST_CONTEXT, min(7 * season, 512, room) if 7 * season > 32 else min(32, room)
    )
    _refuse_short(series, parts, lag + context + horizon, horizon, source)
    say(
        f"steps of {series.clock.describe()}, {season} a season; {horizon} are forecast, from windows of {context}"
    )
    fixed = {"season": season, "horizon": horizon}
    return settings.model_copy(
        update={"data": data.model_copy(update=fixed), "model": model.model_copy(update={"context": context})}
    ), parts


def cycles_of(settings: ModelSettings, clock: Clock, train: int) -> tuple[str, ...]:
    """The cycles of the calendar that are read: those the training part holds often enough."""
    if settings.calendar == "off":
        return ()
    return tuple(cycle for cycle in clock.cycles if train >= _SEEN * clock.length(cycle))


def _season(clock: Clock, train: int) -> int:
    return clock.season if _SEEN * clock.season <= train else 1


def _refuse_short(series: Series, parts: Parts, window: int, horizon: int, source: str) -> None:
    fix = "give more of the series, or lower data.horizon, data.season or model.context"
    if parts.train < window + 1:
        found = f"{parts.train} of the series' {len(series)} values are for training"
        raise UserError(f"training needs windows of {window} values", where=source, found=found, fix=fix)
    for name, size in (("validation", parts.validation - parts.train), ("test", parts.end - parts.validation)):
        if size < horizon:
            what = f"the {name} part must hold a forecast of {horizon} steps"
            raise UserError(what, where=source, found=f"{size} of the series' {len(series)} values", fix=fix)
