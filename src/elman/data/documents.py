"""Whole texts to go on writing from: a file, a folder of files, or the rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman.data.columns import choose_columns
from elman.data.lines import read_lines
from elman.data.readers import read_table
from elman.data.split import Split, split
from elman.data.texts import drop_empty, is_empty
from elman.errors import UserError

FEW = 10  # fewer documents than this are each cut, as they cannot be dealt out evenly
_BORDER = re.compile(r"\s")
_WORD = re.compile(r"\w+")
_LINE_ENDS = re.compile(r"\r\n?")
_NEAR = 1000  # characters; some scripts write no spaces
_MOST_BYTES = 4  # of a character in UTF-8


@dataclass(frozen=True)
class Documents:
    """Texts with a name each; none shows nothing at all.

    Attributes:
        texts: lines end with a line feed.
        names: a file or row for each.
        source: where they came from, as the user named it.
        column: the column of a table, or None.
        dropped: empty ones that were left out.
    """

    texts: list[str]
    names: list[str]
    source: str
    column: str | None = None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def characters(self) -> int:
        """Of all texts together."""
        return sum(map(len, self.texts))


def read_documents(source: Any, text: str | None = None, most: int = 100_000_000) -> Documents:
    """Whole texts from what a user gives.

    Args:
        source: a `.txt` file, one text; a folder with `.txt` files in it or below it, a text each; or what
            `read_table` reads, a text a row.
        text: the column of texts of a table; by default guessed.
        most: characters of all texts together at most.

    Raises:
        UserError: the source is missing, empty, larger than `most`, or not UTF-8; the file and line are named.

    Example:
        >>> read_documents({"text": ["One.", " ", "Two."]}).texts
        ['One.', 'Two.']
    """
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    if path is not None and (path.is_dir() or (path.suffix.lower() == ".txt" and path.is_file())):
        found = _from_files(path, text, most)
    else:
        table = read_table(source)
        column = choose_columns(table, text, None, need_label=False).text
        kept, dropped = drop_empty(table, column)
        texts = [_with_line_feeds(one) for one in kept.column(column)]
        found = Documents(texts, [kept.where(row) for row in range(len(kept))], kept.source, column, dropped)
    if found.characters > most:
        raise _too_large(found.source, f"{found.characters:,} characters", most)
    return found


def deal_documents(documents: Documents, *, seed: int, parts: tuple[float, float, float]) -> Split:
    """Which documents are for training, validation and test: whole ones, those of the same words together.

    Args:
        documents: ten or more; see `cut_documents` for fewer.
        seed: another seed, another split.
        parts: the shares of the three.

    Raises:
        UserError: too few that differ.
    """
    first: dict[str, int] = {}
    groups = [first.setdefault(_said(text), number) for number, text in enumerate(documents.texts)]
    return split(len(documents), seed=seed, parts=parts, groups=groups)


def cut_documents(documents: Documents, parts: tuple[float, float, float]) -> tuple[Documents, Split]:
    """Few documents, each cut in three, at white space where there is some: its end is for the test.

    Raises:
        UserError: a part gets nothing.

    Example:
        >>> cut, parts = cut_documents(Documents(["one two six ten"], ["a.txt"], "a.txt"), (0.4, 0.3, 0.3))
        >>> [cut.texts[row] for part in parts for row in part]
        ['one two ', 'six ', 'ten']
    """
    pieces: list[tuple[str, str, int]] = []
    for text, name in zip(documents.texts, documents.names, strict=True):
        first, second = (_border(text, share) for share in (parts[0], parts[0] + parts[1]))
        cut = (text[:first], text[first:second], text[second:])
        pieces += [(piece, name, part) for part, piece in enumerate(cut) if not is_empty(piece)]
    split = Split(*([row for row, (_, _, part) in enumerate(pieces) if part == wanted] for wanted in range(3)))
    if not all(split):
        found, fix = f"{documents.characters} characters", "give more text"
        raise UserError("the text is too short to be cut in three", where=documents.source, found=found, fix=fix)
    names = [f"{name}, part {part + 1}" for _, name, part in pieces]
    return Documents([piece for piece, _, _ in pieces], names, documents.source, documents.column), split


def _said(text: str) -> str:
    """The words of a text, whatever their case and the marks between them; the text itself where it has none."""
    return " ".join(_WORD.findall(text.casefold())) or text


def _border(text: str, share: float) -> int:
    """Behind the white space that comes next after a share of a text; there where none is near."""
    place = round(len(text) * share)
    found = _BORDER.search(text, place, place + _NEAR)
    return place if found is None else found.end()


def _from_files(path: Path, text: str | None, most: int) -> Documents:
    if text is not None:
        raise UserError("--text names a column of a table", where=path, found=text, fix="leave it out for texts")
    paths = [path] if path.is_file() else list(text_files(path))
    if not paths:
        fix = "give a folder with .txt files, a .txt file, or a table with --text COLUMN"
        raise UserError("the folder holds no .txt file", where=path, fix=fix)
    size = sum(one.stat().st_size for one in paths)
    if size > _MOST_BYTES * most:
        raise _too_large(str(path), f"{size:,} bytes", most)
    texts = [_read(one, alone=len(paths) == 1) for one in paths]
    kept = [(one, name) for one, name in zip(texts, paths, strict=True) if not is_empty(one)]
    if not kept:
        found = f"{len(paths)} files" if path.is_dir() else "white space"
        raise UserError("there is no text", where=path, found=found)
    names = [str(name) for _, name in kept]
    return Documents([one for one, _ in kept], names, str(path), dropped=len(paths) - len(kept))


def text_files(folder: Path, suffix: str = ".txt") -> Iterator[Path]:
    """The files of a suffix in a folder or below it, in the order of their names; hidden ones are left out."""
    inside = folder.resolve()
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if not path.is_file():
            kind = "a broken link" if path.is_symlink() else "no regular file"
            raise UserError("a text must be a file that can be read", where=path, found=kind, fix="remove it")
        if not path.resolve().is_relative_to(inside):
            fix = "copy the file into the folder"
            raise UserError("a text must lie inside its folder", where=path, found=path.resolve(), fix=fix)
        yield path


def _read(path: Path, *, alone: bool) -> str:
    if not alone and not path.stat().st_size:
        return ""
    return _with_line_feeds("".join(read_lines(path)))


def _with_line_feeds(text: str) -> str:
    return _LINE_ENDS.sub("\n", text)


def _too_large(where: str, found: str, most: int) -> UserError:
    fix = "give less text, or raise data.max_characters if there is memory for it (about 30 bytes a character)"
    return UserError(f"at most {most:,} characters are read", where=where, found=found, fix=fix)


def shown(parts: Sequence[int], documents: Documents) -> str:
    """How many characters some documents have.

    Example:
        >>> shown([0], Documents(["four"], ["a.txt"], "a.txt"))
        '1 text of 4 characters'
    """
    characters = sum(len(documents.texts[row]) for row in parts)
    return f"{len(parts):,} text{'s' * (len(parts) != 1)} of {characters:,} characters"
