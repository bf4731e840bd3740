"""Character n-grams as numbers: those a word is made of, or those that end at each of its characters."""

from __future__ import annotations

import zlib
from functools import lru_cache

MOST = 24
MOST_ENDINGS = 6
_SIZES = (3, 4, 5)
_ENDINGS = (2, 3, 4)


@lru_cache(maxsize=100_000)
def subwords(word: str, buckets: int) -> tuple[int, ...]:
    """The n-grams of "<word>" of 3 to 5 characters, hashed to 1 .. buckets; 24 at most, filled up with 0.

    Source: P. Bojanowski et al., Enriching word vectors with subword information, arXiv:1607.04606v2. The
    hash is CRC-32: the same everywhere.

    Example:
        >>> [number for number in subwords("cat", 1000) if number] == [
        ...     1 + zlib.crc32(gram.encode()) % 1000 for gram in ("<ca", "cat", "at>", "<cat", "cat>", "<cat>")
        ... ]
        True
    """
    marked = f"<{word}>"
    grams = [marked[at : at + size] for size in _SIZES for at in range(len(marked) - size + 1)]
    return _hashed(grams[:MOST], MOST, buckets)


def endings(text: str, buckets: int) -> list[tuple[int, ...]]:
    """For each character of a text the n-grams of "<text>" of 2 to 4 characters that end there, hashed.

    The last character also has those that end at ">". Six numbers each, filled up with 0.

    Example:
        >>> [sum(number > 0 for number in row) for row in endings("cat", 1000)]
        [1, 2, 6]
    """
    marked = f"<{text}"
    found = [[marked[: end + 1][-size:] for size in _ENDINGS if size <= end + 1] for end in range(1, len(marked))]
    if found:
        found[-1] += [f"{marked}>"[-size:] for size in _ENDINGS if size <= len(marked) + 1]
    return [_hashed(grams, MOST_ENDINGS, buckets) for grams in found]


def _hashed(grams: list[str], most: int, buckets: int) -> tuple[int, ...]:
    numbers = [1 + zlib.crc32(gram.encode("utf-8", "surrogatepass")) % buckets for gram in grams]
    return (*numbers, *[0] * (most - len(numbers)))
