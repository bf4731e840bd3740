"""What `elman inspect` tells of a specimen: measures, figures, text in colours, and the verdict in words."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import torch
from torch import Tensor

from elman.data.batches import IGNORED
from elman.insight import (
    TracedRun,
    gradient_norms,
    lag_curve,
    lyapunov_exponent,
    saturation,
    singular_values,
    step_jacobians,
)
from elman.insight.figures import (
    draw_attention,
    draw_eigenvalues,
    draw_gradient_map,
    draw_lag_curves,
    draw_portrait,
    draw_saturation,
    draw_singular_values,
)
from elman.insight.page import Picture, coloured, number, page, table
from elman.insight.units import active_states, explained, holding, kind_of, state_portrait
from elman.insight.verdicts import Finding, Verdict, verdict
from elman.recipes.inspection import Specimen, some_rows

# ---- choices -------------------------------------------------------------------------------------------------
STEPS = 1024  # rows times steps whose gradients are followed back lag by lag
WORK = 2e9  # cubes of the state's width that spectra are taken of, at most: decides of how many steps
UNITS = 3  # of each sort that are shown
CHARACTERS, TEXTS, LEAST = 420, 10, 20  # of the text that units are shown on; less is not begun
PASSES = 4  # layers and directions that have figures of their own
POINTS = 2000  # of a portrait, at most
PIECES = 36  # of a source that attention is shown over, at most
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """A report, not yet written.

    Attributes:
        html: the page.
        pictures: its figures.
        values: all measures, as JSON takes them.
        verdicts: by layer.
        left_out: what is not in it, and why.
    """

    html: str
    pictures: Sequence[Picture]
    values: Mapping[str, Any]
    verdicts: Mapping[str, Verdict]
    left_out: Sequence[str]


@dataclass
class _Layer:
    """One traced layer, and what has been found of it so far."""

    name: str
    run: TracedRun
    some: TracedRun
    verdict: Verdict
    text: list[list[str]] | None
    pictures: list[Picture] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def shown(self) -> int:
        """The pass whose states are shown: the last layer, forwards."""
        return len(self.run.outputs) - self.run.stack.directions

    @property
    def of_words(self) -> bool:
        """Whether some piece of the text is more than a character."""
        return any(len(piece) > 1 for row in self.text or () for piece in row)

    @property
    def kinds(self) -> list[str]:
        """Of each piece of the text."""
        return [kind_of(piece, self.of_words) for row in self.text or () for piece in row]

    def add(self, name: str, title: str, figure: Any, alt: str, caption: str) -> None:
        self.pictures.append(Picture(f"{self.name}-{name}".replace(" ", "-"), title, figure, alt, caption))


def make_report(found: Specimen) -> Report:
    """Measures a specimen and draws what is seen.

    Example:
        >>> from elman.recipes.inspection import specimen
        >>> make_report(specimen("names")).verdicts["recurrent"].kinds  # doctest: +SKIP
        ('vanishing',)
    """
    layers = [_measured(found, name, run) for name, run in found.layers.items()]
    units = {layer.name: html for layer in layers if (html := _units(layer))}
    attention = _attention(found)
    left_out = [reason for layer in layers for reason in layer.left_out] + [*_left_out(found)]
    pictures = [picture for layer in layers for picture in layer.pictures] + ([attention] if attention else [])
    title = f"Inside {_called(found)}"
    body = [
        *_head(found, title),
        *(part for layer in layers for part in _verdict(found, layer)),
        "<h2>Memory in steps</h2>",
        _memory(layers),
    ]
    for layer in layers:
        body.append(f"<h2>{escape(_titled(layer))}</h2>")
        body.append(f'<div class="charts">{"".join(picture.html() for picture in layer.pictures)}</div>')
        body.append(units.get(layer.name, ""))
    if attention:
        body += ["<h2>Attention</h2>", f'<div class="charts">{attention.html()}</div>']
    if left_out:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in left_out)
        body.append(f"<h2>Left out, and why</h2><ul>{items}</ul>")
    values = {
        "recipe": found.name,
        "folder": None if found.folder is None else str(found.folder),
        "data": found.source,
        "sequences": len(next(iter(found.layers.values())).lengths),
        "layers": {layer.name: layer.values for layer in layers},
        "left_out": left_out,
    }
    return Report(page(title, body), pictures, values, {layer.name: layer.verdict for layer in layers}, left_out)


def _measured(found: Specimen, name: str, run: TracedRun) -> _Layer:
    some = some_rows(run, max(4, STEPS // run.steps))
    layer = _Layer(name, run, some, _judged(found, name, some), found.texts.get(name))
    said = layer.verdict
    layer.values |= {
        "kinds": list(said.kinds),
        "sentence": said.sentence,
        "findings": [
            {"kind": f.kind, "where": f.where, "value": f.value, "sentence": f.sentence} for f in said.findings
        ],
        "remedies": [remedy.setting for remedy in said.remedies],
        "passes": {name: _finite(own) for name, own in said.numbers.items()},
    }
    _add_gradient(layer)
    _add_spectra(layer)
    _add_saturation(layer)
    _add_portrait(found, layer)
    return layer


def _judged(found: Specimen, name: str, run: TracedRun) -> Verdict:
    """The verdict; a layer that the loss does not reach at all has not lost its gradient through time."""
    said = verdict(run, settings=found.settings, norms=found.norms)
    if any(bool(value.any()) for value in run.entering.values()):
        return said
    sentence = f"{name}: nothing of the loss reaches it: what reads it begins with weights of 0, or is dead"
    others = tuple(finding for finding in said.findings if finding.kind != "vanishing")
    return replace(said, findings=(Finding("no gradient", name, 0.0, sentence, ()), *others))


def _add_gradient(layer: _Layer) -> None:
    run, names = layer.some, layer.run.names
    curves = dict(zip(names, lag_curve(run), strict=True))
    layer.values["lag_curve"] = {name: _list(curve) for name, curve in curves.items()}
    try:
        figure = draw_lag_curves(curves)
    except ValueError as error:
        layer.left_out.append(f"{layer.name}, gradient by lag: {error}")
    else:
        numbers = layer.verdict.numbers
        alt = "; ".join(
            f"{name}: {_percent(numbers[name]['left'])} is left after {numbers[name]['lags']} steps, 1/e after "
            f"{_steps(numbers[name]['memory'], int(numbers[name]['steps']))}"
            for name in names
        )
        caption = (
            "The gradient of the loss at a step with respect to the state so many steps earlier, the mean over "
            "steps and sequences. A straight line falls by the same factor at every step; a flat one keeps all."
        )
        layer.add("lag", "How far back the gradient reaches", figure, alt, caption)
    norms = gradient_norms(layer.run)
    for index, name in list(enumerate(names))[:PASSES]:
        positive = norms[index][norms[index] > 0]
        if not len(positive):
            layer.left_out.append(f"{layer.name}, {name}, gradient by step: it is 0 everywhere")
            continue
        low, high = float(positive.min()), float(positive.max())
        alt = (
            f"Heat map of {len(norms[index])} sequences by {layer.run.steps} steps: the gradient's norm runs from "
            f"{low:.2g} to {high:.2g}"
        )
        caption = (
            "What reaches each state of each sequence: a line a sequence, a column a step; ten times as much is 1 "
            "more. Where a line fades towards the start, or in a reversed pass towards the end, it is lost."
        )
        title = f"Gradient at each step, {name}"
        layer.add(f"gradient-{index}", title, draw_gradient_map(norms[index].cpu()), alt, caption)


def _add_spectra(layer: _Layer) -> None:
    run = layer.some
    width = sum(value.shape[-1] for value in run.states.values())
    most = int(max(2, min(64, WORK // width**3)))
    values = singular_values(run, most)
    by_name = dict(zip(run.names, values, strict=True))
    exponents = lyapunov_exponent(run) if int(run.lengths.max()) >= run.steps // 10 + 2 else torch.tensor([])
    for name, exponent in zip(run.names, exponents.tolist(), strict=False):
        layer.values["passes"][name]["lyapunov"] = exponent if math.isfinite(exponent) else None
    layer.values["singular_values"] = {name: _list(row) for name, row in by_name.items()}
    largest = "; ".join(
        f"{name}: largest {float(row[0]):.2f}, middle {float(row.median()):.2f}" for name, row in by_name.items()
    )
    caption = (
        f"What one step multiplies the directions of the state by, the mean over {most} steps along the data. "
        "Above the dotted line at 1 a direction grows, below it shrinks."
    )
    layer.add("singular", "Singular values of a step's Jacobian", draw_singular_values(by_name), largest, caption)
    eigen = torch.linalg.eigvals(step_jacobians(run, layer.shown, min(most, 8)).double())
    radius = eigen.abs().amax(-1)
    layer.values["spectral_radius"] = {run.names[layer.shown]: float(radius.mean())}
    alt = f"{eigen.numel()} eigenvalues; a step's largest has the size {float(radius.mean()):.2f} in the mean"
    caption = (
        f"Their eigenvalues in {run.names[layer.shown]}, of {len(eigen)} steps. Near the circle a pattern "
        "lasts, near the middle it is forgotten at once, outside it grows."
    )
    layer.add("eigen", "Eigenvalues of a step's Jacobian", draw_eigenvalues(eigen.cpu()), alt, caption)


def _add_saturation(layer: _Layer) -> None:
    shares = saturation(layer.run)
    if not shares:
        cell = type(layer.run.cell).__name__
        layer.left_out.append(f"{layer.name}, saturation: {cell} has no gate or unit that is squashed")
        return
    layer.values["saturation"] = {
        pass_: {name: float(share[index].mean()) for name, share in shares.items()}
        for index, pass_ in enumerate(layer.run.names)
    }
    for index, pass_ in list(enumerate(layer.run.names))[:PASSES]:
        own = {name: share[index].cpu() for name, share in shares.items()}
        alt = "; ".join(
            f"{name} at a bound in {_percent(float(s.mean()))} of the steps" for name, s in own.items()
        )
        caption = (
            "For each gate and squashed value, a stroke a unit: how often it stands so near to its bounds that it "
            "hardly learns. The diamond is the mean."
        )
        layer.add(f"saturation-{index}", f"Saturation, {pass_}", draw_saturation(own), alt, caption)


def _add_portrait(found: Specimen, layer: _Layer) -> None:
    groups, meaning = _groups(found, layer)
    states = active_states(layer.run, layer.shown)
    try:
        points, shares = state_portrait(states)
    except ValueError as error:
        layer.left_out.append(f"{layer.name}, state portrait: {error}")
        return
    layer.values["portrait_variance"] = _list(shares)
    kept = torch.linspace(0, len(points) - 1, min(len(points), POINTS)).round().long()
    groups = groups[kept] if isinstance(groups, Tensor) else [groups[k] for k in kept.tolist()]
    alt = (
        f"{len(kept)} of {len(points)} states as points in a plane that holds "
        f"{_percent(float(shares.sum()))} of their variance, coloured by {meaning}"
    )
    state = next(iter(layer.run.states))
    place = layer.run.names[layer.shown]
    caption = (
        f"Each point is {state} after one step, in {place}, seen along the two directions in "
        f"which the states differ most; coloured by {meaning}. Groups that lie apart are told apart."
    )
    layer.add("portrait", "State portrait", draw_portrait(points.cpu()[kept], shares.cpu(), groups), alt, caption)


def _groups(found: Specimen, layer: _Layer) -> tuple[list[str] | Tensor, str]:
    """What each active step is coloured by, and what that is called."""
    active, targets, names = layer.run.active, found.targets, found.classes
    rows, steps = active.shape
    if names and targets is not None and not targets.is_floating_point() and layer.name == "recurrent":
        if targets.shape == (rows,):
            return [names[code] for code in targets[:, None].expand(rows, steps)[active].tolist()], "the class"
        if targets.dim() == 3 and targets.shape[:2] == (rows, steps):
            codes = targets[..., 0][active].tolist()
            return ["none" if code == IGNORED else names[code] for code in codes], "the tag of the step"
    if layer.text is not None:
        return layer.kinds, "the kind of piece that was read"
    return torch.arange(steps).expand(rows, steps)[active.cpu()], "the place in the sequence"


def _units(layer: _Layer) -> str:
    """The units that can be read best, over the text."""
    if layer.text is None:
        return ""
    run, states = layer.run, active_states(layer.run, layer.shown).cpu()
    single = not layer.of_words
    groups = [piece for row in layer.text for piece in row] if single else layer.kinds
    told, held = explained(states, groups), holding(run, layer.shown).cpu()
    first = told.argsort(descending=True)[:UNITS].tolist()
    second = [unit for unit in held.argsort(descending=True).tolist() if unit not in first][:UNITS]
    layer.values["units"] = {
        "follow_what_is_read": {str(unit): float(told[unit]) for unit in first},
        "hold": {str(unit): float(held[unit]) for unit in second},
    }
    what = "the character" if single else "the kind of piece"
    followed = {u: f"{_percent(float(told[u]))} of it follows from {what}" for u in first}
    kept = {u: f"correlation with the step before {float(held[u]):.2f}" for u in second}
    parts = []
    for title, chosen in (("Units that follow what is read", followed), ("Units that hold on to something", kept)):
        inner = "".join(_unit(layer, states, unit, why, "" if single else " ") for unit, why in chosen.items())
        parts.append(f'<section class="text"><h4>{title}</h4>{inner}</section>')
    state, pass_ = next(iter(run.states)), run.names[layer.shown]
    return (
        f'<h3>Units over the text</h3><p class="quiet">What single units of {escape(state)} in {pass_} say after '
        "each piece of text: blue below 0, orange above, full colour at the unit's largest value.</p>"
        f'<div class="units">{"".join(parts)}</div>'
    )


def _unit(layer: _Layer, states: Tensor, unit: int, why: str, joiner: str) -> str:
    values = states[:, unit]
    scale = float(values.abs().max()) or 1.0
    lines, begin, shown = [], 0, 0
    for row in (layer.text or [])[:TEXTS]:
        if shown > CHARACTERS - LEAST:
            break
        kept = _beginning(row, CHARACTERS - shown, len(joiner))
        lines.append(coloured(row[:kept], values[begin : begin + kept] / scale, joiner))
        shown += sum(len(piece) + len(joiner) for piece in row[:kept])
        begin += len(row)
    low, high = float(values.min()), float(values.max())
    return (
        f'<p class="unit">unit {unit}: {escape(why)}; from {low:.2f} to {high:.2f}</p><p>{chr(10).join(lines)}</p>'
    )


def _beginning(row: Sequence[str], most: int, between: int) -> int:
    """How many pieces of a row fit, at least one."""
    room = 0
    for kept, piece in enumerate(row):
        room += len(piece) + between
        if room > most and kept:
            return kept
    return len(row)


def _attention(found: Specimen) -> Picture | None:
    """Of the row with the longest summary whose source can be shown."""
    if found.attention is None or not {"reader", "writer"} <= set(found.texts):
        return None
    read, before = found.texts["reader"], found.texts["writer"]
    rows = [row for row in range(len(read)) if len(read[row]) <= PIECES] or [0]
    row = max(rows, key=lambda row: len(before[row]))
    source, written = read[row][:PIECES], [*before[row][1:], "(end)"]
    weights = found.attention[row, : len(written), : len(source)].cpu()
    places = [f"{out} at {source[int(where)]}" for out, where in zip(written, weights.argmax(1), strict=True)]
    alt = f"Where the writer looks most: {', '.join(places)}"
    caption = (
        "A line for each piece that is written, a column for each that was read; bright is where it looks. The "
        "summary is the one that was to be written."
    )
    if len(source) < len(read[row]):
        caption += f" Shown are the first {len(source)} of {len(read[row])} pieces that were read."
    return Picture("attention", "Where the writer looks", draw_attention(weights, written, source), alt, caption)


def _left_out(found: Specimen) -> Iterator[str]:
    if found.attention is None:
        yield "Attention maps: the model has no attention over what it reads."
    for name in found.layers:
        if name not in found.texts:
            yield f"{name}, units over the text: its steps are no pieces of text."
    if found.networks > 1:
        yield f"{found.networks} networks decide together: the first of them is shown."
    if any(run.stack.directions > 1 for run in found.layers.values()):
        yield "State portrait and units of the pass that reads backwards: shown is the one that reads forwards."
    if any(len(run.outputs) > PASSES for run in found.layers.values()):
        yield f"Figures for each layer and direction: the first {PASSES} have them, the table has all."
    if found.folder is not None and not found.norms:
        yield "How often training clipped its gradients: the folder has no metrics.jsonl that says it."


def _called(found: Specimen) -> str:
    if found.folder is None:
        return f"{found.name}, untrained"
    return found.name if found.folder.name == found.name else f"{found.name} ({found.folder.name})"


def _titled(layer: _Layer) -> str:
    run = layer.run
    ways = "both directions" if run.stack.directions > 1 else "one direction"
    units = next(iter(run.states.values())).shape[-1]
    count = run.stack.num_layers
    return f"{layer.name}: {type(run.cell).__name__}, {units} units, {count} layer{'s' * (count > 1)}, {ways}"


def _head(found: Specimen, title: str) -> list[str]:
    runs = list(found.layers.values())
    steps = [int(length) for length in runs[0].lengths]
    span = f"{min(steps)} to {max(steps)}" if min(steps) < max(steps) else f"{max(steps)}"
    state = "freshly initialised, before any training" if found.folder is None else "trained"
    said = (
        f"A model of the recipe {found.name}, {state}. Measured on {len(steps)} sequences of {span} steps of the "
        f"training part of {found.source}, dropout left out."
    )
    return [f"<h1>{escape(title)}</h1>", f'<p class="quiet">{escape(said)}</p>', "<h2>Verdict</h2>"]


def _verdict(found: Specimen, layer: _Layer) -> Iterator[str]:
    said = layer.verdict
    title = f"{layer.name}: {', '.join(said.kinds)}"
    mark = "" if said.kinds == ("healthy",) else " found"
    yield f'<div class="verdict{mark}"><p><strong>{escape(title)}</strong></p>'
    for sentence in [finding.sentence for finding in said.findings] or [said.sentence]:
        yield f"<p>{escape(sentence)}</p>"
    if said.remedies:
        yield "<p>What to try:</p><ul>"
        for remedy in said.remedies:
            command = f"elman train {found.name} --set {shlex.quote(remedy.setting)}"
            yield f"<li><code>{escape(command)}</code> {escape(remedy.why)}</li>"
        yield "</ul>"
    yield "</div>"


def _memory(layers: Sequence[_Layer]) -> str:
    titles = (
        "layer and direction", "half is left after", "1/e after", "1 % after", "left at the end", "a step",
        "Lyapunov (1/step)", "saturated",
    )  # fmt: skip
    rows = []
    for layer in layers:
        for name, own in layer.verdict.numbers.items():
            exponent = layer.values["passes"][name].get("lyapunov")
            steps = int(own["steps"])
            rows.append(
                [
                    f"{layer.name}, {name}",
                    *(_steps(own[part], steps) for part in ("half", "memory", "horizon")),
                    _percent(own["left"]),
                    f"\u00d7 {own['rate']:.3g}",
                    "-" if exponent is None else number(exponent),
                    _percent(own["saturated"]),
                ]
            )
    note = (
        '<p class="quiet">How many steps back the gradient still has that part of what it is at lag 1; how much '
        "is left over a typical sequence, and what a step multiplies it by. A negative Lyapunov exponent says "
        "that small changes of the state die out, and gradients with them.</p>"
    )
    return note + table(titles, rows)


def _steps(value: float, steps: int) -> str:
    """A memory in steps; a longer one than the sequence is not seen to its end."""
    return f"more than {steps}" if math.isinf(value) else f"{value:.1f} steps"


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"


def _list(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
