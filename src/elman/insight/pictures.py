"""Curves as pictures; drawn by objects of matplotlib that nobody else holds, so that no global state changes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

# Okabe and Ito's colours, told apart with any colour vision: blue, vermilion, green, purple, orange, sky blue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, FAINT = "#222222", "#DDDDDD"
_STYLES = ("-", "--", "-.", ":")
_DOTS_PER_INCH = 200
_ROW = 0.058  # the least distance of two labels, as a part of the height of the axes


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
    # Without a date, drawing the same again changes nothing that is committed.
    figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)
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
    axes = figure.add_axes((0.105, 0.135, 0.7, 0.7))
    axes.set_yscale("log")
    ends = []
    for (name, values), colour in zip(curves.items(), cycle(COLOURS), strict=False):
        for layer, norms in enumerate(_layers(name, values)):
            label = name if values.dim() == 1 or len(values) == 1 else f"{name}, layer {layer + 1}"
            ends.append((_draw_curve(axes, norms, colour, _STYLES[layer % len(_STYLES)]), label, colour))
    if not ends:
        raise ValueError("plot_gradient needs at least one curve, got none")
    _dress(axes)
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


def _draw_curve(axes: Axes, norms: Tensor, colour: str, style: str) -> tuple[float, float]:
    """Draws one curve and returns the point at its far end."""
    axes.plot(range(len(norms)), norms.tolist(), style, color=colour, linewidth=2.2, solid_capstyle="round")
    far = int(norms.isfinite().nonzero().max())
    return float(far), float(norms[far])


def _dress(axes: Axes) -> None:
    """Title, axes with their units, and a quiet grid."""
    figure = axes.get_figure(root=True)
    title, line = "How far back in time the gradient reaches", "mean over the sequences of ‖∂L/∂h‖"
    if figure is not None:
        figure.text(0.105, 0.93, title, fontsize=14, weight="bold", color=INK)
        figure.text(0.105, 0.872, line + ", on a logarithmic axis", fontsize=11, color="#555555")
    axes.set_xlabel("distance from the last step (time steps)", fontsize=11, color=INK)
    axes.set_ylabel("gradient norm (loss per unit of state)", fontsize=11, color=INK)
    axes.grid(True, which="major", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10.5, colors=INK, which="both", length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.01)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.spines["bottom"].set_color("#888888")


def _label(axes: Axes, ends: list[tuple[tuple[float, float], str, str]]) -> None:
    """Writes each curve's name right of the axes at the height of its end, moved apart where they would meet."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [(float(to_axes.transform(point)[1]), label, colour) for point, label, colour in ends]
    placed: list[float] = []
    for height, label, colour in sorted(heights):
        placed.append(height if not placed else max(height, placed[-1] + _ROW))
        axes.text(
            1.015, placed[-1], label, transform=axes.transAxes, color=colour, fontsize=11.5, weight="bold",
            va="center", parse_math=False,
        )  # fmt: skip
