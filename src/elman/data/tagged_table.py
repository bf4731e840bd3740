"""Words and their tags out of a table: a row a word, or a row a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from elman.data.columns import column_named
from elman.data.table import Table, is_missing
from elman.data.tagged import Rows, Tagged
from elman.errors import UserError

WORD_NAMES = ("word words token tokens", "form text")
TAG_NAMES = ("tag tags label labels", "ner ner_tag ner_tags pos pos_tag pos_tags upos")
_SENTENCE_NAMES = ("sentence", "sentence #", "sentence_id", "sentence id", "sent_id", "sent")


class TagColumns(NamedTuple):
    """Names of the columns of words, of tags, and of sentences; None where one is not known."""

    word: str | None = None
    tag: str | None = None
    sentence: str | None = None


def tagged_table(table: Table, named: TagColumns, trained: TagColumns) -> Tagged:
    """Rows of words out of a table.

    A row holds a word and its tag; where the cells are lists, a row holds the words of a sentence and their tags.
    A new value in the column of sentences begins a sentence, an empty cell there goes on with the one under way;
    so does an empty row.

    Args:
        table: the data.
        named: columns that the user has named.
        trained: columns that are taken where they are there and none is named; the rest is known by usual names.

    Raises:
        UserError: no such column, a word without its tag or a tag without its word; the line is named.

    Example:
        >>> table = Table({"word": ["I", "ran", "No"], "tag": ["N", "V", "N"], "sentence": ["1", "", "2"]}, "data")
        >>> tagged_table(table, TagColumns(), TagColumns()).words
        [['I', 'ran'], ['No']]
    """
    there = TagColumns(*(name if name in table.columns else None for name in trained))
    word_column = _column(table, named.word or there.word, WORD_NAMES, "--text", named.tag or there.tag)
    tag_column = _column(table, named.tag or there.tag, TAG_NAMES, "--label", word_column)
    chosen = [f"words {word_column!r}", f"tags {tag_column!r}"]
    words, tags = table.column(word_column), table.column(tag_column)
    rows = Rows()
    if any(isinstance(cell, list) for cell in words):
        _add_sentences(rows, words, tags, table)
        return rows.tagged(table.source, f"columns: {', '.join(chosen)}, a sentence a row")
    name = named.sentence or there.sentence or _sentence_column(table, (word_column, tag_column))
    sentences = [None] * len(table) if name is None else table.column(name)
    chosen.append("no column of sentences" if name is None else f"sentences {name!r}")
    current = None
    for row, cells in enumerate(zip(words, tags, sentences, strict=True)):
        if not is_missing(cells[2]) and cells[2] != current:
            current = cells[2]
            rows.end()
        _add(rows, cells[0], cells[1], table.where(row))
    return rows.tagged(table.source, f"columns: {', '.join(chosen)}")


def _add(rows: Rows, word: Any, tag: Any, where: str) -> None:
    if is_missing(word) and is_missing(tag):
        rows.end()
        return
    for cell, what in ((tag, "every word needs its tag"), (word, "every tag needs its word")):
        if is_missing(cell):
            raise UserError(what, where=where, found=f"word {word!r}, tag {tag!r}")
        if not isinstance(cell, str | int | float):
            raise UserError("words and tags must be text", where=where, found=type(cell).__name__)
    rows.add(str(word).strip(), str(tag).strip())


def _add_sentences(rows: Rows, words: Sequence[Any], tags: Sequence[Any], table: Table) -> None:
    for row, (of_words, of_tags) in enumerate(zip(words, tags, strict=True)):
        where = table.where(row)
        if not isinstance(of_words, list) or not isinstance(of_tags, list):
            found = f"{type(of_words).__name__} and {type(of_tags).__name__}"
            raise UserError("words and tags must both be lists", where=where, found=found)
        if len(of_words) != len(of_tags):
            found = f"{len(of_words)} words, {len(of_tags)} tags"
            raise UserError("every word needs its tag", where=where, found=found)
        for word, tag in zip(of_words, of_tags, strict=True):
            _add(rows, word, tag, where)
        rows.end()


def _column(table: Table, given: str | None, usual: tuple[str, ...], option: str, taken: str | None) -> str:
    if given is not None:
        table.column(given)
        return given
    others = [name for name in table.columns if name != taken]
    if named := column_named(table, others, usual, option.removeprefix("--")):
        return named
    found, fix = f"columns {', '.join(table.columns)}", f"name it with {option} COLUMN"
    role = "words" if option == "--text" else "tags"
    raise UserError(f"which column holds the {role} is not clear", where=table.source, found=found, fix=fix)


def _sentence_column(table: Table, taken: tuple[str, ...]) -> str | None:
    usual = [name for name in table.columns if name not in taken and name.strip().casefold() in _SENTENCE_NAMES]
    return usual[0] if len(usual) == 1 else None
