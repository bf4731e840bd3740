"""Recipes: settings, baselines, training on rows of one's own, and the model that comes back from its folder."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.data import Labels, Table
from elman.errors import UserError
from elman.export import save_model
from elman.recipes.baselines import Rows, measure_baselines
from elman.recipes.measures import measure, measure_tags, scikit_learn
from elman.recipes.settings import changed, from_assignments, from_file
from elman.training import Silent
from elman.training.lock import FolderLock

GOOD = ["lovely", "great", "fine", "charming"]
BAD = ["awful", "dull", "poor", "tedious"]
THINGS = ["film", "story", "meal", "place", "tune"]
TINY = {
    "model.hidden_size": 8,
    "model.embedding_size": 8,
    "model.dropout": 0.0,
    "train.epochs": 8,
    "train.batch_size": 8,
    "train.learning_rate": 0.02,
    "train.device": "cpu",
    "train.track": "off",
}


def rows(label=lambda good: "good" if good else "bad") -> dict[str, list[Any]]:
    pairs = [(f"a {word} {thing} it was", word in GOOD) for word in GOOD + BAD for thing in THINGS]
    return {"review": [t for t, _ in pairs], "verdict": [label(g) for _, g in pairs]}


def trained(out: Path, data: Any, **options: Any) -> recipes.Trained:
    settings = {**TINY, **options.pop("settings", {})}
    return elman.train("sentiment", data, out=out, settings=settings, progress=Silent(), **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> recipes.Trained:
    return trained(tmp_path_factory.mktemp("runs") / "model", rows(), text="review", label="verdict")


def test_learns_rows_of_ones_own_and_beats_the_majority(model: recipes.Trained) -> None:
    test, baselines = model.metrics["test"], model.metrics["baselines"]
    assert set(baselines) == {"majority", "naive_bayes", "logistic_regression"}
    assert test["accuracy"] > baselines["majority"]["accuracy"]
    assert test["rows"] == sum(map(sum, test["confusion"])) == 8
    assert json.loads((model.folder / "metrics.json").read_text()) == model.metrics


def test_the_model_folder_gives_the_same_model(model: recipes.Trained) -> None:
    loaded, texts = elman.load(model.folder), ["a lovely film it was", "a dull tune", ""]
    assert loaded.probabilities(texts) == model.model.probabilities(texts)
    assert loaded.predict(texts[:2]) == ["good", "bad"]
    assert sum(loaded.probabilities(texts)[2].values()) == pytest.approx(1)
    assert loaded.predict([]) == []
    with pytest.raises(UserError, match=r"a list of texts is wanted.*predict\(\[text\]\)"):
        loaded.predict("a lovely film")
    assert {p.name for p in model.folder.iterdir()} >= {
        "model.safetensors", "config.json", "tokenizer.json", "metrics.json", "metrics.jsonl",
    }  # fmt: skip


def test_the_verdict_moves_word_by_word_and_ends_at_the_verdict(model: recipes.Trained) -> None:
    words = model.model.over_words("A lovely film")
    assert [word for word, _ in words] == ["A", "lovely", "film"]
    last = dict(zip(model.model.labels.names, words[-1][1], strict=True))
    assert last == pytest.approx(model.model.probabilities(["A lovely film"])[0])


def test_evaluates_on_other_rows_and_refuses_what_it_cannot_measure(model: recipes.Trained) -> None:
    loaded = elman.load(model.folder)
    measured = loaded.evaluate({"review": ["a great film", "a poor film"], "verdict": ["good", "bad"]})
    assert measured["rows"] == 2
    with pytest.raises(UserError, match=r"trained on data in memory.*--data"):
        loaded.evaluate()
    with pytest.raises(UserError, match=r"must be one of the classes trained on: bad, good.*'ugly'"):
        loaded.evaluate({"review": ["a great film"], "verdict": ["ugly"]})


def test_evaluates_on_the_test_part_of_its_file_until_the_file_changes(tmp_path: Path) -> None:
    path, data = tmp_path / "rows.csv", rows()
    lines = [f"{t},{v}" for t, v in zip(data["review"], data["verdict"], strict=True)]
    path.write_text("\n".join(["review,verdict", *lines]))
    run = trained(tmp_path / "run", str(path))
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
    path.write_text("\n".join(["review,verdict", *lines[1:], "a fine day,good"]))
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(run.folder).evaluate()


def test_numbers_are_a_regression(tmp_path: Path) -> None:
    numbers = iter(range(1000))
    run = trained(
        tmp_path / "run",
        rows(lambda good: (10.0 if good else 2.0) + next(numbers) / 1000),
        settings={"train.epochs": 10},
    )
    assert set(run.metrics["test"]) == {"rmse", "mae", "r2", "rows"}
    assert run.metrics["test"]["rmse"] < run.metrics["baselines"]["mean"]["rmse"]
    good, bad = elman.load(run.folder).predict(["a lovely film it was", "a dull film it was"])
    assert good > 6 > bad
    with pytest.raises(ValueError, match="probabilities are for classes"):
        run.model.probabilities(["a film"])


def test_a_finished_run_is_not_overwritten_and_resumes_as_itself(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", rows())
    with pytest.raises(UserError, match="already holds a run"):
        trained(tmp_path / "run", rows())
    again = trained(tmp_path / "run", rows(), resume=True)
    assert again.metrics["test"] == run.metrics["test"]
    other = rows()
    other["review"][0] = "another text"
    with pytest.raises(UserError, match="the data differs from the run being resumed"):
        trained(tmp_path / "run", other, resume=True)
    with pytest.raises(UserError, match=r"model\.dropout differs from the run being resumed: 0\.0 then"):
        trained(tmp_path / "run", rows(), resume=True, settings={"model.dropout": 0.1})


def test_plan_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    recipe = recipes.get("sentiment")
    request = recipes.Request(tmp_path / "run", changed(recipe.settings, TINY), Silent(), rows())
    plan = dict(recipe.plan(request))
    assert plan["labels"] == "bad 20, good 20"
    assert plan["model.hidden_size"] == "8"
    assert not (tmp_path / "run").exists()


def test_settings_come_from_defaults_file_and_assignments(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[train]\nepochs = 3\n[model]\ncell = 'lstm'\n", encoding="utf-8-sig")
    settings = changed(recipes.get("sentiment").settings, from_file(file))
    settings = changed(settings, from_assignments(["train.epochs=5", "train.clip=none"]))
    assert (settings.train.epochs, settings.train.clip, settings.model.cell) == (5, None, "lstm")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("modle.cell=gru", "no setting 'modle.cell'; did you mean 'model.cell'?"),
        ("model.cell", "changed by key=value; found: model.cell"),
        ("train.epochs=many", "train.epochs: .*integer.*found: 'many'"),
        ("train.epochs=0", "train.epochs: .*greater than or equal to 1"),
        ("train.learning_rate=NaN", "train.learning_rate: .*finite"),
        ("model=gru", "no setting 'model'"),
        ("model.hidden_size=100000000", "model.hidden_size: .*less than or equal to 65536"),
        ("train.epochs=" + "9" * 5000, "train.epochs: .*integer"),
        ("train.epochs=" + "[" * 100_000, "train.epochs: .*integer"),
        ("model.pooling=men", "model.pooling: .*'men' is none of last, mean, max, attention"),
        ("model.cell=lstn", "model.cell: .*did you mean 'lstm'"),
    ],
)
def test_wrong_settings_are_named(assignment: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        changed(recipes.get("sentiment").settings, from_assignments([assignment]))


def test_measures_by_hand() -> None:
    labels = Labels("classes", ("a", "b", "c"))
    got = measure(labels, [0, 0, 1, 1], [0, 1, 1, 1])
    assert got["accuracy"] == 0.75
    assert got["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert got["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    numbers = measure(Labels("numbers"), [1.0, 3.0], [2.0, 3.0])
    assert (numbers["mae"], numbers["r2"]) == (0.5, 0.5)


def test_measures_of_tags_are_those_of_scikit_learn_kind_by_kind() -> None:
    random = np.random.default_rng(0)
    truth, guess = (np.stack([random.integers(0, 2, 99), random.integers(0, 4, 99)], 1) for _ in range(2))
    guess[guess[:, 1] == 3, 1] = 0
    got = measure_tags({"case": ("x", "X"), "mark": ("none", ".", "?", "!", "never")}, truth, guess)
    metrics = scikit_learn("metrics")
    wanted = [metrics.f1_score(truth[:, k], guess[:, k], average="macro", zero_division=0) for k in range(2)]
    assert [one["macro_f1"] for one in got["kinds"].values()] == pytest.approx(wanted)
    assert got["macro_f1"] == pytest.approx(sum(wanted) / 2)
    assert got["accuracy"] == np.mean([tuple(a) == tuple(b) for a, b in zip(truth, guess, strict=True)])
    assert got["kinds"]["mark"]["tags"].keys() == {"none", ".", "?", "!"}
    assert got["kinds"]["mark"]["tags"]["!"]["f1"] == 0
    assert sum(one["words"] for one in got["kinds"]["mark"]["tags"].values()) == got["words"] == 99


def test_baselines_by_hand_and_without_words() -> None:
    labels = Labels("classes", ("bad", "good"))
    train = Rows(["dull film", "great film", "great tune"], [0, 1, 1])
    got = measure_baselines(labels, train, Rows(["dull dull", "great"], [0, 1]), {})
    assert got["majority"]["accuracy"] == 0.5
    assert got["naive_bayes"]["accuracy"] == 1.0
    marks = Rows(["!", "?", "?"], [0, 1, 1])
    assert "left_out" in measure_baselines(labels, marks, marks, {})["naive_bayes"]


def test_free_folders_are_numbered(tmp_path: Path) -> None:
    assert recipes.free_folder("sentiment", tmp_path) == tmp_path / "sentiment"
    (tmp_path / "sentiment").mkdir()
    (tmp_path / "sentiment-2").mkdir()
    assert recipes.free_folder("sentiment", tmp_path) == tmp_path / "sentiment-3"


def test_a_group_column_keeps_its_rows_together(tmp_path: Path) -> None:
    data = {**rows(), "who": [str(i // 4) for i in range(40)]}
    recipe = recipes.get("sentiment")
    settings = changed(recipe.settings, {**TINY, "data.group": "who"})
    prepared = recipe.prepare(recipes.Request(tmp_path / "run", settings, Silent(), data, label="verdict"))
    where = {row: name for name, part in prepared.parts._asdict().items() for row in part}
    assert all(len({where[row] for row in range(4 * g, 4 * g + 4)}) == 1 for g in range(10))


def test_unknown_recipes_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'sentiment'"):
        elman.train("sentimnet")
    with pytest.raises(UserError, match="--out"):
        elman.train("sentiment", resume=True)
    with pytest.raises(UserError):
        elman.load(tmp_path)


def test_a_table_is_taken_as_it_is(tmp_path: Path) -> None:
    assert trained(tmp_path / "run", Table(rows(), "rows")).metrics["test"]["rows"] == 8


@pytest.mark.parametrize("kind", ["word", "bpe", "character"])
def test_characters_in_parts_are_those_in_one(tmp_path: Path, kind: str) -> None:
    data = {"review": ["J\u030cohn \u03aa\u0301 lovely", "caf\u00e9 dull", *rows()["review"]]}
    model = trained(
        tmp_path / "run",
        {**data, "verdict": ["good", "bad", *rows()["verdict"]]},
        settings={"data.vocabulary": kind, "train.epochs": 1},
    ).model
    composed, decomposed = model.probabilities(["caf\u00e9 J\u030cohn", "cafe\u0301 J\u030cohn"])
    assert composed == pytest.approx(decomposed)  # torch's products of two equal rows may differ in a bit


def test_a_training_part_with_one_class_is_refused_before_training(tmp_path: Path) -> None:
    data = {"review": ["a good day", "a bad day"] * 6, "verdict": ["good", "bad"] * 6}
    data["who"] = ["one" if v == "good" else str(i) for i, v in enumerate(data["verdict"])]
    data = {k: [c for c, w in zip(v, data["who"], strict=True) if w in ("one", "1", "3")] for k, v in data.items()}
    settings = {"data.group": "who", "data.seed": 0, "data.test": 0.2, "data.validation": 0.2}
    found = set()
    for seed in range(8):
        try:
            trained(tmp_path / str(seed), data, label="verdict", settings={**settings, "data.seed": seed})
        except UserError as error:
            found.add(error.what)
    assert found == {"the training part must hold two classes or more"}


def test_a_folder_that_cannot_take_the_model_is_refused_before_training(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="neither where you stand"):
        trained(Path(), rows())
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("mine")
    with pytest.raises(UserError, match=r"holds files that a run would replace.*config\.json"):
        trained(foreign, rows())
    early = tmp_path / "early"
    early.mkdir()
    (early / "metrics.jsonl").write_text("a run killed before its first checkpoint")
    with pytest.raises(UserError, match="already holds a run"):
        trained(early, rows())
    assert (early / "metrics.jsonl").read_text().startswith("a run")
    assert trained(early, rows(), resume=True).metrics["test"]["rows"] == 8


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "run")
    lock.take()
    with pytest.raises(UserError, match=f"another run is writing into this folder.*{os.getpid()}"):
        trained(tmp_path / "run", rows())
    lock.drop()
    assert trained(tmp_path / "run", rows()).folder.exists()


def test_weights_that_are_not_finite_are_never_a_model(tmp_path: Path, model: recipes.Trained) -> None:
    with pytest.raises(UserError, match=r"the weights must stay finite; members\..* is not after step"):
        trained(
            tmp_path / "run",
            rows(),
            settings={"train.learning_rate": 1e308, "train.epochs": 1, "train.batch_size": 64},
        )
    assert not (tmp_path / "run" / "model.safetensors").exists()
    state = {name: t * torch.nan for name, t in model.model.network.state_dict().items()}
    folder = save_model(tmp_path / "nan", state, model.model.config, model.model.vocabulary.to_json())
    with pytest.raises(UserError, match="the weights must be finite"):
        elman.load(folder)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("a film", r"found: one text"),
        ({"review": ["a film"]}, r"found: dict"),
        (["a film", None], r"text 1: every text must be a string; found: None"),
        ([b"a film"], r"text 0: every text must be a string"),
    ],
)
def test_predict_takes_a_list_of_strings(model: recipes.Trained, texts: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        model.model.predict(texts)


def test_a_mapping_holds_lists() -> None:
    with pytest.raises(UserError, match="text: a column must be a list of cells; found: 'abc'"):
        elman.train("sentiment", {"text": "abc", "label": "abc"})


@pytest.mark.parametrize("folder", ["/", "\0", "x" * 5000, "~"])
def test_a_path_that_cannot_be_a_model_is_said(folder: str) -> None:
    with pytest.raises(UserError):
        elman.load(folder)


def test_few_rows_are_seen_more_often_unless_the_user_says_how_often(tmp_path: Path) -> None:
    recipe, said = recipes.get("sentiment"), []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    def epochs(**changes: Any) -> str:
        settings = changed(recipe.settings, {"model.members": 1, **changes})
        request = recipes.Request(tmp_path / "run", settings, Listening(), rows())
        return dict(recipe.plan(request))["train.epochs"]

    assert epochs() == "150"
    assert "few rows: 150 epochs instead of 3 (train.epochs changes it)" in said
    assert epochs(**{"train.epochs": 7}) == "7"
    assert epochs(**{"train.batch_size": 1}) == str(math.ceil(150 / 28))
