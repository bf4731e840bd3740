"""`elman inspect`: the page, its figures, the verdict; what cannot be inspected is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from cli_program import Result, run, train, write_csv
from PIL import Image
from safetensors.torch import load_file

from elman.export import read_model, save_model
from elman.recipes import registered

CHROMIUM = shutil.which("chromium")
HOSTILE = "<script>alert(1)</script>"
LINKS = ("src", "href", "xlink:href", "data", "poster", "action", "srcset")
OWN = """
from dataclasses import dataclass
import torch
from elman.cells import Cell, Inputs, State, Step, Weights

@dataclass(frozen=True)
class Leaky(Cell):
    gates = ("h",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=0.5 * s.h + torch.tanh(x.h + w(s.h).h))
"""
EMPTY = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a page refers to, its figures, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [values[name] for name in LINKS if values.get(name)]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "svg":
            assert values["role"] == "img"
            self.alts.append(values["aria-label"])
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data


def inspected(folder: Path, *arguments: object) -> tuple[Result, Page, str]:
    result = run("inspect", *arguments, "--out", folder)
    assert result.code == 0, result
    html = (folder / "report.html").read_text(encoding="utf-8")
    return result, Page(html), html


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of texts and classes that would run in a page that does not escape them."""
    place = tmp_path_factory.mktemp("hostile")
    rows: list[list[object]] = [
        [f"{HOSTILE} film {n} & more, {'good' if n % 2 else 'bad'}", ("$\\frac<b>$", "_x\u4f60")[n % 2]]
        for n in range(60)
    ]
    result = train(write_csv(place / "rows.csv", ["text", "label"], rows), place / "run")
    assert result.code == 0, result
    return place / "run"


@pytest.fixture(scope="module")
def report(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Page, str, Path]:
    out = tmp_path_factory.mktemp("reports") / "run-inspect"
    return (*inspected(out, hostile), out)


def test_the_page_needs_nothing_else_and_runs_nothing(report):
    _, page, html, _ = report
    inside = ("#", "data:")
    assert page.links and all(link.startswith(inside) for link in page.links)
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert "script" not in page.tags and not page.open
    assert len(page.ids) == len(set(page.ids))
    urls = set(re.findall(r"https?://[^\s\"'<>)]+", html))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, never fetched
    assert all(target.startswith(inside) for target in re.findall(r"url\(([^)]*)\)", html))


def test_every_figure_has_a_text_that_says_its_numbers(report):
    _, page, _, out = report
    assert page.tags.count("figure") == page.tags.count("svg") == len(page.alts) == 8
    assert all(len(alt) > 20 and re.search(r"\d", alt) for alt in page.alts)
    assert page.tags.count("figcaption") == page.tags.count("h4") - 2 == 8  # two of texts over units
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert len(pictures) == 8 and "recurrent-lag.png" in pictures
    for name in pictures:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200


def test_hostile_texts_and_labels_are_words(report):
    _, page, html, _ = report
    assert "<script" not in html and "alert" in page.words and "script" in page.words
    assert "$\\frac<b>$" in page.words and "_x" in page.words  # in the legend of the portrait


def test_the_verdict_is_the_librarys(report, hostile, tmp_path):
    result, page, _, _ = report
    told = json.loads(run("inspect", hostile, "--out", tmp_path / "other", "--json").out)
    (layer,) = told["layers"].values()
    assert told["recipe"] == "sentiment" and Path(told["folder"]) == hostile.resolve()
    assert f"recurrent: {', '.join(layer['kinds'])}" in page.words
    assert layer["findings"] and all(one["sentence"] in page.words for one in layer["findings"])
    assert all(f"--set {setting}" in page.words.replace("'", "") for setting in layer["remedies"])
    assert all(one["sentence"] in result.out for one in layer["findings"])
    assert str(Path("run-inspect", "report.html")) in result.out
    assert set(layer["passes"]) == {"layer 0", "layer 0 reversed"}
    assert layer["lag_curve"]["layer 0"][1] > 0 and set(layer["saturation"]["layer 0"]) >= {"r", "z"}
    assert any("attention" in reason for reason in told["left_out"])


def test_a_vanishing_gradient_is_found_and_a_remedy_named(reviews_csv, tmp_path):
    long = [[f"{'word ' * 60}{n}", ("a", "b")[n % 2]] for n in range(40)]
    data = write_csv(tmp_path / "long.csv", ["text", "label"], long)
    small = ("--set", "model.cell=rnn", "--set", "model.hidden_size=8", "--set", "model.bidirectional=false")
    last = ("--set", "model.pooling=last", "--set", "model.members=1", "--data", data)
    result, page, _ = inspected(tmp_path / "out", "sentiment", *small, *last)
    assert "recurrent: vanishing" in page.words and "untrained" in page.words
    assert "elman train sentiment --set model.cell=rglru" in page.words
    assert "--set model.cell=rglru" in result.out


def test_a_cell_of_ones_own_is_inspected(reviews_csv, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(OWN)
    small = ("--set", "model.hidden_size=8", "--set", "model.members=1", "--data", reviews_csv)
    _, page, _ = inspected(tmp_path / "out", "sentiment", "--cell", f"{mine}:Leaky", *small)
    assert "recurrent: Leaky, 8 units" in page.words


def test_texts_are_coloured_by_unit_and_cover_what_was_read(report):
    _, _, html, _ = report
    shown = re.findall(r'<p class="unit">(.*?)</p><p>(.*?)</p>', html, flags=re.DOTALL)
    assert len(shown) == 6
    for title, text in shown:
        assert re.match(r"unit \d: .* from -?\d", title)
        assert re.search(r'<b class="[np][1-8]">', text) and "film" in text


def test_a_report_is_not_overwritten_unless_asked(hostile, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    run("inspect", hostile, "--out", out).refused("already", "--force")
    assert run("inspect", hostile, "--out", out, "--force").code == 0
    assert (out / "notes.txt").read_text() == "mine" and (out / "report.html").is_file()
    assert run("inspect", hostile, "--out", out, "--force").code == 0
    run("inspect", hostile, "--out", out / "notes.txt").refused("already")


def test_the_report_stands_beside_the_model(model, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(model, folder)
    monkeypatch.chdir(folder)
    assert run("inspect", ".").code == 0
    assert (folder.parent / "mine-inspect" / "report.html").is_file()


def test_steps_that_training_clipped_are_part_of_the_verdict(model, tmp_path):
    folder = tmp_path / "clipped"
    shutil.copytree(model, folder)
    lines = [{"kind": "step", "gradient_norm": 50.0}] * 9 + [{"kind": "epoch", "gradient_norm": 0.1}] * 20
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _, page, _ = inspected(tmp_path / "out", folder)
    assert "clipped too often" in page.words and "100 % of the steps are clipped" in page.words


def test_what_cannot_be_inspected_is_said(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("inspect", "sentimant").refused("neither a model folder nor a recipe", "did you mean 'sentiment'?")
    run("inspect", "runs/none").refused("no such folder")
    run("inspect", model, "--set", "model.cell=lstm").refused("a trained model has its settings")
    run("inspect", "sentiment", "--set", "model.sell=lstm").refused("no setting 'model.sell'")
    run("inspect", model, "--data", tmp_path / "none.csv").refused("none.csv")
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_empty_or_of_other_labels_is_refused(model, tmp_path):
    empty = write_csv(tmp_path / "empty.csv", ["text", "label"], [])
    run("inspect", model, "--data", empty, "--out", tmp_path / "out").refused("empty.csv")
    others = write_csv(tmp_path / "others.csv", ["text", "label"], [[f"t {n}", "xyz"[n % 3]] for n in range(30)])
    run("inspect", model, "--data", others, "--out", tmp_path / "out").refused("labels of the data", '"x"')
    assert not (tmp_path / "out").exists()


def test_other_data_of_the_same_labels_is_read(model, tmp_path):
    rows = [[f"another fine film, number {n}", ("bad", "good")[n % 2]] for n in range(40)]
    other = write_csv(tmp_path / "other.csv", ["text", "label"], rows)
    told = json.loads(run("inspect", model, "--data", other, "--out", tmp_path / "out", "--json").out)
    assert told["data"] == f"40 rows of {other}"
    assert "another" in Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).words


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    old = read_model(model)
    state = {name: value.clone() for name, value in load_file(model / "model.safetensors").items()}
    next(value for value in state.values() if value.is_floating_point()).view(-1)[0] = torch.nan
    save_model(tmp_path / "broken", state, old.config, old.tokenizer, old.metrics)
    run("inspect", tmp_path / "broken").refused("must be finite")


def test_sequences_of_one_step_and_networks_without_recurrence_are_refused(tmp_path):
    rows = [[("one", "two", "three")[n % 3], "ab"[n % 2]] for n in range(40)]
    data = write_csv(tmp_path / "short.csv", ["text", "label"], rows)
    out = ("--out", tmp_path / "out")
    run("inspect", "sentiment", "--data", data, *out).refused("3 steps or more", "found: 1 steps")
    single = ("--set", "model.arrangement=one to one", "--set", "model.cell=none")
    run("inspect", "digits", *single, *out).refused("no recurrent layer")
    assert not (tmp_path / "out").exists()


def test_every_recipe_that_can_be_built_in_seconds_can_be_inspected(tmp_path):
    assert {"digits", "names"} <= set(registered())
    _, page, _ = inspected(tmp_path / "digits", "digits", "--set", "model.hidden_size=8")
    assert "its steps are no pieces of text" in page.words and "coloured by the class" in page.words
    _, page, _ = inspected(
        tmp_path / "names", "names", "--set", "model.hidden_size=8", "--set", "model.subwords=0"
    )
    assert "Units that hold on to something" in page.words


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in")
def test_a_browser_opens_the_page_without_a_complaint(report, tmp_path):
    out = report[3]
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    page = ["--dump-dom", (out / "report.html").as_uri()]
    found = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", *page], capture_output=True, text=True, timeout=60, check=True
    )
    assert "CONSOLE" not in found.stderr and found.stdout.count("<svg") == 8
