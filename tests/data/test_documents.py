"""Whole texts from files, folders and tables; long texts as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import (
    Documents,
    Vocabulary,
    character_ids,
    characters_of,
    composed,
    cut_documents,
    deal_documents,
    read_documents,
)
from elman.errors import UserError

SHARES = (0.8, 0.1, 0.1)


def test_a_folder_gives_a_text_a_file_in_the_order_of_the_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, content in (
        ("b.txt", "two\r\nlines"),
        ("a.txt", "\ufeffone"),
        ("deep/c.txt", "three\r"),
        ("d.txt", ""),
        ("e.txt", " \n"),
        (".hidden.txt", "no"),
        ("notes.md", "no"),
    ):
        (tmp_path / name).write_bytes(content.encode())
    found = read_documents(tmp_path)
    assert found.texts == ["one", "two\nlines", "three\n"]
    assert [Path(name).name for name in found.names] == ["a.txt", "b.txt", "c.txt"]
    assert (found.dropped, found.column, found.characters) == (2, None, 18)


def test_a_table_gives_a_text_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,note\n1,"one\ntwo"\n2,\n3,three\n')
    found = read_documents(str(path), "note")
    assert found.texts == ["one\ntwo", "three"] and found.dropped == 1
    assert found.names == [f"{path}:2", f"{path}:5"]
    assert read_documents({"text": ["a", "b"]}).column == "text"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "the file is empty"),
        ("a.txt", b"\n ", "there is no text"),
        ("a.txt", b"fine\ncaf\xe9", r"a\.txt:2: the text is not UTF-8"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.txt", b"te\x00xt", "NUL"),
        ("a.txt", b"more than ten", "at most 10 characters are read; found: 13 characters"),
        ("a.txt", b"m" * 41, "at most 10 characters are read; found: 41 bytes"),
        ("folder/a.md", b"text", r"holds no \.txt file"),
        ("folder/a.txt", b" ", "there is no text; found: 1 files"),
        ("a.csv", b"text\nmuch more than ten\n", "at most 10 characters"),
        ("a.docx", b"PK", "the kind of a file is told by its ending"),
    ],
)
def test_what_is_no_text_is_said(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_documents(tmp_path / Path(name).parts[0], most=10)


def test_links_that_lead_out_or_nowhere_are_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret.txt"
    inside.mkdir()
    outside.write_text("secret")
    link = inside / "a.txt"
    link.symlink_to(outside)
    with pytest.raises(UserError, match="must lie inside its folder"):
        read_documents(inside)
    outside.unlink()
    with pytest.raises(UserError, match="a broken link"):
        read_documents(inside)
    with pytest.raises(UserError, match="no such file"):
        read_documents(tmp_path / "nothing.txt")


def documents(texts: list[str], column: str | None = None) -> Documents:
    return Documents(texts, [str(n) for n in range(len(texts))], "texts", column)


def test_texts_of_the_same_words_stay_together() -> None:
    rows = [f"order {n} of seven red apples and {n * n} plums" for n in range(40)]
    again = [f"{row.upper()}!".replace(" ", ", ") for row in rows]
    found = deal_documents(documents([*rows, *again], "text"), seed=1, parts=SHARES)
    part_of = {row: part for part, held in enumerate(found) for row in held}
    assert all(part_of[row] == part_of[row + 40] for row in range(40))
    assert all(found)
    copies = deal_documents(documents([f"book {n % 15}" for n in range(30)]), seed=0, parts=SHARES)
    part_of = {row: part for part, held in enumerate(copies) for row in held}
    assert all(part_of[row] == part_of[row + 15] for row in range(15))


@given(st.lists(st.text(min_size=30, max_size=200), min_size=1, max_size=4))
def test_a_cut_loses_no_character(texts: list[str]) -> None:
    try:
        cut, parts = cut_documents(documents(texts), SHARES)
    except UserError:
        return
    assert sorted(row for part in parts for row in part) == list(range(len(cut)))
    kept, given = ("".join("".join(many).split()) for many in (cut.texts, texts))
    invisible = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # pieces of nothing else are left out
    assert kept.translate(dict.fromkeys(map(ord, invisible))) == given.translate(
        dict.fromkeys(map(ord, invisible))
    )


def test_a_cut_falls_on_white_space_where_there_is_some() -> None:
    cut, parts = cut_documents(documents(["word " * 100]), SHARES)
    assert all(len(piece) % 5 == 0 for piece in cut.texts) and [len(part) for part in parts] == [1, 1, 1]
    cut, _ = cut_documents(documents(["\u5b57" * 10_000]), SHARES)
    assert [len(piece) for piece in cut.texts] == [8000, 1000, 1000]
    with pytest.raises(UserError, match="too short to be cut"):
        cut_documents(documents(["tiny"]), SHARES)


@given(st.text(max_size=60))
def test_long_texts_get_the_numbers_of_the_tokenizer(text: str) -> None:
    vocabulary = Vocabulary.train(["a plain caf\u00e9 \uac00\u0301 text" * 2], "character", lowercase=False)
    assert character_ids(vocabulary, text).tolist() == vocabulary.encode(text)
    assert character_ids(vocabulary, "cafe\u0301").tolist() == vocabulary.encode("caf\u00e9")


def test_characters_seen_once_are_unknown_where_asked() -> None:
    vocabulary = Vocabulary.train(["aabbc"], "character", lowercase=False, least=2)
    assert vocabulary.encode("abc") == [4, 5, 1]
    assert characters_of(vocabulary) == ["", "", "", "", "a", "b"]
    assert character_ids(vocabulary, "").dtype == np.int32
    assert composed("\ud800e\u0301") == "\ufffd\u00e9"
