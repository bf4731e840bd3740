"""The worker processes as their parent sees them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
MISSING = re.compile(r"ModuleNotFoundError: No module named '(.*)'")


def cores(threads: int) -> set[int]:
    """As many processors as threads, each of another core."""
    allowed, seen, chosen = sorted(os.sched_getaffinity(0)), set(), []
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text() if siblings.exists() else str(cpu)
        if core not in seen:
            seen.add(core)
            chosen.append(cpu)
    if len(chosen) < threads:
        raise SystemExit(f"--threads {threads}: this process may use {len(chosen)} cores")
    return set(chosen[:threads])


def environment(threads: int) -> dict[str, str]:
    """What gives every library as many threads. JAX counts the cores, which are as many, unless NPROC tells."""
    count = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS"), str(threads))
    alone = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return {**os.environ, **count, **alone, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}


class Worker:
    """One process; it sleeps until it is asked."""

    def __init__(self, module: str, folder: Path, threads: int) -> None:
        self.module, self.log = module, folder / f"{module}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.engine.{module}"],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """The answer to one command.

        Raises:
            ChildProcessError: the process has ended; the message holds its last words.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **what}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            words = self.log.read_text().splitlines()
            raise ChildProcessError(words[-1] if words else f"{self.module} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Fleet:
    """The workers that can be started, by name; those that cannot are in `absent` with the reason."""

    def __init__(self, names: list[str], threads: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores(threads))  # the workers inherit it
        self.temporary = tempfile.TemporaryDirectory(prefix="elman-bench-")
        self.folder = Path(self.temporary.name)
        self.workers: dict[str, Worker] = {}
        self.absent: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        modules = {"ort": "onnx_worker", "judge": "judge"}
        for name in names:
            worker = Worker(modules.get(name, f"{name}_worker"), self.folder, threads)
            try:
                self.versions |= worker.ask("hello")["versions"]
                self.workers[name] = worker
            except ChildProcessError as reason:
                self.absent[name] = MISSING.sub(r"no \1 installed", str(reason))

    def ask(self, name: str, do: str, **what: Any) -> dict[str, Any]:
        """A worker's answer; one that has ended is absent from then on, and the others go on."""
        try:
            return self.workers[name].ask(do, **what)
        except ChildProcessError as reason:
            self.workers.pop(name).process.wait()
            self.absent[name] = f"its process ended: {reason}"
            return {"failed": self.absent[name]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers.values():
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        for worker in self.workers.values():
            worker.process.wait()
        self.temporary.cleanup()
