"""Measures as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from elman.errors import visible

# Is higher better?
_HIGHER = {
    "accuracy": True, "macro_f1": True, "rmse": False, "mae": False, "r2": True, "bits_per_character": False,
    "rouge_l": True, "bleu": True, "exact_match": True, "valid_bars": True, "mase": False, "pinball": False,
    "frame_accuracy": True, "bits_per_sample": False, "understood": True,
    "times_real_time": True,
}  # fmt: skip
_NEAREST = {"coverage_80": 0.8}  # neither higher nor lower is better: this is

_MOST_TAGS = 50


def plain_table(*titles: str) -> Table:
    """A table with a line under its head and none around it; a first column that wraps last."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", no_wrap=number == 0)
    return table


def comparison(measured: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Methods beside one another: the best of each measure is bold, and named below the table.

    What one method alone is measured by, as the bars of a tune that are right, stands below the table too.

    Args:
        measured: measures by the method's name; one that could not be measured says why as `left_out`.
    """
    compared = {name: values for name, values in measured.items() if "left_out" not in values}
    columns = [m for m in (*_HIGHER, *_NEAREST) if all(values.get(m) is not None for values in compared.values())]
    best = {measure: best_methods(compared, measure) for measure in columns}
    table = plain_table("method")
    for measure in columns:
        table.add_column(measure, justify="right")
    for name, values in compared.items():
        cells = (Text(f"{values[m]:.3f}", "bold" if name in best[m] else "") for m in columns)
        table.add_row(visible(name), *cells)
    lines = [f"best {measure}: {', '.join(names)}" for measure, names in best.items()] if len(compared) > 1 else []
    for measure in (*_HIGHER, *_NEAREST):
        having = [name for name, values in compared.items() if values.get(measure) is not None]
        if len(having) == 1 < len(compared):
            lines.append(f"{visible(having[0])} alone, {measure}: {compared[having[0]][measure]:.3f}")
    lines += [f"{name} left out: {v['left_out']}" for name, v in measured.items() if "left_out" in v]
    return Group(table, *lines)


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Rows: the true class; columns: the class predicted; the rows that were right are bold."""
    table = plain_table("true \\ predicted")
    for name in names:
        table.add_column(visible(name), justify="right")
    for true, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = (Text(str(count), "bold" if true == predicted else "") for predicted, count in enumerate(row))
        table.add_row(visible(name), *cells)
    return table


def by_tag(kind: str, tags: Mapping[str, Mapping[str, float]]) -> Table:
    """Precision, recall and F1 of each tag of a kind, the most frequent first."""
    table = plain_table(kind)
    for title in ("precision", "recall", "f1", "words"):
        table.add_column(title, justify="right")
    for tag, values in sorted(tags.items(), key=lambda item: -item[1]["words"])[:_MOST_TAGS]:
        shares = (f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))
        table.add_row(visible(tag), *shares, str(values["words"]))
    return table


def lead(measure: str, test: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> tuple[str, float]:
    """The best baseline of a measure, and how much better the model is.

    Example:
        >>> name, ahead = lead("accuracy", {"accuracy": 0.75}, {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.25}})
        >>> name, ahead
        ('a', 0.25)
    """
    sign = 1 if is_higher_better(measure) else -1
    known = {name: sign * values[measure] for name, values in baselines.items() if measure in values}
    best = max(known, key=known.__getitem__)
    return best, sign * test[measure] - known[best]


def best_methods(measured: Mapping[str, Mapping[str, Any]], measure: str) -> list[str]:
    """The methods that have the best value, as it is shown."""
    shown = {name: round(values[measure], 3) for name, values in measured.items()}
    if measure in _NEAREST:
        value = min(shown.values(), key=lambda one: abs(one - _NEAREST[measure]))
    else:
        value = (max if _HIGHER[measure] else min)(shown.values())
    return [name for name, one in shown.items() if one == value]


def known_measures() -> tuple[str, ...]:
    """What methods are compared by, by name."""
    return (*_HIGHER, *_NEAREST)


def is_higher_better(measure: str) -> bool:
    """Whether more of a measure is better; an error or a number of bits is not."""
    return _HIGHER[measure]
