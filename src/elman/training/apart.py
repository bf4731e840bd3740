"""Work in a process of its own: its memory is its own, and what came before leaves no trace in its time."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar

from elman.errors import UserError
from elman.training.interrupt import Interrupted, StopRequest

T = TypeVar("T")
_SECONDS = 0.1  # between two looks at whether a stop was asked for


def run_apart(work: Callable[..., T], *given: Any, stop: StopRequest) -> T:
    """What `work` returns, computed in a new process.

    Args:
        work: a function of a module; it and what it is given and returns go from process to process.
        given: its arguments.
        stop: where a stop is asked for, the process gets SIGTERM, which the training loop answers by a checkpoint.

    Raises:
        Interrupted: it was stopped.
        UserError: what `work` raised of this kind; or the process was killed, as happens where memory runs out.
        RuntimeError: any other error of `work`; the process has written it to standard error.

    Example:
        >>> with StopRequest() as stop:  # doctest: +SKIP
        ...     run_apart(len, "four", stop=stop)
        4
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, work, given))
    _start(child)
    sender.close()  # so that a dead child is an end of file here
    try:
        terminated = False
        while not receiver.poll(_SECONDS):
            if stop.asked and not terminated:
                child.terminate()
                terminated = True
        error, value = receiver.recv()
    except EOFError:
        child.join()
        raise _ended(child.exitcode, stop) from None
    except BaseException:
        child.kill()
        raise
    finally:
        child.join()
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


def peak_memory() -> int | None:
    """The most memory this process has held so far, in bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count what the parent held when this process was made
        found = (line.split() for line in status.read_text().splitlines())
        return next((1024 * int(words[1]) for words in found if words[0] == "VmHWM:"), None)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _start(child: SpawnProcess) -> None:
    """Starts it deaf to the terminal's Ctrl-C, of which its parent tells it by SIGTERM alone."""
    if threading.current_thread() is not threading.main_thread():
        child.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child.start()
    finally:
        signal.signal(signal.SIGINT, before)


def _ended(code: int | None, stop: StopRequest) -> Exception:
    """Why a process ended without an answer."""
    if stop.asked:
        return Interrupted("stopped")
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return UserError("the process that did the work was killed", found=name, fix="is there enough memory?")
    return RuntimeError("the process that did the work failed; its error stands above")


def _answer(sender: Connection, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    try:
        answer: tuple[UserError | None, Any] = None, work(*given)
    except UserError as error:
        answer = error, None
    sender.send(answer)
