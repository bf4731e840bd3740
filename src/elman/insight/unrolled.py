"""The network unfolded over a sentence, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from elman.insight.pictures import COLOURS, INK, new_figure, save_figure

_MOST_WORDS = 30
_RADIUS, _HALF = 0.31, 0.24  # of a state's circle, and half the height of a box; inches, as all lengths here
_MARGIN = 0.35
_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY = COLOURS
_SHARED = {"U": _BLUE, "W": _VERMILION, "V": _GREEN, "U′": _SKY, "W′": _ORANGE}
_MEANINGS = {"U": "input to state", "W": "state to state", "V": "state to output"}


def draw_unrolled(
    words: Sequence[str],
    path: Path | str,
    *,
    bidirectional: bool = False,
    outputs: Literal["all", "last"] = "all",
) -> Path:
    """The network unfolded over the words of a sentence: s_t = tanh(U x_t + W s_{t-1} + b), O_t = V s_t.

    A weight that is shared by all steps has one colour, and its letter stands at each of its arrows.

    Args:
        words: the inputs x_1 .. x_T, from one to 30 words.
        path: where to write, ending in .png or .svg.
        bidirectional: add the states that are read from the last word to the first, with weights U′ and W′
            of their own; V reads both states side by side.
        outputs: "all", or "last" for many to one: O_T alone, in both directions from both ends.

    Returns:
        The path.

    Raises:
        ValueError: no words or too many, no such `outputs`, or the path ends in neither .png nor .svg.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "unrolled.png"
        >>> draw_unrolled("I like this film".split(), path, outputs="last").name
        'unrolled.png'
    """
    if not 1 <= len(words) <= _MOST_WORDS:
        raise ValueError(f"a picture is drawn of 1 to {_MOST_WORDS} words, got {len(words)}")
    if outputs not in ("all", "last"):
        raise ValueError(f"outputs must be 'all' or 'last', got {outputs!r}")
    plan = _Plan(tuple(words), bidirectional, outputs == "last")
    figure = new_figure(plan.width, plan.height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, plan.width), ylim=(0, plan.height), aspect="equal")
    axes.set_axis_off()
    _draw_network(_Pen(axes), plan)
    _draw_heading(axes, plan)
    return save_figure(figure, path)
