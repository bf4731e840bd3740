"""From a user's file, table or plain text to words with their tags."""

from __future__ import annotations

from pathlib import Path

from elman.data.documents import read_documents
from elman.data.lines import read_lines
from elman.data.plain_text import marked_text
from elman.data.readers import Source, read_table
from elman.data.tagged import Tagged
from elman.data.tagged_lines import read_tagged_lines
from elman.data.tagged_table import TAG_NAMES, WORD_NAMES, TagColumns, tagged_table
from elman.errors import UserError

NO_COLUMNS = TagColumns()
TABLES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")


def read_tagged(source: Source, named: TagColumns = NO_COLUMNS, trained: TagColumns = NO_COLUMNS) -> Tagged:
    """Words with their tags, as a user has them: see `read_tagged_lines` and `tagged_table`.

    Args:
        source: a file, or whatever `read_table` takes. A table is told by its ending; a `.tsv` is one where its
            first line names a column of words or tags, or where the user does.
        named: columns that the user has named.
        trained: columns of a table that are taken where they are there and none is named.

    Raises:
        UserError: there is nothing to read, or it cannot be read; the line is named.

    Example:
        >>> read_tagged({"word": ["In", "May"], "tag": ["O", "DATE"]}).tags["tag"]
        [['O', 'DATE']]
    """
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    if path is None or not _is_lines(path, any(named)):
        return tagged_table(read_table(source), named, trained)
    if any(named):
        fix = f"name a table ({', '.join(TABLES)}), or no column"
        raise UserError("lines of WORD TAG have no columns to name", where=source, fix=fix)
    return read_tagged_lines(path)


def read_marked(source: Source, text: str | None = None) -> Tagged:
    """Plain text with its capitals and marks, see `marked_text` and `read_documents`.

    Args:
        source: a `.txt` file; a folder of them; or whatever `read_table` takes, a text a row.
        text: the column of texts, where it is not to be guessed.

    Raises:
        UserError: there is no text, or it cannot be read; the line is named.
    """
    found = read_documents(source, text)
    notes = [f"column guessed: --text {found.column!r}"] if found.column and text is None else []
    return marked_text(dict(zip(found.names, found.texts, strict=True)), found.source, *notes)


def _is_lines(path: Path, named: bool) -> bool:
    if path.is_dir():
        what = "words with tags stand in a file of lines WORD TAG, or in a table"
        raise UserError(what, where=path, found="a folder")
    if not path.is_file() or path.suffix.lower() in TABLES:
        return False
    if path.suffix.lower() != ".tsv":
        return True
    first = next(read_lines(path)).split("\t")
    known = " ".join((*WORD_NAMES, *TAG_NAMES)).split()
    return not named and not any(field.strip().casefold() in known for field in first)
