"""Tunes in ABC notation: three old collections out of the package music21, or a user's files."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.data.documents import text_files
from elman.data.duplicates import Partition
from elman.data.lines import read_lines
from elman.data.notation import Tune, read_tune
from elman.errors import UserError

COLLECTIONS = ("ryansMammoth", "oneills1850", "airdsAirs")
RIGHT = 0.9  # of a tune's bars that must fill its metre; else its metre or unit is another than it says
RUN = 16  # notes in a row that two tunes share, to be variants of one
_TUNE = re.compile(r"^(?=X:)", re.MULTILINE)
_KINDS = r"(reel|jig|jigg|double jig|slip jig|hornpipe|strathspey|clog|polka|waltz|march|fling|air|set)"
_NOTICE = (
    "the tunes are of Ryan's Mammoth Collection, O'Neill's Music of Ireland and Aird's Airs, out of music21's "
    'corpus: distributed "with the permission of the encoders"; some encodings "may not be used for commercial '
    'uses or have other restrictions" (corpus/license.txt of music21, and the Z: fields of its files)'
)


@dataclass(frozen=True)
class Tunes:
    """Tunes and where each came from.

    Attributes:
        tunes: read and checked.
        names: a file and number for each.
        groups: variants of one tune have the same.
        source: as the user named it.
        refused: how many were left out, by reason.
        notice: what is to be said about their terms.
    """

    tunes: list[Tune]
    names: list[str]
    groups: list[int]
    source: str
    refused: dict[str, int]
    notice: str = ""


def read_collections() -> Tunes:
    """The three collections.

    Raises:
        UserError: music21 is not installed, or has no corpus.

    Source:
        W. B. Ryan, Mammoth Collection (1883); F. O'Neill, Music of Ireland (1903); J. Aird, A Selection of Scotch,
        English, Irish and Foreign Airs (1778 to 1801).
    """
    found = importlib.util.find_spec("music21")
    if found is None or found.origin is None:
        raise UserError("the default tunes need music21, which is not installed", fix="pip install 'elman[music]'")
    corpus = Path(found.origin).parent / "corpus"
    paths = [path for name in COLLECTIONS for path in sorted((corpus / name).glob("*.abc"))]
    if not paths:
        raise UserError("this music21 has no corpus", where=corpus, fix="pip install 'elman[music]' afresh")
    # Some titles are in Latin-1; what is not ASCII in notes is refused there.
    texts = [(path.name, path.read_text(encoding="utf-8", errors="replace")) for path in paths]
    return _tunes(texts, "music21's corpus", _NOTICE)


def read_tunes(source: str | Path, most: int = 100_000_000) -> Tunes:
    """The tunes of an .abc file or of a folder with .abc files in it or below it; several in a file begin with X:.

    Args:
        source: the file or folder.
        most: characters of all files together at most.

    Raises:
        UserError: it is missing, empty, too large, not UTF-8, or no tune of it can be read.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError("there is no such file or folder", where=path, fix="name an .abc file or a folder of them")
    paths = list(text_files(path, ".abc")) if path.is_dir() else [path]
    if not paths:
        raise UserError("the folder holds no .abc file", where=path)
    size = sum(one.stat().st_size for one in paths)
    if size > most:
        fix = "give fewer tunes, or raise data.max_characters"
        raise UserError(f"at most {most:,} characters are read", where=path, found=f"{size:,} bytes", fix=fix)
    return _tunes([(str(one), "".join(read_lines(one))) for one in paths], str(path))


def _tunes(texts: Sequence[tuple[str, str]], source: str, notice: str = "") -> Tunes:
    tunes, names = [], []
    refused, first = Counter[str](), None
    for name, text in texts:
        for number, one in enumerate(_cut(text), start=1):
            where = f"{name}, tune {number}"
            try:
                tune = _checked(one)
            except UserError as error:
                refused[error.what] += 1
                first = first or UserError(f"{error.what} ({error.where})", where=where, found=error.found)
                continue
            tunes.append(tune)
            names.append(where)
    if not tunes:
        raise first or UserError("there is no tune: each begins with X: and a number", where=source)
    return Tunes(tunes, names, groups(tunes), source, dict(refused), notice)


def _cut(text: str) -> Iterator[str]:
    text = "\n".join(text.splitlines())
    _, *tunes = _TUNE.split(text)
    return iter(tunes or [text])


def _checked(text: str) -> Tune:
    tune = read_tune(text)
    checks = tune.checks()
    if not checks:
        raise UserError("a tune has notes", where="its end", found="none")
    if sum(checks) < RIGHT * len(checks):
        found = f"{sum(checks)} of {len(checks)} bars"
        raise UserError("the notes of a bar fill the metre", where=f"M:{tune.metre} L:{tune.unit}", found=found)
    return tune


def groups(tunes: Sequence[Tune]) -> list[int]:
    r"""The group of each tune: those of one title, and those that share RUN notes in a row in any key.

    Example:
        >>> named = "X:1\nT:{}\nK:C\n{}|]"
        >>> groups([read_tune(named.format(*one)) for one in (("The Lark", "c4 d4"), ("Lark, The", "e8"))])
        [0, 0]
    """
    partition, seen, numbers = Partition(len(tunes)), dict[object, int](), dict[object, int]()
    for number, tune in enumerate(tunes):
        melody = [numbers.setdefault(one, len(numbers)) for one in tune.melody()]
        runs = [tuple(melody[begin : begin + RUN - 1]) for begin in range(max(1, len(melody) - RUN + 2))]
        for sign in [*map(_plain, tune.titles), *runs]:
            if sign:
                partition.join(seen.setdefault(sign, number), number)
    return [partition.first(number) for number in range(len(tunes))]


def _plain(title: str) -> str:
    """A title without what its spellings differ in: articles, marks, accents, the kind of dance."""
    letters = unicodedata.normalize("NFKD", title.split(" -- ")[0]).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"\(.*?\)|[^a-z0-9, ]", "", letters).strip()
    words = re.sub(r",\s*(the|a|an)$|^(the|a|an)\s", "", words).replace(",", " ")
    return re.sub(rf"(?<=.)\s+{_KINDS}$", "", " ".join(words.split()))
