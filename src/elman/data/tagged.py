"""Rows of words that each carry a tag, or one of each of several kinds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elman.errors import UserError


@dataclass(frozen=True)
class Tagged:
    """Rows of words, and for each word a tag of every kind.

    Attributes:
        words: the words of each row; no row is empty.
        tags: by the kind's name, the tags of each row's words.
        groups: rows of one group belong to one part of the data; a row without one goes by its words.
        source: where they came from, as the user named it.
        notes: what was guessed in reading them, for the user to be told.
    """

    words: list[list[str]]
    tags: Mapping[str, list[list[str]]]
    groups: list[str | None]
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    @property
    def count(self) -> int:
        """The number of words."""
        return sum(map(len, self.words))

    def group_names(self) -> list[str]:
        """The group of each row; rows of the same words are in one."""
        return [
            " ".join(words) if group is None else f"\0{group}"
            for words, group in zip(self.words, self.groups, strict=True)
        ]

    def select(self, rows: Sequence[int]) -> Tagged:
        """These rows, in this order."""
        return self._pieces((row, slice(None)) for row in rows)

    def cut(self, longest: int, shortest: int | None = None, seed: int = 0) -> Tagged:
        """Rows of `longest` words at most; what is longer is cut.

        Args:
            longest: the most words of a row.
            shortest: None cuts a longer row into pieces of about one size. A number cuts every row into pieces of
                shortest .. longest words, drawn anew for each, so that no border says anything; the last may be
                shorter.
            seed: another seed, other borders.

        Example:
            >>> Tagged([["a", "b", "c"]], {"tag": [["A", "B", "C"]]}, [None], "data").cut(longest=2).words
            [['a'], ['b', 'c']]
        """
        random = np.random.Generator(np.random.PCG64(seed))
        return self._pieces(
            (row, slice(start, end))
            for row, words in enumerate(self.words)
            for start, end in itertools.pairwise(_borders(len(words), longest, shortest, random))
        )

    def _pieces(self, pieces: Iterator[tuple[int, slice]]) -> Tagged:
        chosen = list(pieces)
        return replace(
            self,
            words=[self.words[row][piece] for row, piece in chosen],
            tags={kind: [rows[row][piece] for row, piece in chosen] for kind, rows in self.tags.items()},
            groups=[self.groups[row] for row, _ in chosen],
        )


class Rows:
    """Rows under way, word by word; their one kind of tag is called "tag"."""

    def __init__(self) -> None:
        self._words: list[list[str]] = []
        self._tags: list[list[str]] = []
        self._groups: list[str | None] = []
        self._group: str | None = None
        self._open = False

    def add(self, word: str, tag: str) -> None:
        """A word, of the row under way or of a new one."""
        if not self._open:
            self._words.append([])
            self._tags.append([])
            self._groups.append(self._group)
            self._open = True
        self._words[-1].append(word)
        self._tags[-1].append(tag)

    def end(self) -> None:
        """The row under way ends, if there is one."""
        self._open = False

    def begin(self, group: str) -> None:
        """What follows is of another group."""
        self._group, self._open = group, False

    def tagged(self, source: str, *notes: str) -> Tagged:
        """All rows.

        Raises:
            UserError: there is none.
        """
        if not self._words:
            raise UserError("there is no word with a tag", where=source)
        return Tagged(self._words, {"tag": self._tags}, self._groups, source, notes)


def _borders(length: int, longest: int, shortest: int | None, random: np.random.Generator) -> list[int]:
    if shortest is None:
        count = -(-length // longest)
        return [length * piece // count for piece in range(count + 1)]
    borders = [0]
    while borders[-1] < length:
        borders.append(min(length, borders[-1] + int(random.integers(shortest, longest + 1))))
    return borders
