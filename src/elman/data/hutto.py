"""The rated texts of Hutto & Gilbert (2014): tweets, and sentences of product and film reviews."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import NamedTuple

from elman.data.duplicates import Partition, near_duplicates
from elman.data.lines import read_lines
from elman.data.table import Table
from elman.errors import UserError

HUTTO_FILES = {
    "tweet": "tweets_GroundTruth.txt",
    "product": "amazonReviewSnippets_GroundTruth.txt",
    "film": "movieReviewSnippets_GroundTruth.txt",
}
_ENTITY = re.compile(r"&#?\w+;")


class _Row(NamedTuple):
    source: str
    number: str
    rating: float
    text: str
    file: str
    line: int


def read_hutto(folder: Path) -> Table:
    """The 18,513 rated texts in a folder that `fetch("sentiment")` made.

    Source: C.J. Hutto & E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
    Media Text", ICWSM 2014; distributed with vaderSentiment 3.3.2 (MIT). Each text was rated by about twenty
    people from -4 (most negative) to 4. About 200 of the "tweets" were written for the study as variants of
    one another ("Damn! running late sucks!", "DAMN, running late SUCKS.").

    Groups, for a split without leaks: sentences of one product review (numbered 12_1, 12_2, ...) are one
    group. Tweets and film sentences carry plain numbers and say nothing of the author, the review or the film they
    came from, so each is a group of its own: two sentences about the same film can stand on both sides of a
    split. Texts of any kind with nearly the same words (`near_duplicates`) join their groups.

    Returns:
        A table with the columns text (HTML entities unescaped), rating (float), source ("tweet", "product",
        "film") and group.

    Raises:
        UserError: a file is missing, or a line is not number, rating and text separated by tabs.
    """
    rows = [row for source, name in HUTTO_FILES.items() for row in _rows(source, folder / name)]
    return Table(
        {
            "text": [row.text for row in rows],
            "rating": [row.rating for row in rows],
            "source": [row.source for row in rows],
            "group": _groups(rows),
        },
        str(folder),
        [row.line for row in rows],
        [row.file for row in rows],
    )


def _rows(source: str, path: Path) -> list[_Row]:
    if not path.is_file():
        raise UserError("a file of the data set is missing", where=path, fix="get it with: elman data sentiment")
    rows = []
    for line, raw in enumerate(read_lines(path), start=1):
        fields = raw.rstrip("\r\n").split("\t")
        rating = _rating(fields[1]) if len(fields) == 3 else None
        if rating is None or not fields[2].strip():
            what = "a line must be a number, a rating from -4 to 4 and a text, separated by tabs"
            raise UserError(what, where=f"{path}:{line}", found=repr(raw[:80]))
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), fields[2])
        rows.append(_Row(source, fields[0], rating, text, str(path), line))
    return rows


def _rating(field: str) -> float | None:
    try:
        rating = float(field)
    except ValueError:
        return None
    return rating if math.isfinite(rating) and abs(rating) <= 4 else None


def _groups(rows: list[_Row]) -> list[str]:
    names = [f"{row.source} {row.number.split('_')[0]}" for row in rows]
    first: dict[str, int] = {}
    partition = Partition(len(rows))
    for index, name in enumerate(names):
        partition.join(index, first.setdefault(name, index))
    for one, other in near_duplicates([row.text for row in rows]):
        partition.join(one, other)
    return [names[partition.first(index)] for index in range(len(rows))]
