"""The results as tables in the terminal."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.grid import ELMAN, KINDS, WORKERS, Case, cases, library
from benchmarks.engine.summary import PEERS, Data, best_peer, fraction_of_peak, newest, ratio, summary
from rich.console import Console
from rich.table import Table
from rich.text import Text

TITLES = {
    "inference": "Inference, T = 128, milliseconds",
    "training": "Training: forward and backward with all gradients, T = 128, milliseconds",
    "cells": "Cells that nobody builds in: training, T = 128, milliseconds",
    "ragged": "Ragged rows (lengths 1 to 128) beside full ones: training, milliseconds",
    "overhead": "One call: T = B = 1, H = 64, inference, microseconds",
    "denormals": "Denormal numbers beside normal ones: LSTM, T = 128, milliseconds",
}
RATIOS = {"ragged": "Elman / full", "denormals": "Elman / normal"}
STYLES = {"reached": "green", "missed": "bold red"}


def show(data: Data, console: Console) -> None:
    """Everything that was measured, the lost regimes, and the targets."""
    where = data["machine"]
    console.print(f"{where['cpu']}, {where['threads']} threads, {where['system']}, commit {where['commit']}")
    console.print(", ".join(f"{name} {version}" for name, version in data["versions"].items()))
    peak = data["peak"].get("peak")
    console.print(
        f"peak {peak:.0f} GF/s" if peak else f"peak not known: {data['peak'].get('absent', 'not measured')}"
    )
    runs = [run["lanes"] for record in data["cases"].values() for run in record["runs"]]
    for lane, why in {lane: e["absent"] for lanes in runs for lane, e in lanes.items() if "absent" in e}.items():
        console.print(f"no column {lane}: {why}")
    for kind in KINDS:
        found = [case for case in cases((kind,), None, None) if case.key in data["cases"]]
        if found:
            console.print("", _table(data, kind, found))
    if data["long"]:
        console.print("", _long(data["long"]))
    _show_summary(summary(data), console)


def _table(data: Data, kind: str, found: list[Case]) -> Table:
    lanes = _lanes(data, found)
    table = Table(title=TITLES[kind], title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("case", no_wrap=True)
    for lane in lanes:
        table.add_column(lane, justify="right")
    peers = PEERS.get(kind, ())
    table.add_column(RATIOS.get(kind, "best peer / Elman" if peers else ""), justify="right")
    if kind == "training":
        table.add_column("of peak", justify="right")
    for case in found:
        entries = {lane: newest(data, case, lane) for lane in lanes}
        times = [entry["seconds"] for entry in entries.values() if "seconds" in entry]
        name = case.key.removeprefix(f"{kind} ").removesuffix(" forward")
        row = [Text(name + (" forward" if kind == "denormals" and not case.training else ""))]
        row += [
            _time(entry, 1e6 if kind == "overhead" else 1e3, min(times, default=0)) for entry in entries.values()
        ]
        row.append(_ratio(data, case, peers, lanes))
        if kind == "training":
            part = fraction_of_peak(data, case)
            row.append(Text("" if part is None else f"{part:.0%}"))
        table.add_row(*row)
    return table


def _lanes(data: Data, found: list[Case]) -> list[str]:
    runs = [run["lanes"] for case in found for run in data["cases"][case.key]["runs"]]
    seen = {lane for lanes in runs for lane, entry in lanes.items() if "absent" not in entry}
    order = list(WORKERS)
    return sorted(seen, key=lambda lane: (order.index(library(lane)), lane))


def _time(entry: dict[str, Any], unit: float, best: float) -> Text:
    if entry.get("passed") is False and "failed" not in entry:
        return Text(f"wrong: {entry['worst']} {entry['error']:.0e}", "bold red")
    if "failed" in entry:
        return Text("failed", "bold red")
    if "seconds" not in entry:
        return Text("right" if entry.get("passed") else "-")
    spread = (entry["high"] - entry["low"]) / entry["seconds"]
    value = entry["seconds"] * unit
    shown = f"{value:.3f}" if value < 1 else f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return Text(f"{shown} ±{spread / 2:.0%}", "bold" if entry["seconds"] == best else "")


def _ratio(data: Data, case: Case, peers: tuple[str, ...], lanes: list[str]) -> Text:
    if not peers:
        others = [lane for lane in lanes if lane.startswith(f"{ELMAN}:")]
        found = [ratio(data, case, lane) for lane in others]
        return Text(" ".join(f"{1 / value:.2f}" for value in found if value))
    known = [peer for peer in peers if ratio(data, case, peer) is not None]
    best = best_peer(data, case, known) if known else None
    if best is None:
        return Text("")
    return Text(f"{best[1]:.2f}{'' if best[1] >= 1 else ' lost'}", "green" if best[1] >= 1 else "bold red")


def _long(found: dict[str, dict[str, dict[str, Any]]]) -> Table:
    title = "Long sequences: LSTM, B = 1, I = 8, H = 256, training on the last state"
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("library", "T", "microseconds a step", "megabytes above the inputs"):
        table.add_column(name, justify="right" if name != "library" else "left")
    for name, records in found.items():
        for steps, record in sorted(records.items(), key=lambda item: int(item[0])):
            if "seconds" in record:
                values = f"{record['seconds'] / int(steps) * 1e6:.2f}", f"{record['megabytes']:.0f}"
            else:
                values = record.get("failed") or f"wrong: {record['worst']} {record['error']:.0e}", ""
            table.add_row(name, f"{int(steps):,}", *values)
    return table


def _show_summary(found: dict[str, Any], console: Console) -> None:
    for kind, means in found["means"].items():
        told = ", ".join(f"{peer} {value['ratio']:.2f} ({value['cases']} cases)" for peer, value in means.items())
        console.print(f"\ngeometric mean, {kind}: {told}")
    if found["means"]:
        console.print(f"\nlost: {'' if found['lost'] else 'nothing'}")
        for key, slower in found["lost"].items():
            told = ", ".join(f"{peer} is {1 / value:.2f} times faster" for peer, value in slower.items())
            console.print(f"  {key}: {told}")
    table = Table(title="Targets", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("target", "found", "wanted", "aim", "state"):
        table.add_column(name, justify="left" if name in ("target", "state") else "right")
    for one in found["targets"]:
        sign, value, aim = "≥" if one["at_least"] else "≤", one["value"], one["aim"]
        shown = ["" if number is None else f"{number:.3g}" for number in (value, aim)]
        state = Text(one["state"], STYLES.get(one["state"].split(":")[0], "yellow"))
        table.add_row(one["name"], shown[0], f"{sign} {one['bound']:g}", shown[1], state)
    console.print("", table)
