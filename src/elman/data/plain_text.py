"""Plain text turned into words in lower case, with what was taken from them as their tags; and back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from elman.data.tagged import Tagged
from elman.errors import UserError

CASES = ("lower", "capital")
MARKS = ("none", ".", ",", ";", ":", "?", "!")
# A word keeps its apostrophes and hyphens (don't, Jesus', Baal-peor), and a number its point (3.14).
_LETTER = "(?:[^\\W_]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0d7f\u0e31-\u0e4e])"
_WORD = re.compile(rf"[^\W_]{_LETTER}*(?:(?:['\u2019-]|(?<=\d)[.,](?=\d)){_LETTER}+)*(?:(?<=s)['\u2019])?")


def marked_text(texts: Mapping[str, str], source: str, *notes: str) -> Tagged:
    """Texts as words in lower case without marks, and what was taken from each word as its tags.

    Kinds: `case`, "capital" where a word begins with one, else "lower"; `mark`, the first of . , ; : ? ! between
    the word and the next, else "none". Brackets, quotation marks and dashes between words are dropped.

    Args:
        texts: the texts by their names, which become the groups.
        source: where they came from.
        notes: what was guessed in reading them.

    Raises:
        UserError: there is no word.

    Example:
        >>> tagged = marked_text({"a": "And God said, [Let] there be light"}, "text")
        >>> tagged.words[0][:4], tagged.tags["case"][0][:4], tagged.tags["mark"][0][:3]
        (['and', 'god', 'said', 'let'], ['capital', 'capital', 'lower', 'capital'], ['none', 'none', ','])
    """
    words: list[list[str]] = []
    cases: list[list[str]] = []
    marks: list[list[str]] = []
    groups: list[str | None] = []
    for name, text in texts.items():
        composed = unicodedata.normalize("NFC", text)
        found = list(_WORD.finditer(composed))
        if not found:
            continue
        ends = [*(match.start() for match in found[1:]), len(composed)]
        words.append([match[0].lower() for match in found])
        cases.append([CASES[match[0][0].isupper()] for match in found])
        marks.append([_mark(composed[match.end() : end]) for match, end in zip(found, ends, strict=True)])
        groups.append(name)
    if not words:
        raise UserError("the text holds no word", where=source)
    return Tagged(words, {"case": cases, "mark": marks}, groups, source, notes)


def plain_words(text: str) -> list[str]:
    """The words of a text as `marked_text` has them.

    Example:
        >>> plain_words("God's WORD: 3,000 (men)")
        ["god's", 'word', '3,000', 'men']
    """
    return [match[0].lower() for match in _WORD.finditer(unicodedata.normalize("NFC", text))]


def restored_text(words: Sequence[str], cases: Sequence[str], marks: Sequence[str]) -> str:
    """The text that words and their tags say.

    Example:
        >>> restored_text(["and", "god", "said"], ["capital", "capital", "lower"], ["none", "none", ","])
        'And God said,'
    """
    shown = [
        (word[:1].title() + word[1:] if case == "capital" else word) + ("" if mark == "none" else mark)
        for word, case, mark in zip(words, cases, marks, strict=True)
    ]
    return " ".join(shown)


def _mark(between: str) -> str:
    return next((character for character in between if character in MARKS), "none")
