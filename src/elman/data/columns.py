"""Which column holds the texts and which the labels: given, guessed by usual names, or by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elman.data.table import Table, as_number, is_missing
from elman.errors import UserError, did_you_mean

# Tiers: a name of an earlier one is preferred, two of the same one are ambiguous.
_TEXT_NAMES = (
    "text texts",
    "review sentence tweet content body comment message document utterance phrase "
    "review_text reviewtext full_text post sms question description",
)
_LABEL_NAMES = (
    "label labels",
    "sentiment class category target emotion polarity intent topic rating stars "
    "score y tag overall label_text is_spam spam",
)
_SAMPLE = 10_000
_FEW = 20
_CLEARLY = 1.5


@dataclass(frozen=True)
class Columns:
    """The columns to learn from.

    Args:
        text: the column of texts.
        label: the column of labels, or None where none is needed.
        guessed: which of "text" and "label" were not named by the user, for the caller to print.
    """

    text: str
    label: str | None
    guessed: tuple[str, ...]


def choose_columns(table: Table, text: str | None, label: str | None, *, need_label: bool = True) -> Columns:
    """Settle the text and the label column; what the user named is never overruled.

    A column not named is found by its usual name in either case (text before review, sentence, tweet, ...;
    label before sentiment, class, ...), or else by what the columns hold: texts are the clearly longest
    strings with many distinct values, labels the only other column with few distinct ones.

    Args:
        table: the data.
        text: the text column, where the user named it.
        label: the label column, where the user named it.
        need_label: whether a label column is looked for when none is named.

    Raises:
        UserError: a named column does not exist, both are the same, or the guess is ambiguous; the columns
            are listed.

    Example:
        >>> choose_columns(Table({"Review": ["good"], "stars": [5]}, "data"), None, None)
        Columns(text='Review', label='stars', guessed=('text', 'label'))
    """
    _check_named(table, text, label)
    guessed = []
    if text is None:
        others = [name for name in table.columns if name != label]
        text = column_named(table, others, _TEXT_NAMES, "text") or _longest(table, others)
        guessed.append("text")
    if label is None and need_label:
        others = [name for name in table.columns if name != text]
        label = column_named(table, others, _LABEL_NAMES, "label") or _fewest(table, others)
        guessed.append("label")
    return Columns(text, label, tuple(guessed))


def _check_named(table: Table, text: str | None, label: str | None) -> None:
    for option, name in (("--text", text), ("--label", label)):
        if name is not None and name not in table.columns:
            fix = f"{did_you_mean(name, table.columns)} ({option})"
            raise UserError(f"no column {name!r}", where=table.source, found=", ".join(table.columns), fix=fix)
    if text is not None and text == label:
        raise UserError("text and label must be different columns", where=table.source, found=f"{text!r} for both")


def column_named(table: Table, names: Sequence[str], tiers: Sequence[str], role: str) -> str | None:
    """The one column that has a usual name, in either case; names of an earlier tier are preferred.

    Raises:
        UserError: several columns have names of one tier.
    """
    for usual in tiers:
        matches = [name for name in names if name.strip().casefold() in usual.split()]
        if len(matches) > 1:
            raise _ambiguous(table, role, f"{', '.join(matches)} could all be it")
        if matches:
            return matches[0]
    return None


def _longest(table: Table, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    lengths = {name: _text_length(table.columns[name][:_SAMPLE]) for name in names}
    ranked = sorted((name for name in names if lengths[name]), key=lambda name: -lengths[name])
    if not ranked:
        raise _ambiguous(table, "text", "no column holds many different strings")
    if len(ranked) > 1 and lengths[ranked[0]] < _CLEARLY * lengths[ranked[1]]:
        raise _ambiguous(table, "text", f"{ranked[0]} and {ranked[1]} hold strings of about the same length")
    return ranked[0]


def _text_length(cells: Sequence[object]) -> float:
    """The mean length of the strings, or 0 where the column is no text: numbers, or a few values repeated."""
    present = [cell for cell in cells if not is_missing(cell)]
    texts = [cell for cell in present if isinstance(cell, str) and as_number(cell) is None]
    varied = len(set(texts)) > _FEW or 2 * len(set(texts)) > len(texts)
    mostly = 10 * len(texts) >= 9 * len(present)
    return sum(map(len, texts)) / len(texts) if texts and varied and mostly else 0.0


def _fewest(table: Table, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    few = [name for name in names if _repeats(table.columns[name][:_SAMPLE])]
    if len(few) != 1:
        found = f"{', '.join(few)} could all be it" if few else "no other column repeats a few values"
        raise _ambiguous(table, "label", found)
    return few[0]


def _repeats(cells: Sequence[object]) -> bool:
    values = {str(cell) for cell in cells}
    return 1 < len(values) <= _FEW and 2 * len(values) <= len(cells)


def _ambiguous(table: Table, role: str, why: str) -> UserError:
    what = f"which column holds the {role} is not clear: {why}"
    fix = f"name it with --{role} COLUMN (the first line of the file must name the columns)"
    return UserError(what, where=table.source, found=f"columns {', '.join(table.columns)}", fix=fix)
