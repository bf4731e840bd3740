"""The program around the verbs: help, version, exit codes, streams."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import run

import elman
from elman.cli import main
from elman.cli.console import results
from elman.errors import visible

VERBS = (
    "recipes", "train", "evaluate", "inspect", "compare", "predict", "generate", "complete", "demo", "doctor",
    "data", "bench", "verify",
)  # fmt: skip
HEAVY = "torch sklearn tokenizers numpy matplotlib accelerate pandas rich"


def test_help_of_every_verb_imports_nothing_heavy():
    program = (
        "import sys; from elman.cli import main\n"
        f"assert all(main([*verb, '--help']) == 0 for verb in [[]] + [[v] for v in {VERBS}])\n"
        f"print('heavy:', set(sys.modules) & set('{HEAVY}'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "heavy: set()", done
    for verb in VERBS:
        assert f"  {verb} " in done.stdout
        assert f"elman {verb}" in done.stdout  # an example of each


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_takes_less_than_300_ms_of_one_core(arguments):
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "elman", *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < 0.3, taken


def test_version():
    assert run("--version").out == f"{elman.__version__}\n"


@pytest.mark.parametrize("arguments", [["tran"], ["train"], ["doctor", "--jsn"]])
def test_usage_errors_exit_2(arguments):
    result = run(*arguments)
    assert (result.code, result.out) == (2, "") and "Usage: elman" in result.err


@pytest.mark.parametrize("place", ["elman.recipes.get", "elman.cli._command"])
def test_ctrl_c_exits_130(monkeypatch, place):
    monkeypatch.setattr(place, _raising(KeyboardInterrupt()))
    result = run("recipes", "sentiment")
    assert (result.code, result.out, result.err.strip()) == (130, "", "")


def test_a_stopped_training_says_how_to_go_on(monkeypatch):
    from elman.training import Interrupted

    monkeypatch.setattr("elman.recipes.get", _raising(Interrupted("stopped at step 7", fix="go on with --resume")))
    run("recipes", "sentiment").refused("stopped at step 7; go on with --resume")


def test_a_stopped_training_names_the_folder_to_go_on_in(monkeypatch, tmp_path):
    from elman.training import Interrupted

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted("stopped at step 7", where="here", fix="go on")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("elman.recipes.text_recipe.TextRecipe.train", stopped)
    monkeypatch.setattr("elman.data.fetch", lambda name: tmp_path)
    for arguments, wanted in (
        (["train", "sentiment"], "the same command and: --out runs/sentiment --resume"),
        (["demo", "--out", "a b"], "elman train sentiment --out 'a b' --resume"),
    ):
        result = run(*arguments)
        assert result.code == 2
        assert result.err.splitlines()[-1] == f"error: here: stopped at step 7; go on with {wanted}"


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("elman.recipes.get", _raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("recipes", "sentiment")


@pytest.mark.parametrize("arguments", [["recipes", "--json"], ["recipes"], ["--help"]])
def test_a_reader_that_goes_away_ends_it_quietly(arguments, monkeypatch, capfd):
    _run_without_reader(arguments, monkeypatch)
    assert capfd.readouterr().err == ""


def test_a_reader_of_a_table_that_goes_away_ends_it_quietly(model, reviews_csv, monkeypatch, capfd):
    _run_without_reader(["predict", str(model), "--data", str(reviews_csv)], monkeypatch)
    assert capfd.readouterr().err == ""


def _run_without_reader(arguments, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    gone = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", gone)
    assert main(arguments) == 1
    monkeypatch.undo()
    with contextlib.suppress(BrokenPipeError):
        gone.close()


@pytest.mark.parametrize("quiet", [True, False])
def test_colours_only_on_a_terminal_and_never_with_no_color(quiet, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if quiet:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console = results()
    with console.capture() as shown:
        console.print("x", style="red")
    assert ("\x1b[31m" in shown.get()) is not quiet
    assert "\x1b" not in run("recipes").out


def test_errors_show_brackets_and_write_out_what_steers_a_terminal():
    run("evaluate", "[bold]x\x1b[2J").refused("[bold]x\\x1b[2J: no such folder")
    assert visible("é\n\udc80\t") == "é\n\\udc80\\t"


def test_a_terminal_that_cannot_show_a_letter_shows_its_code(tmp_path):
    run("evaluate", tmp_path / "é").refused("é: no such folder")
    result = run("evaluate", tmp_path / "é", encoding="ascii")
    result.refused("\\xe9: no such folder")


def test_the_long_line_of_an_error_is_not_cut(tmp_path: Path):
    name = "a" * 200
    run("evaluate", tmp_path / name).refused(f"{name}: no such folder")


def _raising(error: BaseException):
    def raises(*_: object) -> None:
        raise error

    return raises
