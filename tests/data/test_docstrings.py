"""Docstrings out of source files: which are taken, which are left out, and that nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.data.docstrings import read_docstrings
from elman.errors import UserError


def table_of(folder: Path, files: dict[str, str | bytes]) -> list[tuple[str, str, str]]:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
    table = read_docstrings({"own": folder})
    assert table.source == "docstrings of own"
    return list(zip(table.column("summary"), table.column("text"), table.column("group"), strict=True))


def function(doc: str, name: str = "f") -> str:
    return f'def {name}():\n    """{doc}"""\n'


def test_modules_classes_and_functions_give_first_lines_and_what_follows(tmp_path: Path) -> None:
    source = '''"""About this module

    What the module does.
    """
class A:
    """A class with an end.
    And more about it."""
    async def wait(self):
        """Wait for the end
        of it, e.g. here. And more in the same
        paragraph.

          Indented by two
        and back again."""
'''
    assert table_of(tmp_path, {"a.py": source}) == [
        ("About this module", "What the module does.", "own/a.py"),
        ("A class with an end.", "And more about it.", "own/a.py"),
        (
            "Wait for the end of it, e.g. here.",
            "And more in the same\nparagraph.\n\n  Indented by two\nand back again.",
            "own/a.py",
        ),
    ]


@pytest.mark.parametrize(
    "doc",
    [
        "The only line there is.",
        "A text of two lines\nthat has no end",
        f"{'Word ' * 25}too many.\n\nAnd then more.",
        "Two words\n\nAnd what follows them.",
        "Three words here\n\nand two",
        "",
    ],
)
def test_what_has_no_first_line_or_nothing_behind_it_is_left_out(tmp_path: Path, doc: str) -> None:
    good = function("Give back the answer.\n\nIt is always the same.")
    assert len(table_of(tmp_path, {"a.py": function(doc), "b.py": good})) == 1


def test_repetitions_are_left_out_whatever_their_case_and_marks(tmp_path: Path) -> None:
    words = "Every word of this long text stands in the other text too"
    docs = [
        f"Give back the answer.\n\n{words}.",
        "GIVE back the answer\n\nOther words than those above.",
        f"Another first line.\n\n{words}, nearly.",
        "A third first line.\n\nNothing of it was said before.",
    ]
    files = {f"{name}.py": function(doc) for name, doc in zip("abcd", docs, strict=True)}
    assert [row[2] for row in table_of(tmp_path, files)] == ["own/a.py", "own/d.py"]


def test_tests_copies_and_what_cannot_be_parsed_are_left_out(tmp_path: Path) -> None:
    good, other = "Give back the answer.\n\nIt is always the same.", "One more of them.\n\nBut not the same words."
    files = {
        "site-packages/a.py": function(other),
        "test/a.py": function(other),
        "deep/_vendor/a.py": function(other),
        "broken.py": function(other) + "def",
        "nul.py": function(other) + "\0",
        "encoding.py": b'"""\xff\xfe"""\n' + function(other).encode(),
        "names.txt": function(other),
        "good.py": function(good),
    }
    assert [row[2] for row in table_of(tmp_path, files)] == ["own/good.py"]


def test_a_declared_encoding_is_read_and_nothing_is_run(tmp_path: Path) -> None:
    source = "# coding: latin-1\nraise SystemExit\n" + function("Öffne die alte Datei.\n\nSie wird nur gelesen.")
    found = table_of(tmp_path, {"a.py": source.encode("latin-1")})
    assert found == [("Öffne die alte Datei.", "Sie wird nur gelesen.", "own/a.py")]


def test_a_folder_without_docstrings_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no docstring in the source files.*--data"):
        table_of(tmp_path, {"a.py": "x = 1\n"})
