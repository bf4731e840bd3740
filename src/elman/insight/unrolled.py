"""The network unfolded over a sentence, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from elman.insight.pen import HALF, MARGIN, OUTPUT, RADIUS, RISE, SHARED, Pen
from elman.insight.pictures import INK, new_figure, save_figure

_MOST_WORDS = 30
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
        bidirectional: add the states that are read from the last word to the first, with weights U' and W'
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
    _draw_network(Pen(axes), plan)
    _draw_heading(axes, plan)
    return save_figure(figure, path)


@dataclass(frozen=True)
class _Plan:
    """Where everything stands, in inches from the lower left corner."""

    words: tuple[str, ...]
    both: bool
    last: bool
    word: float = 0.8  # the height of the words

    @property
    def box(self) -> float:
        """Width of a word's box."""
        return max(0.8, 0.115 * max(len(word) for word in self.words) + 0.3)

    @property
    def pitch(self) -> float:
        """From one step to the next."""
        return max(2.1 if self.both else 1.6, self.box + 0.35)

    @property
    def shift(self) -> float:
        """How far the states of the two directions stand left and right of their word."""
        return 0.45 if self.both else 0.0

    @property
    def network(self) -> float:
        """Width of the network, from its first circle to its last circle or box."""
        if self.both:
            return (len(self.words) + 1) * self.pitch + 2 * (self.shift + RADIUS)
        return len(self.words) * self.pitch + RADIUS + max(RADIUS, self.box / 2)

    @property
    def width(self) -> float:
        """Of the picture."""
        heading = 7.7 if self.both else 5.8
        return max(heading, self.network + 2 * MARGIN)

    @property
    def height(self) -> float:
        """Of the picture."""
        return self.output + HALF + 1.0

    @property
    def output(self) -> float:
        """The height of the outputs."""
        return self.state(0, reverse=self.both)[1] + RISE

    def column(self, t: float) -> float:
        """Where step t stands, from 1 to T."""
        return (self.width - self.network) / 2 + RADIUS + self.shift + t * self.pitch

    def state(self, t: int, reverse: bool) -> tuple[float, float]:
        """Where the state of step t stands in one of the directions."""
        if reverse:
            return self.column(t) + self.shift, self.word + 2 * RISE
        return self.column(t) - self.shift, self.word + RISE


def _draw_network(pen: Pen, plan: _Plan) -> None:
    steps = len(plan.words)
    inputs = [pen.box(plan.column(t), plan.word, plan.box, word) for t, word in enumerate(plan.words, 1)]
    for t in range(1, steps + 1):
        pen.text(plan.column(t), plan.word - HALF - 0.2, f"$x_{{{t}}}$", fontsize=15)
    forward = _draw_states(pen, plan, inputs, reverse=False)
    backward = _draw_states(pen, plan, inputs, reverse=True) if plan.both else []
    if plan.last and plan.both and steps > 1:
        output = pen.box(plan.column((1 + steps) / 2), plan.output, OUTPUT, "$O$", math=True)
        pen.elbow(forward[-1], output, "V")
        pen.elbow(backward[0], output, "V")
        return
    for t in [steps] if plan.last else range(1, steps + 1):
        output = pen.box(plan.column(t), plan.output, OUTPUT, f"$O_{{{t}}}$", math=True)
        pen.arrow(forward[t - 1], output, "V", at=0.27 if plan.both else 0.5, left=plan.both)
        if plan.both:
            pen.arrow(backward[t - 1], output, "V")


def _draw_states(pen: Pen, plan: _Plan, inputs: list[Patch], reverse: bool) -> list[Patch]:
    """One direction's states and the arrows that lead to them; the states of steps 1 to T."""
    steps, prime = len(inputs), "'" if reverse else ""
    arrow = r"\overleftarrow{s}" if reverse else r"\overrightarrow{s}"
    symbol = arrow if plan.both else "s"
    start = steps + 1 if reverse else 0
    circles = {
        t: pen.circle(plan.state(t, reverse), f"${symbol}_{{{t}}}$", given=t == start)
        for t in range(int(reverse), steps + 1 + int(reverse))
    }
    for t in range(1, steps + 1):
        low = 0.27 if reverse else 0.5  # below the arrows between the states of the other direction
        pen.arrow(inputs[t - 1], circles[t], "U" + prime, at=low, left=plan.both and not reverse)
        along = 0.58 if plan.both else 0.5  # clear of the arrows that cross
        pen.arrow(circles[t + 1 if reverse else t - 1], circles[t], "W" + prime, at=along)
    return [circles[t] for t in range(1, steps + 1)]


def _draw_heading(axes: Axes, plan: _Plan) -> None:
    count = len(plan.words)
    title = "One network, unfolded over " + (f"{count} words" if count > 1 else "one word")
    title += ", read in both directions" if plan.both else ""
    axes.text(MARGIN, plan.height - 0.34, title, fontsize=14, weight="bold", color=INK, va="center")
    x, to_inches = MARGIN, axes.transData.inverted()
    for letter, meaning in _MEANINGS.items():
        letters = [letter, f"{letter}'"] if plan.both and letter != "V" else [letter]
        pieces = [(f"${each}$", SHARED[each], 14.0) for each in letters] + [(meaning, "#555555", 11.5)]
        for piece, colour, size in pieces:
            text = axes.text(x, plan.height - 0.77, piece, color=colour, fontsize=size, math_fontfamily="cm")
            x = text.get_window_extent().transformed(to_inches).x1 + 0.1
        x += 0.25
