"""Curves as pictures; drawn by objects of matplotlib that nobody else holds, so that no global state changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Okabe and Ito's colours, told apart with any colour vision: blue, vermilion, green, purple, orange, sky blue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#222222"
_STYLES = ("-", "--", "-.", ":")
_DOTS_PER_INCH = 200
_ROW = 0.058  # the least distance of two labels, as a part of the height of the axes
_LETTER = 0.0145  # the room for a letter of a label, as a part of the width of the figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with a light background, in inches."""
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Writes a figure as SVG if the path ends in .svg, else as PNG; missing folders are made.

    Raises:
        ValueError: the path ends in neither .png nor .svg.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"a picture is written to a path that ends in .png or .svg, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format=kind)
    return path


def plot_gradient(curves: Mapping[str, Tensor], path: Path | str) -> Path:
    """One picture of gradient norms against the distance in time, the norms on a logarithmic axis.

    A norm of 0 has no place on that axis: it is left out, as is NaN.

    Args:
        curves: by name, what `gradient_by_distance` returns, (T,) or (layers, T). Each name has its colour,
            each layer its dashes.
        path: where to write, ending in .png or .svg.

    Returns:
        The path.

    Raises:
        ValueError: there is no curve, a curve has another shape or no positive number, or the path ends in
            something else.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "gradient.png"
        >>> plot_gradient({"RNN": 0.5 ** torch.arange(20), "LSTM": 0.9 ** torch.arange(20)}, path).name
        'gradient.png'
    """
    figure = new_figure(8, 4.5)
    axes = figure.add_axes((0.105, 0.135, 0.8, 0.7), yscale="log")
    ends: list[_End] = []
    for (name, values), colour in zip(curves.items(), cycle(COLOURS), strict=False):
        for layer, norms in enumerate(_layers(name, values)):
            label = name if values.dim() == 1 or len(values) == 1 else f"{name}, layer {layer + 1}"
            ends.append(_draw_curve(axes, norms, _End(label, colour), _STYLES[layer % len(_STYLES)]))
    if not ends:
        raise ValueError("plot_gradient needs at least one curve, got none")
    _dress(figure, axes)
    _label(axes, ends)
    return save_figure(figure, path)


def _layers(name: str, values: Tensor) -> Tensor:
    """The curves of one name, (layers, T), with NaN for what cannot be drawn."""
    if values.dim() not in (1, 2) or values.numel() == 0:
        raise ValueError(f"curve {name!r} must have shape (T,) or (layers, T), got {tuple(values.shape)}")
    values = torch.atleast_2d(values.detach().cpu().double())
    drawn = values.where(values.isfinite() & (values > 0), torch.nan)
    if bool(drawn.isnan().all(1).any()):
        raise ValueError(f"curve {name!r} has no finite number above 0 to draw on a logarithmic axis")
    return drawn


@dataclass(frozen=True)
class _End:
    """Where a curve ends, and what is written there."""

    label: str
    colour: str
    point: tuple[float, float] = (0.0, 1.0)


def _draw_curve(axes: Axes, norms: Tensor, end: _End, style: str) -> _End:
    axes.plot(range(len(norms)), norms.tolist(), style, color=end.colour, linewidth=2.2)
    far = int(norms.isfinite().nonzero().max())
    return replace(end, point=(float(far), float(norms[far])))


def _dress(figure: Figure, axes: Axes) -> None:
    """Title, axes with their units, and a quiet grid."""
    left = axes.get_position().x0
    figure.text(left, 0.93, "How far back in time the gradient reaches", fontsize=14, weight="bold", color=INK)
    line = "mean over the sequences of ‖dL/dh‖, on a logarithmic axis"
    figure.text(left, 0.872, line, fontsize=11, color="#555555")
    axes.set_xlabel("distance from the last step (time steps)", fontsize=11, color=INK)
    axes.set_ylabel("gradient norm (loss per unit of state)", fontsize=11, color=INK)
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10.5, colors=INK, which="both", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#888888")


def _label(axes: Axes, ends: list[_End]) -> None:
    """Writes each curve's name right of its end, the names moved apart where they would meet."""
    left, low, _, height = axes.get_position().bounds
    room = _LETTER * max(len(end.label) for end in ends)
    axes.set_position((left, low, max(0.4, 0.97 - left - room), height))
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    last = -_ROW
    for end in sorted(ends, key=lambda end: end.point[1]):
        x, y = to_axes.transform(end.point)
        last = max(y, last + _ROW)
        axes.text(
            x + 0.015, last, end.label, transform=axes.transAxes, color=end.colour, fontsize=11.5, weight="bold",
            va="center", parse_math=False,
        )  # fmt: skip
