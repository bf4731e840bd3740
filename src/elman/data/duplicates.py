"""Texts that say nearly the same, found without comparing every text with every other."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

# Addresses, mentions and forwarding marks differ where nothing else does.
_NOISE = re.compile(r"https?://\S+|@\w+|\brt\b")
_WORD = re.compile(r"\w+")


class Partition:
    """Things put into groups by saying, two at a time, which belong together (union-find).

    Example:
        >>> groups = Partition(3)
        >>> groups.join(0, 2)
        >>> [groups.first(item) for item in range(3)]
        [0, 1, 0]
    """

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, one: int, other: int) -> None:
        """Put two items, and with them their groups, into one group."""
        low, high = sorted((self.first(one), self.first(other)))
        self._parent[high] = low

    def first(self, item: int) -> int:
        """The smallest item of an item's group."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item


def near_duplicates(texts: Sequence[str], threshold: float = 0.7) -> Iterator[tuple[int, int]]:
    """Pairs of texts whose sets of words have at least this Jaccard similarity, enough of them to group all.

    Case, punctuation, web addresses, @mentions and "RT" do not count. Of texts with the same words, each is
    paired with the first only. Candidates share one of their rarest words (prefix filtering: Bayardo, Ma &
    Srikant 2007), which loses no pair.

    Args:
        texts: the texts.
        threshold: words in common over words in either, above 0 and at most 1.

    Yields:
        The indices of two texts, the earlier one second.

    Example:
        >>> list(near_duplicates(["I love it!", "rain again", "i LOVE it"]))
        [(2, 0)]
    """
    first: dict[frozenset[str], int] = {}
    for index, text in enumerate(texts):
        words = frozenset(_WORD.findall(_NOISE.sub(" ", text.lower())))
        if words and first.setdefault(words, index) != index:
            yield index, first[words]
    yield from _similar(first, threshold)


def _similar(sets: dict[frozenset[str], int], threshold: float) -> Iterator[tuple[int, int]]:
    frequency = Counter(word for words in sets for word in words)
    holding: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    for words, index in sets.items():
        rarest = sorted(words, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(words) - math.ceil(threshold * len(words)) + 1]
        for other in {candidate for word in prefix for candidate in holding[word]}:
            common = len(words & other)
            if common >= threshold * (len(words) + len(other) - common):
                yield index, sets[other]
        for word in prefix:
            holding[word].append(words)
