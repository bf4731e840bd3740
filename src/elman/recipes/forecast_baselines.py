"""What simpler methods forecast from the same origins: the last value, the last season, ARIMA."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from elman.data.series import Numbers, Series
from elman.recipes.forecast_measures import ahead, measures, origins
from elman.recipes.forecast_network import MEDIAN, QUANTILES

_FITTED = 4_000  # values that ARIMA is fitted on, the training part's last
_LONGEST_STATE = 24  # longer seasons are given to ARIMA as waves: its states would be too many
_WAVES = 2
_CHOSEN_BY = 40  # forecasts of the validation part
# (p, d, q), and (P, D, Q) where the season is short
_ORDERS = ((1, 1, 1), (2, 1, 2), (3, 1, 1), (2, 0, 1))
_SEASONAL = (((1, 1, 1), (0, 1, 1)), ((2, 0, 0), (1, 1, 0)), ((1, 0, 1), (1, 0, 1)))
_AUTOREGRESSIVE = (9, 0, 0)


@dataclass(frozen=True)
class Task:
    """Forecasts to be made: from each origin, with what is known up to it.

    Attributes:
        series: what is forecast.
        train: methods are fitted on what is before.
        validation: and chosen by what is before.
        origins: from where is forecast.
        horizon: steps ahead.
        season: steps of a season.
    """

    series: Series
    train: int
    validation: int
    origins: Sequence[int]
    horizon: int
    season: int

    @property
    def values(self) -> Numbers:
        """The series."""
        return self.series.values


Baseline = Callable[[Task], Numbers]


def naive(task: Task) -> Numbers:
    """The last value stays; quantiles of how far it moved on the training part. (N, H, 9)."""
    last = task.values[np.asarray(task.origins)][:, None]
    moves = [task.values[j : task.train] - task.values[: task.train - j] for j in range(1, task.horizon + 1)]
    return _spread(np.repeat(last, task.horizon, 1), moves)


def seasonal_naive(task: Task) -> Numbers:
    """The last season comes again; quantiles of how far it was from that on the training part. (N, H, 9)."""
    back = task.season * (1 + np.arange(task.horizon) // task.season)  # a whole number of seasons, from j = 1 on
    places = np.asarray(task.origins)[:, None] + np.arange(1, task.horizon + 1) - back
    moves = [task.values[b : task.train] - task.values[: task.train - b] for b in back.tolist()]
    return _spread(task.values[places], moves)


def arima(task: Task) -> Numbers:
    """ARIMA by statsmodels, of a few orders the one with the least error on the validation part. (N, H, 9).

    Fitted on the last 4,000 values of the training part at most; then told every value up to each origin, as the
    network is. A season of up to 24 steps makes it seasonal, a longer one is two waves (harmonic regression).

    Raises:
        ImportError: statsmodels is not installed.
        ValueError: no order could be fitted.
    """
    module = importlib.import_module("statsmodels.tsa.arima.model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of orders that do not converge: another is then chosen
        fitted, order = _fit_arima(module.ARIMA, task)
        return _arima_forecasts(fitted, order, task, task.origins)


BASELINES: dict[str, Baseline] = {"naive": naive, "seasonal_naive": seasonal_naive, "arima": arima}


def measured_baselines(task: Task, scale: float) -> tuple[dict[str, dict[str, Any]], dict[str, Numbers]]:
    """Each baseline's measures and forecasts; one that cannot be fitted is left out, and its entry says why."""
    truth, known = ahead(task.series, list(task.origins), task.horizon)
    found: dict[str, dict[str, Any]] = {}
    forecasts: dict[str, Numbers] = {}
    for name, forecast in BASELINES.items():
        try:
            forecasts[name] = forecast(task)
            found[name] = measures(truth, known, forecasts[name], scale)
        except ImportError:
            found[name] = {"left_out": "statsmodels is not installed: pip install 'elman[forecast]'"}
        except (ValueError, np.linalg.LinAlgError) as error:
            found[name] = {"left_out": str(error)}
    return found, forecasts


@dataclass(frozen=True)
class _Order:
    """An ARIMA to be tried: its orders, waves in place of a long season, and whether it drifts."""

    order: tuple[int, int, int]
    seasonal: tuple[int, int, int] = (0, 0, 0)
    waves: int = 0
    drift: bool = False

    def regressors(self, season: int, begin: int, end: int) -> Numbers | None:
        """A ramp, and sines and cosines of a season and its halves, from step `begin` to before `end`."""
        steps = np.arange(begin, end)[:, None]
        angle = 2 * np.pi * steps * np.arange(1, self.waves + 1) / season
        columns = [np.sin(angle), np.cos(angle)] + [steps / 1000] * self.drift
        found: Numbers = np.concatenate(columns, 1)
        return found if found.shape[1] else None


def _fit_arima(arima_model: Any, task: Task) -> tuple[Any, _Order]:
    """The best fitted model, and what it is."""
    begin = max(0, task.train - _FITTED)
    values = task.values[begin : task.train]
    places = origins(task.train, task.validation, task.horizon, task.season, _CHOSEN_BY)
    truth, known = ahead(task.series, places, task.horizon)
    best: tuple[float, Any, _Order] | None = None
    for order in _orders(task.season, len(values)):
        try:
            exog = order.regressors(task.season, begin, task.train)
            seasonal = (*order.seasonal, task.season if any(order.seasonal) else 0)
            model = arima_model(values, exog=exog, order=order.order, seasonal_order=seasonal)
            fitted = model.fit(method_kwargs={"maxiter": 50})
            said = _arima_forecasts(fitted, order, task, places)
        except (ValueError, np.linalg.LinAlgError):
            continue
        error = float(np.abs(truth - said[..., MEDIAN])[known].mean())
        if np.isfinite(error) and (best is None or error < best[0]):
            best = (error, fitted, order)
    if best is None:
        raise ValueError("no ARIMA could be fitted")
    return best[1], best[2]


def _arima_forecasts(fitted: Any, order: _Order, task: Task, places: Sequence[int]) -> Numbers:
    levels = np.asarray([NormalDist().inv_cdf(level) for level in QUANTILES])
    told, found = task.train, []
    for place in places:
        if place + 1 > told:
            more = order.regressors(task.season, told, place + 1)
            fitted = fitted.extend(task.values[told : place + 1], exog=more)
            told = place + 1
        future = order.regressors(task.season, place + 1, place + 1 + task.horizon)
        said = fitted.get_forecast(task.horizon, exog=future)
        found.append(np.asarray(said.predicted_mean)[:, None] + np.asarray(said.se_mean)[:, None] * levels)
    return np.stack(found)


def _orders(season: int, size: int) -> list[_Order]:
    plain = [_Order(order) for order in _ORDERS]
    if season > _LONGEST_STATE:
        waved = [replace(order, waves=_WAVES) for order in plain]
        return [*plain, *waved, replace(waved[0], drift=True), replace(waved[1], drift=True)]
    plain += [_Order(_AUTOREGRESSIVE), replace(plain[0], drift=True)]
    if season > 1 and size >= 4 * season:
        plain += [_Order(order, seasonal) for order, seasonal in _SEASONAL]
    return plain


def _spread(middle: Numbers, moves: Sequence[Numbers]) -> Numbers:
    """Quantiles around a point forecast that is their median."""
    levels = np.asarray(QUANTILES)
    spread = np.stack([np.quantile(move, levels) if len(move) else np.zeros(len(levels)) for move in moves])
    spread[:, : MEDIAN + 1] = np.minimum(spread[:, : MEDIAN + 1], 0)
    spread[:, MEDIAN:] = np.maximum(spread[:, MEDIAN:], 0)
    quantiles: Numbers = middle[..., None] + spread
    return quantiles
