"""The picture: how many times longer each peer takes, shape by shape."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.grid import BUILT_IN, SHAPES, cases
from benchmarks.engine.summary import PEERS, Data, geometric_mean, newest, ratio
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Okabe and Ito's colours, told apart by all eyes; the marks differ as well.
LOOKS = {"torch.nn": ("#D55E00", "o"), "JAX": ("#0072B2", "s"), "ONNX Runtime": ("#009E73", "D")}
DRAWN = ("training", "inference")
GREY = "#555555"


def draw(data: Data, path: Path) -> None:
    """Writes the picture of what was measured of the built-in cells."""
    figure = Figure(figsize=(12, 8.2), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(BUILT_IN), sharex=True, sharey=True)
    for row, kind in zip(axes, DRAWN, strict=True):
        for panel, cell in zip(row, BUILT_IN, strict=True):
            _panel(data, panel, kind, cell)
    _limits(axes[0][0], data)
    for panel in axes[1]:
        panel.set_xlabel("peer's time / Elman's time (log scale)", color=GREY)
    where = data["machine"]
    figure.suptitle("How many times longer than Elman's engine?", x=0.012, ha="left", fontsize=15, weight="bold")
    told = (
        f"T = 128, I = H, fp32, {where['threads']} threads, {where['cpu']}, commit {str(where['commit'])[:10]}.\n"
        "Training: forward and backward. Shaded: faster than Elman. Titles: geometric mean of the best peer."
    )
    figure.text(0.012, 0.91, told, color=GREY, fontsize=9.5, linespacing=1.4)
    handles = [
        panel_line for name in LOOKS for panel_line in axes[1][0].get_lines() if panel_line.get_label() == name
    ]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, bbox_to_anchor=(0.995, 0.99))
    figure.tight_layout(rect=(0, 0, 1, 0.955), h_pad=1.6)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


def _panel(data: Data, panel: Axes, kind: str, cell: str) -> None:
    found = list(cases((kind,), (cell,), None))
    bests = []
    for place, case in enumerate(found):
        known = {peer: r for peer in PEERS[kind] if (r := ratio(data, case, peer)) is not None}
        if known:
            low, high = min(known.values()), max(known.values())
            panel.plot([low, high], [place, place], color="#CCCCCC", linewidth=2, zorder=1)
            bests.append(low)
        seconds = newest(data, case).get("seconds")
        if seconds is not None:
            panel.annotate(
                _milliseconds(seconds), (1, place), xycoords=("axes fraction", "data"), xytext=(-3, 0),
                textcoords="offset points", ha="right", va="center", fontsize=8, color=GREY,
            )  # fmt: skip
    for peer in PEERS[kind]:
        points = [(r, place) for place, case in enumerate(found) if (r := ratio(data, case, peer)) is not None]
        colour, mark = LOOKS[peer]
        x, y = zip(*points, strict=True) if points else ((), ())
        panel.plot(x, y, mark, color=colour, markersize=7, label=peer, markeredgecolor="white", zorder=3)
    panel.axvspan(1e-4, 1, color="#F3E3DC", zorder=0, linewidth=0)
    panel.axvline(1, color="black", linewidth=1, zorder=2)
    mean = f": best peer {geometric_mean(bests):.2f}x" if bests else ""
    panel.set_title(f"{cell.upper()} {kind}{mean}", loc="left", fontsize=11)
    panel.set_title("Elman's time", loc="right", fontsize=8, color=GREY)
    panel.set_yticks(range(len(SHAPES)), [f"B {rows}, H {units}" for rows, units in SHAPES])
    panel.tick_params(length=0)
    panel.grid(axis="x", color="#EEEEEE", zorder=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _limits(panel: Axes, data: Data) -> None:
    ratios = [
        r
        for kind, peers in PEERS.items()
        if kind in DRAWN
        for case in cases((kind,), None, None)
        for peer in peers
        if (r := ratio(data, case, peer)) is not None
    ]
    panel.set_xscale("log")
    panel.set_xlim(min(0.8, min(ratios, default=1) / 1.3), max(4.0, max(ratios, default=1)) * 2.6)
    panel.set_ylim(len(SHAPES) - 0.4, -0.6)
    panel.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.2f} ms" if value < 1 else f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"
