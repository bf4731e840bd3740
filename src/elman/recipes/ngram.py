"""Character n-grams: what counting reaches, by interpolated Kneser-Ney and by PPM, in any order at once.

Both only count the training part, as a network learns from it alone; neither adapts to the text it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
_Whole = np.ndarray[Any, np.dtype[np.int64]]
_Counts = np.ndarray[Any, np.dtype[np.int32]]
_Real = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class _Level:
    """All n-grams of one length, by `keys` = (number of their first n - 1 characters) * size + the last.

    Attributes:
        keys: sorted.
        counts: how often each was seen.
        suffixes: the number, one level below, of each without its first character.
        totals: of each context, by its number one level below, the sum of `counts`.
        kinds: of each context, how many characters were seen after it.
        excluded: of each context, what its followers count one level below, where they follow its suffix.
    """

    keys: _Whole
    counts: _Counts
    suffixes: _Counts
    totals: _Counts
    kinds: _Counts
    excluded: _Counts


class NGrams:
    """Counts of the runs of up to `order` characters, each document begun with `order` - 1 of `border`.

    Args:
        documents: the training part, numbers of characters.
        size: numbers of characters are below it.
        border: stands before a document; never a character of it.
        order: of the longest runs.
        symbols: characters that can come; what was never counted is spread over them.

    Example:
        >>> counts = NGrams([np.array([1, 2] * 40, dtype=np.int32)], size=3, border=0, order=4, symbols=2)
        >>> test = [np.array([1, 2, 1, 2], dtype=np.int32)]
        >>> round(counts.bits(test, "kneser_ney")[2], 3) < round(counts.bits(test, "kneser_ney")[1], 3)
        True
    """

    def __init__(self, documents: Sequence[Ids], *, size: int, border: int, order: int, symbols: int) -> None:
        self._size, self._border, self._order, self._symbols = size, border, order, symbols
        text = self._joined(documents)
        counted = text != border
        ids, below = np.zeros(len(text), dtype=np.int64), None
        self._levels: list[_Level] = []
        for _ in range(order):
            contexts = _before(ids)
            keys, first, numbers = np.unique(contexts * size + text, return_index=True, return_inverse=True)
            counts = np.bincount(numbers[counted], minlength=len(keys)).astype(np.int32)
            below = self._level(keys, counts, ids[first].astype(np.int32), below)
            self._levels.append(below)
            ids = numbers

    def bits(self, documents: Sequence[Ids], method: Literal["kneser_ney", "ppm"]) -> dict[int, float]:
        """Bits for each character of some documents, the mean, by order: -log2 p given those before it."""
        text = self._joined(documents)
        found = self._found(text)
        chances = self._kneser_ney(found) if method == "kneser_ney" else self._ppm(found)
        counted = text != self._border
        return {order: float(-np.log2(p[counted]).mean()) for order, p in chances.items()}

    def _joined(self, documents: Sequence[Ids]) -> _Whole:
        start = np.full(max(1, self._order - 1), self._border, dtype=np.int64)
        return np.concatenate([part for document in documents for part in (start, document)] or [start])

    def _level(self, keys: _Whole, counts: _Counts, suffixes: _Counts, below: _Level | None) -> _Level:
        contexts = 1 if below is None else len(below.keys)
        before, seen = keys // self._size, counts > 0
        lower = counts * 0 if below is None else below.counts[suffixes]
        return _Level(
            keys,
            counts,
            suffixes,
            totals=_sums(before, counts, contexts),
            kinds=_sums(before, seen, contexts),
            excluded=_sums(before, lower * seen, contexts),
        )

    def _found(self, text: _Whole) -> list[_Whole]:
        """By level the number of the n-gram that ends at each place of a text, -1 where it was never seen."""
        ids = [np.zeros(len(text), dtype=np.int64)]
        for level in self._levels:
            contexts = _before(ids[-1])
            wanted = contexts * self._size + text
            places = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
            ids.append(np.where((contexts >= 0) & (level.keys[places] == wanted), places, -1))
        return ids

    def _kneser_ney(self, found: list[_Whole]) -> dict[int, _Real]:
        """Interpolated, with three discounts: S. F. Chen and J. Goodman, Computer Speech & Language 13 (1999).

        p(w | h) = (c(h w) - D(c(h w))) / c(h) + g(h) p(w | h without its first character), where c counts at the
        longest length, and below it the different characters that were seen before.
        """
        p, chances = np.full(len(found[0]), 1 / self._symbols), {}
        for order, level in enumerate(self._levels, start=1):
            chances[order] = self._discounted(level, level.counts, found, order, p)
            if order < self._order:
                above = self._levels[order]
                different = _sums(above.suffixes, above.counts > 0, len(level.keys))
                p = self._discounted(level, different, found, order, p)
        return chances

    def _discounted(self, level: _Level, counts: _Counts, found: list[_Whole], order: int, p: _Real) -> _Real:
        contexts, size = level.keys // self._size, len(level.totals)
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals, kept_back = _sums(contexts, counts, size), _sums(contexts, discounts, size)
        before, here = _before(found[order - 1]), found[order]
        total = np.where(before >= 0, totals[before], 0)
        known = total > 0
        own = np.where(here >= 0, (counts - discounts)[here], 0.0)
        mixed: _Real = (own + kept_back[before] * p) / np.where(known, total, 1)
        return np.where(known, mixed, p)

    def _ppm(self, found: list[_Whole]) -> dict[int, _Real]:
        """Method D with exclusion: J. G. Cleary and I. H. Witten (1984), P. G. Howard (1993); counts stand.

        From the longest context seen downwards: p(w) = (2 c - 1) / 2 T where w followed it, else times d / 2 T and
        on with a shorter one; T and d count the followers that no longer context has had.
        """
        return {order: self._escaping(found, order) for order in range(1, self._order + 1)}

    def _escaping(self, found: list[_Whole], longest: int) -> _Real:
        places = len(found[0])
        p, open_ = np.ones(places), np.ones(places, dtype=bool)
        gone_kinds, gone = np.zeros(places, dtype=np.int64), np.zeros(places, dtype=np.int64)
        for order in range(longest, 0, -1):
            level, before, here = self._levels[order - 1], _before(found[order - 1]), found[order]
            total = np.where(before >= 0, level.totals[before] - gone, 0)
            kinds = np.where(before >= 0, level.kinds[before] - gone_kinds, 0)
            count = np.where(here >= 0, level.counts[here], 0)
            alive, safe = open_ & (total > 0), np.maximum(total, 1)
            hit = alive & (count > 0)
            p = np.where(hit, p * (2 * count - 1) / (2 * safe), np.where(alive, p * kinds / (2 * safe), p))
            open_ &= ~hit
            gone_kinds = np.where(before >= 0, level.kinds[before], gone_kinds)
            gone = np.where(before >= 0, level.excluded[before], gone)
        return np.where(open_, p / np.maximum(self._symbols - gone_kinds, 1), p)


def _before(ids: _Whole) -> _Whole:
    """The number of what stands before each place."""
    return np.concatenate([ids[:1] * 0, ids[:-1]])


def _sums(groups: _Whole | _Counts, values: Any, size: int) -> Any:
    whole = np.asarray(values).dtype.kind in "biu"
    sums = np.bincount(groups, weights=values, minlength=size)
    return sums.round().astype(np.int32) if whole else sums


def _discounts(counts: _Counts) -> _Real:
    """What is taken from a count of 0, 1, 2, and 3 or more, from how many there are of each."""
    once, twice, thrice, fourfold = (max(1, int((counts == n).sum())) for n in (1, 2, 3, 4))
    y = once / (once + 2 * twice)
    found = [0.0, 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * fourfold / thrice]
    return np.array([min(max(d, 0.0), n) for n, d in enumerate(found)])
