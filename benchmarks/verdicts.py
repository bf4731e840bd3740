"""How often the verdict on a network is right, and whether the first remedy it offers helps.

    python benchmarks/verdicts.py

Writes benchmarks/results/verdicts.json: built networks, and random ones whose truth is computed from their
Jacobians; the gain is that of the measure a remedy is for, after the one setting was changed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from insight.verdict_cases import HEALTHY, SICK, gain, judged, random_results

RESULTS = Path(__file__).parent / "results" / "verdicts.json"
MOST = 1e6  # gains beyond it are written as it


def built() -> list[dict[str, object]]:
    """Every built network with its verdict, and what its first remedy does."""
    found: list[dict[str, object]] = []
    for case in (*SICK, *HEALTHY):
        said = judged(case)
        row: dict[str, object] = {"network": case.name, "truth": case.kind, "kinds": said.kinds}
        row |= {"right": case.kind in said.kinds, "sentence": said.sentence}
        if case in SICK:
            setting, times = gain(case)
            row |= {"first_remedy": setting, "gain": min(MOST, round(times, 2))}
        print(
            f"{'right' if row['right'] else 'WRONG'}  {case.name}: {', '.join(said.kinds)}  {row.get('gain', '')}"
        )
        found.append(row)
    return found


def random_networks(count: int) -> dict[str, object]:
    """The share of right verdicts, and of false alarms on healthy networks."""
    results = random_results(count)
    alarms = [kinds != ("healthy",) for true, kinds in results if true == "healthy"]
    return {
        "networks": count,
        "by_truth": dict(Counter(true for true, _ in results)),
        "right": sum(true in kinds for true, kinds in results) / count,
        "false_alarms_on_healthy": sum(alarms) / len(alarms),
    }


def main() -> None:
    torch.set_num_threads(1)
    cases = built()
    random = {str(count): random_networks(count) for count in (100, 400)}
    result = {
        "machine": machine(),
        "built": cases,
        "built_right": sum(bool(row["right"]) for row in cases) / len(cases),
        "first_remedy_doubles": sum(float(str(row.get("gain", 0))) >= 2 for row in cases),
        "of_remedies": len(SICK),
        "random": random,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(random, indent=1))


if __name__ == "__main__":
    main()
