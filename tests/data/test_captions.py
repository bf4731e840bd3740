"""Captioned pictures: the drawn emoji and their groups, and what is refused in a folder of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elman.data import captions
from elman.data.captions import TONES, normal_words, read_captioned, read_emoji
from elman.data.pictures import read_colours
from elman.errors import UserError


def write_pictures(folder: Path, rows: list[tuple[str, str]], head: str = "file,caption") -> Path:
    """A folder with one-coloured pictures, no two alike, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(dict.fromkeys(name for name, _ in rows)):
        Image.new("RGB", (20, 10), (number * 7 % 256, 255 - number, 50)).save(folder / name)
    lines = [head, *(f"{name},{caption}" for name, caption in rows)]
    (folder / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def drawn() -> Any:
    return read_emoji(16)


def test_the_emoji_are_drawn_once_each_and_named(drawn: Any) -> None:
    pictures, texts = drawn.column("picture"), drawn.column("caption")
    assert len(drawn) > 3500
    assert len({picture.tobytes() for picture in pictures}) == len(set(texts)) == len(drawn)
    assert all(picture.shape == (3, 16, 16) for picture in pictures)
    assert all((picture < 0.9).any() for picture in pictures)  # something is drawn
    assert not any("_" in text or ":" in text for text in texts)
    heart = dict(zip(texts, pictures, strict=True))["red heart"]
    red, green, blue = heart[:, 8, 8]
    assert red > 0.7 > 0.4 > max(green, blue)


def test_a_drawing_in_other_skins_or_of_others_is_of_the_same_group(drawn: Any) -> None:
    groups = dict(zip(drawn.column("caption"), drawn.column("group"), strict=True))
    for together in (
        ("woman running", "man running", "person running", "woman running facing right dark skin tone"),
        ("men holding hands", "women holding hands medium skin tone", "woman and man holding hands"),
        ("couple with heart", "couple with heart woman man dark skin tone light skin tone"),
        ("prince", "princess dark skin tone", "person with crown"),
        ("waving hand", "waving hand medium dark skin tone"),
    ):
        assert len({groups[name] for name in together}) == 1, together
    bare = re.compile("|".join([*TONES, r"\b(wo)?m[ae]n\b"]))
    names: dict[str, set[int]] = {}
    for name, group in groups.items():
        names.setdefault(" ".join(bare.sub(" ", name).split()) or name, set()).add(group)
    assert max(len(found) for found in names.values()) == 1
    assert groups["woman running"] != groups["woman biking"]
    assert len(set(groups.values())) > 1500


def test_words_are_compared_without_case_spacing_or_some_phrases() -> None:
    assert normal_words("A  Dog,on grass.") == "a dog , on grass ."
    assert normal_words("hand medium light skin tone light skin tone", TONES) == "hand"
    assert normal_words("light skin tones", TONES) == "light skin tones"


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "own", [("a.png", "a dog"), ("a.png", "a big dog"), ("b.png", "a cat")])
    table = read_captioned(str(folder), 16)
    assert table.column("caption") == ["a dog", "a big dog", "a cat"]
    assert table.column("group") == [0, 0, 2]
    picture = table.column("picture")[2]
    np.testing.assert_array_equal(picture, read_colours(folder / "b.png", 16))
    assert (picture[:, :4] == 1).all()  # white above and below what is twice as wide as high
    np.testing.assert_allclose(picture[:, 8, 8], [7 / 255, 254 / 255, 50 / 255], atol=1e-6)
    (folder / "copy.png").write_bytes((folder / "b.png").read_bytes())
    with (folder / "captions.csv").open("a") as file:
        file.write("\ncopy.png,another cat")
    assert read_captioned(folder / "captions.csv", 16).column("group") == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        ([("a.png", "")], "file,caption", r"captions\.csv:2: every picture needs a caption"),
        ([("a.png", "a dog")], "one,two", "which column holds the files is not clear; found: one, two"),
        ([("a.png", "a dog")], "file,two", "which column holds the captions is not clear.*--label"),
    ],
)
def test_a_table_that_says_too_little_is_refused(tmp_path: Path, rows: Any, head: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_captioned(str(write_pictures(tmp_path / "own", rows, head)), 16)


def test_a_picture_that_is_missing_outside_or_damaged_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_pictures(tmp_path / "own", [("a.png", "a dog"), ("b.png", "a cat")])
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b\.png: the picture cannot be read") as caught:
        read_captioned(str(folder), 16)
    assert "\n" not in str(caught.value)
    (folder / "b.png").unlink()
    with pytest.raises(UserError, match=r"captions\.csv:3: no such file; found: .*b\.png"):
        read_captioned(str(folder), 16)
    (folder / "captions.csv").write_text("file,caption\n../x.png,a dog")
    with pytest.raises(UserError, match=r"captions\.csv:2: a file must lie inside the folder"):
        read_captioned(str(folder), 16)
    monkeypatch.setattr(captions, "MOST_NUMBERS", 100)
    with pytest.raises(UserError, match="do not fit into memory"):
        read_captioned(str(folder), 16)
    with pytest.raises(UserError, match="needs one table about them; found: none"):
        read_captioned(str(tmp_path), 16)
    monkeypatch.setitem(__import__("sys").modules, "emoji", None)
    with pytest.raises(UserError, match=r"need emoji, which is not installed; pip install 'elman\[caption\]'"):
        read_emoji(16)
