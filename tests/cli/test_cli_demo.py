"""The demo on a small share of made-up reviews: all its parts, none of its length."""

from __future__ import annotations

import re

import pytest
import torch
from cli_program import run

from elman.data import Table
from elman.recipes import gradient_demo, registered, sentiment
from elman.recipes.gradient_demo import Comparison, compare_gradients
from elman.recipes.settings import changed

SMALL = {
    "model.hidden_size": 8,
    "model.embedding_size": 8,
    "train.epochs": 1,
    "train.track": "off",
    "data.vocabulary_size": 50,
}


def some_reviews() -> Table:
    words = {"negative": "awful dull", "neutral": "usual plain", "positive": "lovely great"}
    rows = [(f"{words[c]} " * 16 + str(n), c, f"film {n}{c}") for n in range(40) for c in words]
    return Table(dict(zip(("text", "label", "group"), map(list, zip(*rows, strict=True)), strict=True)), "reviews")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The sentiment recipe with little data and a tiny network, in a folder of its own."""
    recipe = registered()["sentiment"]
    fields = {"settings": changed(sentiment.SETTINGS, SMALL), "default_data": some_reviews}
    for name, value in fields.items():
        monkeypatch.setitem(recipe.__dict__, name, value)
    monkeypatch.setattr("elman.data.fetch", lambda name: tmp_path)
    monkeypatch.setattr(gradient_demo, "SIZE", 8)
    monkeypatch.setattr(compare_gradients, "__kwdefaults__", {"steps": 3, "seed": 0})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_does_all_its_parts(small):
    (small / "runs" / "demo").mkdir(parents=True)
    (small / "runs" / "demo" / "mine.txt").write_text("precious")
    result = run("demo")
    assert result.code == 0, result
    folder = small / "runs" / "demo-2"
    assert (folder / "gradient.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "model.safetensors").is_file()
    for part in (
        "this model", "naive_bayes", "vader", "best macro_f1: ", "target macro_f1 >= 0.60: ", "true \\ predicted",
        "- negative  . neutral  + positive", "The plot is thin", "picture: runs/demo-2/gradient.png",
        "elman evaluate runs/demo-2", "elman predict runs/demo-2 'your own words' --words",
    ):  # fmt: skip
        assert part in result.out, part
    bars = re.findall(r"^  \S+ +([-.+]{24})  (?:negative|neutral|positive) [01]\.\d\d$", result.out, re.MULTILINE)
    assert len(bars) > 20
    assert result.err.startswith("folder: runs/demo-2\n")
    again = run("evaluate", folder)
    assert again.code == 0, again  # the picture beside it does not make it a damaged folder
    assert [path.name for path in (small / "runs" / "demo").iterdir()] == ["mine.txt"]


def test_a_comparison_says_how_much_smaller_the_gradient_becomes():
    found = Comparison({"a": torch.tensor([9.0, 8.0, 4.0]), "b": torch.tensor([1.0, 0.5, 0.5])}, rows=1)
    wanted = "from 1 to 2 steps before the end, the gradient becomes 2.0 times smaller in the a and 1.0 times"
    assert found.sentence().startswith(wanted)
    assert (found.shrinks("a"), found.shrinks("b")) == (2.0, 1.0)
