"""Ratios side by side, their geometric means, and the targets that they reach or miss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from benchmarks.engine.grid import ELMAN, KINDS, Case, cases
from benchmarks.engine.long import LENGTHS

PEERS = {
    "training": ("torch.nn", "JAX"),
    "inference": ("torch.nn", "JAX", "ONNX Runtime"),
    "cells": ("JAX", "torch.compile"),
}
Data = dict[str, Any]


def newest(data: Data, case: Case, lane: str = ELMAN) -> dict[str, Any]:
    """The last entry of a lane; empty where it was never measured."""
    runs = data["cases"].get(case.key, {"runs": []})["runs"]
    return next((run["lanes"][lane] for run in reversed(runs) if lane in run["lanes"]), {})


def ratio(data: Data, case: Case, lane: str) -> float | None:
    """A lane's time over Elman's in the last run that measured both; more than 1: Elman is faster."""
    for run in reversed(data["cases"].get(case.key, {"runs": []})["runs"]):
        both = [run["lanes"].get(name, {}).get("seconds") for name in (lane, ELMAN)]
        if None not in both:
            return float(both[0] / both[1])
    return None


def best_peer(data: Data, case: Case, peers: Iterable[str]) -> tuple[str, float] | None:
    """The peer with the smallest ratio; None where one of these peers was not measured beside Elman."""
    found = {peer: ratio(data, case, peer) for peer in peers}
    known = {peer: value for peer, value in found.items() if value is not None}
    if len(known) < len(found):
        return None
    return min(known.items(), key=lambda item: item[1])


def fraction_of_peak(data: Data, case: Case) -> float | None:
    """Elman's multiplications and additions a second, as a part of what the machine can do."""
    seconds, peak = newest(data, case).get("seconds"), data["peak"].get("peak")
    return None if seconds is None or peak is None else case.flops() / seconds / (peak * 1e9)


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


@dataclass(frozen=True)
class Target:
    """One promise: the value found, the bound it must keep, and how many of its cases were measured."""

    name: str
    value: float | None
    bound: float
    aim: float | None
    at_least: bool
    measured: int
    wanted: int
    wrong: int
    whole: bool = False  # a mean says nothing before all its cases are there

    @property
    def state(self) -> str:
        """Reached, missed, or not wholly measured."""
        if self.wrong:
            return f"missed: {self.wrong} wrong or failed"
        if self.whole and self.measured < self.wanted:
            return f"{self.measured} of {self.wanted} measured"
        if self.value is not None and (self.value < self.bound if self.at_least else self.value > self.bound):
            return "missed"
        return "reached" if self.measured == self.wanted else f"{self.measured} of {self.wanted} measured"

    def told(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self) | {"state": self.state}


Found = Callable[[Data, Case], float | None]
Choose = Callable[[list[float]], float]


def targets(data: Data) -> list[Target]:
    """Every promise of the engine."""
    every = {kind: list(cases((kind,), None, None)) for kind in KINDS if kind != "long"}

    mean = geometric_mean

    def promise(
        name: str, of: list[Case], value: Found, choose: Choose, bound: float, aim: float | None = None
    ) -> Target:
        values = [v for v in (value(data, case) for case in of) if v is not None]
        wrong = sum(_is_wrong(newest(data, case)) for case in of)
        found = choose(values) if values else None
        return Target(name, found, bound, aim, choose is not max, len(values), len(of), wrong, choose is mean)

    def best(kind: str) -> Found:
        return lambda d, case: (best_peer(d, case, PEERS[kind]) or (None, None))[1]

    def plain(d: Data, case: Case) -> float | None:
        found = ratio(d, case, f"{ELMAN}: plain")
        return None if found is None else 1 / found

    def full(d: Data, case: Case) -> float | None:
        found = ratio(d, case, f"{ELMAN}: full")
        return None if found is None else 1 / found

    def microseconds(d: Data, case: Case) -> float | None:
        seconds = newest(d, case).get("seconds")
        return None if seconds is None else seconds * 1e6

    training, own = every["training"], every["cells"]
    slow = [case for case in training if case.cell != "lstm"]
    large = [case for case in training if case.rows >= 8 and case.units >= 256]
    middle = [case for case in own if (case.rows, case.units) in ((8, 128), (32, 256))]
    small = [case for case in own if (case.rows, case.units) == (1, 64)]
    return [
        promise("training, every shape, best of torch.nn and JAX", training, best("training"), min, 1.0, 1.1),
        promise("training, geometric mean", training, best("training"), mean, 2.0, 2.7),
        promise("inference, every shape, best of three", every["inference"], best("inference"), min, 0.95, 1.05),
        promise("inference, geometric mean", every["inference"], best("inference"), mean, 1.5, 2.0),
        promise("training, RNN and GRU, torch.nn, mean", slow, lambda d, c: ratio(d, c, "torch.nn"), mean, 6.0),
        promise("training, part of peak, B >= 8, H >= 256", large, fraction_of_peak, min, 0.70, 0.82),
        promise("cells not built in, every shape", own, best("cells"), min, 1.0),
        promise("cells not built in, geometric mean", own, best("cells"), mean, 1.5),
        promise("cells not built in over the plain cell, 8x128, 32x256", middle, plain, max, 1.35),
        promise("cells not built in over the plain cell, 1x64", small, plain, max, 2.0),
        promise("ragged rows over full rows", every["ragged"], full, max, 0.65),
        promise("one call, T = B = 1, H = 64, microseconds", every["overhead"], microseconds, max, 15.0),
        *_long_targets(data["long"].get(ELMAN, {})),
    ]


def _is_wrong(entry: dict[str, Any]) -> bool:
    return entry.get("passed") is False or "failed" in entry


def _long_targets(found: dict[str, dict[str, Any]]) -> list[Target]:
    wrong = sum(_is_wrong(record) for record in found.values())
    lengths = [steps for steps in LENGTHS if steps >= 1000]
    step = {steps: found.get(str(steps), {}).get("seconds", math.nan) / steps for steps in LENGTHS}
    growth = [step[after] / step[before] for before, after in pairwise(lengths)]
    values = {
        ("long sequences, megabytes above the inputs", 256.0): [
            found.get(str(steps), {}).get("megabytes", math.nan) for steps in lengths
        ],
        ("long sequences, time a step over that of T = 128", 2.2): [step[n] / step[LENGTHS[0]] for n in lengths],
        ("long sequences, time a step over that of T / 10", 1.3): growth,
    }
    made = []
    for (name, bound), all_values in values.items():
        known = [value for value in all_values if not math.isnan(value)]
        worst = max(known) if known else None
        made.append(Target(name, worst, bound, None, False, len(known), len(all_values), wrong))
    return made


def summary(data: Data) -> dict[str, Any]:
    """What the file says besides its cases: means against each peer, regimes lost, targets."""
    found: dict[str, Any] = {"means": {}, "lost": {}}
    for kind, peers in PEERS.items():
        of = list(cases((kind,), None, None))
        for peer in (*peers, "best"):
            values = [_value(data, case, peers if peer == "best" else (peer,)) for case in of]
            known = [value for value in values if value is not None]
            if known:
                means = found["means"].setdefault(kind, {})
                means[peer] = {"ratio": geometric_mean(known), "cases": len(known)}
        for case in of:
            slower = {peer: r for peer in peers if (r := ratio(data, case, peer)) is not None and r < 1}
            if slower:
                found["lost"][case.key] = slower
    return found | {"targets": [target.told() for target in targets(data)]}


def _value(data: Data, case: Case, peers: tuple[str, ...]) -> float | None:
    found = best_peer(data, case, peers)
    return None if found is None else found[1]
