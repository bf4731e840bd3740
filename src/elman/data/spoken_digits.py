"""The ten digits said by many voices of the eSpeak NG synthesiser: speech made by a program, not by people."""

from __future__ import annotations

import ctypes
import importlib
from functools import cache
from typing import Any

import numpy as np

from elman.data.sounds import Wave, resampled
from elman.data.table import Table
from elman.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Variants of the voice "en-us" that differ in formants, pitch and breath. None with an echo: that begins with
# memory nobody has written to, and sounds different in every process.
VOICES = (
    "m1", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "Alex", "Andy", "Annie", "Mario", "Michael", "Nguyen",
    "marcelo", "steph",
)  # fmt: skip
READINGS = (
    (30, 150),
    (40, 170),
    (45, 155),
    (55, 175),
    (60, 160),
    (70, 180),
)  # pitch (50: its own), words a minute
_SYNCHRONOUS, _UTF8, _RATE, _PITCH = 2, 1, 1, 3  # of espeak-ng/speak_lib.h
_HEARD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@cache
def read_spoken_digits(rate: int = 8000) -> Table:
    """960 spoken digits: ten words, 16 voices, six readings each that differ in pitch and speed.

    Synthetic speech: eSpeak NG makes it of formants by rules. It is clear, regular, and much easier than people.
    A voice's pitch flutters from word to word, as in the order here; another process that starts with it gets the
    same bits.

    Source: eSpeak NG (GPL-3.0-or-later), https://github.com/espeak-ng/espeak-ng, as the package espeakng-loader
    carries it; it is called, not copied.

    Args:
        rate: samples a second.

    Returns:
        A table with the columns sound (numbers from -1 to 1), text, and voice.

    Raises:
        UserError: the package is not installed, or its library does not speak.
    """
    speaker = _Speaker()
    columns: dict[str, list[Any]] = {"sound": [], "text": [], "voice": []}
    for voice in VOICES:
        for pitch, speed in READINGS:
            for word in DIGITS:
                columns["sound"].append(resampled(speaker.say(word, voice, pitch, speed), speaker.rate, rate))
                columns["text"].append(word)
                columns["voice"].append(voice)
    speaker.close()
    return Table(columns, "digits spoken by eSpeak NG")


class _Speaker:
    """The synthesiser, called from C; one at a time."""

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")
        except ImportError as error:
            what = "the default data of this recipe is spoken by eSpeak NG, which is not installed"
            raise UserError(what, fix="pip install espeakng-loader, or name sounds with --data") from error
        try:
            self._library = ctypes.CDLL(loader.get_library_path())
        except OSError as error:
            what = "the library of espeakng-loader cannot be loaded"
            raise UserError(what, found=error, fix="name sounds of your own with --data") from error
        self._pieces: list[Any] = []
        self._heard = _HEARD(self._hear)  # C keeps no reference
        self.rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0))
        if self.rate <= 0:
            raise UserError("eSpeak NG does not start", where=loader.get_data_path(), found=self.rate)
        self._library.espeak_SetSynthCallback(self._heard)

    def say(self, text: str, voice: str, pitch: int, speed: int) -> Wave:
        """A text as numbers from -1 to 1."""
        self._pieces.clear()
        self._library.espeak_SetVoiceByName(f"en-us+{voice}".encode())
        self._library.espeak_SetParameter(_RATE, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        words = text.encode() + b"\0"
        failed = self._library.espeak_Synth(words, ctypes.c_size_t(len(words)), 0, 0, 0, _UTF8, None, None)
        if failed or not self._pieces:
            raise UserError("eSpeak NG says nothing", where=f"voice {voice}", found=f"status {failed}")
        return np.concatenate(self._pieces).astype(np.float32) / np.float32(32768)

    def close(self) -> None:
        """Lets go of the synthesiser's memory."""
        self._library.espeak_Terminate()

    def _hear(self, samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
