"""The recipe summarize: pairs in their parts, copying, what is written, and what is refused."""

from __future__ import annotations

import json
import random
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import elman
from elman import recipes
from elman.data import Vocabulary
from elman.data.docstrings import read_docstrings
from elman.data.vocabulary import END, UNKNOWN
from elman.errors import UserError
from elman.recipes import summarize_parts
from elman.recipes.settings import changed
from elman.recipes.summarize import RECIPE
from elman.recipes.summarize_baselines import best_lead, lead, measure_beside, measure_summaries, nearest
from elman.recipes.summarize_model import joined, read_source, read_summary
from elman.recipes.summarize_parts import Rows, prepare_pairs
from elman.training import Silent

TINY = {
    "model.embedding_size": 32,
    "model.hidden_size": 32,
    "model.members": 1,
    "model.dropout": 0.0,
    "data.vocabulary_size": 32,
    "train.epochs": 12,
    "train.batch_size": 8,
    "train.learning_rate": 0.01,
    "train.device": "cpu",
    "train.track": "off",
}
VERBS = {"opened": "Open", "closed": "Close", "copied": "Copy", "renamed": "Rename"}


def name(seed: int) -> str:
    return "".join(random.Random(seed).choices("bcdfgklmnprst", k=6))


def orders(count: int = 120) -> dict[str, list[Any]]:
    """What is done to a thing whose name is never the same: it can only be copied."""
    said = [(name(n), done) for n, done in zip(range(count), list(VERBS) * count, strict=False)]
    return {
        "body": [f"Here the file {thing} is {done} at once." for thing, done in said],
        "title": [f"{VERBS[done]} {thing}." for thing, done in said],
    }


def trained(out: Path, data: Any, resume: bool = False, **settings: Any) -> recipes.Trained:
    return elman.train("summarize", data, out=out, settings={**TINY, **settings}, progress=Silent(), resume=resume)


def pairs(data: Any, text: str | None = None, label: str | None = None, **settings: Any) -> Any:
    return prepare_pairs(data, text, label, changed(RECIPE.settings.data, settings), lambda _: None)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> recipes.Trained:
    return trained(tmp_path_factory.mktemp("own") / "run", orders())


def test_learns_rows_of_ones_own_and_the_folder_gives_the_same_model(own: recipes.Trained) -> None:
    test, baselines = own.metrics["test"], own.metrics["baselines"]
    assert set(baselines) == {"lead_words", "nearest_summary"}
    assert test["rouge_l"] > max(one["rouge_l"] for one in baselines.values()) + 0.05
    assert test["rows"] == 12
    assert json.loads((own.folder / "metrics.json").read_text()) == own.metrics
    loaded, texts = elman.load(own.folder), orders(8)["body"]
    assert loaded.predict(texts) == own.model.predict(texts)
    assert loaded.evaluate(orders(), "body", "title")["rows"] == 120
    assert loaded.predict([]) == []
    assert loaded.answers(texts[:1]) == [{"prediction": loaded.predict(texts)[0]}]


def test_words_that_were_never_seen_are_copied_and_only_with_copying(own: recipes.Trained, tmp_path: Path) -> None:
    texts = [f"Here the file {name(number)} is opened at once." for number in range(500, 520)]
    copied = [name(number) in text for number, text in zip(range(500, 520), own.model.predict(texts), strict=True)]
    assert sum(copied) >= 18
    without = trained(tmp_path / "run", orders(), **{"model.copying": False, "train.epochs": 4})
    written = without.model.predict(texts)
    assert not any(name(number) in text for number, text in zip(range(500, 520), written, strict=True))
    assert without.metrics["test"]["rouge_l"] < own.metrics["test"]["rouge_l"]


def test_words_are_spelled_as_in_the_text_and_the_first_as_in_the_training_part(own: recipes.Trained) -> None:
    model, text = own.model, "Here the File Xyzzy is OPENED."
    source = read_source(model.vocabulary, text, model.settings)
    ids = [*model.vocabulary.encode("open file opened"), len(model.vocabulary)]
    assert UNKNOWN not in ids
    assert model.capitals
    assert model.spell(ids, source, text) == "Open File OPENED Xyzzy"
    assert model.spell(ids[-1:], source, text) == "Xyzzy"
    assert model.spell([], source, text) == ""


def test_a_text_is_answered_the_same_whatever_stands_beside_it(own: recipes.Trained) -> None:
    texts = ["Here.", *orders(5)["body"], "word " * 500]
    together = own.model.predict(texts)
    assert [own.model.predict([text])[0] for text in texts] == together


def test_odd_texts_get_an_answer_or_one_message(own: recipes.Trained) -> None:
    odd = [
        "\0",
        "\ud800 the file",
        "x" * 100_000,
        "é" * 50,
        "\U0001f600",
        "🙂 " * 300,
        "<end> <padding>",
        "\n" * 500 + "a file",
    ]
    assert all(isinstance(text, str) for text in own.model.predict(odd))
    with pytest.raises(UserError, match=r"text 2: a text must not be empty; found: ' \\u200b'"):
        own.model.predict(["a", " \u200b"])
    with pytest.raises(UserError, match="a list of texts is wanted"):
        own.model.predict("a text")


def test_no_text_summary_or_group_stands_in_two_parts() -> None:
    data = orders(60)
    data["body"][30:40] = [text.upper() + "!" for text in data["body"][:10]]
    data["title"][50:60] = data["title"][10:20]
    data["writer"] = [str(row // 3) for row in range(60)]
    found = pairs(data, group="writer")
    assert sorted(row for part in found.parts for row in part) == list(range(60))
    for column in ("body", "title", "writer"):
        said = [{summarize_parts._said(data[column][row]) for row in part} for part in found.parts]
        assert not (said[0] & said[1] or said[0] & said[2] or said[1] & said[2]), column
    assert pairs(data).fingerprint() != pairs(data, seed=1).fingerprint()


def test_docstrings_are_dealt_out_file_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(sysconfig.get_paths()["stdlib"]) / "asyncio"
    monkeypatch.setattr(summarize_parts, "read_docstrings", lambda: read_docstrings({"asyncio": folder}))
    found, files = pairs(None), read_docstrings({"asyncio": folder}).column("group")
    parts = [{files[row] for row in part} for part in found.parts]
    assert all(parts)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len({*found.rows.summaries}) == len(found.rows.summaries) > 50
    run = trained(tmp_path / "run", None, **{"train.epochs": 1, "train.batch_size": 64})
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
    monkeypatch.setattr(
        summarize_parts, "read_docstrings", lambda: read_docstrings({"json": folder.parent / "json"})
    )
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(run.folder).evaluate()


def test_columns_are_guessed_by_their_names_and_said() -> None:
    said: list[str] = []
    data = {"number": list(range(20)), **orders(20)}
    found = prepare_pairs(data, None, None, RECIPE.settings.data, said.append)
    assert found.columns == ("body", "title")
    assert said == ["columns guessed: --text 'body' and --label 'title'"]
    two = {"long": data["body"], "brief": data["title"]}
    assert pairs(two).columns == ("long", "brief")
    assert pairs(two, label="long").columns == ("brief", "long")


def test_rows_without_a_text_are_left_out_and_numbers_are_texts() -> None:
    said: list[str] = []
    data = orders(20)
    data["body"][3], data["body"][7], data["title"][5] = None, "  ", 2026
    found = prepare_pairs(data, "body", "title", RECIPE.settings.data, said.append)
    assert found.dropped == 2
    assert said == ["2 rows without a text are left out"]
    assert found.rows.summaries[4] == "2026"


def without(data: dict[str, list[Any]], column: str, rows: list[int], value: Any = None) -> dict[str, list[Any]]:
    for row in rows:
        data[column][row] = value
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            without(orders(20), "title", [4]),
            r"data, row 5: every row needs a summary in column 'title'; found: a row",
        ),
        (
            without(orders(20), "title", [4, 6, 9], float("nan")),
            "row 5: .*; found: 3 rows without, this the first",
        ),
        (without(orders(20), "title", [2], "\u200b"), "row 3: every row needs a summary"),
        (without(orders(20), "body", list(range(20))), "every text of column 'body' is empty"),
        (without(orders(20), "body", [1], ["a"]), "row 2: a text must be a string or a number; found: list"),
        (orders(2), "every part of the data must get some of it; found: 2 groups"),
        ({"body": ["a b"] * 20, "title": ["c"] * 20}, "every part .* found: 1 groups"),
        ({"body": ["a b"] * 20}, "column holds the label is not clear"),
        ({"body": [], "title": []}, "the data has no row"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(data: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        pairs(data)


def test_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    lines = [f"{text},{title}" for text, title in zip(*orders(20).values(), strict=True)]
    file.write_text("\n".join(["body,title", *lines[:5], "Nothing is said of it,", *lines[5:]]))
    with pytest.raises(UserError, match=r"notes\.csv:7: every row needs a summary"):
        pairs(str(file))
    with pytest.raises(UserError, match=r"no column 'boddy'.*'body'"):
        pairs(str(file), text="boddy")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model.attention": None}, "model.attention: copying is decided by attention; found: none; set"),
        ({"model.hidden_size": 16}, "model.tied: tied weights need one size; found: 32 and 16; make"),
        ({"model.cell": "grn"}, "no such cell; found: 'grn'"),
        ({"data.test": 0.8, "data.validation": 0.8}, "the training part gets no row"),
        ({"data.group": "writer"}, "no column 'writer'"),
        ({"data.vocabulary": "letters"}, "data.vocabulary"),
    ],
)
def test_wrong_settings_are_said(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", orders(20), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"model.attention": None, "model.copying": False, "model.num_layers": 2, "model.dropout": 0.1},
        {"model.attention": "additive", "model.cell": "lstm"},
        {"data.vocabulary": "bpe", "model.search": "beams", "model.members": 2},
        {"model.tied": False, "model.hidden_size": 16, "model.draws": 3},
        {"data.vocabulary": "character", "data.max_text": 20, "data.lowercase": False},
    ],
)
def test_other_networks_and_vocabularies_learn_and_come_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = trained(tmp_path / "run", orders(30), **{"train.epochs": 1, **settings})
    texts = orders(3)["body"]
    assert elman.load(run.folder).predict(texts) == run.model.predict(texts)


def test_a_finished_run_resumes_as_itself_and_refuses_other_rows(tmp_path: Path) -> None:
    data, settings = orders(30), {"train.epochs": 2}
    run = trained(tmp_path / "run", data, **settings)
    again = trained(tmp_path / "run", data, resume=True, **settings)
    assert again.metrics == run.metrics
    with pytest.raises(UserError, match="the data differs from the run being resumed"):
        trained(tmp_path / "run", orders(31), resume=True, **settings)


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    wanted = recipes.Request(tmp_path / "run", changed(RECIPE.settings, TINY), Silent(), orders(30))
    plan = dict(RECIPE.plan(wanted))
    assert plan["parts"] == "train 24, validation 3, test 3"
    assert plan["vocabulary"] == "32 pieces"
    assert not (tmp_path / "run").exists()


def test_words_outside_the_vocabulary_have_the_numbers_of_their_text() -> None:
    settings = changed(RECIPE.settings, {"data.max_text": 6, "data.max_summary": 4, "data.lowercase": True})
    known = Vocabulary.train(["give the file back"], "word")
    source = read_source(known, "Give Foo the foo Bar file beyond", settings)
    size = len(known)
    assert source.new == ["Foo", "Bar"]
    assert [n - size for n in source.ids if n >= size] == [0, 0, 1]
    summary = read_summary(known, "the BAR beyond foo and more", source, settings)
    assert summary == [*known.encode("the"), size + 1, UNKNOWN, size, END]


def test_words_are_joined_to_marks_as_in_the_text() -> None:
    text = "See `os.path`, e.g. a-b."
    assert joined(["use", "`", "os", ".", "path", "`", "or", "a", "-", "b", "!"], text) == "use `os.path` or a-b!"
    assert joined(["Open", "(", "a", ",", "b", ")", "."], "") == "Open (a, b)."
    assert joined([], text) == ""


def test_baselines_by_hand() -> None:
    validation = Rows(["one two three four"] * 3, ["one two three"] * 3)
    assert best_lead(validation, 8) == 3
    assert lead("  one  two three", 2) == "one two"
    assert nearest(["a red fox", "blue sea", "!!"], ["the sea is blue", "fox", "!!"]) == [1, 0, 2]
    train = Rows(["a red fox ran", "the blue sea"], ["fox story", "about the sea"])
    test = Rows(["sea so blue and wide"], ["the sea"])
    found = measure_beside(train, validation, test, longest=8)
    assert found["nearest_summary"]["rouge_l"] == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert found["lead_words"]["first"] == 3
    assert found["lead_words"]["rouge_l"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_rouge_sees_words_of_other_scripts() -> None:
    assert measure_summaries(["открыть файл"], ["открыть новый файл"])["rouge_l"] == pytest.approx(0.8)
    assert measure_summaries(["Open it."], ["open it"])["rouge_l"] == 1


def test_the_texts_of_tables_and_files_are_found(own: recipes.Trained, tmp_path: Path) -> None:
    model = own.model
    table, plain = tmp_path / "more.csv", tmp_path / "note.txt"
    table.write_text("title,body\na,Here it is.\nb,And there.\n")
    plain.write_text("One text,\nof two lines.")
    assert model.inputs(str(table)) == ["Here it is.", "And there."]
    assert model.inputs(str(plain)) == ["One text,\nof two lines."]
    table.write_text("message\nHere it is.\n")
    assert model.inputs(str(table)) == ["Here it is."]
    with pytest.raises(UserError, match=r"missing\.csv"):
        model.inputs(str(tmp_path / "missing.csv"))
