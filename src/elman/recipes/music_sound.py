"""A tune as files that play: ABC, MIDI, and a WAV of plucked strings."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elman.data.notation import ALTERED, LETTERS, Bar, Tune, is_compound, read_tune
from elman.data.sounds import write_sound
from elman.errors import UserError

SUFFIXES = (".abc", ".mid", ".wav")
RATE = 22_050  # samples a second
BEATS = 96  # a minute
LONGEST = 600  # seconds of sound
RING = 0.35  # seconds that a string goes on behind its note
HARMONICS = 7
_QUIETEST, _LOUDEST = 20, 0.8  # Hz that is heard; the largest sample

Sound = np.ndarray[Any, np.dtype[np.float64]]


class Heard(NamedTuple):
    """A note as it sounds: when and how long in whole notes, and its MIDI number."""

    begin: Fraction
    length: Fraction
    pitch: int


def save_tune(text: str, notation: Path, midi: Path, sound: Path) -> None:
    """Writes a tune as ABC, MIDI and WAV, repeats played.

    Args:
        text: the tune in ABC notation.
        notation: where its text goes; the name becomes the title.
        midi: where its notes go.
        sound: where its sound goes.

    Raises:
        UserError: the tune has no notes, or is not ABC notation; music21 is missing; a file cannot be written.
    """
    tune = read_tune(text)
    heard = notes(tune)
    if not heard:
        raise UserError("the tune has no notes to be played", where=notation)
    beat = Fraction(3 if is_compound(tune.metre) else 1, int(tune.metre.split("/")[1]))
    abc = f"X:1\nT:{' '.join(notation.stem.split())}\nQ:{beat}={BEATS}\n{tune.text()}"
    try:
        notation.write_text(abc, encoding="utf-8")
        _write_midi(heard, beat, midi)
        write_sound(sound, _played(heard, beat).astype(np.float32), RATE)
    except OSError as error:
        raise UserError("the tune cannot be written", where=notation, found=error.strerror) from error


def notes(tune: Tune) -> list[Heard]:
    r"""The notes of a tune as they sound one after the other: repeats played, tied notes one.

    An accidental holds to the end of its bar, for its letter in every octave.

    Example:
        >>> [(note.pitch, float(note.begin)) for note in notes(read_tune("K:G\n|:^c4 c4:|"))]
        [(73, 0.0), (73, 0.5), (73, 1.0), (73, 1.5)]
    """
    found: list[Heard] = []
    unit, begin, tied = Fraction(tune.unit), Fraction(0), False
    for bar in _in_order(tune):
        marks: dict[int, int] = {}
        for event in bar.events:
            if event.step is not None:
                octave, place = divmod(event.step, 7)
                if event.mark:
                    marks[place] = ALTERED[event.mark]
                raised = marks.get(place, tune.key.altered(LETTERS[place]))
                pitch = 60 + 12 * octave + (0, 2, 4, 5, 7, 9, 11)[place] + raised
                if tied and found and found[-1].pitch == pitch:
                    found[-1] = found[-1]._replace(length=found[-1].length + event.time * unit)
                else:
                    found.append(Heard(begin, event.time * unit, pitch))
            tied = "-" in event.after
            begin += event.time * unit
    return found


def _in_order(tune: Tune) -> list[Bar]:
    """The bars as they are played: back at a repeat, once without the first ending."""
    order: list[Bar] = []
    section: list[Bar] = []
    ending: list[Bar] = []
    first = False
    for bar in tune.bars:
        (ending if first else section).append(bar)
        first = first or bar.line.endswith("1")
        if bar.line.startswith(":"):
            order += [*section, *ending, *section]
        elif bar.line.startswith("|:"):
            order += [*section, *ending]
        if ":" in bar.line:
            section, ending, first = [], [], False
    return [*order, *section, *ending]


def _write_midi(heard: Sequence[Heard], beat: Fraction, path: Path) -> None:
    try:
        stream, note, tempo = (importlib.import_module(f"music21.{name}") for name in ("stream", "note", "tempo"))
    except ImportError as error:
        raise UserError("MIDI needs music21, which is not installed", fix="pip install 'elman[music]'") from error
    score = stream.Stream([tempo.MetronomeMark(number=float(BEATS * 4 * beat))])  # quarter notes a minute
    for one in heard:
        score.insert(4 * one.begin, note.Note(one.pitch, quarterLength=4 * one.length))
    score.write("midi", fp=str(path))


def _played(heard: Sequence[Heard], beat: Fraction) -> Sound:
    """The sound of some notes, each a plucked string."""
    second = float(60 / (BEATS * beat))  # of a whole note
    end = min(LONGEST, float(heard[-1].begin + heard[-1].length) * second + RING)
    sound = np.zeros(int(end * RATE) + 1)
    for one in heard:
        place = int(float(one.begin) * second * RATE)
        if place < len(sound):
            frequency = 440 * 2 ** ((one.pitch - 69) / 12)
            tone = pluck(frequency, min(LONGEST, float(one.length) * second))[: len(sound) - place]
            sound[place : place + len(tone)] += tone
    quieter: Sound = sound / max(1.0, np.abs(sound).max() / _LOUDEST)
    return quieter


def pluck(frequency: float, seconds: float) -> Sound:
    """A plucked string: y(t) = e(t) sum_k exp(-k t / s) sin(2 pi k f t) / k, where s is its length and the ring.

    e(t) rises within 5 ms and falls behind the note, so that nothing clicks.

    Args:
        frequency: f, in Hz.
        seconds: until it is damped.

    Example:
        >>> len(pluck(440.0, 0.5)) == int((0.5 + RING) * RATE)
        True
    """
    t = np.arange(int((seconds + RING) * RATE)) / RATE
    harmonics = [k for k in range(1, HARMONICS + 1) if _QUIETEST < k * frequency < RATE / 2]
    sound = sum(
        (np.exp(-k * t / (seconds + RING)) * np.sin(2 * np.pi * k * frequency * t) / k for k in harmonics), 0 * t
    )
    rise = np.minimum(1, t / 0.005)
    fall = np.clip((seconds + RING - t) / RING, 0, 1)
    return 0.3 * sound * rise * fall
