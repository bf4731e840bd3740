"""What forecasts are worth: rolling origins over a part, MASE, pinball loss, coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from elman.data.series import Flags, Numbers, Series
from elman.errors import UserError
from elman.recipes.forecast_network import MEDIAN, QUANTILES


def origins(begin: int, end: int, horizon: int, season: int, most: int) -> list[int]:
    """The last value known to each forecast of a part, evenly spread; what is forecast lies in the part.

    Their distance has no factor in common with the season, so that every place in the season is forecast from.

    Args:
        begin: the part's first value.
        end: the value after its last.
        horizon: steps forecast.
        season: steps of a season.
        most: origins at most.

    Example:
        >>> origins(begin=10, end=20, horizon=4, season=2, most=3)
        [9, 12, 15]
    """
    count = end - horizon - begin + 1
    stride = max(1, math.ceil(count / most))
    while math.gcd(stride, season) > 1:
        stride += 1
    return list(range(begin - 1, end - horizon, stride))


def seasonal_error(series: Series, season: int, end: int, source: str) -> float:
    """The mean of |y_t - y_{t-m}| over the values before `end`: the unit of MASE.

    Raises:
        UserError: it is 0: the series stands still or repeats itself.

    Source:
        R. J. Hyndman and A. B. Koehler, Another look at measures of forecast accuracy, International Journal of
        Forecasting 22 (2006).
    """
    values, known = series.values[:end], series.known[:end]
    both = known[season:] & known[:-season]
    error = float(np.abs(values[season:] - values[:-season])[both].mean()) if both.any() else 0.0
    if error <= 1e-9 * max(float(np.abs(values).max()), 1e-30):
        what = "the training part stands still or repeats itself exactly: there is nothing to forecast"
        raise UserError(what, where=source, found=f"no value differs from that {season} steps before it")
    return error


def measures(truth: Numbers, known: Flags, quantiles: Numbers, scale: float) -> dict[str, Any]:
    """mase, pinball, mae and coverage_80 of forecasts.

    mase is the mean absolute error of the median, mae, in units of `scale`; pinball twice the mean pinball loss
    over the quantiles in the same unit, so that it weighs a point forecast as mase does; coverage_80 the share of
    values from the 0.1 to the 0.9 quantile.

    Args:
        truth: (N, H).
        known: (N, H), false where nothing was measured; these do not count.
        quantiles: (N, H, 9).
        scale: see `seasonal_error`.

    Example:
        >>> flat = np.zeros((1, 2, 9))
        >>> found = measures(np.array([[1.0, 3.0]]), np.array([[True, False]]), flat, scale=2.0)
        >>> found["mase"], round(found["pinball"], 9), found["coverage_80"]
        (0.5, 0.5, 0.0)
    """
    levels = np.asarray(QUANTILES)
    error = (truth[..., None] - quantiles)[known]
    loss = np.maximum(levels * error, (levels - 1) * error)
    inside = (error[:, 0] >= 0) & (error[:, -1] <= 0)
    mae = float(np.abs(error[:, MEDIAN]).mean())
    return {
        "mase": mae / scale,
        "pinball": 2 * float(loss.mean()) / scale,
        "mae": mae,
        "coverage_80": float(inside.mean()),
        "forecasts": len(truth),
    }


def ahead(series: Series, places: list[int], horizon: int) -> tuple[Numbers, Flags]:
    """What came after some origins and whether it was measured, (N, H) both."""
    index = np.asarray(places)[:, None] + np.arange(1, horizon + 1)
    return series.values[index], series.known[index]
