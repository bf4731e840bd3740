"""Lines of WORD TAG with a blank line between sentences, as in the files of the CoNLL tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from elman.data.lines import read_lines
from elman.data.tagged import Rows, Tagged
from elman.errors import UserError

_DOCUMENT = "-DOCSTART-"
_PART_OF_A_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U: a contraction's range, or a word that is not written


class _Fields(NamedTuple):
    """Which fields of a line are the word and its tag, and how many there are."""

    word: int
    tag: int
    width: int


def read_tagged_lines(path: Path) -> Tagged:
    """A file with a word and its tag on each line, separated by tabs or spaces, a blank line between sentences.

    The word is the first field and the tag the last, as in CoNLL-2003; in a `.conllu` file the word is the second
    and the part of speech the fourth of ten, and lines that begin with # say nothing. A line -DOCSTART- begins a
    document, whose rows are one group.

    Raises:
        UserError: with the line: a word without its tag, or more or fewer fields than the first line has; no word
            at all; and what `read_lines` refuses.
    """
    rows, documents = Rows(), 0
    conllu = path.suffix.lower() == ".conllu"
    chosen: _Fields | None = None
    for number, line in enumerate(read_lines(path), start=1):
        fields = _fields(line)
        if conllu and (line.startswith("#") or (fields and _PART_OF_A_WORD.fullmatch(fields[0]))):
            continue
        if not fields:
            rows.end()
        elif fields[0] == _DOCUMENT:
            documents += 1
            rows.begin(f"document {documents}")
        else:
            where = f"{path}:{number}"
            chosen = chosen or _chosen(fields, conllu, where)
            rows.add(*_word_and_tag(fields, chosen, where))
    notes = []
    if chosen and chosen.width > 2:
        place = f"the word is number {chosen.word + 1}, its tag number {chosen.tag + 1}"
        notes.append(f"a line holds {chosen.width} fields: {place}")
    return rows.tagged(str(path), *notes)


def _fields(line: str) -> list[str]:
    text = line.rstrip("\r\n")
    if not text.strip():
        return []
    return [field.strip() for field in text.split("\t")] if "\t" in text else text.split()


def _chosen(fields: list[str], conllu: bool, where: str) -> _Fields:
    if len(fields) == 1:
        raise _no_tag(where, fields[0])
    if conllu and len(fields) != 10:
        raise UserError("a line of CoNLL-U has ten fields", where=where, found=f"{len(fields)} fields")
    return _Fields(1, 3, 10) if conllu else _Fields(0, len(fields) - 1, len(fields))


def _word_and_tag(fields: list[str], chosen: _Fields, where: str) -> tuple[str, str]:
    if len(fields) == 1:
        raise _no_tag(where, fields[0])
    if len(fields) != chosen.width:
        what = f"every line must have as many fields as the first, {chosen.width}"
        fix = "separate the fields by tabs where a word holds a space"
        raise UserError(what, where=where, found=f"{len(fields)}: {' '.join(fields)[:60]!r}", fix=fix)
    word, tag = fields[chosen.word], fields[chosen.tag]
    if not word:
        raise UserError("a tag needs its word", where=where, found=repr(tag))
    if not tag:
        raise _no_tag(where, word)
    return word, tag


def _no_tag(where: str, word: str) -> UserError:
    fix = "write WORD TAG on each line, and a blank line between sentences"
    return UserError("every word needs its tag", where=where, found=f"{word[:60]!r} alone", fix=fix)
