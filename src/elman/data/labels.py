"""What is to be predicted: one of some classes, or a number, by a stated rule."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from elman.data.table import Table, as_number, is_missing
from elman.errors import UserError

Kind = Literal["classes", "numbers"]

_MOST_WHOLE = 20
_MOST_CLASSES_SHOWN = 10
_UNBALANCED = 3
_NUMBER_NAME = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Labels:
    """What a label column says: `classes` with their names in the order of their numbers, or `numbers`.

    Example:
        >>> labels = Labels.read(Table({"stars": ["5", "1", "5"]}, "data"), "stars")
        >>> labels.names, labels.encode(["5", "1"]), labels.decode([0])
        (('1', '5'), [1, 0], ['1'])
    """

    kind: Kind
    names: tuple[str, ...] = ()

    @classmethod
    def read(cls, table: Table, column: str, kind: Kind | None = None) -> Labels:
        """Learn the labels of a column.

        The rule: labels that are text, or true and false, are classes, sorted by name. Whole numbers with at
        most 20 distinct values are classes, sorted as numbers. Any other numbers are a regression.

        Args:
            table: the data to train on.
            column: its label column.
            kind: "classes" or "numbers", to overrule the rule.

        Raises:
            UserError: a label is missing or not finite (the line is named), all are the same, text is asked
                to be numbers, or text labels hardly ever repeat.
        """
        cells = table.column(column)
        for row, cell in enumerate(cells):
            _check_present(cell, column, table.where(row))
        numbers = [as_number(cell) for cell in cells]
        kind = kind or _rule(numbers)
        if kind == "numbers":
            _check_numbers(cells, table.where)
            _check_varied({str(number) for number in numbers}, table, column)
            return cls("numbers")
        names = _class_names(cells, numbers)
        _check_repeated(names, table, column)
        _check_varied(names, table, column)
        return cls("classes", tuple(names))

    def encode(self, values: Sequence[Any], where: Callable[[int], str] | None = None) -> list[int] | list[float]:
        """The class number of each label, or the number it says.

        Args:
            values: the labels as they stand in a table.
            where: names the place of a value by its index, for the error: `table.where`.

        Raises:
            UserError: a label is missing, not a number, or a class that training never saw.
        """
        place = where or (lambda row: f"row {row + 1}")
        if self.kind == "numbers":
            return _check_numbers(values, place)
        numbers = {name: number for number, name in enumerate(self.names)}
        numeric = _are_numbers(self.names)
        codes = []
        for row, value in enumerate(values):
            code = numbers.get(_name(value, numeric))
            if code is None:
                raise self._unseen(value, place(row))
            codes.append(code)
        return codes

    def decode(self, values: Iterable[float]) -> list[str] | list[float]:
        """The names of class numbers; numbers as they are."""
        if self.kind == "numbers":
            return [float(value) for value in values]
        return [self.names[int(value)] for value in values]

    def counts(self, codes: Iterable[float]) -> dict[str, int]:
        """How often each class stands among encoded labels, in the order of the names, with zeros."""
        counted = Counter(int(code) for code in codes) if self.kind == "classes" else Counter()
        return {name: counted[number] for number, name in enumerate(self.names)}

    def _unseen(self, value: object, where: str) -> UserError:
        known = ", ".join(self.names[:_MOST_CLASSES_SHOWN])
        more = len(self.names) - _MOST_CLASSES_SHOWN
        known += f" and {more} more" if more > 0 else ""
        found = "no label" if is_missing(value) else repr(value)
        fix = "correct the label, or train on data that has it"
        return UserError(
            f"a label must be one of the classes trained on: {known}", where=where, found=found, fix=fix
        )


def imbalance(labels: Labels, counts: Mapping[str, int]) -> str | None:
    """One sentence where the largest class has three times the rows of the smallest, or more; None otherwise.

    Example:
        >>> imbalance(Labels("classes", ("bad", "good")), {"bad": 10, "good": 90})
        "classes are unbalanced: 'good' has 90 rows, 'bad' 10; always answering 'good' is right for 90.0 %"
    """
    if labels.kind != "classes":
        return None
    largest, smallest = max(labels.names, key=counts.__getitem__), min(labels.names, key=counts.__getitem__)
    if counts[largest] < _UNBALANCED * counts[smallest] or not counts[largest]:
        return None
    share = 100 * counts[largest] / sum(counts.values())
    return (
        f"classes are unbalanced: {largest!r} has {counts[largest]} rows, {smallest!r} {counts[smallest]}; "
        f"always answering {largest!r} is right for {share:.1f} %"
    )


def _rule(numbers: Sequence[float | None]) -> Kind:
    if any(number is None for number in numbers):
        return "classes"
    whole = all(isinstance(number, int) for number in numbers)
    return "classes" if whole and len(set(numbers)) <= _MOST_WHOLE else "numbers"


def _class_names(cells: Sequence[Any], numbers: Sequence[float | None]) -> list[str]:
    known = [number for number in numbers if number is not None]
    if len(known) == len(numbers):
        return [_number_name(number) for number in sorted(set(known))]
    return sorted({_name(cell, numeric=False) for cell in cells})


def _name(cell: Any, numeric: bool) -> str:
    """The class a cell names: 1, "1" and "1.0" are one class where all classes are numbers."""
    number = as_number(cell) if numeric else None
    return str(cell).strip() if number is None else _number_name(number)


def _number_name(number: float) -> str:
    return repr(number)


def _are_numbers(names: Sequence[str]) -> bool:
    return all(_NUMBER_NAME.fullmatch(name) for name in names)


def _check_present(cell: object, column: str, where: str) -> None:
    fix = f"fill in column {column!r}, or remove the row"
    if is_missing(cell):
        raise UserError("every row needs a label", where=where, found="no label", fix=fix)
    if not isinstance(cell, str | int | float):
        raise UserError("a label must be text or a number", where=where, found=type(cell).__name__, fix=fix)
    number = as_number(cell)
    if number is not None and not math.isfinite(number):
        raise UserError("a label must be finite", where=where, found=repr(cell), fix=fix)


def _check_numbers(cells: Sequence[Any], where: Callable[[int], str]) -> list[float]:
    numbers = []
    for row, cell in enumerate(cells):
        number = as_number(cell)
        if number is None or not math.isfinite(number):
            fix = "correct it, or use classes instead of numbers"
            raise UserError("a label must be a finite number", where=where(row), found=repr(cell), fix=fix)
        numbers.append(float(number))
    return numbers


def _check_repeated(names: Sequence[str], table: Table, column: str) -> None:
    if len(names) > _MOST_WHOLE and 2 * len(names) > len(table):
        found = f"{len(names)} different labels in {len(table)} rows, such as {names[0]!r}"
        fix = "choose another column with --label"
        raise UserError(f"the classes of column {column!r} must repeat", where=table.source, found=found, fix=fix)


def _check_varied(values: Iterable[str], table: Table, column: str) -> None:
    distinct = list(values)
    if len(distinct) < 2:
        found = f"{distinct[0]!r} in all {len(table)} rows"
        fix = "choose another column with --label, or add rows of other classes"
        raise UserError(f"the labels of column {column!r} must differ", where=table.source, found=found, fix=fix)
