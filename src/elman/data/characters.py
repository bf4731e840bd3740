"""Long texts as numbers of characters, in a fraction of a tokenizer's time and memory."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import numpy as np

from elman.data.vocabulary import UNKNOWN, Vocabulary

Ids = np.ndarray[Any, np.dtype[np.int32]]
_CODES = 0x110000  # of Unicode
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def composed(text: str) -> str:
    """The text as a vocabulary reads it: in Unicode's NFC, without halves of surrogate pairs.

    Example:
        >>> len(composed("cafe\u0301"))
        4
    """
    return unicodedata.normalize("NFC", _LONE_SURROGATE.sub("\ufffd", text))


def character_ids(vocabulary: Vocabulary, text: str) -> Ids:
    """What `vocabulary.encode(text)` gives, for a vocabulary of characters that keeps upper and lower case apart.

    Example:
        >>> vocabulary = Vocabulary.train(["to be"], "character", lowercase=False)
        >>> character_ids(vocabulary, "bet!").tolist() == vocabulary.encode("bet!")
        True
    """
    plain = composed(text)
    alphabet = sorted(set(plain))
    table = np.full(_CODES, UNKNOWN, dtype=np.int32)
    for character, numbers in zip(alphabet, vocabulary.encode(alphabet), strict=True):
        table[ord(character)] = numbers[0]
    ids: Ids = table[np.frombuffer(plain.encode("utf-32-le"), dtype="<u4")]
    return ids


def characters_of(vocabulary: Vocabulary) -> list[str]:
    """The character of each number; "" for the reserved ones."""
    return ["" if number <= 3 else vocabulary.decode([number]) for number in range(len(vocabulary))]
