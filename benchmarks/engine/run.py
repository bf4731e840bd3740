"""One case after another: prepare, compare, then measure in turn and in rounds."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.engine.fleet import Fleet, Worker
from benchmarks.engine.grid import WORKERS, Case, lanes, library

PAUSE = 0.02  # seconds between two turns: the threads of the last one stop spinning
Entry = dict[str, Any]


def run_case(fleet: Fleet, case: Case, seconds: float, rounds: int) -> dict[str, Entry]:
    """The entries of a case by lane: its seconds, or why there are none."""
    found: dict[str, Entry] = {}
    for lane, given in lanes(case).items():
        name = WORKERS[library(lane)]
        if name in fleet.workers:
            found[lane] = _compared(fleet, name, lane, given)
        elif name in fleet.absent:
            found[lane] = {"absent": fleet.absent[name]}
    _race(fleet, found, seconds, rounds)
    for name in list(fleet.workers):
        fleet.ask(name, "forget")
    return found


def _race(fleet: Fleet, found: dict[str, Entry], seconds: float, rounds: int) -> None:
    """Measures the lanes that passed, each round in another order."""
    racing = [lane for lane, entry in found.items() if entry.get("passed")]
    turns: dict[str, list[float]] = {lane: [] for lane in racing}
    for turn in range(rounds):
        shift = turn % max(1, len(racing))
        for lane in racing[shift:] + racing[:shift]:
            time.sleep(PAUSE)
            if not found[lane]["passed"]:
                continue
            answer = fleet.ask(WORKERS[library(lane)], "measure", lane=lane, seconds=seconds)
            if "failed" in answer:
                found[lane] |= {"passed": False, "failed": answer["failed"]}
                continue
            turns[lane].append(answer["seconds"])
            found[lane]["calls"] = found[lane].get("calls", 0) + answer["calls"]
    for lane, times in turns.items():
        if times and found[lane]["passed"]:
            found[lane] |= {"seconds": statistics.median(times), "low": min(times), "high": max(times)}


def _compared(fleet: Fleet, name: str, lane: str, case: Case) -> Entry:
    path = fleet.folder / "results.npz"
    answer = fleet.ask(name, "prepare", lane=lane, case=case.told(), path=str(path))
    if "absent" in answer or "failed" in answer:
        return answer
    try:
        return answer | fleet.workers["judge"].ask("compare", case=case.told(), path=str(path))
    finally:
        path.unlink(missing_ok=True)


def machine_peak(worker: Worker, threads: int) -> Entry:
    """The machine's peak in GF/s, or why it is not known."""
    return worker.ask("peak", threads=threads)
