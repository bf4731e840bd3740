"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from elman.errors import visible


def results() -> Console:
    """Standard output: without colours where it is no terminal or NO_COLOR is set; text is never markup."""
    return Console(highlight=False, markup=False, emoji=False)


def say(message: str) -> None:
    """One line on standard error: what happens, and what a user should know."""
    _messages().print(visible(message), soft_wrap=True)


def say_error(message: str) -> None:
    """One message on standard error that begins "error:"."""
    _messages().print(Text.assemble(("error: ", "bold red"), visible(message)), soft_wrap=True)


def write_json(value: Any) -> None:
    """One JSON value as one line of ASCII on standard output, at once: the reader may be waiting for it."""
    print(json.dumps(value, allow_nan=False), flush=True)


def suggest(title: str, commands: Sequence[Sequence[str]]) -> None:
    """Commands to go on with, ready to be copied."""
    lines = [title, *("  " + visible(shlex.join(command)) for command in commands)]
    results().print("\n".join(lines), soft_wrap=True)


def from_here(folder: Path) -> str:
    """A path as short as it can be given here."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _messages() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False)
