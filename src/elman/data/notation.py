"""Tunes of one voice in ABC notation: read, checked bar by bar, written in one spelling, transposed.

Source:
    The ABC music standard 2.1, https://abcnotation.com/wiki/abc:standard:v2.1
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from itertools import pairwise

from elman.errors import UserError

BARS_A_LINE = 4
LETTERS = "CDEFGAB"
_FIFTHS = "FCGDAEB"  # the order in which sharps come; flats from its end
_MODES = {"maj": 0, "ion": 0, "mix": -1, "dor": -2, "min": -3, "aeo": -3, "phr": -4, "loc": -5, "lyd": 1}
_WRITTEN = {"maj": "", "ion": "", "min": "m", "aeo": "m", "m": "m", "": ""}
ALTERED = {"__": -2, "_": -1, "=": 0, "^": 1, "^^": 2}
_MARKS = {value: mark for mark, value in ALTERED.items()}
_TIMES = {"C": "4/4", "C|": "2/2"}
_TWO_FOR_THREE = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # so many notes in the time of so many
_FIELD = re.compile(r"^([A-Za-z]):(?![|:])[ \t]*(.*)$")
_INLINE = re.compile(r"\[([A-Za-z]):(?![|:])([^\]\n]*)\]")
_METRE = re.compile(r"[1-9]\d?/(?:1|2|4|8|16|32)")
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)")
_TOKEN = re.compile(
    r"""
    (?P<line>\[\|[|:]*|[|:]*\|[|:\]]*|::+) (?:\s*\[?(?P<ending>[1-9])[\d,-]*)?
  | (?P<accidental>\^{1,2}|_{1,2}|=)? (?P<letter>[A-Ga-gzx]) (?P<octave>[,']{0,4})
    (?P<length>\d{0,3}(?:/\d{0,3}){0,3}) (?P<tie>\s*-)?
  | \[(?P<chord>[A-Ga-g^_=,'\d/ ()"!.~-]+)\] (?P<chord_length>\d{0,3}(?:/\d{0,3}){0,3})
  | \((?P<tuplet>[2-9]) (?: :(?P<during>[1-9]?) (?: :(?P<many>[1-9]?) )? )?
  | (?P<broken>>{1,3}|<{1,3})
  | (?P<nothing>\{[^}\n]*\} | "[^"\n]*" | ![^!\n]*! | \+[^+\n]*\+ | y\d* | [\s()`\\*$-])
  | (?P<ornament>[~.HJKLMOPRSTUVkuv](?=[~.HLMOPSTVkuvy"!+({\s\^_=A-Ga-gz\[|:-]))
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Key:
    """A key: its tonic and mode, and the sharps of its signature (flats below 0).

    Example:
        >>> Key.read("E Minor"), Key.read("Ador").sharps
        (Key(tonic='E', mode='m', sharps=1), 1)
    """

    tonic: str
    mode: str
    sharps: int

    @classmethod
    def read(cls, text: str) -> Key:
        """The key that a K: field names.

        Raises:
            UserError: it names none of seven sharps or flats at most.
        """
        text = " ".join(word for word in text.split() if "=" not in word)  # such as clef=treble
        found = _KEY.match(text)
        mode = found[3].lower() if found else "?"
        mode = "min" if mode == "m" else mode[:3] or "maj"
        if found is None or mode not in _MODES:
            raise UserError("a key is a note and a mode, as G, Em or D dorian", where="K:", found=text)
        sharps = _FIFTHS.index(found[1]) - 1 + 7 * {"#": 1, "b": -1, "": 0}[found[2]] + _MODES[mode]
        if abs(sharps) > 7:
            raise UserError("a key has seven sharps or flats at most", where="K:", found=text)
        return cls(found[1] + found[2], _WRITTEN.get(mode, mode), sharps)

    def __str__(self) -> str:
        return f"{self.tonic}{self.mode}"

    def altered(self, letter: str) -> int:
        """By how many semitones the signature raises a letter."""
        place = _FIFTHS.index(letter)
        return (self.sharps - place + 6) // 7

    def moved(self, fifths: int) -> Key:
        """The key of the same mode so many fifths up."""
        place = _FIFTHS.index(self.tonic[0]) + 7 * (self.tonic.count("#") - self.tonic.count("b")) + fifths
        mark = "#" * (place // 7) if place >= 0 else "b" * -(place // 7)
        return Key(_FIFTHS[place % 7] + mark, self.mode, self.sharps + fifths)


@dataclass(frozen=True)
class Event:
    """A note or a rest.

    Attributes:
        before: what stands before it, as "(3".
        mark: its accidental.
        step: its letter by height, c = 7; None for a rest.
        length: as written, in units.
        time: as it sounds, in units.
        after: what stands behind it, a tie or a broken rhythm.
        joined: it is written without a space behind the one before.
    """

    before: str
    mark: str
    step: int | None
    length: Fraction
    time: Fraction
    after: str = ""
    joined: bool = False

    def __str__(self) -> str:
        return f"{self.before}{self.mark}{_letter(self.step)}{_shown(self.length)}{self.after}"


@dataclass(frozen=True)
class Bar:
    """What stands between two bar lines, and the line that ends it ("" where the text ends before one).

    Attributes:
        border: a section ends here: a double bar or a repeat.
    """

    events: tuple[Event, ...]
    line: str
    border: bool

    @cached_property
    def time(self) -> Fraction:
        """How long it lasts, in units."""
        return sum((event.time for event in self.events), Fraction(0))


@dataclass(frozen=True)
class Tune:
    """A tune.

    Attributes:
        titles: of its T: fields.
        metre: as "6/8".
        unit: the length of a note without a number, as "1/8".
        key: of its signature.
        start: the line before the first bar, if there is one.
        bars: in their order.
    """

    titles: tuple[str, ...]
    metre: str
    unit: str
    key: Key
    start: str
    bars: tuple[Bar, ...]

    @property
    def whole(self) -> Fraction:
        """How long a bar lasts that its notes fill, in units."""
        return Fraction(self.metre) / Fraction(self.unit)

    def text(self) -> str:
        r"""The tune in the one spelling: M:, L: and K:, notes in groups of a beat, four bars a line.

        Example:
            >>> read_tune("X:1\nM: 6/8\nK: D major\n|:(AFD) {g}d2~f|e3 [ce]3:|").text()
            'M:6/8\nL:1/8\nK:D\n|:AFD d2f|e3 e3:|\n'
        """
        lines, row, full = [f"M:{self.metre}", f"L:{self.unit}", f"K:{self.key}"], self.start, 0
        beat, half = _beat(self.metre) / Fraction(self.unit), self.whole / 2
        for bar in self.bars:
            row += _grouped(bar, beat) + bar.line
            full += bool(bar.line) and bar.time > half
            if bar.border or full == BARS_A_LINE:
                lines, row, full = [*lines, row], "", 0
        return "\n".join([*lines, row])

    def checks(self) -> list[bool]:
        """Of each bar that ends, whether its notes fill the metre.

        The first and the last bar of a section (its border: the tune's start or end, a double bar, a repeat) may
        be shorter, as a pick-up and what it leaves.
        """
        whole, found, begins = self.whole, [], True
        for bar in self.bars:
            if bar.line:
                at_border = begins or bar.border
                found.append(bar.time == whole or (at_border and 0 < bar.time < whole))
            begins = bar.border
        return found

    def moved(self, fifths: int) -> Tune:
        r"""The tune in a key so many fifths up, by the nearest way up or down.

        Example:
            >>> read_tune("K:G\n=FGA|]").moved(2).text().splitlines()[-1]
            '=GA B|]'
        """
        key = self.key.moved(fifths)
        steps = (LETTERS.index(key.tonic[0]) - LETTERS.index(self.key.tonic[0]) + 3) % 7 - 3
        bars = tuple(
            replace(bar, events=tuple(_moved(e, steps, self.key, key) for e in bar.events)) for bar in self.bars
        )
        return replace(self, key=key, bars=bars)

    def melody(self) -> list[tuple[int, Fraction]]:
        """Of each note but the first how many steps it is above the one before, and of that one its length."""
        heard = [event for bar in self.bars for event in bar.events if event.step is not None]
        return [((b.step or 0) - (a.step or 0), a.time) for a, b in pairwise(heard)]


def read_tune(text: str, *, unfinished: bool = False) -> Tune:
    """The one tune of a text; what is missing of its header is M:4/4, L: by the metre, K:C.

    Ornaments, slurs, chord names, words and fingerings are left out; of a chord the highest note is kept.

    Raises:
        UserError: this is not ABC notation, or has more than one voice, key, metre or unit.
    """
    fields, body = _fields(text)
    metre = _one(fields, "M", "4/4")
    metre = _TIMES.get(metre, metre)
    if not _METRE.fullmatch(metre):
        raise UserError("a metre is a fraction, as 6/8, or C", where="M:", found=metre)
    unit = _one(fields, "L", "1/16" if Fraction(metre) < Fraction(3, 4) else "1/8")
    if unit not in {"1/1", "1/2", "1/4", "1/8", "1/16", "1/32", "1"}:
        raise UserError("a unit length is 1/1 to 1/32", where="L:", found=unit)
    if "V" in fields:
        raise UserError("a tune has one voice", where="V:", found=fields["V"][0])
    tune = Tune(tuple(fields.get("T", ())), metre, unit, Key.read(_one(fields, "K", "C")), "", ())
    return _Reader(tune).read(body, unfinished)


def _fields(text: str) -> tuple[dict[str, list[str]], str]:
    """The fields of a text by their letter, and what is left."""
    fields: dict[str, list[str]] = {}
    body = []
    for line in _INLINE.sub(r"\n\1:\2\n", text).splitlines():
        plain = line.partition("%")[0].rstrip()
        found = _FIELD.match(plain)
        if found is None:
            body.append(plain)
        else:
            fields.setdefault(found[1], []).append(found[2].strip())
    return fields, "\n".join(body)


def _one(fields: dict[str, list[str]], name: str, default: str) -> str:
    values = list(dict.fromkeys(fields.get(name, [default])))
    if len(values) > 1:
        raise UserError("a tune keeps its key, metre and unit", where=f"{name}:", found=", ".join(values))
    return values[0].replace(" ", "") if name != "K" else values[0]


class _Reader:
    """Reads the notes of one tune."""

    def __init__(self, tune: Tune) -> None:
        self._tune = tune
        self._events: list[Event] = []
        self._bars: list[Bar] = []
        self._start = ""
        self._broken = ""
        self._tuplet, self._left, self._factor = "", 0, Fraction(1)

    def read(self, body: str, unfinished: bool) -> Tune:
        place = 0
        while place < len(body):
            found = _TOKEN.match(body, place)
            if found is None:
                where = f"line {body.count(chr(10), 0, place) + 1} of the notes"
                raise UserError("this is not ABC notation", where=where, found=repr(body[place : place + 10]))
            self._take(found)
            place = found.end()
        if self._events:
            self._bars.append(Bar(tuple(self._events), "", border=False))
        bars = self._bars if unfinished else _finished(self._bars)
        return replace(self._tune, start=self._start, bars=tuple(bars))

    def _take(self, found: re.Match[str]) -> None:
        if found["line"]:
            self._end(found["line"], found["ending"] or "")
        elif found["letter"]:
            self._note(found["accidental"] or "", found["letter"], found["octave"], found["length"], found["tie"])
        elif found["chord"]:
            self._chord(found["chord"], found["chord_length"])
        elif found["tuplet"]:
            notes = int(found["tuplet"])
            during = int(found["during"] or _TWO_FOR_THREE.get(notes, 3 if is_compound(self._tune.metre) else 2))
            self._tuplet, self._left = found[0].rstrip(":"), int(found["many"] or notes)
            self._factor = Fraction(during, notes)
        elif found["broken"] and self._events:
            self._broken = found["broken"]
            short = Fraction(1, 2 ** len(self._broken))
            last = self._events[-1]
            factor = 2 - short if self._broken[0] == ">" else short
            self._events[-1] = replace(last, time=last.time * factor, after=last.after + self._broken)

    def _chord(self, notes: str, length: str) -> None:
        found = [one for one in _TOKEN.finditer(notes) if one["letter"] and one["letter"] not in "zx"]
        if not found:
            raise UserError("this is not ABC notation", where="a chord", found=repr(f"[{notes}]"))
        top = max(found, key=lambda one: _step(one["letter"], one["octave"]))
        self._note(top["accidental"] or "", top["letter"], top["octave"], length or top["length"], None)

    def _note(self, mark: str, letter: str, octave: str, length: str, tie: str | None) -> None:
        written = _length(length)
        time = written
        if self._left:
            time *= self._factor
        if self._broken:
            short = Fraction(1, 2 ** len(self._broken))
            time *= short if self._broken[0] == ">" else 2 - short
        step = None if letter in "zx" else _step(letter, octave)
        joined = bool(self._broken) or (self._left > 0 and not self._tuplet)
        self._untie(step)
        event = Event(self._tuplet, mark, step, written, time, "-" if tie else "", joined)
        self._events.append(event)
        self._broken, self._tuplet = "", ""
        self._left = max(0, self._left - 1)

    def _untie(self, step: int | None) -> None:
        """A tie joins notes of one pitch; some write slurs so."""
        if self._events and "-" in self._events[-1].after and self._events[-1].step != step:
            self._events[-1] = replace(self._events[-1], after=self._events[-1].after.replace("-", ""))

    def _end(self, line: str, ending: str) -> None:
        if self._events or not self._bars:
            before = "" if self._events else self._start
        else:  # two lines on end are one
            last = self._bars.pop()
            self._events, before = list(last.events), last.line
        whole = _merged(before, line + ending)
        if self._events:
            self._bars.append(Bar(tuple(self._events), whole, border=_is_border(whole)))
        else:
            self._start = whole if whole == "|:" else ""
        self._events, self._left, self._broken = [], 0, ""


def _merged(one: str, other: str) -> str:
    """Two bar lines on end as one: |, ||, |:, :| or ::, and the number of an ending behind it."""
    lines, ending = [one.rstrip("123456789"), other.rstrip("123456789")], ""
    for line, whole in zip(lines, (one, other), strict=True):
        ending = whole[len(line) :] or ending
    ends, starts = (any(getattr(line, side)(":") for line in lines) for side in ("startswith", "endswith"))
    double = any(line.count("|") > 1 or "]" in line or "[" in line for line in lines)
    return {
        (True, True): "::",
        (True, False): ":|",
        (False, True): "|:",
    }.get((ends, starts), "||" if double else "|") + ending


def _is_border(line: str) -> bool:
    return line.rstrip("123456789") != "|"


def _finished(bars: list[Bar]) -> list[Bar]:
    """The bars of a whole tune, which a repeat or a final line ends."""
    if not bars or bars[-1].line.startswith(":|"):
        return bars
    line = ":|" if bars[-1].line.startswith(":") else "|]"
    return [*bars[:-1], replace(bars[-1], line=line, border=True)]


def _step(letter: str, octave: str) -> int:
    height = LETTERS.index(letter.upper()) + (7 if letter.islower() else 0)
    return height + 7 * (octave.count("'") - octave.count(","))


@cache
def _letter(step: int | None) -> str:
    if step is None:
        return "z"
    octave, letter = divmod(step, 7)
    if octave >= 1:
        return LETTERS[letter].lower() + "'" * (octave - 1)
    return LETTERS[letter] + "," * -octave


@cache
def _length(written: str) -> Fraction:
    """The length that stands behind a note, in units: "3/2", "/", "//"."""
    first, *rest = written.split("/")
    length = Fraction(int(first or 1))
    for divisor in rest:
        length /= int(divisor or 2) or 2
    if not length:
        raise UserError("a note has a length", found="0")
    return length


@cache
def _shown(length: Fraction) -> str:
    top = "" if length.numerator == 1 else str(length.numerator)
    return top + {1: "", 2: "/"}.get(length.denominator, f"/{length.denominator}")


def is_compound(metre: str) -> bool:
    """Whether three units of a metre make a beat.

    Example:
        >>> is_compound("6/8"), is_compound("3/4")
        (True, False)
    """
    top = int(metre.split("/")[0])
    return top % 3 == 0 and top > 3


@cache
def _beat(metre: str) -> Fraction:
    """The time that notes are written together in."""
    bottom = int(metre.split("/")[1])
    return Fraction(3, bottom) if is_compound(metre) or metre in ("3/8", "3/16") else Fraction(1, min(bottom, 4))


def _grouped(bar: Bar, beat: Fraction) -> str:
    place, pieces = Fraction(0), []
    for event in bar.events:
        pieces += [" " * (place > 0 and place % beat == 0 and not event.joined), str(event)]
        place += event.time
    return "".join(pieces)


def _moved(event: Event, steps: int, old: Key, new: Key) -> Event:
    if event.step is None:
        return event
    step, mark = event.step + steps, event.mark
    if mark:
        above = ALTERED[mark] - old.altered(LETTERS[event.step % 7])
        altered = new.altered(LETTERS[step % 7]) + above
        if altered not in _MARKS:
            raise UserError("a note is raised or lowered by two semitones at most", where=f"K:{new}")
        mark = _MARKS[altered]
    return replace(event, step=step, mark=mark)
