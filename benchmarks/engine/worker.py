"""The loop of a worker process: a command a line of JSON on standard input, an answer a line on its output."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import Arrays, draw
from benchmarks.engine.timing import measure, trial


class Absent(Exception):
    """A library has no such thing, or is not installed; the message says which."""


@dataclass(frozen=True)
class Prepared:
    """A case in one library's hands.

    Attributes:
        call: the work that is timed.
        results: everything that the work gives, by name, from a first call.
        change: gives the weights new values, as a step of an optimizer does.
        note: what was chosen, for the record.
    """

    call: Callable[[], object]
    results: Callable[[], Arrays]
    change: Callable[[], object] = lambda: None
    note: str = ""


Prepare = Callable[[Case, Arrays], Prepared]


class Lanes:
    """The handlers of a library's worker; a lane is what was prepared under one name."""

    def __init__(self, prepare: Prepare) -> None:
        self.make, self.prepared = prepare, dict[str, Prepared]()

    def prepare(self, lane: str, case: dict[str, Any], path: str) -> dict[str, Any]:
        """Prepares a lane and writes its results for the judge."""
        found = Case(**case)
        self.prepared[lane] = self.make(found, draw(found))
        np.savez(path, **self.prepared[lane].results())
        return {"note": self.prepared[lane].note}

    def measure(self, lane: str, seconds: float) -> dict[str, Any]:
        """The median of one turn's calls."""
        one = self.prepared[lane]
        one.change()
        one.call()  # wakes the threads
        times = measure(one.call, one.change, seconds)
        return {"seconds": statistics.median(times), "calls": len(times)}

    def forget(self) -> dict[str, Any]:
        """Frees what was prepared."""
        self.prepared.clear()
        return {}


def serve(handlers: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answers commands until standard input ends. Whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = handlers[command.pop("do")](**command)
        except Absent as reason:
            answer = {"absent": str(reason)}
        except Exception as error:  # a library's failure is its result, and the others go on
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


def serve_library(prepare: Prepare, modules: tuple[str, ...], **more: Callable[..., dict[str, Any]]) -> None:
    """A worker that prepares and measures, and answers `more` commands."""
    lanes = Lanes(prepare)
    versions = {name: importlib.import_module(name).__version__ for name in modules}
    serve(
        {
            "hello": lambda: {"versions": versions},
            "prepare": lanes.prepare,
            "measure": lanes.measure,
            "forget": lanes.forget,
            **more,
        }
    )


def fastest(choices: dict[str, Prepared]) -> Prepared:
    """The fastest of a library's options on this case."""
    if len(choices) == 1:
        return next(iter(choices.values()))
    times = {name: trial(one.call) for name, one in choices.items()}
    return choices[min(times, key=times.__getitem__)]
