"""The recipe caption: parts without leaks, pictures of one's own, measures by hand, a model out of its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elman
from elman import recipes
from elman.errors import UserError
from elman.recipes.caption import RECIPE
from elman.recipes.caption_measures import Captioned, measure_captions, nearest_captions
from elman.recipes.caption_model import PictureEncoder
from elman.recipes.job import Asked
from elman.recipes.settings import changed
from elman.training import Silent

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220), "black": (0, 0, 0)}
TINY = {
    "data.side": 16,
    "model.hidden_size": 32,
    "model.embedding_size": 8,
    "model.channels": 8,
    "model.context_size": 32,
    "model.dropout": 0.0,
    "model.blind": 0.0,
    "model.members": 1,
    "model.beams": 2,
    "train.epochs": 25,
    "train.batch_size": 8,
    "train.learning_rate": 0.01,
    "train.device": "cpu",
    "train.track": "off",
}


def write_own(folder: Path) -> Path:
    """Squares of four colours, large and small, each in several places."""
    folder.mkdir(parents=True)
    random, rows = np.random.default_rng(0), ["file,caption"]
    for colour, pixels in COLOURS.items():
        for size, side in (("large", 16), ("small", 7)):
            for number in range(6):
                drawn = np.full((24, 24, 3), 255, dtype=np.uint8)
                top, left = random.integers(0, 24 - side, 2)
                drawn[top : top + side, left : left + side] = pixels
                name = f"{colour}-{size}-{number}.png"
                Image.fromarray(drawn).save(folder / name)
                rows.append(f"{name},a {size} {colour} square")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


def trained(out: Path, data: Any, resume: bool = False, **settings: Any) -> recipes.Trained:
    return elman.train("caption", data, out=out, settings={**TINY, **settings}, progress=Silent(), resume=resume)


@pytest.fixture(scope="module")
def own(tmp_path_factory: Any) -> recipes.Trained:
    folder = tmp_path_factory.mktemp("own")
    return trained(folder / "run", str(write_own(folder / "squares")))


def test_learns_pictures_of_ones_own_and_comes_back_from_its_folder(own: recipes.Trained) -> None:
    test = own.metrics["test"]
    assert test["exact_match"] > 0.5
    assert test["bleu"] > 50
    assert set(own.metrics["baselines"]) == {"nearest_picture"}
    assert json.loads((own.folder / "metrics.json").read_text()) == own.metrics
    loaded = elman.load(own.folder)
    assert loaded.evaluate() == test
    folder = own.model.config["data"]["source"]
    paths = loaded.inputs(folder)
    assert len(paths) == 48
    assert loaded.predict(paths) == own.model.predict(paths)
    assert loaded.evaluate(folder)["rows"] == 48
    answer = loaded.answers(paths[:1])[0]
    assert answer["prediction"] == loaded.predict(paths[:1])[0]
    assert answer["prediction"] in [text for text, _ in answer["found"]]
    assert all(0 <= probability <= 1 for _, probability in answer["found"])
    assert len(answer["found"]) == 2
    assert loaded.predict([]) == []


def test_what_is_no_picture_is_one_message_with_its_path(own: recipes.Trained, tmp_path: Path) -> None:
    model = elman.load(own.folder)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    with pytest.raises(UserError, match=r"bad\.png: the picture cannot be read") as caught:
        model.predict([str(tmp_path / "bad.png")])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"missing\.png: no such picture"):
        model.answers([str(tmp_path / "missing.png")])
    with pytest.raises(UserError, match="a list of pictures is wanted"):
        model.predict("a.png")  # type: ignore[arg-type]
    (tmp_path / "bad.png").unlink()
    with pytest.raises(UserError, match="the folder holds no picture"):
        model.inputs(str(tmp_path))


def test_the_parts_of_the_default_data_share_no_group() -> None:
    settings = changed(RECIPE.settings, {"data.side": 16})
    data = RECIPE.read(Asked(None, None, None, settings, print))
    parts = [{data.groups[row] for row in part} for part in data.parts]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    shares = [len(part) / len(data.captions) for part in data.parts]
    np.testing.assert_allclose(shares, [0.65, 0.15, 0.2], atol=0.04)
    grids = [{data.grids[row].tobytes() for row in part} for part in data.parts]
    assert not grids[0] & grids[2]


def test_a_group_column_keeps_its_rows_together(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "squares")
    lines = (folder / "captions.csv").read_text().splitlines()
    grouped = [f"{lines[0]},album", *(f"{line},{number // 6}" for number, line in enumerate(lines[1:]))]
    (folder / "captions.csv").write_text("\n".join(grouped))
    settings = changed(RECIPE.settings, {"data.side": 16, "data.group": "album"})
    data = RECIPE.read(Asked(str(folder), None, None, settings, print))
    albums = [{row // 6 for row in part} for part in data.parts]
    assert sum(map(len, albums)) == 8


def test_a_finished_run_resumes_as_itself_and_notices_another_caption(tmp_path: Path) -> None:
    folder, few = write_own(tmp_path / "squares"), {"train.epochs": 1}
    run = trained(tmp_path / "run", str(folder), **few)
    assert trained(tmp_path / "run", str(folder), resume=True, **few).metrics == run.metrics
    text = (folder / "captions.csv").read_text()
    (folder / "captions.csv").write_text(text.replace("a large red", "one large red", 1))
    with pytest.raises(UserError, match="the data differs from the run being resumed"):
        trained(tmp_path / "run", str(folder), resume=True, **few)
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(run.folder).evaluate()


def test_measures_by_hand() -> None:
    found = measure_captions(["A red dog here", "one two three four"], ["a red  dog here", "one"])
    assert found["exact_match"] == 0.5
    # Of 5 words, 3 pairs, 2 triples and 1 four all are right; 5 words stand for 8.
    assert found["bleu"] == pytest.approx(100 * np.exp(1 - 8 / 5))
    toned = measure_captions(
        ["hand dark skin tone"], ["hand light skin tone"], ("dark skin tone", "light skin tone")
    )
    assert toned["exact_match"] == 0
    assert toned["exact_match_without"] == 1


def test_the_nearest_picture_is_found() -> None:
    grids = np.ones((7, 3, 16, 16), dtype=np.float32)
    for row, level in enumerate((0.1, 0.5, 0.9, 0.12, 0.52, 0.88, 0.49)):
        grids[row, :2] = level
    says = {0: "dark one", 1: "grey one", 2: "bright one"}
    captions = [says[row] for row in (0, 1, 2, 0, 1, 2, 1)]
    parts = elman.data.Split([0, 1, 2], [3, 4], [5, 6])
    found = nearest_captions(Captioned(grids, captions, list(range(7)), parts, "data", (None, None)), ())
    assert found["nearest_picture"]["exact_match"] == 1


def test_colours_are_told_apart_wherever_they_are() -> None:
    torch.manual_seed(0)
    encoder = PictureEncoder(8, 16).eval()
    picture = torch.ones(1, 3, 32, 32)
    picture[:, 0, 8:16, 8:16] = 0
    moved = picture.roll(8, -1)
    torch.testing.assert_close(encoder.colours_of(picture), encoder.colours_of(moved))
    assert (encoder.colours_of(picture) - encoder.colours_of(picture.flip(1))).abs().max() > 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.test": 0.8, "data.validation": 0.8}, "the training part gets no picture"),
        ({"model.cell": "lstn"}, "did you mean 'lstm'"),
        ({"data.group": "writer"}, "no column 'writer'"),
        ({"data.side": 8}, "data.side"),
        ({"train.batch_size": 1}, "train.batch_size: every batch must hold two pictures; found: 1"),
    ],
)
def test_wrong_settings_are_said(own: recipes.Trained, tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", own.model.config["data"]["source"], **settings)


def test_every_context_and_cell_writes(own: recipes.Trained, tmp_path: Path) -> None:
    settings = {
        "model.choice": "consensus",
        "model.context": "start",
        "model.cell": "lstm",
        "model.num_layers": 2,
        "train.epochs": 1,
    }
    run = trained(tmp_path / "run", own.model.config["data"]["source"], **settings)
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
