"""Tunes: what files hold, which are variants of one, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.data import tunes
from elman.data.notation import read_tune
from elman.data.tunes import groups, read_collections, read_tunes
from elman.errors import UserError


def tune(title: str, notes: str, key: str = "C", metre: str = "4/4") -> str:
    return f"X:1\nT:{title}\nM:{metre}\nL:1/8\nK:{key}\n{notes}|]\n"


def test_a_file_holds_several_tunes_and_those_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.abc"
    path.write_text(
        tune("A", "G8|G8") + "\n" + tune("B", "G8|A4|A4|A8") + "\n" + tune("C", "G?") + tune("D", "c8")
    )
    found = read_tunes(path)
    assert [one.titles for one in found.tunes] == [("A",), ("D",)]
    assert found.names[1] == f"{path}, tune 4"
    assert found.refused == {"the notes of a bar fill the metre": 1, "this is not ABC notation": 1}
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.abc").write_text(tune("E", "e8"))
    (tmp_path / "c.txt").write_text("no tune")
    assert len(read_tunes(str(tmp_path)).tunes) == 3
    path.write_bytes((tune("A", "G8") + tune("B", "c8")).replace("\n", "\r").encode("utf-8-sig"))
    assert [one.titles for one in read_tunes(path).tunes] == [("A",), ("B",)]


def test_one_title_however_it_is_spelt_is_one_group() -> None:
    titles = ["The Lark's Nest", "Larks Nest, The", "LARK'S NEST -- Reel", "Lark's Nest Reel", "The Lark", "Nest"]
    read = [read_tune(tune(title, f"C8|{'DEFGAB'[number]}8")) for number, title in enumerate(titles)]
    assert groups(read) == [0, 0, 0, 0, 4, 5]


def test_one_melody_under_two_titles_and_in_two_keys_is_one_group() -> None:
    notes = "CDEF GABc|dcde fgab|c'bag fedc|C2E2 G2c2|G8"
    one, other = read_tune(tune("A", notes)), read_tune(tune("B", "C8|" + notes)).moved(2)
    third = read_tune(tune("C", notes.replace("e", "z").replace("F", "E").replace("A", "c")))
    assert groups([one, other, third]) == [0, 0, 2]


def test_the_collections_share_no_melody_between_groups() -> None:
    pytest.importorskip("music21")
    found = read_collections()
    assert len(found.tunes) > 3_900 and len(set(found.groups)) > 2_500
    assert "permission of the encoders" in found.notice
    seen, lengths = dict[object, int](), dict[object, int]()
    for one, group in zip(found.tunes, found.groups, strict=True):
        melody = [lengths.setdefault(pair, len(lengths)) for pair in one.melody()]
        for begin in range(len(melody) - tunes.RUN + 2):
            assert seen.setdefault(tuple(melody[begin : begin + tunes.RUN - 1]), group) == group


def test_a_missing_music21_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'elman\[music\]'"):
        read_collections()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"Dear Sir, this is a letter", "not ABC notation"),
        (b"X:1\nT:A\nK:C\n", "a tune has notes"),
        (tune("caf\u00e9", "G8").encode("latin-1"), r"not UTF-8.*0xe9"),
        (b"\x89PNG\x00\x00", "not UTF-8|NUL"),
        (tune("A", "G|G|G|G|G").encode(), r"fill the metre.*2 of 5"),
    ],
)
def test_files_without_a_tune_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.abc"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_tunes(path)
    assert str(path) in str(error.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no", "no such file"), (tmp_path, "no .abc file")):
        with pytest.raises(UserError, match=words):
            read_tunes(path)
    (tmp_path / "a.abc").write_text(tune("A", "G8"))
    with pytest.raises(UserError, match=r"at most 9 characters.*data\.max_characters"):
        read_tunes(tmp_path, most=9)
