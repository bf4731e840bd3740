"""Measures as tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from elman.cli.tables import comparison, confusion
from elman.cli.train import show_trained
from elman.recipes import Trained, get


def shown(table: Any) -> list[list[str]]:
    console = Console(width=80, markup=False, color_system=None)
    with console.capture() as text:
        console.print(table)
    return [line.split() for line in text.get().splitlines()]


def test_confusion_has_the_true_classes_in_rows():
    assert shown(confusion(["bad", "good"], [[5, 1], [2, 7]])) == [
        ["true", "\\", "predicted", "bad", "good"],
        ["bad", "5", "1"],
        ["good", "2", "7"],
    ]


def test_the_best_is_named_even_where_it_is_a_baseline():
    measured = {"this model": {"accuracy": 0.5, "macro_f1": 0.4}, "simple": {"accuracy": 0.6, "macro_f1": 0.3}}
    lines = shown(comparison({**measured, "broken": {"left_out": "no words"}}))
    assert lines == [
        ["method", "accuracy", "macro_f1"],
        ["this", "model", "0.500", "0.400"],
        ["simple", "0.600", "0.300"],
        ["best", "accuracy:", "simple"],
        ["best", "macro_f1:", "this", "model"],
        ["broken", "left", "out:", "no", "words"],
    ]


def test_the_best_coverage_is_the_nearest_to_what_was_promised():
    measured = {"wide": {"mase": 0.5, "coverage_80": 0.97}, "fit": {"mase": 0.6, "coverage_80": 0.78}}
    lines = shown(comparison({**measured, "narrow": {"mase": 0.7, "coverage_80": 0.5}}))
    assert lines[0] == ["method", "mase", "coverage_80"]
    assert lines[-2:] == [["best", "mase:", "wide"], ["best", "coverage_80:", "fit"]]


def test_the_best_is_bold():
    console = Console(width=80, force_terminal=True, color_system="standard")
    with console.capture() as text:
        console.print(comparison({"a": {"accuracy": 0.5}, "b": {"accuracy": 0.6}}))
    assert re.search(r"\x1b\[1m *0\.600", text.get()) and not re.search(r"\x1b\[1m *0\.500", text.get())


def test_the_target_is_said_to_be_reached_or_missed(monkeypatch):
    training = {"rows": 5, "parameters": 6, "epochs": 1, "seconds": 0.1}
    for reached, verdict in ((0.6, "reached (0.600)"), (0.599, "missed (0.599)")):
        test = {"accuracy": 0.7, "macro_f1": reached, "rows": 3}
        trained = Trained(Path("runs"), {"test": test, "baselines": {}, "training": training}, model=None)
        console = Console(width=80, color_system=None)
        monkeypatch.setattr("elman.cli.console.results", lambda console=console: console)
        with console.capture() as text:
            show_trained(trained, get("sentiment"), own=True)
        assert f"target macro_f1 >= 0.60: {verdict}" in text.get()


def test_the_lowest_error_is_the_best_and_the_highest_r2():
    first, second = {"rmse": 1.0, "mae": 0.5, "r2": 0.2}, {"rmse": 2.0, "mae": 0.4, "r2": 0.1}
    lines = shown(comparison({"a": first, "b": second}))
    assert [line[-1] for line in lines[-3:]] == ["a", "b", "a"]


def test_a_measure_that_cannot_be_had_everywhere_is_no_column():
    assert shown(comparison({"a": {"rmse": 1.0, "mae": 0.5, "r2": None}}))[0] == ["method", "rmse", "mae"]


def test_a_measure_of_one_method_alone_stands_below():
    lines = shown(comparison({"this model": {"accuracy": 0.5, "valid_bars": 0.98}, "simple": {"accuracy": 0.4}}))
    assert lines[0] == ["method", "accuracy"]
    assert lines[-1] == ["this", "model", "alone,", "valid_bars:", "0.980"]
