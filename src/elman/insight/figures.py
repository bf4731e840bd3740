"""The figures of a report: small enough to be read on a telephone, in colours that any eye tells apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from elman.errors import visible
from elman.insight.pictures import COLOURS, INK, new_figure

QUIET, GRID = "#555555", "#DDDDDD"
SCALE = "cividis"  # from dark blue to yellow, even in brightness, the same for the colour-blind
WIDTH = 4.6  # inches
_SIZE = 9.5  # of letters, in points
_STYLES, _MARKS = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v", "P")
_MOST_GROUPS = 6


def draw_lag_curves(curves: Mapping[str, Tensor]) -> Figure:
    """The gradient against the lag, as a part of what it is at lag 1, on a logarithmic axis.

    Args:
        curves: by name of the pass, (K,) from lag 0 on, as from `elman.insight.lag_curve`.

    Raises:
        ValueError: no curve has a positive number at lag 1.

    Example:
        >>> figure = draw_lag_curves({"layer 0": 0.5 ** torch.arange(9.0)})
        >>> figure.axes[0].get_xlabel()
        'lag: steps back in time'
    """
    figure, axes = _new(3.0, "lag: steps back in time", "gradient, part of that at lag 1")
    axes.set_yscale("log")
    drawn = 0
    for (name, curve), colour, style in zip(curves.items(), cycle(COLOURS), cycle(_STYLES), strict=False):
        known = curve[1:].double()
        if not len(known) or not float(known[0]) > 0:
            continue
        part = known / known[0]
        lags = [k for k in range(len(part)) if float(part[k]) > 0]
        axes.plot([k + 1 for k in lags], part[lags].tolist(), style, color=colour, linewidth=2, label=name)
        drawn += 1
    if not drawn:
        raise ValueError("no gradient passes a step: there is no curve to draw")
    for level, meaning in ((0.3678794, "1/e"), (0.01, "1 %")):
        axes.axhline(level, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.text(
            0.995, level, meaning, transform=axes.get_yaxis_transform(), color=QUIET, fontsize=_SIZE - 1,
            va="bottom", ha="right",
        )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-12 * high), high)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes, drawn)
    return figure


def draw_gradient_map(norms: Tensor) -> Figure:
    """The gradient's norm at each step of each sequence, in powers of ten.

    Args:
        norms: (B, T), NaN beyond a row's length: one pass of `elman.insight.gradient_norms`.

    Example:
        >>> draw_gradient_map(torch.rand(4, 9)).axes[0].get_ylabel()
        'sequence'
    """
    return _heat(norms.where(norms > 0, torch.nan).log10(), "time step", "sequence", "log10 of the norm of dL/ds")


def draw_singular_values(values: Mapping[str, Tensor]) -> Figure:
    """Singular values of the step's Jacobian, largest first.

    Args:
        values: by name of the pass, (S,).

    Example:
        >>> draw_singular_values({"layer 0": torch.tensor([1.2, 0.9, 0.1])}).axes[0].get_ylabel()
        'singular value'
    """
    figure, axes = _new(2.8, "rank", "singular value")
    axes.axhline(1.0, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
    for (name, row), colour, style in zip(values.items(), cycle(COLOURS), cycle(_STYLES), strict=False):
        marker = "o" if len(row) <= 24 else None
        axes.plot(
            range(1, len(row) + 1), row.tolist(), style, color=colour, linewidth=2, label=name, marker=marker,
            markersize=3.5,
        )  # fmt: skip
    axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes, len(values))
    return figure


def draw_eigenvalues(values: Tensor) -> Figure:
    """Eigenvalues of the step's Jacobian in the complex plane, with the unit circle.

    Args:
        values: complex, of any shape.

    Example:
        >>> draw_eigenvalues(torch.tensor([0.5 + 0.5j, 0.5 - 0.5j])).axes[0].get_xlabel()
        'real part'
    """
    figure, axes = _new(3.6, "real part", "imaginary part")
    angle = torch.linspace(0, 2 * torch.pi, 181)
    axes.plot(angle.cos().tolist(), angle.sin().tolist(), color=QUIET, linewidth=1)
    found = values.flatten()
    axes.plot(
        found.real.tolist(), found.imag.tolist(), "o", color=COLOURS[0], markersize=2.5, alpha=0.5,
        markeredgewidth=0,
    )  # fmt: skip
    reach = max(1.1, 1.05 * float(found.abs().max()))
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure


def draw_saturation(shares: Mapping[str, Tensor]) -> Figure:
    """How often each unit of each gate stands at its bounds: a stroke a unit, a diamond at the mean.

    Args:
        shares: by name, (width,), as one pass of `elman.insight.saturation`.

    Example:
        >>> draw_saturation({"z": torch.rand(9), "r": torch.rand(9)}).axes[0].get_xlabel()
        'share of the steps at a bound (%)'
    """
    figure, axes = _new(1.2 + 0.42 * len(shares), "share of the steps at a bound (%)", "")
    for place, (share, colour) in enumerate(zip(shares.values(), cycle(COLOURS), strict=False)):
        part = 100 * share.double()
        axes.plot(part.tolist(), [place] * len(part), "|", color=colour, markersize=13, alpha=0.45)
        axes.plot([float(part.mean())], [place], "D", color=INK, markersize=5)
    axes.set_yticks(range(len(shares)), [visible(name) for name in shares])
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.grid(False, axis="y")
    return figure


def draw_portrait(points: Tensor, shares: Tensor, groups: Sequence[str] | Tensor) -> Figure:
    """States as points, coloured by group or by a number.

    Args:
        points: (N, 2), from `elman.insight.state_portrait`.
        shares: (2,), from there.
        groups: a name a point, of which the most frequent have their own colour and mark; or a number a point.

    Example:
        >>> draw_portrait(torch.rand(6, 2), torch.tensor([0.6, 0.2]), ["a", "b"] * 3).axes[0].get_xlabel()
        'first component (60 % of the variance)'
    """
    one, other = (f"{100 * float(share):.0f} % of the variance" for share in shares)
    figure, axes = _new(3.9, f"first component ({one})", f"second ({other})")
    size = 4.0 if len(points) < 400 else 2.8
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if isinstance(groups, Tensor):
        x, y = points.T.tolist()
        drawn = axes.scatter(x, y, c=groups.tolist(), cmap=SCALE, s=size**2, linewidths=0, alpha=0.85)
        _bar(figure, axes, drawn, "time step")
        return figure
    named = [name for name, _ in Counter(groups).most_common(_MOST_GROUPS)]
    rest = [k for k, group in enumerate(groups) if group not in named]
    if rest:
        axes.plot(*points[rest].T.tolist(), "o", color="#999999", markersize=size - 1, alpha=0.5, label="other")
    for name, colour, mark in zip(named, COLOURS, _MARKS, strict=False):
        mine = [k for k, group in enumerate(groups) if group == name]
        axes.plot(
            *points[mine].T.tolist(), mark, color=colour, markersize=size, alpha=0.7, markeredgewidth=0,
            label=plain(name),
        )  # fmt: skip
    _legend(axes, len(named) + bool(rest))
    return figure


def draw_attention(weights: Tensor, written: Sequence[str], read: Sequence[str]) -> Figure:
    """Where each written piece looks in what was read.

    Args:
        weights: (T, S), each row from 0 to 1.
        written: T pieces.
        read: S pieces.

    Raises:
        ValueError: the weights have another shape.

    Example:
        >>> draw_attention(torch.rand(2, 3), ["Returns", "it"], ["return", "the", "value"]).axes[0].get_ylabel()
        'written'
    """
    if weights.shape != (len(written), len(read)):
        raise ValueError(f"weights must be ({len(written)}, {len(read)}), got {tuple(weights.shape)}")
    figure = _heat(weights, "read", "written", "weight", height=1.9 + 0.16 * len(written), least=0.0)
    axes = figure.axes[0]
    axes.set_xticks(range(len(read)), [plain(piece, 10) for piece in read], rotation=90, fontsize=_SIZE - 2.5)
    axes.set_yticks(range(len(written)), [plain(piece, 12) for piece in written], fontsize=_SIZE - 2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    return figure


def plain(text: str, most: int = 18) -> str:
    r"""A user's text as a label: short, in letters that every font has, and never taken for an instruction.

    Example:
        >>> plain("_\u4f60 is a rather long name")
        ' _\\u4f60 is a r ...'
    """
    shown = visible(text).encode("latin-1", "backslashreplace").decode("latin-1")
    shown = shown if len(shown) <= most else shown[: most - 4].rstrip() + " ..."
    return f" {shown}" if shown.startswith("_") else shown  # matplotlib leaves such names out of legends


def _new(height: float, x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=_SIZE, color=INK)
    axes.set_ylabel(y, fontsize=_SIZE, color=INK)
    axes.tick_params(labelsize=_SIZE - 0.5, colors=INK, which="both", length=0)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.patch.set_visible(False)
    return figure, axes


def _heat(values: Tensor, x: str, y: str, unit: str, *, height: float = 2.9, least: float | None = None) -> Figure:
    figure, axes = _new(height, x, y)
    axes.grid(False)
    found = values.double().cpu().numpy()
    drawn = axes.imshow(found, cmap=SCALE, aspect="auto", interpolation="none", vmin=least)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _bar(figure, axes, drawn, unit)
    return figure


def _bar(figure: Figure, axes: Axes, drawn: object, unit: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25)  # type: ignore[arg-type]
    bar.set_label(unit, fontsize=_SIZE - 0.5, color=INK)
    bar.ax.tick_params(labelsize=_SIZE - 1, colors=INK, length=0)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    bar.outline.set_visible(False)


def _legend(axes: Axes, count: int) -> None:
    """Names under the title line, outside of what is drawn; of one curve none is needed."""
    if count < 2:
        return
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(3, count), fontsize=_SIZE - 0.5, frameon=False,
        labelcolor=INK, borderaxespad=0.2, markerscale=1.8, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
