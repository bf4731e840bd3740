"""From a user's file, table or plain text to words with their tags."""

from __future__ import annotations

from pathlib import Path

from elman.data.columns import choose_columns
from elman.data.lines import read_lines
from elman.data.marked_text import marked_text
from elman.data.readers import Source, read_table
from elman.data.tagged import Tagged
from elman.data.tagged_lines import read_tagged_lines
from elman.data.tagged_table import TAG_NAMES, WORD_NAMES, tagged_table
from elman.data.texts import drop_empty
from elman.errors import UserError

_TABLES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")


def read_tagged(
    source: Source, word: str | None = None, tag: str | None = None, sentence: str | None = None
) -> Tagged:
    """Words with their tags, as a user has them: see `read_tagged_lines` and `tagged_table`.

    Args:
        source: a file, or whatever `read_table` takes. A table is told by its ending; a `.tsv` is one where its
            first line names a column of words or tags, or where the user does.
        word: the column of words, where it is not to be guessed.
        tag: the column of tags, where it is not to be guessed.
        sentence: the column that says to which sentence a word belongs, where it is not to be guessed.

    Raises:
        UserError: there is nothing to read, or it cannot be read; the line is named.
    """
    named = bool(word or tag or sentence)
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    if path is None or not _is_lines(path, named):
        return tagged_table(read_table(source), word, tag, sentence)
    if named and path.suffix.lower() != ".tsv":
        fix = f"name a table ({', '.join(_TABLES)}), or no column"
        raise UserError("lines of WORD TAG have no columns to name", where=source, fix=fix)
    return read_tagged_lines(path)


def read_marked(source: Source, text: str | None = None) -> Tagged:
    """Plain text with its capitals and marks, see `marked_text`: a file, a folder of `.txt`, or a column of texts.

    Args:
        source: a `.txt` file; a folder, all of whose `.txt` files are read; or whatever `read_table` takes.
        text: the column of texts, where it is not to be guessed.

    Raises:
        UserError: there is no text, or it cannot be read; the line is named.
    """
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    if path is not None and path.is_dir():
        found = sorted(p for p in path.rglob("*.txt") if p.is_file() and not p.name.startswith("."))
        if not found:
            raise UserError("the folder holds no .txt file", where=path)
        texts = {str(one.relative_to(path)): "".join(read_lines(one)) for one in found if one.stat().st_size}
        return marked_text(texts, str(path))
    if path is not None and path.suffix.lower() == ".txt" and path.is_file():
        return marked_text({path.name: "".join(read_lines(path))}, str(path))
    table = read_table(source)
    columns = choose_columns(table, text, None, need_label=False)
    table, _ = drop_empty(table, columns.text)
    rows = {str(row): cell for row, cell in enumerate(table.column(columns.text))}
    return marked_text(
        rows, table.source, *([f"column guessed: --text {columns.text!r}"] if columns.guessed else [])
    )


def _is_lines(path: Path, named: bool) -> bool:
    if path.is_dir():
        what = "words with tags stand in a file of lines WORD TAG, or in a table"
        raise UserError(what, where=path, found="a folder")
    if not path.is_file() or path.suffix.lower() in _TABLES:
        return False
    if path.suffix.lower() != ".tsv":
        return True
    first = next(read_lines(path)).split("\t")
    known = " ".join((*WORD_NAMES, *TAG_NAMES)).split()
    return not named and not any(field.strip().casefold() in known for field in first)
