"""What the authors of the standard library and of torch wrote about their code: in a sentence, and at length."""

from __future__ import annotations

import ast
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from elman.data.duplicates import near_duplicates
from elman.data.table import Table
from elman.errors import UserError

# Tests, copies of other packages, and what is installed beside the library.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "testing", "_vendor", "_bundled", "__pycache__"}
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=\w\w[\w)`'\"])\.(?=\s|$)")
_LEAST_WORDS = 3  # of a summary, and of what follows it
_MOST_WORDS = 24  # of a summary
_DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def read_docstrings(folders: Mapping[str, Path] | None = None) -> Table:
    r"""First sentences of docstrings, and what follows them, out of source files that are read and never run.

    The first sentence ends with a full stop, or with the first paragraph (PEP 257 asks for one line); it has at
    most 24 words, and both sides have three or more. Of docstrings with the same first sentence, or whose other
    words are nearly the same (Jaccard similarity 0.7), the first one is kept: inherited methods repeat what their
    base class says.

    Args:
        folders: source trees by name; the installed standard library and torch by default, whose texts change
            with their versions.

    Returns:
        A table with the columns text (what follows), summary (the first sentence) and group (the file), by file.

    Raises:
        UserError: no docstring is found, as where only compiled files are installed.

    Source:
        The standard library (PSF licence 2) and torch (BSD-3-Clause), as installed.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     _ = pathlib.Path(name, "a.py").write_text("'''Give the answer.\n\nIt is always the same.'''")
        ...     table = read_docstrings({"own": pathlib.Path(name)})
        >>> table.column("summary"), table.column("text"), table.column("group")
        (['Give the answer.'], ['It is always the same.'], ['own/a.py'])
    """
    folders = _installed() if folders is None else folders
    found = [
        (body, first, f"{name}/{path.relative_to(folder).as_posix()}")
        for name, folder in folders.items()
        for path in _source_files(folder)
        for first, body in _docstrings(path)
    ]
    source = "docstrings of " + " and ".join(folders)
    if not found:
        where = ", ".join(map(str, folders.values()))
        raise UserError("there is no docstring in the source files", where=where, fix="name your own with --data")
    rows = _without_repetitions(found)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("text", "summary", "group"))}
    return Table(columns, source)


def _installed() -> dict[str, Path]:
    torch = importlib.util.find_spec("torch")
    folders = {"the standard library": Path(sysconfig.get_paths()["stdlib"])}
    if torch is not None and torch.origin is not None:
        folders["torch"] = Path(torch.origin).parent
    return folders


def _source_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if not _LEFT_OUT.intersection(path.relative_to(folder).parts):
            yield path


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """The first line and the rest of each docstring of a file; of a file of another Python's syntax, none."""
    try:
        source = path.read_bytes()
        if b'"""' not in source and b"'''" not in source:
            return
        with warnings.catch_warnings():  # of escapes in other people's strings
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, _DEFINITIONS) else None
        pair = _summary_line((text or "").strip())
        if pair is None or len(pair[0].split()) > _MOST_WORDS:
            continue
        if min(len(_WORD.findall(side)) for side in pair) >= _LEAST_WORDS:
            yield pair


def _summary_line(text: str) -> tuple[str, str] | None:
    """The first sentence of a docstring's first paragraph and all that follows; None where no sentence ends."""
    paragraph, gap, rest = text.partition("\n\n")
    end = _SENTENCE_END.search(paragraph)
    if end is not None:
        return _joined(paragraph[: end.end()]), f"{paragraph[end.end() :].strip()}\n\n{rest}".strip()
    return (_joined(paragraph), rest.strip()) if gap else None


def _joined(lines: str) -> str:
    return " ".join(lines.split())


def _without_repetitions(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    said = {" ".join(_WORD.findall(first.casefold())): row for row, (_, first, _) in reversed([*enumerate(rows)])}
    rows = [rows[row] for row in sorted(said.values())]
    repeated = {later for later, _ in near_duplicates([body for body, _, _ in rows])}
    return [row for number, row in enumerate(rows) if number not in repeated]
