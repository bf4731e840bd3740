"""The pictures of the recipe digits: read, cleaned of duplicates, labelled and dealt out to the parts."""

from __future__ import annotations

import bisect
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.data import Labels, Split, Table, read_table, split, split_in_order
from elman.data.pictures import Grid, read_picture_folder
from elman.data.table import as_number, is_missing
from elman.errors import UserError
from elman.recipes.digits_model import DataSettings
from elman.recipes.measures import scikit_learn

# The digits of load_digits come in the same order 14 times over: 14 sheets, each filled in by one hand.
SHEETS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)
_SIDE = 8  # of a picture in a folder, where nothing else is asked for: as the default data
_LABEL_NAMES = ("label", "labels", "digit", "class", "target", "y")
_MOST_SIDE = 1024


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size and what they show.

    Attributes:
        grids: (N, H, W) amounts of ink, from 0 to 1.
        labels: the classes.
        codes: the class number of each picture.
        parts: which of them train, validate and test.
        names: the column names of the pixels, where they came out of a table.
        white: what the pixels were divided by.
        source: the data, as the user named it.
        dropped: pictures left out, because an equal one was there.
    """

    grids: Grid
    labels: Labels
    codes: Sequence[int]
    parts: Split
    label: str
    white: float
    source: str
    dropped: int

    def part(self, rows: Sequence[int]) -> tuple[Grid, list[int]]:
        """The pictures of a part and their class numbers."""
        return self.grids[rows], [self.codes[row] for row in rows]

    @property
    def columns(self) -> tuple[str | None, str | None]:
        """The columns of texts, which there are none of, and of labels."""
        return None, self.label

    def shown(self) -> list[tuple[str, str]]:
        """How many pictures of each class and in each part."""
        counts = self.labels.counts(self.codes)
        parts = self.parts._asdict()
        return [
            ("labels", ", ".join(f"{name} {count}" for name, count in counts.items())),
            ("parts", ", ".join(f"{name} {len(part)}" for name, part in parts.items())),
        ]

    def fingerprint(self) -> str:
        """A hash of every picture, label and part, in order: whether data is still what it was."""
        hashed = hashlib.sha256(self.grids.tobytes())
        hashed.update(repr((self.grids.shape, self.labels.names, list(self.codes), tuple(self.parts))).encode())
        return hashed.hexdigest()


def handwritten_digits() -> Table:
    """The 1,797 pictures of 8 x 8 that scikit-learn ships, with the columns picture, label and group (the sheet).

    Real handwriting: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI machine learning
    repository (CC BY 4.0), its test part of 13 writers; each pixel counts the ink in 4 x 4 of a scan of 32 x 32.
    Who wrote which is not said. But the order of the digits repeats: 14 sheets, filled in one after the other.
    """
    data = scikit_learn("datasets").load_digits()
    grids = [grid.astype(np.float32) for grid in data.images]
    sheets = [bisect.bisect(SHEETS, row) for row in range(len(grids))]
    columns = {"picture": grids, "label": data.target.tolist(), "group": sheets}
    return Table(columns, "the handwritten digits of scikit-learn")


def prepare_pictures(data: Any, label: str | None, asked: DataSettings) -> Pictures:
    """Pictures ready to be learnt from; the same data, the same parts.

    Args:
        data: a folder LABEL/picture.png, or a table with a label column and one column a pixel, row by row; None
            is the recipe's own.
        label: the label column of a table, where it is not to be guessed.
        asked: how.

    Raises:
        UserError: the data cannot be read or learnt from; the file and line are named.
    """
    table, label = read_labelled(data, label, asked)
    strongest = max(float(grid.max()) for grid in table.column("picture"))
    white = strongest if table.files is None else 1.0  # what is read from files is from 0 to 1 already
    if not strongest > 0:
        raise UserError("a picture must show something", where=table.source, found="no pixel above 0")
    kept = _without_duplicates(table, label)
    grids: Grid = np.stack(kept.column("picture"))
    grids /= np.float32(white)
    labels = Labels.read(kept, label, "classes")
    codes = [int(code) for code in labels.encode(kept.column(label), kept.where)]
    shares = (1 - asked.validation - asked.test, asked.validation, asked.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no picture", where="data.test and data.validation", found=shares)
    groups = kept.column("group") if "group" in kept.columns else None
    if data is None:
        parts = split_in_order(kept.column("group"), shares)
    else:
        parts = split(len(kept), seed=asked.seed, parts=shares, groups=groups, labels=codes)
    if len({codes[row] for row in parts.train}) < 2:
        what, fix = "the training part must hold two classes or more", "give more pictures"
        raise UserError(what, where=table.source, found=1, fix=fix)
    return Pictures(grids, labels, codes, parts, label, white, table.source, len(table) - len(kept))


def read_labelled(
    data: Any, label: str | None, asked: DataSettings, shape: tuple[int, int] | None = None
) -> tuple[Table, str]:
    """A table with the column picture, (H, W) of numbers from 0 each, and the name of its label column.

    Args:
        data: see `prepare_pictures`.
        label: the label column, where it is not to be guessed.
        asked: how a picture is read.
        shape: rows and columns, where they are settled already.
    """
    if data is None:
        return handwritten_digits(), "label"
    if isinstance(data, str | Path) and (folder := Path(data).expanduser()).is_dir():
        height, width = shape or (asked.height or _SIDE, asked.width or asked.height or _SIDE)
        return read_picture_folder(folder, height, width, asked.ink, asked.crop), "label"
    table = read_table(data)
    label = _label_column(table, label)
    pixels = [name for name in table.columns if name not in (label, asked.group)]
    height, width = shape or _shape(len(pixels), asked, table)
    if len(pixels) != height * width:
        found = f"{len(pixels)} columns besides {label!r}"
        raise UserError(f"pictures of {height} x {width} need a column a pixel", where=table.source, found=found)
    numbers = _numbers(table, pixels)
    columns = {"picture": list(numbers.reshape(-1, height, width)), label: table.column(label)}
    if asked.group is not None:
        columns["group"] = table.column(asked.group)
    return Table(columns, table.source, table.lines, table.files), label


def _label_column(table: Table, label: str | None) -> str:
    if label is not None:
        table.column(label)
        return label
    for usual in _LABEL_NAMES:
        for name in table.columns:
            if name.strip().casefold() == usual:
                return name
    fix = "name it with --label COLUMN; every other column is a pixel"
    raise UserError(
        "which column holds the label is not clear", where=table.source, found=_few(table.columns), fix=fix
    )


def _few(names: Any) -> str:
    shown = list(names)
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _shape(pixels: int, asked: DataSettings, table: Table) -> tuple[int, int]:
    side = math.isqrt(pixels)
    height = asked.height or (pixels // asked.width if asked.width else side)
    width = asked.width or (pixels // asked.height if asked.height else side)
    if not 0 < height * width == pixels:
        fix = "leave out what is no pixel, or say data.height and data.width"
        what = "the columns besides the label must be the pixels of a picture, row by row"
        raise UserError(what, where=table.source, found=f"{pixels} columns, not {height} x {width}", fix=fix)
    return height, width


def _numbers(table: Table, pixels: Sequence[str]) -> Grid:
    grids = np.zeros((len(table), len(pixels)), dtype=np.float32)
    for place, name in enumerate(pixels):
        for row, cell in enumerate(table.column(name)):
            number = as_number(cell)
            if number is None or not 0 <= number <= 1e9:
                found = "nothing" if is_missing(cell) else repr(cell)
                what = f"pixel {name!r} must be a number from 0"
                raise UserError(
                    what, where=table.where(row), found=found, fix="correct it, or leave the column out"
                )
            grids[row, place] = number
    return grids


def _without_duplicates(table: Table, label: str) -> Table:
    """The first of equal pictures; none of them where their labels differ."""
    labels: defaultdict[bytes, set[str]] = defaultdict(set)
    first: dict[bytes, int] = {}
    for row, (grid, name) in enumerate(zip(table.column("picture"), table.column(label), strict=True)):
        labels[grid.tobytes()].add(str(name))
        first.setdefault(grid.tobytes(), row)
    rows = [row for pixels, row in first.items() if len(labels[pixels]) == 1]
    if not rows:
        raise UserError("every picture has an equal one of another label", where=table.source, found=len(table))
    return table.select(rows)
