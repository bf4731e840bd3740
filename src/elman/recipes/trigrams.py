"""The baseline of taggers: the tag that a word most often had beside the same neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Words: TypeAlias = Sequence[Sequence[str]]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


def trigram_tags(train: Words, tags: Sequence[int] | Numbers, rows: Words, *, after_first: bool = True) -> Numbers:
    """For each word of some rows the most frequent tag of (word before, word, word after) in the training part.

    Where the three never stood together, back-off: the word with the one after it, with the one before it, the
    word alone, and at last the most frequent tag of all. The border of a row counts as a word.

    Args:
        train: the words of each row that is counted.
        tags: the number of each of these words' tags, row after row.
        rows: the words of each row that is to be tagged.
        after_first: False tries the word before first, where it says more than the one after.

    Returns:
        The number of each word's tag, row after row.

    Example:
        >>> trigram_tags([["a", "b", "a"]], [0, 1, 2], [["a", "b", "c"], ["c"]]).tolist()
        [0, 1, 0, 0]
    """
    entries: dict[str, int] = {}
    for row in (*train, *rows):
        for word in row:
            entries.setdefault(word, len(entries) + 1)
    size, known = len(entries) + 1, np.asarray(tags, dtype=np.int64)
    counted, asked = (
        np.concatenate([_triples(row, entries) for row in part] or [_NONE]) for part in (train, rows)
    )
    before, word, after = np.concatenate([counted, asked]).T
    left, right = before * size + word, word * size + after
    # Pairs are numbered first: products of three vocabularies do not fit into 64 bits.
    triple = np.unique(right, return_inverse=True)[1] * size + before
    result = np.full(len(asked), np.bincount(known).argmax(), dtype=np.int64)
    for keys in (word, *((left, right) if after_first else (right, left)), triple):
        seen, best = _most_frequent(keys[: len(counted)], known)
        places = np.searchsorted(seen, keys[len(counted) :]).clip(max=len(seen) - 1)
        hit = seen[places] == keys[len(counted) :]
        result[hit] = best[places[hit]]
    return result


_NONE: Numbers = np.zeros((0, 3), dtype=np.int64)


def _triples(row: Sequence[str], entries: dict[str, int]) -> Numbers:
    padded = np.array([0, *(entries[word] for word in row), 0], dtype=np.int64)
    return np.stack([padded[:-2], padded[1:-1], padded[2:]], 1)


def _most_frequent(keys: Numbers, tags: Numbers) -> tuple[Numbers, Numbers]:
    """The keys there are, ascending, and of each its most frequent tag; of several the one of lowest number."""
    seen, numbers = np.unique(keys, return_inverse=True)
    size = int(tags.max()) + 1
    pairs, counts = np.unique(numbers * size + tags, return_counts=True)
    order = np.lexsort((pairs, -counts, pairs // size))
    _, first = np.unique(pairs[order] // size, return_index=True)
    return seen, pairs[order][first] % size
