"""The character n-grams of a word as numbers, so that words never seen share what they are made of."""

from __future__ import annotations

import zlib
from functools import lru_cache

MOST = 24
_SIZES = (3, 4, 5)


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
    numbers = [1 + zlib.crc32(gram.encode("utf-8", "surrogatepass")) % buckets for gram in grams[:MOST]]
    return (*numbers, *[0] * (MOST - len(numbers)))
