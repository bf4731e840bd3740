"""`elman bench`: Elman's layers beside torch.nn's on this machine."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

    from elman.cli.side_by_side import Row

_CELLS = ("rnn", "gru", "lstm")
_SHAPES, _QUICK = "1x64,1x256,8x128,32x256,128x256", "1x64,8x128"
_SECONDS = 0.2  # a turn


def bench(
    cells: Annotated[str, typer.Option(help="Cells, with commas between.")] = ",".join(_CELLS),
    shapes: Annotated[str | None, typer.Option(help=f"ROWSxUNITS, with commas between; else {_SHAPES}.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Length of the sequences.")] = 128,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of both; else as many as torch takes.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two shapes and short turns.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Measure Elman's layers beside torch.nn's.

    Both hold the same weights and take turns; results are compared with fp64 first, and the exit code is 1
    where they are wrong. I = H, fp32, CPU.

    \b
    elman bench --quick
    elman bench --cells lstm --shapes 32x256,64x1024
    """  # noqa: D301
    import torch

    from elman.cli.console import results, write_json
    from elman.cli.side_by_side import measured, peak_of

    names, sizes = _cells(cells), _shapes(shapes or (_QUICK if quick else _SHAPES))
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        used, peak = torch.get_num_threads(), peak_of(torch.get_num_threads())
        turn = _SECONDS / 4 if quick else _SECONDS
        found = [row for name in names for size in sizes for row in measured(name, *size, steps, turn, peak)]
    finally:
        torch.set_num_threads(before)
    if as_json:
        about = {"torch": torch.__version__, "threads": used, "steps": steps, "peak_gflops": peak}
        write_json(about | {"rows": [row._asdict() for row in found]})
    else:
        results().print(_table(found))
        end = f", peak {peak:.0f} GF/s" if peak else ""
        results().print(f"\nT = {steps}, {used} threads, torch {torch.__version__}{end}", soft_wrap=True)
        results().print(_said(found), soft_wrap=True)
    if any(row.ratio is None for row in found):
        raise typer.Exit(1)


def _cells(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in _CELLS:
            raise UserError(
                "no such cell in torch.nn", where="--cells", found=name, fix=did_you_mean(name, _CELLS)
            )
    return names


def _shapes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([1-9]\d*)x([1-9]\d*)\s*", part)
        if found is None:
            raise UserError("not a shape", where="--shapes", found=part, fix="write ROWSxUNITS, as 32x256")
        sizes.append((int(found[1]), int(found[2])))
    return sizes


def _table(found: list[Row]) -> Table:
    from elman.cli.tables import plain_table

    table = plain_table("cell")
    for title in ("B", "H", "", "torch.nn ms", "elman ms", "torch.nn / elman", "of peak"):
        table.add_column(title, justify="right" if title else "left")
    for row in found:
        times = ("wrong" if ms is None else f"{ms:.3f}" for ms in (row.torch_ms, row.elman_ms))
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        part = "" if row.of_peak is None else f"{row.of_peak:.0%}"
        table.add_row(row.cell, str(row.rows), str(row.units), row.work, *times, ratio, part)
    return table


def _said(found: list[Row]) -> str:
    """The geometric means, what was lost, and what was wrong."""
    from elman.engine.extension import why_not

    absent = why_not()
    lines = [] if absent is None else [f"this is torch beside itself: the native engine is {absent}"]
    for work in ("inference", "training"):
        ratios = [row.ratio for row in found if row.work == work and row.ratio is not None]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            lines.append(f"{work}: torch.nn takes {mean:.2f} times as long (geometric mean of {len(ratios)})")
    lost = [f"{r.cell} {r.rows}x{r.units} {r.work}" for r in found if r.ratio is not None and r.ratio < 1]
    lines.append(f"slower than torch.nn: {', '.join(lost) or 'nothing'}")
    wrong = [f"{r.cell} {r.rows}x{r.units} {r.work}" for r in found if r.ratio is None]
    return "\n".join([*lines, *([f"wrong results: {', '.join(wrong)}"] if wrong else [])])
