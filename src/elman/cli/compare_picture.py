"""Cells side by side as a picture: what they reach and cost as bars, how far their gradients reach as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from elman.cli.tables import is_higher_better
from elman.insight.pictures import COLOURS, INK, new_figure, save_figure

_LETTER, _BAR = 0.0078, 0.42  # of a cell's name, as a part of the width; inches of height a cell


def draw_comparison(lines: Sequence[dict[str, Any]], measure: str, path: Path) -> Path:
    """Draws what `elman.recipes.comparison.compare` has measured.

    Args:
        lines: its `cells`.
        measure: of quality.
        path: where to write, ending in .png or .svg.
    """
    bars = 0.75 + _BAR * len(lines)
    height = bars + 3.6
    figure = new_figure(11, height)
    colours = [colour for _, colour in zip(lines, cycle(COLOURS), strict=False)]
    names = [line["cell"] for line in lines]
    held = [line["accelerator_memory"] or line["peak_memory"] for line in lines]
    panels = {
        f"{measure} ({'higher' if is_higher_better(measure) else 'lower'} is better)": (
            [line["test"][measure] for line in lines], "{:.3f}",
        ),
        "seconds of training": ([line["seconds"] for line in lines], "{:.1f}"),
        "peak memory, MB": ([(value or 0) / 1e6 for value in held], "{:.0f}"),
        "parameters": ([line["parameters"] for line in lines], "{:,.0f}"),
    }  # fmt: skip
    left = max(0.07, 0.02 + _LETTER * max(map(len, names)))
    width = (1 - left) / len(panels)
    for number, (title, (values, form)) in enumerate(panels.items()):
        place = (left + number * width, 1 - (bars - 0.15) / height, 0.78 * width, (bars - 0.6) / height)
        _bars(figure.add_axes(place), title, values, form, colours, names if number == 0 else [])
    place = (left, 0.62 / height, 0.93 - 2 * left, 2.45 / height)
    _curves(figure.add_axes(place, yscale="log"), lines, colours)
    return save_figure(figure, path)


def _bars(
    axes: Axes, title: str, values: Sequence[float], form: str, colours: Sequence[str], names: Sequence[str]
) -> None:
    places = range(len(values))
    axes.barh(places, values, color=colours, height=0.62)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(*values, 1e-12))
    for place, value in zip(places, values, strict=True):
        axes.text(value, place, " " + form.format(value), va="center", fontsize=10.5, color=INK)
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.set_yticks(list(places), labels=names or [""] * len(values), parse_math=False)
    axes.set_xticks([])
    axes.tick_params(labelsize=11, colors=INK, length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("#888888")


def _curves(axes: Axes, lines: Sequence[dict[str, Any]], colours: Sequence[str]) -> None:
    """What is left of the gradient, by lag; a legend, because curves of trained cells lie close together."""
    for line, colour in zip(lines, colours, strict=True):
        curve = line["gradient"].get("curve")
        if curve:
            axes.plot(range(1, len(curve)), curve[1:], color=colour, linewidth=2.2, label=line["cell"])
    axes.set_title("what is left of the gradient, steps back in time", fontsize=11, loc="left", color=INK)
    axes.set_xlabel("steps back", fontsize=10.5, color=INK)
    axes.axhline(1 / math.e, color="#888888", linewidth=1, linestyle=":")
    axes.text(
        1.01, 1 / math.e, "1/e", transform=axes.get_yaxis_transform(), va="center", fontsize=10, color="#666666"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(min(axes.get_ylim()[0], 0.09), max(axes.get_ylim()[1], 1.1))
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10, colors=INK, which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=11)
