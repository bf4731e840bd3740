"""One tiny model for all tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_program import Result, reviews, train, write_csv


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have asked for colours or another width."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


@pytest.fixture(scope="session")
def trained(reviews_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a tiny trained model, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, train(reviews_csv, folder)


@pytest.fixture
def model(trained: tuple[Path, Result]) -> Path:
    folder, result = trained
    assert result.code == 0, result
    return folder


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that predicts numbers."""
    place = tmp_path_factory.mktemp("numbers")
    rows: list[list[object]] = [[f"a film of kind {n}", n + 0.5] for n in range(40)]
    result = train(write_csv(place / "scores.csv", ["text", "score"], rows), place / "run")
    assert result.code == 0, result
    return place / "run"
