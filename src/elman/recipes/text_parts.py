"""The rows of a text recipe: cleaned, labelled and dealt out to training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from elman.data import Labels, Split, Table, drop_empty, split
from elman.errors import UserError
from elman.recipes.baselines import Rows
from elman.recipes.text_model import DataSettings


@dataclass(frozen=True)
class Prepared:
    """Rows ready to be learnt from: cleaned (`dropped` had no text), labelled, cut into parts."""

    table: Table
    text: str
    label: str
    labels: Labels
    targets: Sequence[float]
    parts: Split
    dropped: int

    def rows(self, part: Sequence[int]) -> Rows:
        """The texts and targets of a part."""
        texts = self.table.column(self.text)
        return Rows([texts[row] for row in part], [self.targets[row] for row in part])

    @property
    def source(self) -> str:
        """The table, as the user named it, and how many rows it has."""
        return f"{len(self.table)} rows of {self.table.source}"

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of texts and of labels."""
        return self.text, self.label

    def shown(self) -> list[tuple[str, str]]:
        """Its columns, how often each class stands in the rows, and how many rows each part holds."""
        counts = self.labels.counts(self.targets)
        return [
            ("columns", f"text {self.text!r}, label {self.label!r}"),
            ("labels", ", ".join(f"{name} {count}" for name, count in counts.items()) or "numbers"),
            ("parts", ", ".join(f"{name} {len(part)}" for name, part in self.parts._asdict().items())),
        ]

    def fingerprint(self) -> str:
        """A hash of every text, label and part, in order: whether data is still what it was."""
        labels = [str(value) for value in self.table.column(self.label)]
        whole = [self.table.column(self.text), labels, *self.parts]
        return hashlib.sha256(json.dumps(whole).encode("utf-8", "surrogatepass")).hexdigest()


def prepare_parts(table: Table, text: str, label: str, asked: DataSettings, own: bool) -> Prepared:
    """The rows of a table with their labels, dealt out to the parts; the same table, the same parts.

    Args:
        table: the data.
        text: its text column.
        label: its label column.
        asked: how.
        own: whether this is the recipe's own data, which may name its groups in a column `group`.

    Raises:
        UserError: a column is missing, a label cannot be read, or there are too few rows.
    """
    table, dropped = drop_empty(table, text)
    group = asked.group or ("group" if own and "group" in table.columns else None)
    labels = Labels.read(table, label, None if asked.labels == "auto" else asked.labels)
    targets = labels.encode(table.column(label), table.where)
    shares = (1 - asked.validation - asked.test, asked.validation, asked.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no row", where="data.test and data.validation", found=shares)
    parts = split(
        len(table),
        seed=asked.seed,
        parts=shares,
        groups=table.column(group) if group else None,
        labels=targets if labels.kind == "classes" else None,
    )
    return Prepared(table, text, label, labels, targets, parts, dropped)
