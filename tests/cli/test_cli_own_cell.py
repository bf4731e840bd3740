"""`--cell` and `elman verify` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import run, train

from recipes.test_own_cell import MINE


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def own(mine: Path, reviews_csv: Path) -> Path:
    folder = mine.parent / "model"
    result = train(reviews_csv, folder, "--cell", f"{mine}:Leaky", "--set", "model.members=1")
    assert result.code == 0, result
    assert f"elman evaluate {folder} --cell {mine}:Leaky" in result.out
    return folder


def test_every_verb_takes_the_cell_and_needs_it(own: Path, mine: Path, reviews_csv: Path) -> None:
    text = "a lovely film"
    for verb in (
        ["predict", own, text],
        ["predict", own, text, "--words"],
        ["evaluate", own],
        ["verify", own, "--quick"],
    ):
        run(*verb).refused("this model runs a cell of your own, Leaky", "--cell FILE.py:Leaky")
        result = run(*verb, "--cell", mine)
        assert (result.code, result.err) == (0, ""), result
    table = run("predict", own, "--data", reviews_csv, "--cell", mine)
    assert table.code == 0 and table.out.count("\n") == 61
    for verb in (["generate", own], ["complete", own, "a"]):
        run(*verb).refused("a cell of your own, Leaky")
        run(*verb, "--cell", mine).refused("does not write")


def test_a_changed_file_is_said_in_one_line(own: Path, mine: Path) -> None:
    other = mine.with_name("other.py")
    other.write_text(MINE + "# changed\n")
    result = run("predict", own, "a lovely film", "--cell", other)
    assert result.code == 0 and result.err.count("\n") == 1
    assert result.err.startswith(f"warning: {own}: the source of Leaky has changed")


def test_the_plan_names_the_cell_and_what_runs_it(mine: Path, reviews_csv: Path, tmp_path: Path) -> None:
    result = train(reviews_csv, tmp_path / "no", "--cell", mine, "--dry-run", "--json")
    plan = json.loads(result.out)
    assert plan["model.cell"] == "Leaky" and not (tmp_path / "no").exists()
    train(reviews_csv, tmp_path / "no", "--cell", f"{mine}:Leak").refused("did you mean 'Leaky'")
    train(reviews_csv, tmp_path / "no", "--cell", mine, "--set", "model.cell=lstm").refused("two cells are named")


def test_verify_tells_all_and_its_exit_code(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("verify", f"{mine}:Leaky", "--quick")
    assert result.code == 0 and "all hold" in result.out.splitlines()[-1]
    titles = [line.split() for line in result.out.splitlines() if line.split()[:1] == ["full"]]
    assert titles[0] == ["full", "lengths", "resets", "reversed", "streamed"] and len(titles) == 3
    told = json.loads(run("verify", "rnn", "--quick", "--json").out)
    assert told["ok"] and {"subject", "way", "by", "ok", "said"} == set(told["lines"][0])
    run("verify", "lstn").refused("no such cell or model folder", "did you mean 'lstm'")
    from elman.engine import torch_kernels

    monkeypatch.setattr(torch_kernels, "reversal", lambda operands: lambda v: v)
    wrong = run("verify", "rnn", "--quick")
    assert wrong.code == 1
    assert "torch fp64 reversed: y[" in wrong.out and "WRONG" in wrong.out
