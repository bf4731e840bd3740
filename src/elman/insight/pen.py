"""Boxes, circles and arrows of unfolded networks; a weight has one colour wherever it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Line

from elman.insight.pictures import COLOURS, INK

# Inches, as all lengths here: of a state's circle, half the height of a box, around the picture, between rows.
RADIUS, HALF, MARGIN, RISE = 0.31, 0.24, 0.35, 1.15
BESIDE, OUTPUT = 0.19, 0.72  # of a letter from its arrow; the width of an output's box
_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY = COLOURS
SHARED = {"U": _BLUE, "W": _VERMILION, "V": _GREEN, "U'": _SKY, "W'": _ORANGE}
# Of Paul Tol's muted colours: a writer's own weights, attention.
SHARED |= {"B": _PURPLE, "U_w": "#332288", "W_w": "#117733", "A": "#882255", "": "#888888"}


@dataclass(frozen=True)
class Pen:
    """Draws shapes, arrows between them, and text."""

    axes: Axes

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text with its middle at a point; mathematics where it starts with a dollar sign."""
        usual: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "fontsize": 13}
        self.axes.text(x, y, text, math_fontfamily="cm", **usual | options)

    def box(self, x: float, y: float, width: float, text: str, math: bool = False) -> Patch:
        """A box with text in it."""
        corner, style = (x - width / 2, y - HALF), "round,pad=0,rounding_size=0.07"
        shape = FancyBboxPatch(corner, width, 2 * HALF, style, facecolor="#F2F2F2", edgecolor=INK, lw=1.3)
        self.axes.add_patch(shape)
        self.text(x, y, text, parse_math=math, fontsize=16 if math else 13)
        return shape

    def circle(self, centre: tuple[float, float], text: str, given: bool) -> Patch:
        """A state; dashed where it is given instead of computed."""
        style, edge = ("--", "#888888") if given else ("-", INK)
        shape = Circle(centre, RADIUS, facecolor="white", edgecolor=edge, linestyle=style, lw=1.5)
        self.axes.add_patch(shape)
        self.text(*centre, text, fontsize=15, color=edge)
        return shape

    def arrow(self, start: Patch, end: Patch, letter: str, *, at: float = 0.5, left: bool = False) -> None:
        """A straight arrow in its weight's colour, the letter beside it at a part of the way."""
        a, b = middle(start), middle(end)
        self._line(letter, posA=a, posB=b, patchA=start, patchB=end, shrinkA=1, shrinkB=2)
        dx, dy = (b[0] - a[0]) / math.dist(a, b), (b[1] - a[1]) / math.dist(a, b)
        aside = (0.0, 1.0) if dy == 0 else (-dy, dx) if left else (dy, -dx)
        x, y = (p + at * (q - p) + BESIDE * n for p, q, n in zip(a, b, aside, strict=True))
        self.text(x, y, f"${letter}$", color=SHARED[letter], fontsize=16)

    def elbow(self, start: Patch, end: Patch, letter: str) -> None:
        """An arrow straight up, then level to the side of a box, the letter above its level part."""
        a, b = middle(start), middle(end)
        sign = math.copysign(1.0, b[0] - a[0])
        tip = b[0] - sign * (OUTPUT / 2 + 0.03)
        self._line(letter, path=Line([(a[0], a[1] + RADIUS), (a[0], b[1]), (tip, b[1])]))
        self.text((a[0] + tip) / 2, b[1] + BESIDE, f"${letter}$", color=SHARED[letter], fontsize=16)

    def curve(self, start: Patch, end: Patch, letter: str) -> None:
        """A thin bent arrow, for what is no plain step of the network."""
        course: dict[str, Any] = {"posA": middle(start), "posB": middle(end), "patchA": start, "patchB": end}
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 12, "lw": 1.4, "zorder": 0.4, "alpha": 0.8}
        bend = "arc3,rad=-0.18" if letter else "arc3,rad=0.12"
        line = FancyArrowPatch(color=SHARED[letter], connectionstyle=bend, shrinkA=1, shrinkB=2, **style, **course)
        self.axes.add_patch(line)

    def _line(self, letter: str, **course: Any) -> None:
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 17, "lw": 2.2, "zorder": 0.5}
        self.axes.add_patch(FancyArrowPatch(color=SHARED[letter], **style, **course))


def middle(shape: Patch) -> tuple[float, float]:
    """The middle of a shape."""
    box = shape.get_path().get_extents(shape.get_patch_transform())
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
