"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.engine.fleet import Fleet
from benchmarks.engine.grid import KINDS, QUICK_SHAPES, WORKERS, Shapes, cases
from benchmarks.engine.long import LENGTHS, LIBRARIES, run_long
from benchmarks.engine.picture import draw
from benchmarks.engine.results import Results, measured_on
from benchmarks.engine.run import machine_peak, run_case
from benchmarks.engine.summary import summary
from benchmarks.engine.table import show
from rich.console import Console

FILE = Path(__file__).parents[1] / "results" / "engine.json"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.engine", description="Elman's engine beside its peers.")
    workers = tuple(WORKERS.values())
    parser.add_argument("--only", type=_words(workers), default=workers, help=f"libraries: {','.join(workers)}")
    parser.add_argument("--kinds", type=_words(KINDS), default=KINDS, help=",".join(KINDS))
    parser.add_argument("--shapes", type=_shapes, help="ROWSxUNITS, as 1x64,32x256")
    parser.add_argument("--cells", type=lambda text: tuple(text.lower().split(",")), help="as lstm,PeepholeLSTM")
    parser.add_argument("--lengths", type=_lengths, default=LENGTHS, help="of the long sequences")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each library; 0: compare results alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--api", choices=("drop_in", "recurrent"), default="drop_in", help="Elman's layers")
    parser.add_argument("--backend", default="auto", help="Elman's backend")
    parser.add_argument("--output", type=Path, default=FILE, help="results; the picture goes beside it")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--quick", action="store_true", help="three shapes, short turns, nothing kept")
    parser.add_argument(
        "--show", action="store_true", help="measure nothing: the table and picture of the results"
    )
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.shapes, chosen.seconds, chosen.rounds = chosen.shapes or QUICK_SHAPES, 0.05, 2
        chosen.kinds = tuple(kind for kind in chosen.kinds if kind not in ("cells", "long"))
    return chosen


def main() -> None:
    chosen = options()
    console = Console(highlight=False)
    if chosen.show:
        data = json.loads(chosen.output.read_text())
        draw(data, chosen.output.with_suffix(".png"))
        show(data, console)
        return
    results = Results(None if chosen.quick else chosen.output, measured_on(chosen.threads), chosen.fresh)
    os.environ |= {"ELMAN_BENCH_API": chosen.api, "ELMAN_BENCH_BACKEND": chosen.backend}
    with Fleet([*chosen.only, "judge"], chosen.threads) as fleet:
        _measure(fleet, results, chosen, console)
    results.data["summary"] = summary(results.data)
    results.write()
    if not chosen.quick:
        draw(results.data, chosen.output.with_suffix(".png"))
    show(results.data, console)


def _measure(fleet: Fleet, results: Results, chosen: argparse.Namespace, console: Console) -> None:
    results.data["versions"] |= fleet.versions
    if "elman" in fleet.workers:
        results.data["peak"] = machine_peak(fleet.workers["elman"], chosen.threads)
    say = partial(console.print, markup=False, soft_wrap=True)
    todo = list(cases(chosen.kinds, chosen.cells, chosen.shapes))
    for number, case in enumerate(todo, 1):
        lanes = run_case(fleet, case, chosen.seconds, chosen.rounds)
        results.add(case, lanes)
        say(f"[{number}/{len(todo)}] {case.key}: {_told(lanes)}")
    for library, worker in LIBRARIES.items():
        if "long" in chosen.kinds and worker in fleet.workers:
            for steps in chosen.lengths:
                record = run_long(fleet, worker, steps, chosen.threads, chosen.seconds)
                results.add_long(library, steps, record)
                say(f"long {library} {steps:,}: {record}")


def _told(lanes: dict[str, dict[str, Any]]) -> str:
    def one(entry: dict[str, Any]) -> str:
        if "seconds" in entry:
            return f"{entry['seconds'] * 1e3:.4g} ms"
        if "passed" in entry and "failed" not in entry:
            return f"{'right' if entry['passed'] else 'WRONG'}: {entry['worst']} {entry['error']:.1e}"
        return f"failed: {entry['failed']}"

    return ", ".join(f"{lane} {one(entry)}" for lane, entry in lanes.items() if "absent" not in entry)


def _words(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        if unknown := set(words) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        return words

    return parse


def _shapes(text: str) -> Shapes:
    try:
        return tuple((int(rows), int(units)) for rows, units in (one.split("x") for one in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write ROWSxUNITS, as 1x64,32x256") from None


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


if __name__ == "__main__":
    main()
