"""The command line: one file for each verb, which parses, calls the library and prints.

Nothing heavy is imported before a verb runs, so that every `--help` is quick.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from elman import __version__
from elman.cli.bench import bench
from elman.cli.compare import compare
from elman.cli.complete import complete
from elman.cli.data import data
from elman.cli.demo import demo
from elman.cli.doctor import doctor
from elman.cli.evaluate import evaluate
from elman.cli.generate import generate
from elman.cli.inspect import inspect
from elman.cli.predict import predict
from elman.cli.recipes import recipes
from elman.cli.train import train
from elman.cli.verify import verify
from elman.errors import UserError

__all__ = ["main"]

_USER_ERROR = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
_VERBS = (
    recipes, train, evaluate, inspect, compare, predict, generate, complete, demo, doctor, data, bench, verify,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands behind `elman`; by default what the process was started with.

    Returns:
        The exit code: 0; 2 where something the user gave cannot work, told in one message on standard error;
        130 after Ctrl-C; 1 where the reader of a pipe went away. Any other error is a bug, and passes.

    Example:
        >>> main(["--version"])
        0.1.0
        0
    """
    if sys.stdout is None:  # closed by who started this: nobody reads the answers
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # no terminal is too old for a user's text
    try:
        _command()(arguments, prog_name="elman")
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else 0)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except UserError as error:
        from elman.cli.console import say_error

        say_error(str(error))
        return _USER_ERROR
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        from elman.cli.console import say_error

        say_error(f"no space left on the device: {error.filename or 'standard output'}")
        return _USER_ERROR
    return 0


def _command() -> Callable[..., Any]:
    # Plain help: what typer draws with rich takes more time than all the rest together.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    names = {"help_option_names": ["-h", "--help"]}
    app.callback(no_args_is_help=True, context_settings=names)(_options)
    for verb in _VERBS:
        app.command(context_settings=names)(verb)
    return typer.main.get_command(app)


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda asked: _version(asked), is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Recurrent neural networks: train one on your sequences, and use it.

    \b
    elman demo                                    see it all, in five minutes
    elman train sentiment --data reviews.csv      train on your own rows
    elman predict runs/sentiment "not bad at all" use what was trained
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _flushed(code: int) -> int:
    """The exit code; 1 where what is still to be written finds nobody to read it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            from elman.cli.console import say_error

            say_error("no space left on the device: standard output")
            code = _USER_ERROR
        elif isinstance(error, BrokenPipeError):
            code = 1
        else:
            raise
        # Python flushes it once more at its end, which must not complain: as its documentation advises.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
