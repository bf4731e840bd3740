"""Texts and their summaries: read, paired, and dealt out so that no two parts hold the same text or summary."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from elman.data import Columns, Split, Table, choose_columns, drop_empty, read_table, split
from elman.data.columns import column_named
from elman.data.docstrings import read_docstrings
from elman.data.duplicates import Partition
from elman.data.table import is_missing
from elman.data.texts import is_empty
from elman.data.vocabulary import VocabularyKind
from elman.errors import UserError

_SUMMARY_NAMES = ("summary summaries", "title headline highlights abstract subject tldr short")
_WORD = re.compile(r"\w+")


class DataSettings(BaseModel):
    """How texts become numbers, and rows become parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    vocabulary: VocabularyKind = Field("word", description="pieces of a text: word, bpe or character")
    vocabulary_size: int = Field(4000, ge=6, le=1_000_000, description="pieces that are known, at most")
    lowercase: bool = Field(True, description="upper and lower case are the same piece")
    max_text: int = Field(80, ge=1, le=10_000, description="pieces of a text that are read; the rest is not")
    max_summary: int = Field(24, ge=1, le=1_000, description="pieces of a summary that are learnt and written")
    group: str | None = Field(None, description="column whose equal values never straddle the parts")
    test: float = Field(0.1, gt=0, lt=0.9, description="share of the rows kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share by which the best epoch is chosen")
    seed: int = Field(0, ge=0, description="start of the split into parts")


@dataclass(frozen=True)
class Rows:
    """Texts and the summary of each, by row."""

    texts: list[str]
    summaries: list[str]


@dataclass(frozen=True)
class Pairs:
    """Texts with their summaries in their parts; `dropped` rows had no text."""

    rows: Rows
    parts: Split
    source: str
    columns: tuple[str | None, str | None]
    dropped: int

    def part(self, name: str) -> Rows:
        """The rows of "train", "validation" or "test"."""
        numbers = getattr(self.parts, name)
        return Rows([self.rows.texts[n] for n in numbers], [self.rows.summaries[n] for n in numbers])

    def shown(self) -> list[tuple[str, str]]:
        """How many rows there are and what each part gets, for people."""
        parts = ", ".join(f"{name} {len(part)}" for name, part in self.parts._asdict().items())
        return [("rows", str(len(self.rows.texts))), ("parts", parts)]

    def fingerprint(self) -> str:
        """A hash of every text, summary and part, in order: whether data is still what it was."""
        whole = json.dumps([self.rows.texts, self.rows.summaries, *self.parts])
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def prepare_pairs(
    data: Any, text: str | None, label: str | None, asked: DataSettings, say: Callable[[str], None]
) -> Pairs:
    """Texts and summaries, dealt out to the parts; the same data, the same parts.

    Rows with equal texts or equal summaries (case, marks and spaces aside), or of one group, are in one part.

    Args:
        data: what `read_table` reads; None is the recipe's own docstrings, dealt out file by file.
        text: the column of texts, where it is not to be guessed.
        label: the column of summaries, where it is not to be guessed.
        asked: how.
        say: is told what was guessed and left out.

    Raises:
        UserError: the data cannot be read, a row has no summary, or there are too few rows; the line is named.
    """
    table, (text, label), dropped = read_pairs(data, text, label, say)
    group = "group" if data is None else asked.group
    shares = (1 - asked.validation - asked.test, asked.validation, asked.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no row", where="data.test and data.validation", found=shares)
    rows = Rows(table.column(text), table.column(label))
    groups = _groups([rows.texts, rows.summaries, *([table.column(group)] if group else [])])
    parts = split(len(table), seed=asked.seed, parts=shares, groups=groups)
    return Pairs(rows, parts, table.source, (text, label), dropped)


def read_pairs(
    data: Any,
    text: str | None,
    label: str | None,
    say: Callable[[str], None],
    usual: tuple[str | None, str | None] = (None, None),
) -> tuple[Table, tuple[str, str], int]:
    """A table of texts and summaries, the names of the two columns, and the number of rows without a text.

    Args:
        data: what `read_table` reads; None is the recipe's own docstrings.
        text: the column of texts, where it is not to be guessed.
        label: the column of summaries, where it is not to be guessed.
        say: is told what was guessed and left out.
        usual: columns that are taken, where none is named and they are there.

    Raises:
        UserError: the data cannot be read, or a row has no summary; the file and line are named.
    """
    if data is None:
        return read_docstrings(), ("text", "summary"), 0
    table = read_table(data)
    text, label = (
        name or (other if other in table.columns else None)
        for name, other in zip((text, label), usual, strict=True)
    )
    columns = _choose(table, text, label)
    if columns.guessed:
        guesses = " and ".join(f"--{role} {getattr(columns, role)!r}" for role in columns.guessed)
        say(f"columns guessed: {guesses}")
    table, dropped = drop_empty(table, columns.text)
    if dropped:
        say(f"{dropped} rows without a text are left out")
    label = str(columns.label)
    return _with_summaries(table, label), (columns.text, label), dropped


def _choose(table: Table, text: str | None, label: str | None) -> Columns:
    """As `choose_columns` does, which knows the usual names of classes and not those of summaries."""
    if label is not None:
        return choose_columns(table, text, label)
    others = [name for name in table.columns if name != text]
    named = column_named(table, others, _SUMMARY_NAMES, "label")
    columns = choose_columns(table, text, named)
    return Columns(columns.text, columns.label, tuple(dict.fromkeys([*columns.guessed, "label"])))


def _with_summaries(table: Table, label: str) -> Table:
    cells = table.column(label)
    missing = [row for row, cell in enumerate(cells) if is_missing(cell) or is_empty(str(cell))]
    if missing:
        what, fix = f"every row needs a summary in column {label!r}", "write it, or take the row out"
        found = "a row without" if len(missing) == 1 else f"{len(missing)} rows without, this the first"
        raise UserError(what, where=table.where(missing[0]), found=found, fix=fix)
    return drop_empty(table, label)[0]  # every row stays; numbers become the text a user would write


def _groups(columns: Sequence[Sequence[Any]]) -> list[int]:
    """For each row the first one it belongs together with, by an equal value in any of the columns."""
    groups = Partition(len(columns[0]))
    for column in columns:
        first: dict[str, int] = {}
        for row, cell in enumerate(column):
            groups.join(row, first.setdefault(_said(str(cell)), row))
    return [groups.first(row) for row in range(len(columns[0]))]


def _said(text: str) -> str:
    """The words of a text, whatever their case and the marks between them; the text itself where it has none."""
    return " ".join(_WORD.findall(text.casefold())) or text
