"""The file of results: parts measured at different times, all of one machine and one commit."""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.engine.fleet import ROOT
from benchmarks.engine.grid import ELMAN, Case
from benchmarks.machine import machine

SAME = ("cpu", "cores", "system", "python", "torch", "threads", "commit")
Lanes = dict[str, dict[str, Any]]


def measured_on(threads: int) -> dict[str, Any]:
    """The machine, with a mark on the commit where the sources differ from it."""
    changed = _git("status", "--porcelain", "--", "src", "csrc") + _git("diff", "HEAD", "--", "src", "csrc")
    found = machine() | {"threads": threads}
    if changed:
        found["commit"] = f"{found['commit']}+{hashlib.sha256(changed.encode()).hexdigest()[:8]}"
    return found


class Results:
    """What was measured; every addition is written at once, unless there is no path.

    Raises:
        SystemExit: the file holds results of another machine or commit, and `afresh` is false.
    """

    def __init__(self, path: Path | None, where: dict[str, Any], afresh: bool) -> None:
        self.path = path
        self.data: dict[str, Any] = {"machine": where, "versions": {}, "peak": {}, "cases": {}, "long": {}}
        if path is not None and path.exists() and not afresh:
            found = json.loads(path.read_text())
            other = [name for name in SAME if found["machine"][name] != where[name]]
            if other:
                raise SystemExit(
                    f"{path}: measured with another {', '.join(other)}; such parts are not comparable: "
                    "give --fresh to begin anew, or --output FILE"
                )
            self.data = found | {"machine": where}
        self.run = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def add(self, case: Case, lanes: Lanes) -> None:
        """One case of this run, beside those of runs that measured other libraries."""
        record = self.data["cases"].setdefault(case.key, {"case": case.told(), "runs": []})
        record["runs"] = [*_needed(record["runs"], lanes), {"run": self.run, "lanes": lanes}]
        self.write()

    def add_long(self, library: str, steps: int, record: dict[str, Any]) -> None:
        """One length of a long sequence."""
        self.data["long"].setdefault(library, {})[str(steps)] = record
        self.write()

    def write(self) -> None:
        """All of it, or nothing."""
        if self.path is None:
            return
        self.path.parent.mkdir(exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(_rounded(self.data), indent=1) + "\n")
        new.replace(self.path)


def _needed(runs: list[dict[str, Any]], lanes: Lanes) -> list[dict[str, Any]]:
    """Earlier runs that hold a lane which the newest lacks."""
    return [run for run in runs if ELMAN not in lanes or not run["lanes"].keys() <= lanes.keys()]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT).stdout
