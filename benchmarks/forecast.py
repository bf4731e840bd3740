"""The forecasting recipe's promise, measured: its own data over seeds, and three series of statsmodels.

Writes benchmarks/results/forecast.json and prints tables. Sunspots (yearly, a season of 11 given by hand) and
carbon dioxide (weekly, and its monthly means) are short; they go through the same settings as any user's CSV.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from statsmodels.datasets import co2, sunspots

import elman
from elman.training import console_progress

SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results" / "forecast.json"
MEASURES = ("mase", "pinball", "mae", "coverage_80")


def series() -> dict[str, tuple[Any, dict[str, Any]]]:
    """By name the data (None: the recipe's own) and what is set for it."""
    weekly = co2.load_pandas().data["co2"]
    monthly = weekly.resample("MS").mean()
    spots = sunspots.load_pandas().data

    def table(one: Any) -> dict[str, list[Any]]:
        return {"time": [time.date().isoformat() for time in one.index], "co2": one.tolist()}

    gaps = {"data.gaps": "interpolate"}
    return {
        "sea_surface_temperature": (None, {}),
        "sunspots": (
            {"year": spots["YEAR"].tolist(), "spots": spots["SUNACTIVITY"].tolist()},
            {"data.season": 11},
        ),
        "co2_weekly": (table(weekly), gaps),
        "co2_monthly": (table(monthly), gaps),
    }


def run(folder: Path, name: str, data: Any, changes: dict[str, Any], seed: int) -> dict[str, Any]:
    """One training with this seed; its metrics."""
    settings = {**changes, "train.seed": seed, "train.device": "cpu"}
    out = folder / f"{name}-{seed}"
    trained = elman.train("forecast", data, out=out, settings=settings, progress=console_progress())
    return {"seed": seed, **trained.metrics}


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The medians over the seeds of the model; the baselines have no seed."""
    rows = {"elman": {m: round(median(r["test"][m] for r in runs), 4) for m in MEASURES}}
    return rows | {name: {m: round(v[m], 4) for m in MEASURES} for name, v in runs[0]["baselines"].items()}


def missed(result: dict[str, Any]) -> list[str]:
    """The promises that these figures do not keep."""
    own = result["sea_surface_temperature"]
    model, seconds = own["median"]["elman"], max(r["training"]["seconds"] for r in own["runs"])
    kept = {
        f"{measure} below {baseline}": model[measure] < own["median"][baseline][measure]
        for measure in ("mase", "pinball")
        for baseline in ("seasonal_naive", "arima")
    }
    kept["trained in 5 minutes"] = seconds <= 300
    return [promise for promise, is_kept in kept.items() if not is_kept]


def main() -> None:
    """Measure, print and write; exit with 1 where a promise is not kept."""
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        for name, (data, changes) in series().items():
            runs = [run(Path(temporary), name, data, changes, seed) for seed in SEEDS]
            result[name] = {"median": summary(runs), "runs": runs}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for name in series():
        print(f"\n{name}, median of {len(SEEDS)} seeds, trained in", end=" ")
        print([r["training"]["seconds"] for r in result[name]["runs"]], "s")
        for method, row in result[name]["median"].items():
            print(f"  {method:16}" + "".join(f"{measure} {row[measure]:.3f}  " for measure in MEASURES))
    if broken := missed(result):
        sys.exit("missed: " + "; ".join(broken))


if __name__ == "__main__":
    main()
