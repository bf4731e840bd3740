"""The recipe names: its default data end to end, words of one's own, and the baseline it promises to match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import elman
from elman import recipes
from elman.data import read_surnames
from elman.recipes.names import RECIPE, surnames
from elman.recipes.settings import changed
from elman.training import Silent

TINY = {
    "model.hidden_size": 12,
    "model.embedding_size": 12,
    "model.members": 1,
    "model.dropout": 0.0,
    "train.epochs": 3,
    "train.device": "cpu",
    "train.track": "off",
}


def request(out: Path, data: Any = None, **settings: Any) -> recipes.Request:
    return recipes.Request(out, changed(RECIPE.settings, {**TINY, **settings}), Silent(), data)


def test_trains_on_a_tenth_of_its_own_data_and_comes_back(tmp_path: Path) -> None:
    table = surnames()
    few = replace(RECIPE, default_data=lambda: table.select(range(0, len(table), 20)))
    trained = few.train(request(tmp_path / "run", **{"train.batch_size": 8}))
    test, baselines = trained.metrics["test"], trained.metrics["baselines"]
    assert set(baselines) == {"majority", "naive_bayes", "logistic_regression", "character_ngrams"}
    assert test["accuracy"] > baselines["majority"]["accuracy"] + 0.1
    assert baselines["character_ngrams"]["accuracy"] > baselines["naive_bayes"]["accuracy"] + 0.2
    loaded = elman.load(trained.folder)
    assert loaded.recipe is RECIPE
    assert set(loaded.predict(["Dvořák", "O'Brien"])) <= set(read_surnames().column("language"))
    answers = loaded.answers(["Dvořák", "DVOŘÁK"])
    assert answers[0] == answers[1]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert [piece for piece, _ in loaded.over_words("Čapek")] == ["Č", "a", "p", "e", "k"]
    assert json.loads((trained.folder / "metrics.json").read_text()) == trained.metrics


def test_the_parts_share_no_group(tmp_path: Path) -> None:
    prepared = RECIPE.prepare(request(tmp_path / "run"))
    groups = [{prepared.table.column("group")[row] for row in part} for part in prepared.parts]
    assert all(groups)
    assert not groups[0] & (groups[1] | groups[2])
    assert not groups[1] & groups[2]


def test_learns_words_of_ones_own_with_the_baseline_over_characters(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    rows = [f"{a}{b}{end},{kind}" for a in "bdgklmnp" for b in "aeiou" for end, kind in (("ka", "k"), ("tu", "t"))]
    file.write_text("\n".join(["word,kind", *rows]))
    settings = {**TINY, "train.epochs": 15, "train.batch_size": 8}
    run = elman.train("names", str(file), text="word", label="kind", out=tmp_path / "run", settings=settings)
    assert run.metrics["baselines"]["character_ngrams"]["accuracy"] == 1.0
    assert elman.load(run.folder).predict(["zaka", "zotu"]) == ["k", "t"]
    assert elman.load(run.folder).evaluate() == run.metrics["test"]


def test_numbers_have_no_baseline_over_characters(tmp_path: Path) -> None:
    data = {"word": [f"w{n}" for n in range(40)], "size": [n + 0.5 for n in range(40)]}
    run = elman.train("names", data, out=tmp_path / "run", settings={**TINY, "train.epochs": 1}, progress=Silent())
    assert set(run.metrics["baselines"]) == {"mean", "ridge_regression"}
