"""`elman generate` and `elman complete`: streamed, searched, line by line, and while somebody types."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_program import Result, run

from elman.cli.typing_ahead import Typed

TINY = (
    "model.hidden_size=16",
    "model.embedding_size=8",
    "data.window=16",
    "train.epochs=3",
    "train.batch_size=4",
    "train.learning_rate=0.02",
    "train.track=off",
)
unix = pytest.mark.skipif(importlib.util.find_spec("termios") is None, reason="no Unix terminal")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    place = tmp_path_factory.mktemp("writing")
    text = place / "tale.txt"
    text.write_text("the light was in the dark, and the dark was in the night. " * 60)
    settings = [part for change in TINY for part in ("--set", change)]
    return place / "run", run("train", "autocomplete", "--data", text, "--out", place / "run", *settings)


@pytest.fixture
def writer(written: tuple[Path, Result]) -> Path:
    folder, result = written
    assert result.code == 0, result
    return folder


def test_training_prints_bits_baselines_and_what_is_next(written: tuple[Path, Result]) -> None:
    folder, result = written
    assert re.search(r"this model +\d\.\d{3}\n", result.out), result.out
    assert "kneser_ney" in result.out and "ppm" in result.out
    assert f"elman complete {folder} 'In the beg'" in result.out
    assert "bits_per_character" in run("evaluate", folder).out


def test_generate_writes_on_and_a_seed_repeats_it(writer: Path) -> None:
    one = run("generate", writer, "--prompt", "the li", "--steps", 40, "--seed", 1)
    assert one.code == 0 and one.err == "" and one.out.startswith("the li") and len(one.out) == 47
    assert run("generate", writer, "--prompt", "the li", "--steps", 40, "--seed", 1) == one
    assert run("generate", writer, "--prompt", "-", "--steps", 40, "--seed", 1, stdin=b"the li") == one
    several = run("generate", writer, "--steps", 30, "--seed", 1, "--count", 3).out
    assert len(several.split("\n---\n")) == 3 and len(set(several.split("\n---\n"))) == 3


def test_generate_saves_what_it_writes_and_replaces_nothing_unasked(writer: Path, tmp_path: Path) -> None:
    asked = ("generate", writer, "--prompt", "the li", "--steps", 20, "--seed", 1)
    one = run(*asked, "--out", tmp_path / "tale")
    assert (tmp_path / "tale.txt").read_text() == one.out.removesuffix("\n") and "tale.txt" in one.err
    run(*asked, "--out", tmp_path / "tale.txt").refused("the file is there already")
    assert run(*asked, "--out", tmp_path / "tale.txt", "--force").code == 0
    two = run(*asked, "--out", tmp_path / "b.md", "--count", 2, "--json").out.splitlines()
    assert [json.loads(line)["files"] for line in two] == [[str(tmp_path / f"b-{n}.md")] for n in (1, 2)]
    assert (tmp_path / "b-2.md").read_text() == "the li" + json.loads(two[1])["text"]
    run(*asked, "--out", tmp_path / "no" / "b").refused("no such folder")
    run(*asked, "--out", tmp_path).refused("a file is wanted")


def test_generate_searches_with_beams_and_answers_machines(writer: Path) -> None:
    greedy = run("generate", writer, "--prompt", "the", "--steps", 20, "--temperature", 0, "--json")
    beam = run("generate", writer, "--prompt", "the", "--steps", 20, "--beams", 1, "--json")
    assert json.loads(greedy.out) == json.loads(beam.out)
    assert json.loads(beam.out)["prompt"] == "the" and len(json.loads(beam.out)["text"]) <= 20
    several = run("generate", writer, "--steps", 20, "--beams", 4, "--count", 4, "--json").out.splitlines()
    assert len({json.loads(line)["text"] for line in several}) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 2**63), "a seed must be below 2^63"),
        (("--temperature", "inf"), "temperature must be a number"),
        (("--top-p", "0"), "top_p must be above 0"),
        (("--top-p", "nan"), "top_p must be above 0"),
        (("--repetition-penalty", "0.5"), "repetition_penalty must be 1 or more"),
        (("--beams", 10**9), "beams must be from 1 to 100"),
        (("--beams", 2, "--steps", 10**9), "steps must be from 1 to 10,000"),
        (("--beams", 2, "--seed", 1), "beams search, they draw nothing"),
        (("--beams", 2, "--count", 3), "K beams find K texts"),
        (("--prompt", "-"), "the prompt is not UTF-8"),
    ],
)
def test_generate_refuses_what_cannot_be(writer: Path, options: tuple[object, ...], words: str) -> None:
    run("generate", writer, *options, stdin=b"caf\xe9").refused(words)


def test_huge_numbers_that_can_be_are_no_trouble(writer: Path) -> None:
    for options in (
        ("--top-k", 10**12),
        ("--temperature", 1e300),
        ("--temperature", 1e-300),
        ("--repetition-penalty", 1e300),
        ("--seed", 2**63 - 1, "--count", 2),
    ):
        result = run("generate", writer, "--steps", 50, *options)
        assert result.code == 0 and result.out, (options, result)


def test_models_that_do_not_write_say_so(model: Path) -> None:
    run("generate", model).refused("a sentiment model does not write", "elman predict")
    run("complete", model, "a").refused("a sentiment model does not write")
    run("complete", model / "nothing", "a").refused("no such folder")


def test_complete_shows_the_likeliest_and_counts(writer: Path) -> None:
    result = run("complete", writer, "the dark, and the li", "--count", 3)
    lines = result.out.splitlines()
    assert result.code == 0 and len(lines) == 3
    assert all(re.fullmatch(r" *\d+\.\d%  the dark, and the li.+", line) for line in lines)
    found = json.loads(run("complete", writer, "the li", "--json").out)
    assert found["prompt"] == "the li" and len(found["completions"]) == 5
    chances = [one["probability"] for one in found["completions"]]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1


def test_complete_answers_lines(writer: Path) -> None:
    result = run("complete", writer, "--json", "--count", 1, stdin="the li\r\n\nthe é\n".encode())
    assert [json.loads(line)["prompt"] for line in result.out.splitlines()] == ["the li", "", "the é"]
    broken = run("complete", writer, "--json", stdin=b"the\ncaf\xe9\n")
    assert broken.code == 2 and "standard input:2" in broken.err and len(broken.out.splitlines()) == 1


def test_what_is_unknown_is_said(writer: Path) -> None:
    assert "\u00e9" in run("complete", writer, "the \u00e9").err
    result = run("generate", writer, "--prompt", "\x1b[2J the", "--steps", 3)
    assert r"\x1b" in result.err and result.code == 0


# ---- typing ----


def completions(text: str) -> list[tuple[str, float]]:
    """What a model could say: the end of light, or of like."""
    return [("ght", 0.75), ("ke", 0.25)] if text.endswith("li") else []


def typed(*keys: str) -> Typed:
    found = Typed(completions)
    for key in keys:
        found.press(key)
        found.look_ahead() if key.isprintable() else None
    return found


def test_keys_write_take_choose_and_erase() -> None:
    assert typed(*"the li").ahead == "ght"
    assert typed(*"the li", "\t").line == "the light"
    assert typed(*"li", "\x1b[B", "\x1b[C").line == "like"
    assert typed(*"li", "\x1b[A", "\t").line == "like"
    assert typed(*"li", "\x1bOB", "\x1bOB", "\t").line == "light"
    assert typed(*"li", "\x7f").line == "l"
    assert typed(*"one two", "\x17").line == "one "
    assert typed(*"one two", "\x15").line == ""
    assert typed("\x7f", "\x17", "\t", "\x1b[A", "\x1b", "\x1b[3~", "\x00").line == ""
    lines = typed(*"one", "\r", *"li")
    assert (lines.before, lines.line, lines.ahead) == ("one\n", "li", "ght")


PROGRAM = """
import sys
from elman.cli.typing_ahead import Terminal, type_ahead
sys.path.insert(0, {tests!r})
from cli.test_cli_writing import completions
with Terminal.opened() as terminal:
    print("no terminal") if terminal is None else type_ahead(terminal, {completions})
"""


class Session:
    """A program on a terminal of its own, eighty columns wide."""

    def __init__(self, completions: str = "completions", **environment: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.termios = termios
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        here = Path(__file__).parents[1]
        program = PROGRAM.format(tests=str(here), completions=completions)
        paths = os.pathsep.join(map(str, (here.parent / "src", here, here / "cli")))
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "TERM": "xterm", "PYTHONPATH": paths, **environment},
            # Whoever runs the tests in the background may have Ctrl-C ignored, which a child would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.shown = ""

    def until(self, wanted: str, seconds: float = 60) -> str:
        """What is shown up to something; the test fails where it never comes."""
        begun, end = len(self.shown), time.monotonic() + seconds
        while wanted not in self.shown[begun:]:
            assert time.monotonic() < end, (wanted, self.shown[begun:])
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 4096).decode()
        return self.shown[begun:]

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        code = self.process.wait(60)
        assert self.termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return code


@unix
def test_a_terminal_shows_the_grey_text_takes_it_and_is_left_as_it_was() -> None:
    session = Session()
    session.until("> ")
    assert session.termios.tcgetattr(session.slave) != session.before
    session.press("the li")
    session.until("> the li\x1b[90mght  75% 1/2\x1b[0m\x1b[12D")
    session.press("\x1b[B")
    session.until("\x1b[90mke  25% 2/2")
    session.press("\t")
    session.until("> the like")
    session.press("\r")
    session.until("\r\n")
    session.press("é\u65e5")
    session.until("> é\u65e5")
    session.press("\x03")
    session.until("\r\n")
    assert session.end() == 0


@unix
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_leaves_the_terminal_as_it_was(number: int, code: int) -> None:
    session = Session()
    session.until("> ")
    session.press("the li")
    session.until("ght")
    session.process.send_signal(number)
    assert session.end() == code


@unix
def test_an_error_leaves_the_terminal_as_it_was() -> None:
    session = Session(completions="lambda text: 1 / 0")
    session.until("> ")
    session.press("a")
    session.until("ZeroDivisionError")
    assert session.end() == 1


@unix
def test_a_terminal_that_cannot_be_drawn_on_is_not_drawn_on() -> None:
    session = Session(TERM="dumb")
    session.until("no terminal")
    assert session.end() == 0


@unix
def test_a_long_line_keeps_to_one_row_and_colours_can_be_off() -> None:
    session = Session(NO_COLOR="1")
    session.until("> ")
    session.press("x" * 500 + "li")
    shown = session.until("\x1b[2mght")
    last = shown.split("\r\x1b[K")[-1].split("\x1b[2m")[0]
    assert len(last) <= 80 - len("ght") and last.endswith("xli")
    session.press("\x04")
    session.until("\r\n")
    assert session.end() == 0


@unix
def test_complete_without_a_text_on_a_terminal_types_ahead(writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole verb, in this process: keys are pressed by a thread."""
    import pty

    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    shown = ""

    def press() -> None:
        nonlocal shown
        for keys, wanted in ((None, "> "), ("the dark was in the n", "\x1b[90m"), ("\t", "> "), ("\x03", "\r\n")):
            if keys is not None:
                os.write(master, keys.encode())
            part, end = "", time.monotonic() + 60
            while wanted not in part and time.monotonic() < end:
                if select.select([master], [], [], 0.1)[0]:
                    part += os.read(master, 4096).decode()
            shown += part

    from elman.cli import main

    thread = threading.Thread(target=press)
    with os.fdopen(slave, "r", closefd=False) as keyboard, os.fdopen(slave, "w", closefd=False) as screen:
        monkeypatch.setattr(sys, "stdin", keyboard)
        monkeypatch.setattr(sys, "stdout", screen)
        thread.start()
        assert main(["complete", str(writer)]) == 0
        thread.join()
    monkeypatch.undo()
    os.close(master)
    os.close(slave)
    assert "Tab takes the grey text" in shown and "> the dark was in the n\x1b[90m" in shown
