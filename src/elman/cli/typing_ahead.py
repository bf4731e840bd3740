"""Completing while somebody types: the likeliest way on in grey behind the cursor."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from rich.cells import cell_len

from elman.errors import visible

Completions = Callable[[str], Sequence[tuple[str, float]]]

_MARK = "> "
_KEYS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b.?|.", re.DOTALL)
_UP, _DOWN, _RIGHT = ("A", "B", "C")  # the last letter of an arrow's sequence
_ENDS, _ENTERS, _ERASES = "\x03\x04", "\r\n", "\x7f\b"
_ERASE_WORD, _ERASE_LINE = "\x17", "\x15"
_AT_ONCE = 65_536  # bytes of input that are read together
_ESCAPE_SECONDS = 0.02  # what a terminal takes at most between ESC and the rest of a key's sequence


class Typed:
    """What was typed and what could follow it.

    Attributes:
        before: the lines that are finished, which the model reads as well.
        line: the one under way.
        choices: its continuations with their probabilities, likeliest first.
        chosen: which of them is shown.
    """

    def __init__(self, completions: Completions) -> None:
        self._completions = completions
        self.before = self.line = ""
        self.choices: Sequence[tuple[str, float]] = []
        self.chosen = 0

    @property
    def ahead(self) -> str:
        """The continuation that is shown, up to its first line end."""
        return self.choices[self.chosen][0].split("\n")[0] if self.choices else ""

    def look_ahead(self) -> None:
        """Ask for continuations of what stands there now."""
        self.chosen = 0
        self.choices = self._completions(self.before + self.line) if self.line else []

    def press(self, key: str) -> None:
        """One key: text is written, Tab or the right arrow takes what is shown, up and down choose."""
        arrow = key[-1] if key[:2] in ("\x1b[", "\x1bO") else ""
        if key == "\t" or arrow == _RIGHT:
            self.line += self.ahead
            self.choices = []
        elif arrow in (_UP, _DOWN):
            self.chosen = (self.chosen + (1 if arrow == _DOWN else -1)) % max(1, len(self.choices))
        elif key in _ERASES:
            self.line = self.line[:-1]
        elif key == _ERASE_WORD:
            self.line = re.sub(r"\S*\s*\Z", "", self.line)
        elif key == _ERASE_LINE:
            self.line = ""
        elif key in _ENTERS:
            self.before, self.line, self.choices = f"{self.before}{self.line}\n", "", []
        elif key.isprintable():
            self.line += key


class Terminal:
    """A terminal that gives every key at once and shows none by itself; made by `opened`."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[Terminal | None]:
        """The terminal of standard input, as it was before when this ends, by an error or a signal too.

        None where there is none that can be drawn on: lines are then read as anywhere.
        """
        try:
            import termios
        except ImportError:  # no Unix
            yield None
            return
        source = sys.stdin.fileno()
        if os.environ.get("TERM", "dumb") == "dumb" or not os.isatty(source):
            yield None
            return
        before = termios.tcgetattr(source)
        raw = list(before)
        raw[0] &= ~termios.IXON
        raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        signals = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            termios.tcsetattr(source, termios.TCSADRAIN, raw)
            yield cls(source)
        finally:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(source, termios.TCSADRAIN, before)
            for number, handler in signals.items():
                signal.signal(number, handler)

    def keys(self) -> list[str]:
        """The keys that were pressed, as soon as there is one; none where the terminal has ended."""
        found = ""
        while not found or self._more(_ESCAPE_SECONDS if found.endswith(("\x1b", "\x1b[", "\x1bO")) else 0):
            data = os.read(self._source, _AT_ONCE)
            if not data:
                break
            found += self._decoder.decode(data)
        return _KEYS.findall(found)

    def draw(self, typed: Typed) -> None:
        """The line and, behind the cursor, what could follow."""
        width = max(20, shutil.get_terminal_size().columns) - 1
        ahead = _fitting(visible(typed.ahead), width // 2, end=False)
        line = _fitting(visible(typed.line), width - len(_MARK) - cell_len(ahead), end=True)
        note = ""
        if ahead and len(typed.choices) > 1:
            note = f"  {typed.choices[typed.chosen][1]:.0%} {typed.chosen + 1}/{len(typed.choices)}"
        if len(_MARK) + cell_len(line + ahead + note) > width:
            note = ""
        self.write(f"\r\x1b[K{_MARK}{line}")
        if ahead:
            grey = "\x1b[2m" if os.environ.get("NO_COLOR") else "\x1b[90m"
            self.write(f"{grey}{ahead}{note}\x1b[0m\x1b[{cell_len(ahead + note)}D")

    def write(self, text: str) -> None:
        """Text as it is, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def _more(self, seconds: float) -> bool:
        return bool(select.select([self._source], [], [], seconds)[0])


def type_ahead(terminal: Terminal, completions: Completions) -> None:
    """Complete what is typed until Ctrl-C or Ctrl-D."""
    typed = Typed(completions)
    terminal.write("type; Tab takes the grey text, up and down choose, Ctrl-C ends\r\n")
    terminal.draw(typed)
    try:
        while keys := terminal.keys():
            if _handled(typed, keys, terminal):
                return
            terminal.draw(typed)
    finally:
        typed.choices = []
        terminal.draw(typed)
        terminal.write("\r\n")


def _handled(typed: Typed, keys: Sequence[str], terminal: Terminal) -> bool:
    """Presses some keys and looks ahead once behind them; returns whether that was the end."""
    for key in keys:
        if key in _ENDS:
            return True
        line = typed.line
        if key in _ENTERS:
            typed.choices = []
            terminal.draw(typed)
            terminal.write("\r\n")
        elif key == "\t" and not typed.choices and typed.line:
            typed.look_ahead()  # pasted text ends with a Tab, or Tab is pressed twice
        typed.press(key)
        if typed.line != line:
            typed.choices = []
    if not typed.choices:
        typed.look_ahead()
    return False


def _fitting(text: str, width: int, *, end: bool) -> str:
    """As much of a text as fits into so many cells: its end, or its beginning."""
    while text and cell_len(text) > width:
        over = max(1, (cell_len(text) - width) // 2)  # no character is wider than two cells
        text = text[over:] if end else text[:-over]
    return text


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
