"""The tagger: words with tags of one's own, capitals and marks of a text, what it is measured beside."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.cli import main
from elman.data import Batches
from elman.data.bible import read_bible
from elman.data.tagged import Tagged
from elman.errors import UserError
from elman.recipes import tag as recipe
from elman.recipes.settings import changed
from elman.recipes.tag import VALIDATION, tag_loss
from elman.recipes.tag_model import build_network
from elman.recipes.trigrams import trigram_tags
from elman.training import Silent

TINY = {
    "model.hidden_size": 8,
    "model.embedding_size": 8,
    "model.subwords": 50,
    "model.dropout": 0.0,
    "model.unknown": 0.0,
    "train.epochs": 6,
    "train.batch_size": 8,
    "train.learning_rate": 0.03,
    "train.device": "cpu",
    "train.track": "off",
}
NAMES = ["anna", "bela", "carl", "dora", "emil", "fred", "gina", "hugo"]


def sentences() -> list[tuple[list[str], list[str]]]:
    """What `read` is, only the word two places behind it says: neither the trigrams nor one direction see it."""
    ends = (("yesterday", "PAST"), ("tomorrow", "BASE"))
    return [
        ([name, "read", thing, end], ["NAME", tag, "NOUN", "TIME"])
        for name in NAMES
        for thing in ("books", "letters", "signs", "maps")
        for end, tag in ends
    ]


def lines() -> str:
    return "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*one, strict=True)) for one in sentences())


def trained(out: Path, data: Any, progress: Any = None, **options: Any) -> recipes.Trained:
    settings = {**TINY, **options.pop("settings", {})}
    return elman.train("tag", data, out=out, settings=settings, progress=progress or Silent(), **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "words.conll"
    path.write_text(lines())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, file: Path) -> recipes.Trained:
    return trained(tmp_path_factory.mktemp("runs") / "tag", file)


@pytest.fixture(scope="module")
def bible() -> recipe.Prepared:
    return recipe.prepared_data(None, None, None, recipe.SETTINGS.data)[0]


def test_learns_what_only_both_directions_see(model: recipes.Trained) -> None:
    test, baselines = model.metrics["test"], model.metrics["baselines"]
    assert set(baselines) == {"majority", "trigrams", "one_direction"}
    assert test["macro_f1"] == 1
    assert max(one["macro_f1"] for one in baselines.values()) < 0.9
    assert baselines["majority"]["macro_f1"] < baselines["trigrams"]["macro_f1"]
    assert test["words"] == sum(one["words"] for one in test["kinds"]["tag"]["tags"].values()) == 4 * test["rows"]
    assert json.loads((model.folder / "metrics.json").read_text()) == model.metrics


def test_the_model_folder_gives_the_same_model(model: recipes.Trained, file: Path) -> None:
    loaded = elman.load(model.folder)
    assert loaded.tag(["carl", "read", "maps", "tomorrow"]) == ["NAME", "BASE", "NOUN", "TIME"]
    assert loaded.predict(["carl read maps yesterday"]) == ["carl/NAME read/PAST maps/NOUN yesterday/TIME"]
    assert loaded.answers(["dora read"])[0]["words"][0] == {"word": "dora", "tag": "NAME"}
    assert loaded.evaluate() == model.metrics["test"]
    assert loaded.evaluate(str(file))["accuracy"] == 1
    assert loaded.tag([]) == []
    assert loaded.predict([]) == []


def test_words_never_seen_go_by_their_letters(model: recipes.Trained) -> None:
    assert len(model.model.tag(["zzz", "\u4e2d", "x" * 10_000, "<padding>", "\ud800"])) == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.tag("carl read"), "a list of words is wanted; found: one text"),
        (lambda m: m.tag(["carl", " "]), "word 1: every word must be a string that is not empty"),
        (lambda m: m.predict("carl read"), "a list of texts is wanted; found: one text"),
        (lambda m: m.predict(["carl", " \n"]), "text 2: a text must hold a word"),
        (lambda m: m.inputs("words.csv"), "the lines of a text file; found: a table"),
        (lambda m: m.inputs("none.txt"), "none.txt: the file cannot be read"),
        (lambda m: m.evaluate({"word": ["carl"], "tag": ["VERB"]}), "one of those trained on; found: 'VERB'"),
    ],
)
def test_what_cannot_be_tagged_is_said(model: recipes.Trained, call: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(model.model)


def test_padding_adds_nothing_to_the_loss() -> None:
    torch.manual_seed(0)
    settings = changed(recipe.SETTINGS, TINY)
    network = build_network(settings.model, 30, 5)
    random = np.random.default_rng(0)
    pieces = torch.randint(1, 30, (20, 25), dtype=torch.int32)
    rows = [random.integers(1, 20, length) for length in (7, 2, 4)]
    targets = [np.stack([random.integers(0, 2, len(r)), random.integers(0, 3, len(r))], 1) for r in rows]
    loss = tag_loss(pieces, [2, 3], unknown=0.0, offsets=torch.tensor([-0.1, -2.0, 0.0, -1.0, -3.0]))

    def of(chosen: list[int]) -> torch.Tensor:
        batches = Batches([rows[i] for i in chosen], [targets[i] for i in chosen], batch_size=9)
        return loss(network, next(iter(batches.epoch(0))))

    together = of([0, 1, 2])
    apart = sum(of([i]) * len(rows[i]) for i in range(3)) / sum(map(len, rows))
    torch.testing.assert_close(together, apart)
    gradients = [torch.autograd.grad(one, list(network.parameters())) for one in (together, apart)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_trigrams_back_off_to_the_neighbour_asked_first() -> None:
    train, tags = [["a", "x", "b"], ["c", "x", "d"], ["c", "x", "d"]], [0, 1, 0, 0, 2, 0, 0, 2, 0]
    assert trigram_tags(train, tags, [["a", "x", "b"]]).tolist() == [0, 1, 0]
    assert trigram_tags(train, tags, [["c", "x", "b"]]).tolist() == [0, 1, 0]
    assert trigram_tags(train, tags, [["c", "x", "b"]], after_first=False).tolist() == [0, 2, 0]
    assert trigram_tags(train, tags, [["y", "x", "y"], ["y"], []]).tolist() == [0, 2, 0, 0]


def test_no_book_is_in_two_parts(bible: recipe.Prepared) -> None:
    books = {part: set(rows.groups) for part, rows in bible.parts.items()}
    assert books["test"] == {"Job", "Ecclesiastes", "Acts", "Romans"}
    assert books["validation"] == set(VALIDATION)
    assert len(books["train"]) == 66 - 4 - len(VALIDATION)
    assert not books["train"] & (books["test"] | books["validation"])
    seen = {" ".join(words[at : at + 20]) for words in bible.parts["train"].words for at in range(len(words) - 19)}
    again = [words for words in bible.parts["test"].words if " ".join(words[:20]) in seen]
    assert len(again) < 0.005 * len(bible.parts["test"])


def test_where_a_passage_ends_says_nothing(bible: recipe.Prepared) -> None:
    for rows in bible.parts.values():
        ends = np.mean([row[-1] == "." for row in rows.tags["mark"]])
        anywhere = np.mean([mark == "." for row in rows.tags["mark"] for mark in row])
        assert abs(ends - anywhere) < 0.03
        assert {len(words) for words in rows.words[:-1]} <= set(range(1, 61))
        assert np.mean([len(words) < 20 for words in rows.words]) < 0.02


def test_every_mark_of_the_text_is_a_tag(bible: recipe.Prepared) -> None:
    text = "".join(read_bible().values())
    found = Counter(mark for rows in bible.parts.values() for row in rows.tags["mark"] for mark in row)
    assert {mark: found[mark] for mark in ".,;:?!"} == {mark: text.count(mark) for mark in ".,;:?!"}


def test_capitals_and_marks_of_ones_own_text(tmp_path: Path, capsys) -> None:
    path = tmp_path / "story.txt"
    path.write_text("Anna went home. Did Bela go too? Yes, he did; Anna saw Bela. " * 300)
    settings = {"data.tags": "marks", "train.epochs": 20, "baselines.one_direction": False}
    run = trained(tmp_path / "run", path, settings=settings)
    assert set(run.metrics["baselines"]) == {"majority", "trigrams"}
    assert set(run.metrics["test"]["kinds"]) == {"case", "mark"}
    plain = "anna went home did bela go too yes he did anna saw bela anna went home"
    whole = "Anna went home. Did Bela go too? Yes, he did; Anna saw Bela. Anna went home."
    assert run.model.predict([plain, whole.upper()]) == [whole, whole]
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
    assert elman.load(run.folder).evaluate(str(path))["accuracy"] > 0.95
    with pytest.raises(UserError, match="plain text has no column of tags"):
        run.model.evaluate(str(path), label="tag")
    assert main(["predict", str(run.folder), "anna saw bela did anna go home", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert words[0] == {"word": "anna", "case": "capital", "mark": "none"}
    assert main(["predict", str(run.folder), "--data", str(path)]) == 0
    assert "Anna went home. Did Bela go too?" in capsys.readouterr().out
    assert main(["evaluate", str(run.folder)]) == 0
    shown = capsys.readouterr().out
    assert "precision" in shown
    assert "trigrams" in shown


def test_a_language_without_capitals_has_marks_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("שלום עולם. מה שלומך? " * 900)
    request = recipes.Request(tmp_path / "run", changed(recipe.SETTINGS, {"data.tags": "marks"}), Silent(), path)
    assert dict(recipe.RECIPE.plan(request))["tags"] == "mark: none 1800, . 900, ? 900"
    path.write_text("no marks and no capitals here " * 900)
    with pytest.raises(UserError, match=r"must show capitals or marks.*5400 words without any"):
        recipe.RECIPE.plan(request)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("\n \n\n", "there is no word with a tag"),
        ("a\tX\nb\n", r"words.conll:2: every word needs its tag; found: 'b' alone"),
        ("a\tX\nb\t\n", r"words.conll:2: every word needs its tag; found: 'b' alone"),
        ("a\tX\n\tY\n", r"words.conll:2: a tag needs its word; found: 'Y'"),
        ("a X\nb q Y\n", r"words.conll:2: every line must have as many fields as the first, 2; found: 3"),
        ("a X\n\nb X\n\nc X\n", r"the tags must differ; found: 'X' for all 3 words"),
        ("a X\nb Y\nc X\n", r"every part of the data must get some of it; found: 1 groups"),
        ("\n".join(f"X {i}\n" for i in range(99)), r"the tags must repeat; found: 99 different tags of 99 words"),
        ("\ufffea X", "words.conll"),
    ],
)
def test_lines_that_cannot_be_learnt_from_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "words.conll"
    path.write_text(text, encoding="utf-16" if "\ufffe" in text else "utf-8")
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", path)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_goes_on_in_either_direction(tmp_path: Path, file: Path, model) -> None:
    class Stopping(Silent):
        def say(self, message: str) -> None:
            if message.startswith("baseline"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", file, progress=Stopping())
    assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = trained(tmp_path / "run", file, resume=True)
    assert resumed.metrics["test"] == model.metrics["test"]
    assert resumed.metrics["baselines"] == model.metrics["baselines"]
    state, other = (one.model.network.state_dict() for one in (resumed, model))
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_a_sentence_of_a_million_words_is_cut_and_read_in_windows(model: recipes.Trained) -> None:
    words, tags = zip(*(pair for one in sentences() for pair in zip(*one, strict=True)), strict=True)
    times = 1_000_000 // len(words) + 1
    long = Tagged([list(words) * times], {"tag": [list(tags) * times]}, [None], "data")
    rows = long.cut(recipe.SETTINGS.data.max_length)
    assert max(map(len, rows.words)) == 200
    assert rows.count == long.count > 1_000_000
    some = list(words) * 10
    assert model.model.tag(some)[:350] == model.model.tag(some[:400])[:350]
    assert len(model.model.tag(list(words) * (100_000 // len(words)))) == 100_000 // len(words) * len(words)


def test_a_mapping_of_words_and_tags_is_taken(tmp_path: Path) -> None:
    words = [word for one, _ in sentences() for word in one]
    tags = [tag for _, one in sentences() for tag in one]
    which = [str(number) for number in range(len(sentences())) for _ in range(4)]
    run = trained(tmp_path / "run", {"token": words, "pos": tags, "sentence": which})
    assert run.metrics["training"]["rows"] == 45
    with pytest.raises(UserError, match=r"trained on data in memory.*--data"):
        run.model.evaluate()


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(UserError, match=r"data.longest: .*must not be less than data.shortest.*found: 10"):
        changed(recipe.SETTINGS, {"data.longest": 10})
    with pytest.raises(UserError, match=r"model.balance: .*less than or equal to 1"):
        changed(recipe.SETTINGS, {"model.balance": 2})


def test_few_rows_are_seen_more_often(tmp_path: Path, file: Path) -> None:
    request = recipes.Request(tmp_path / "run", recipe.SETTINGS, Silent(), file)
    assert dict(recipe.RECIPE.plan(request))["train.epochs"] == "300"
    assert not (tmp_path / "run").exists()
