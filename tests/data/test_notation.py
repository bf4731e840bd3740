"""ABC notation: durations by hand, the one spelling, bars that fill their metre, other keys, what is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest

from elman.data.notation import Key, read_tune
from elman.errors import UserError

NOTES = ("C", "D", "E", "F", "G", "A", "B", "c'", "=f", "^c", "_e", "=b,", "^f", "g")
HEAD = "X:1\nT:A\nM:4/4\nL:1/8\nK:G\n"


@pytest.mark.parametrize(
    ("notes", "units"),
    [
        ("A", [1]),
        ("A2 A/ A// A3/2 A/4 A16", [2, "1/2", "1/4", "3/2", "1/4", 16]),
        ("A>B A<<B c2>d2", ["3/2", "1/2", "1/4", "7/4", 3, 1]),
        ("(3ABc (3:2:3ABc (2AB (5ABcde d", [*["2/3"] * 6, "3/2", "3/2", *["2/5"] * 5, 1]),
        ("(3A>Bc2 d", ["1", "1/3", "4/3", 1]),
        ("z2 x z/", [2, 1, "1/2"]),
        ('{gf}A !trill!B ~c .d "Am"e u(3fga [CEG]2 [C2E2G2]', [*[1] * 5, *["2/3"] * 3, 2, 2]),
        ("A-A c-d", [1, 1, 1, 1]),
        ("A B \\\n% words\nw:la la\nc", [1, 1, 1]),
    ],
)
def test_how_long_notes_sound(notes: str, units: list[object]) -> None:
    tune = read_tune(f"{HEAD}{notes}|]")
    assert [event.time for event in tune.bars[0].events] == [Fraction(str(one)) for one in units]


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        ("|GABc dedB|", "GA Bc de dB|]"),
        ("(G{a}A)~B!f!c  d4|", "GA Bc d4|]"),
        ("G>A B<c (3GAB c2-c2|", "G>A B<c (3GAB c2-|]".replace("c2-|]", "c2- c2|]")),
        ("c2-d2 [ce]4|", "c2d2 e4|]".replace("c2d2", "c2 d2")),
        ("G8:||:A8:|", "G8::\nA8:|"),
        ("|:G8:|:A8:|", "|:G8::\nA8:|"),
        ("G8|1A8:|[2B8||c8", "G8|1A8:|2\nB8||\nc8|]"),
        ("G8|A8|B8|c8|d8|e8", "G8|A8|B8|c8|\nd8|e8|]"),
        ("C,, C c c'' ^f' __B =E,", "C,,C cc'' ^f'__B =E,|]"),
    ],
)
def test_the_one_spelling(written: str, spelt: str) -> None:
    text = read_tune(HEAD + written).text()
    assert text == f"M:4/4\nL:1/8\nK:G\n{spelt}\n"
    assert read_tune(text).text() == text


def test_headers_are_completed_and_what_is_unfinished_stays_open() -> None:
    assert read_tune("GABc").text() == "M:4/4\nL:1/8\nK:C\nGA Bc|]\n"
    assert read_tune("M:C|\nK: E Minor\nG").text() == "M:2/2\nL:1/8\nK:Em\nG|]\n"
    assert read_tune("[M:2/4][K:Bb mixolydian]G").text() == "M:2/4\nL:1/16\nK:Bbmix\nG|]\n"
    assert read_tune("M:6/8\nK:D\nABc def|g", unfinished=True).text() == "M:6/8\nL:1/8\nK:D\nABc def|g"


def test_bars_are_right_where_they_fill_the_metre_or_begin_and_end_a_section() -> None:
    def checks(notes: str, *, unfinished: bool = False) -> str:
        return "".join(".x"[not one] for one in read_tune(HEAD + notes, unfinished=unfinished).checks())

    assert checks("G8|A8|B8|]") == "..."
    assert checks("GA|G8|G6|G8|G6:|GA|G8|]") == "..x...."
    assert checks("G9|G8|G9|]") == "x.x"
    assert checks("G8|G4|G8|]") == ".x."
    assert checks("G8|G4|G", unfinished=True) == ".x"
    assert checks("G8|G8|1G8:|2G8|]") == "...."


@pytest.mark.parametrize(
    ("key", "tonic_and_sharps"),
    [("C", ("C", 0)), ("G clef=treble", ("G", 1)),
     ("Bb", ("Bb", -2)), ("F#m", ("F#m", 3)), ("D dorian", ("Ddor", 0)), ("Amix", ("Amix", 2)),
     ("Gmin", ("Gm", -2)),
     ("E phr", ("Ephr", 0)), ("Bloc", ("Bloc", 0)), ("F lydian", ("Flyd", 0)), ("Gmaj", ("G", 1))],
)  # fmt: skip
def test_keys(key: str, tonic_and_sharps: tuple[str, int]) -> None:
    assert (str(Key.read(key)), Key.read(key).sharps) == tonic_and_sharps


def semitones(text: str) -> list[int]:
    """The pitches of a tune, by signature and accidental, for bars of one note each."""
    tune, heard = read_tune(text), []
    for bar in tune.bars:
        for event in bar.events:
            assert event.step is not None
            octave, place = divmod(event.step, 7)
            marks = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
            raised = marks[event.mark] if event.mark else tune.key.altered("CDEFGAB"[place])
            heard.append(12 * octave + (0, 2, 4, 5, 7, 9, 11)[place] + raised)
    return heard


@pytest.mark.parametrize("fifths", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("key", ["C", "G", "Em", "Ador", "Bb", "F#m", "Amix"])
def test_another_key_moves_every_note_by_one_interval(key: str, fifths: int) -> None:
    text = f"M:4/4\nL:1/8\nK:{key}\n" + "|".join(NOTES)
    moved = read_tune(text).moved(fifths)
    old, new = semitones(text), semitones(moved.text())
    assert len({b - a for a, b in zip(old, new, strict=True)}) == 1
    assert (new[0] - old[0]) % 12 == 7 * fifths % 12 and abs(new[0] - old[0]) <= 6
    assert moved.moved(-fifths).text() == read_tune(text).text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello world", "this is not ABC notation"),
        (HEAD + "GAB\nQz?", r"line 2 of the notes.*not ABC"),
        (HEAD + "G0|", "a note has a length"),
        (HEAD + "G99999|", "not ABC"),
        (HEAD + "[^]|", "not ABC"),
        (HEAD + "GAB|\nK:D\nABc|", r"K:.*keeps its key.*G, D"),
        (HEAD + "GAB|[M:6/8]ABc|", "M:.*keeps its key, metre"),
        ("K:H\nGAB", "a key is a note and a mode"),
        ("K:G# lyd\nGAB", "seven sharps"),
        ("M:none\nK:G\nGAB", "a metre is a fraction"),
        ("M:4/0\nK:G\nGAB", "a metre is a fraction"),
        ("L:1/7\nK:G\nGAB", "a unit length"),
        ("V:1\nK:G\nGAB", "one voice"),
        (HEAD + "G\x00", "not ABC"),
        (HEAD + "G,,,,,|", "not ABC"),
        (HEAD + "(3:0:3GAB|", "not ABC"),
    ],
)
def test_what_is_no_tune_is_said(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_tune(text)


def test_notation_of_any_length_takes_time_in_proportion() -> None:
    read_tune(HEAD + "(" * 20_000 + "G8|" * 5_000)
    with pytest.raises(UserError):
        read_tune(HEAD + '"' * 20_001 + "~" * 20_000)
