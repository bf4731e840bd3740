"""The sounds of the recipe sound: read, trimmed, cut into levels, and dealt out to the parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.data import Split, Table, read_table, split
from elman.data.sounds import (
    Levels,
    Wave,
    emphasised,
    from_mu_law,
    mu_law,
    read_sound_folder,
    read_sounds,
    trimmed,
    without_emphasis,
)
from elman.data.spoken_digits import read_spoken_digits
from elman.data.table import is_missing
from elman.errors import UserError
from elman.recipes.sound_model import MOST_PLACES, RATE, DataSettings, numbered, plan_of

_TEXT_NAMES = ("text", "word", "label", "transcript", "sentence")


@dataclass(frozen=True)
class Sounds:
    """Spoken words, and which of them train, validate and test.

    Attributes:
        levels: of each sound, from 0 to 255.
        codes: the number of the word that each says.
        words: the words, in order.
        parts: rows of training, validation and test.
        source: the data, as the user named it.
        columns: the column of the words, where there is one.
        dropped: sounds left out, because an equal one was there.
    """

    levels: Sequence[Levels]
    codes: Sequence[int]
    words: tuple[str, ...]
    parts: Split
    source: str
    columns: tuple[str | None, str | None]
    dropped: int

    def shown(self) -> list[tuple[str, str]]:
        """How many sounds there are, how long they are, and where they go."""
        counts = [f"{name} {len(part)}" for name, part in self.parts._asdict().items()]
        seconds = sum(map(len, self.levels)) / RATE
        return [("sounds", f"{len(self.codes)} ({seconds:.0f} s)"), ("parts", ", ".join(counts))]

    def fingerprint(self) -> str:
        """A hash of every sound, word and part."""
        hashed = hashlib.sha256(repr((self.words, list(self.codes), tuple(self.parts))).encode())
        for levels in self.levels:
            hashed.update(levels.tobytes())
        return hashed.hexdigest()

    def part(self, rows: Sequence[int]) -> tuple[list[Levels], list[int]]:
        """The levels and the words' numbers of a part."""
        return [self.levels[row] for row in rows], [self.codes[row] for row in rows]

    def median_samples(self) -> list[int]:
        """How many samples each word takes in the training part, the median."""
        lengths: list[list[int]] = [[] for _ in self.words]
        for row in self.parts.train:
            lengths[self.codes[row]].append(len(self.levels[row]))
        return [int(np.median(of_word)) for of_word in lengths]


def prepare_sounds(data: Any, text: str | None, asked: DataSettings) -> Sounds:
    """Sounds ready to be learnt from; the same data, the same parts.

    Args:
        data: a folder WORD/sound.wav, or a table with a column of files and one of words; None is the recipe's
            own.
        text: the column of words of a table, where it is not to be guessed.
        asked: how.

    Raises:
        UserError: the data cannot be read or learnt from; the file and line are named.
    """
    table, text = read_words(data, text, asked)
    every = [levels_of(sound, asked, table.where(row)) for row, sound in enumerate(table.column("sound"))]
    first = {levels.tobytes(): row for row, levels in reversed([*enumerate(every)])}
    kept = sorted(first.values())
    table, levels = table.select(kept), [every[row] for row in kept]
    names = [str(word).strip() for word in table.column(text)]
    words = tuple(dict.fromkeys(names)) if data is None else tuple(sorted(set(names)))
    codes = [words.index(name) for name in names]
    if len(words) * asked.places > MOST_PLACES:
        fix = "lower data.places, or give fewer words"
        found = f"{len(words)} words of {asked.places} places"
        what = f"words have at most {MOST_PLACES:,} places together"
        raise UserError(what, where=table.source, found=found, fix=fix)
    group = "voice" if data is None else asked.group
    shares = (1 - asked.validation - asked.test, asked.validation, asked.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no sound", where="data.test and data.validation", found=shares)
    groups = None if group is None else table.column(group)
    parts = split(
        len(codes), seed=asked.seed, parts=shares, groups=groups, labels=codes if group is None else None
    )
    learnt = {codes[row] for row in parts.train}
    for code, name in enumerate(words):
        if code not in learnt:
            what, fix = f"the training part must hold the word {name!r}", "give more sounds of it, or leave it out"
            raise UserError(what, where=table.source, found=f"{codes.count(code)} sounds of it", fix=fix)
    column = None if table.files is not None or data is None else text
    return Sounds(levels, codes, words, parts, table.source, (column, None), len(every) - len(kept))


def read_words(data: Any, text: str | None, asked: DataSettings) -> tuple[Table, str]:
    """A table with the column sound, numbers at 8,000 a second each, and the name of its column of words."""
    folder = Path(data).expanduser() if isinstance(data, str | Path) else None
    if data is None or (folder is not None and folder.is_dir()):
        if text is not None:
            fix = "leave it out, or give a table with --data"
            raise UserError("--text names a column of a table of sounds", where="--text", found=text, fix=fix)
        read = read_spoken_digits(RATE) if folder is None else read_sound_folder(folder, RATE, asked.max_seconds)
        return read, "text"
    table = read_table(data)
    text = text or next((name for name in table.columns if name.strip().casefold() in _TEXT_NAMES), None)
    if text is None:
        fix = "name it with --text COLUMN"
        raise UserError(
            "which column holds the words is not clear",
            where=table.source,
            found=", ".join(table.columns),
            fix=fix,
        )
    for row, word in enumerate(table.column(text)):
        if is_missing(word):
            raise UserError("every sound needs its word", where=table.where(row), found="nothing")
    beside = Path() if folder is None else folder.parent
    for row, name in enumerate(table.column(asked.file)):
        if is_missing(name):
            raise UserError("every row names a sound file", where=table.where(row), found="nothing")
    sounds = read_sounds([beside / str(name) for name in table.column(asked.file)], RATE, asked.max_seconds)
    return Table({**table.columns, "sound": sounds}, table.source, table.lines), text


def levels_of(sound: Wave, asked: DataSettings, where: str) -> Levels:
    """What is heard of a sound, as levels.

    Raises:
        UserError: nothing is heard.
    """
    part = trimmed(sound, RATE)
    if not len(part):
        raise UserError("a sound must be heard", where=where, found="silence")
    return mu_law(emphasised(part, asked.emphasis))


def as_heard(levels: Sequence[Levels], emphasis: float) -> list[Wave]:
    """Levels as the sounds that come out of a loudspeaker."""
    return [without_emphasis(from_mu_law(one), emphasis) for one in levels]


def documents(levels: Sequence[Levels], codes: Sequence[int], places: int) -> list[Levels]:
    """What the speaker learns from; see `elman.recipes.sound_model.numbered`."""
    return [numbered(one, plan_of(code, len(one), places)) for one, code in zip(levels, codes, strict=True)]
