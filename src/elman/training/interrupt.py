"""Ctrl-C and a polite kill: the step under way is finished and a checkpoint written before the loop stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from elman.errors import UserError


class Interrupted(UserError):
    """Training was stopped by a signal, with a checkpoint written: says how to go on.

    Example:
        >>> str(Interrupted("stopped at step 7", fix="go on with --resume"))
        'stopped at step 7; go on with --resume'
    """


class StopRequest:
    """While open, SIGINT and SIGTERM set `asked`; a second SIGINT stops at once, as if this were not here.

    Outside the main thread, where Python delivers no signals, it listens to nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._interrupted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None: the handler was not set from Python; the default is the nearest that can be set back.
            signal.signal(number, handler or signal.SIG_DFL)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Launchers pass one Ctrl-C on as several signals: only a second Ctrl-C is impatience.
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = number == signal.SIGINT
        self.asked = True
