"""How the verdict moves from word to word: a bar for each, its parts as wide as the classes are probable."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from elman.errors import visible
from elman.recipes.text_model import TextModel

_WIDTH = 24
_MARKS = {2: "-+", 3: "-.+"}  # of as many classes
_MANY = "0123456789"
_COLOURS = ("red", "bright_black", "green", "blue", "magenta", "cyan", "yellow", "white", "red", "green")


def moving_verdict(model: TextModel, text: str) -> Group:
    """A line for each piece of a text: the piece, the bar, and the verdict so far. Readable without colours."""
    moves = model.over_words(text)
    widest = max((cell_len(visible(piece)) for piece, _ in moves), default=0)
    return Group(*(_line(model, set_cell_size(visible(piece), widest), scores) for piece, scores in moves))


def legend(names: Sequence[str]) -> Text:
    """Which mark stands for which class."""
    marks = _marks(len(names))
    parts = zip(marks, names, _COLOURS, strict=False)
    return Text("  ").join(Text(f"{mark} {visible(name)}", colour) for mark, name, colour in parts)


def _line(model: TextModel, piece: str, scores: Sequence[float]) -> Text:
    if model.labels.kind == "numbers":
        return Text(f"  {piece}  {scores[0]:.3f}")
    names = model.labels.names
    highest = max(range(len(names)), key=scores.__getitem__)
    line = Text(f"  {piece}  ")
    for mark, colour, width in zip(_marks(len(names)), _COLOURS, _widths(scores), strict=False):
        line.append(mark * width, colour)
    return line.append(f"  {visible(names[highest])} {scores[highest]:.2f}")


def _marks(classes: int) -> str:
    """A mark for each class; none where they are more than can be told apart."""
    return _MARKS.get(classes, _MANY[:classes] if classes <= len(_MANY) else "")


def _widths(scores: Sequence[float]) -> list[int]:
    """Whole widths that add up to that of the bar: each border is rounded, not each part."""
    borders, total = [0], 0.0
    for score in scores:
        total += score
        borders.append(round(total * _WIDTH))
    return [right - left for left, right in itertools.pairwise(borders)]
