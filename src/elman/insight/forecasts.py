"""Forecasts as a picture: what was known, what was said with its band, and what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from elman.insight.pictures import COLOURS, INK, new_figure, save_figure

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One forecast.

    Attributes:
        title: what the panel is called: when the forecast was made.
        past: the values before, the last one included.
        truth: what came, (H,).
        low: the lower end of the band, (H,).
        middle: the forecast, (H,).
        high: the upper end of the band, (H,).
        others: forecasts of other methods by name, (H,) each.
    """

    title: str
    past: Numbers
    truth: Numbers
    low: Numbers
    middle: Numbers
    high: Numbers
    others: Mapping[str, Numbers] = field(default_factory=dict)


def plot_forecasts(panels: Sequence[Panel], path: Path | str, *, value: str, step: str) -> Path:
    """One picture of forecasts side by side.

    Args:
        panels: one or more.
        path: where to write, ending in .png or .svg.
        value: what the values are.
        step: how far apart they are.

    Returns:
        The path.

    Raises:
        ValueError: there is no panel, or the path ends in something else.

    Example:
        >>> import tempfile
        >>> past, next_ = np.arange(5.0), np.arange(5.0, 8.0)
        >>> panel = Panel("now", past, next_, next_ - 1, next_, next_ + 1, {"naive": np.full(3, 4.0)})
        >>> plot_forecasts([panel], Path(tempfile.mkdtemp()) / "f.png", value="level", step="1 day").name
        'f.png'
    """
    if not panels:
        raise ValueError("plot_forecasts needs at least one panel, got none")
    figure = new_figure(1.2 + 3.9 * len(panels), 4.4)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        _draw(axes, panel)
        axes.set_xlabel(f"steps of {step} from {panel.title}", fontsize=9, color=INK)
        if not number:
            axes.set_ylabel(value, fontsize=10.5, color=INK)
    figure.subplots_adjust(left=0.9 / figure.get_figwidth(), right=0.985, bottom=0.13, top=0.78, wspace=0.2)
    left = figure.axes[0].get_position().x0
    figure.text(left, 0.93, "Forecast and what came", fontsize=14, weight="bold", color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(left - 0.01, 0.915), ncols=len(labels),
                  frameon=False, fontsize=10, handlelength=1.8, columnspacing=1.4)  # fmt: skip
    return save_figure(figure, path)


def _draw(axes: Axes, panel: Panel) -> None:
    steps = np.arange(1, len(panel.middle) + 1)
    last = panel.past[-1:]
    axes.fill_between(
        steps, panel.low, panel.high, color=COLOURS[0], alpha=0.18, linewidth=0, label="80 % of cases"
    )
    for (name, values), colour in zip(panel.others.items(), cycle(COLOURS[1:]), strict=False):
        label = name.replace("_", " ")
        axes.plot(steps, values, "--", color=colour, linewidth=1.2, label="ARIMA" if label == "arima" else label)
    axes.plot(np.arange(1 - len(panel.past), 1), panel.past, color="#777777", linewidth=1.2)
    axes.plot([0, *steps], [*last, *panel.truth], color=INK, linewidth=1.6, label="what came")
    axes.plot(steps, panel.middle, color=COLOURS[0], linewidth=2.2, label="forecast")
    axes.axvline(0, color="#BBBBBB", linewidth=0.8)
    axes.grid(True, color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#888888")
