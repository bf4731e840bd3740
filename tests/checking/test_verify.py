"""`elman.verify`: cells, modules and model folders, and what it says where layers part from their cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import elman
from cli.cli_program import TINY
from elman import UserError, verify
from elman.cells.lstm import LSTM
from elman.checking.verification import apart
from elman.engine import torch_kernels
from elman.nn import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def test_a_cell_is_compared_in_every_way() -> None:
    report = verify("lstm")
    report.raise_if_wrong()
    seen = {(line.by, line.way) for line in report.lines if line.ok}
    ways = {"full", "lengths", "reversed", "streamed"}
    assert {("torch fp64", way) for way in ways} | {("torch bf16", way) for way in ways} <= seen
    assert {("eager fp64", way) for way in ways | {"resets", "compiled", "exported"}} <= seen
    assert {("torch.nn fp32", "lengths"), ("elman.nn fp64", "full")} <= seen
    assert any(
        line.subject.endswith("2 layers, both directions") and line.by == "torch.nn fp64" for line in report.lines
    )


def test_every_layer_of_a_module_is_compared_with_its_own_weights() -> None:
    model = nn.ModuleDict(
        {
            "reader": Recurrent("mgu", 3, 4, 2, initial_state="trainable"),
            "old": elman.nn.GRU(4, 3, num_layers=2, bidirectional=True, bias=False),
            "cell": elman.nn.RNNCell(3, 2, nonlinearity="relu"),
            "theirs": nn.Linear(2, 2),
        }
    )
    report = verify(model, compiled=False)
    report.raise_if_wrong()
    assert [subject for subject, _, _ in report.subjects()] == [
        "reader: MGU(), 3 inputs, 4 units, 2 layers",
        "old: GRU(), 4 inputs, 3 units, 2 layers, both directions",
        "cell: RNN(nonlinearity='relu'), 3 inputs, 2 units",
    ]
    with torch.no_grad():
        model["reader"].weight_hh_l1.fill_(torch.nan)
    assert not verify(model, compiled=False).ok
    with pytest.raises(UserError, match=r"no recurrent layer of Elman here; found: LSTM; elman.convert"):
        verify(nn.LSTM(2, 3))


def test_a_kernel_that_computes_another_cell_is_found_with_the_step_and_the_state(monkeypatch) -> None:
    whole = torch_kernels.whole

    def wrong(kernel, x, initial, flat, bias):
        y, (h, c) = whole(kernel, x, initial, flat, bias)
        return y, (h, c + (x.shape[1] > 2))

    monkeypatch.setattr(torch_kernels, "whole", wrong)
    report = verify(Recurrent("lstm", 3, 4), compiled=False)
    said = next(line.said for line in report.wrong if line.way == "full")
    assert re.fullmatch(
        r"final state 1\[.*\] is .*, by the definition .*; torch first differs at step 2 of 7, state c", said
    )
    assert {line.by.split()[0] for line in report.wrong} == {"torch"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = {"text": ["a lovely film", "a dull film"] * 10, "label": ["good", "bad"] * 10}
    settings = dict(change.split("=") for change in TINY) | {"model.members": 1}
    out = tmp_path_factory.mktemp("verify") / "model"
    return elman.train("sentiment", rows, out=out, settings=settings).folder


def test_a_model_folder_answers_alike_by_every_backend(folder: Path, monkeypatch) -> None:
    report = verify(folder, compiled=False)
    report.raise_if_wrong()
    answers = {line.by: line.ok for line in report.lines if line.way == "predict"}
    assert answers["torch fp32"] and set(answers.values()) == {True}
    run = torch_kernels.run
    monkeypatch.setitem(elman.engine.RUNS, "torch", lambda *given: (run(*given)[0] * 9, run(*given)[1]))
    wrong = {line.way: line.said for line in verify(folder, compiled=False).wrong if line.by == "torch fp32"}
    assert re.match(r"\[0\]\.probabilities\.\w+ is .*, by the definition ", wrong["predict"])


@pytest.mark.parametrize(
    ("what", "words"),
    [("gruu", r"no such cell or model folder; found: gruu; did you mean 'gru'"), ("no.py:Cell", "cannot be read")],
)
def test_what_is_nothing_is_refused(what: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        verify(what)
    with pytest.raises(UserError, match="about the model in a folder"):
        verify("gru", cell=LSTM())


def test_answers_may_differ_by_rounding_alone() -> None:
    exact = [{"p": [0.5, 0.25], "label": "a", "n": 3}]
    assert apart([{"p": [0.50001, 0.25], "label": "a", "n": 3}], exact) == ""
    assert apart([{"p": [0.5, 0.26], "label": "a", "n": 3}], exact) == "[0].p[1] is 0.26, by the definition 0.25"
    assert apart([{"p": [0.5, 0.25], "label": "b", "n": 3}], exact) == "[0].label is 'b', by the definition 'a'"
    assert apart([], exact).startswith(" is []")
    assert apart(float("nan"), float("nan")) != ""
