"""A model's inputs and outputs as a picture: unfolded over time, a shared weight in one colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import nn

from elman.insight.pen import HALF, MARGIN, OUTPUT, RISE, SHARED, Pen
from elman.insight.pictures import INK, new_figure, save_figure
from elman.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany, OneToOne

_INPUT, _ASIDE = 0.8, 0.4  # the height of the inputs; how far two directions stand beside their step
_MEANINGS = {
    "U": "input to state",
    "W": "state to state",
    "V": "to output",
    "B": "bridge",
    "U_w": "the writer's own",
    "W_w": "",
    "A": "attention",
    "": "goes back in",
}


def draw(model: nn.Module, path: Path | str) -> Path:
    """A model of `elman.models`, unfolded over a few steps.

    Args:
        model: `OneToOne`, `OneToMany`, `ManyToOne`, `ManyToMany`, `LanguageModel` or `EncoderDecoder`; its options
            are seen in the picture.
        path: where to write, ending in .png or .svg.

    Returns:
        The path.

    Raises:
        ValueError: another model, or the path ends in neither .png nor .svg.

    Example:
        >>> import tempfile
        >>> from elman import Recurrent, models
        >>> model = models.OneToMany(Recurrent("gru", 4, 8), 10, context_size=3, embedding_size=4)
        >>> draw(model, Path(tempfile.mkdtemp()) / "one-to-many.png").name
        'one-to-many.png'
    """
    sketch = _sketch(model)
    columns = 1 + sketch.steps + (sketch.read + 1 if sketch.read else 0)
    width = max(7.4, columns * sketch.pitch + 2 * MARGIN)
    height = _INPUT + (3 if sketch.both else 2) * RISE + HALF + 1.0
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
    start = (width - (columns - 1) * sketch.pitch) / 2
    letters = _Drawing(Pen(axes), sketch, start).run()
    _heading(axes, sketch.title, letters, height)
    return save_figure(figure, path)


@dataclass(frozen=True)
class _Sketch:
    """What a picture shows: so many steps, which of them read and write what."""

    title: str
    steps: int = 3
    recurrent: bool = True
    inputs: tuple[str, ...] = ()  # the label of each step's input; empty: it reads nothing
    outputs: tuple[int, ...] = (1, 2, 3)
    both: bool = False
    bridge: bool = False  # a context that becomes the first state
    feedback: bool = False
    read: int = 0  # steps of a reader before
    attention: bool = False
    pooled: str = ""  # how the states become one output

    @property
    def pitch(self) -> float:
        """From one step to the next."""
        return 2.1 if self.both else 1.6


def _sketch(model: nn.Module) -> _Sketch:
    numbered = tuple(f"$x_{{{t}}}$" for t in (1, 2, 3))
    if isinstance(model, OneToOne):
        between = model.recurrent is not None
        return _Sketch("One to one", 1, between, ("$x$",), (1,))
    if isinstance(model, OneToMany):
        every = ", $c$" if model.every_step else ""
        inputs = ("$E_0$" + every, "$E_1$" + every, "$E_2$" + every) if model.feedback else ("$c$",) * 3
        shown = inputs if model.feedback or model.every_step else ()
        return _Sketch("One to many", inputs=shown, bridge=not model.every_step, feedback=model.feedback)
    if isinstance(model, ManyToOne):
        both, pooled = model.recurrent.bidirectional, "+".join(model.pooling.kinds)
        return _Sketch("Many to one", inputs=numbered, both=both, pooled=pooled)
    if isinstance(model, LanguageModel):
        return _Sketch("Many to many: a language model", inputs=numbered, feedback=True)
    if isinstance(model, ManyToMany):
        return _Sketch("Many to many", inputs=numbered, both=model.recurrent.bidirectional)
    if isinstance(model, EncoderDecoder):
        inputs = ("$E_0$", "$E_1$", "$E_2$")
        both, attention = model.reader.bidirectional, model.attention is not None
        return _Sketch("Many to many: encoder and decoder", 3, inputs=inputs, both=both, feedback=True, read=3,
                       attention=attention)  # fmt: skip
    raise ValueError(f"only the arrangements of elman.models have a picture, got {type(model).__name__}")


@dataclass(frozen=True)
class _Drawing:
    """A picture under way."""

    pen: Pen
    sketch: _Sketch
    start: float

    def run(self) -> list[str]:
        """Draws everything; the letters of the arrows that were used."""
        sketch, pen = self.sketch, self.pen
        if not sketch.recurrent:
            x = pen.box(self.at(0.5), _INPUT, OUTPUT, sketch.inputs[0], math=True)
            pen.arrow(x, pen.box(self.at(0.5), self.top, OUTPUT, "$O$", math=True), "V")
            return ["V"]
        if sketch.read:
            return self.encoder_decoder()
        first = self.circle(0, "s", 0, given=not sketch.bridge)
        letters = ["W", "V"]
        if sketch.bridge:
            pen.arrow(pen.box(self.at(0), _INPUT, OUTPUT, "$c$", math=True), first, "B")
            letters.append("B")
        forward, inputs = self.chain(first, "s", 1, sketch.steps, sketch.inputs, aside=sketch.both)
        backward = self.backward(inputs) if sketch.both else []
        if sketch.pooled:
            self.pool(forward, backward)
        else:
            self.feedback(self.outputs(forward, backward, 1), inputs)
        return (["U"] if sketch.inputs else []) + letters + ([""] if sketch.feedback else [])

    def encoder_decoder(self) -> list[str]:
        """Reader on the left, bridge, writer on the right."""
        sketch, pen = self.sketch, self.pen
        first = self.circle(0, "e", 0, given=True)
        labels = tuple(f"$x_{{{t}}}$" for t in range(1, sketch.read + 1))
        read, inputs = self.chain(first, "e", 1, sketch.read, labels, aside=sketch.both)
        backward = self.backward(inputs) if sketch.both else []
        bridged = self.circle(sketch.read + 1, "s", 0, given=False)
        pen.arrow(read[-1], bridged, "B")
        written, fed = self.chain(bridged, "s", sketch.read + 2, sketch.steps, sketch.inputs, own="_w")
        outputs = self.outputs(written, [], sketch.read + 2)
        self.feedback(outputs, fed)
        if sketch.attention:
            for state in backward or read:
                pen.curve(state, outputs[1], "A")
        return ["U", "W", "V", "B", "U_w", "W_w", *(["A"] if sketch.attention else []), ""]

    @property
    def top(self) -> float:
        """The height of the outputs."""
        return _INPUT + (3 if self.sketch.both else 2) * RISE

    def at(self, column: float) -> float:
        """Where a column stands."""
        return self.start + column * self.sketch.pitch

    def circle(self, column: float, letter: str, t: int, *, given: bool, row: int = 1) -> Patch:
        """The state of step t."""
        return self.pen.circle((self.at(column), _INPUT + row * RISE), f"${letter}_{{{t}}}$", given)

    def chain(
        self,
        first: Patch,
        letter: str,
        column: int,
        steps: int,
        labels: tuple[str, ...],
        *,
        aside: bool = False,
        own: str = "",
    ) -> tuple[list[Patch], list[Patch]]:
        """States from left to right and their inputs."""
        states, inputs, before = [], [], first
        for t in range(steps):
            place = column + t - (_ASIDE / self.sketch.pitch if aside else 0)
            state = self.circle(place, letter, t + 1, given=False)
            self.pen.arrow(before, state, "W" + own)
            if labels:
                box = self.pen.box(self.at(column + t), _INPUT, OUTPUT + 0.25, labels[t], math=True)
                self.pen.arrow(box, state, "U" + own, left=aside)
                inputs.append(box)
            states.append(state)
            before = state
        return states, inputs

    def backward(self, inputs: list[Patch]) -> list[Patch]:
        """States from right to left, above the others."""
        states: list[Patch] = []
        for t in reversed(range(len(inputs))):
            centre = (self.at(1 + t) + _ASIDE, _INPUT + 2 * RISE)
            state = self.pen.circle(centre, f"$s'_{{{t + 1}}}$", given=False)
            self.pen.arrow(inputs[t], state, "U'", at=0.25)
            if states:
                self.pen.arrow(states[-1], state, "W'")
            states.append(state)
        return states[::-1]

    def outputs(self, forward: list[Patch], backward: list[Patch], column: int) -> list[Patch]:
        """The outputs there are, each from the states of its step."""
        found = []
        for t in self.sketch.outputs:
            box = self.pen.box(self.at(column + t - 1), self.top, OUTPUT, f"$O_{{{t}}}$", math=True)
            self.pen.arrow(forward[t - 1], box, "V", at=0.3 if backward else 0.5, left=bool(backward))
            if backward:
                self.pen.arrow(backward[t - 1], box, "V")
            found.append(box)
        return found

    def pool(self, forward: list[Patch], backward: list[Patch]) -> None:
        """One output, from the last state of each direction or from all."""
        last, kinds = self.sketch.pooled == "last", self.sketch.pooled
        column = len(forward) if last and not backward else (1 + len(forward)) / 2
        width = OUTPUT if last else OUTPUT + 0.14 * len(kinds)
        box = self.pen.box(self.at(column), self.top, width, "$O$" if last else f"$O$: {kinds}", math=True)
        for state in [forward[-1], *backward[:1]] if last else [*forward, *backward]:
            self.pen.arrow(state, box, "V", at=0.3 if backward else 0.5)

    def feedback(self, outputs: list[Patch], inputs: list[Patch]) -> None:
        """From each output to the input after it."""
        if self.sketch.feedback:
            for output, following in zip(outputs, inputs[1:], strict=False):
                self.pen.curve(output, following, "")


def _heading(axes: Axes, title: str, letters: list[str], height: float) -> None:
    axes.text(MARGIN, height - 0.34, title, fontsize=14, weight="bold", color=INK, va="center")
    x, to_inches = MARGIN, axes.transData.inverted()
    for letter in letters:
        mark = f"${letter}$" if letter else "\u2192"
        for piece, colour, size in ((mark, SHARED[letter], 14.0), (_MEANINGS[letter], "#555555", 11.5)):
            text = axes.text(x, height - 0.77, piece, color=colour, fontsize=size, math_fontfamily="cm")
            x = text.get_window_extent().transformed(to_inches).x1 + 0.1
        x += 0.2
