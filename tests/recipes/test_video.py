"""The recipe video: parts without leaks, clips of one's own, and the model out of its folder."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.cli import main
from elman.data.clips import Clip, write_clip
from elman.data.moving_digits import read_handwriting
from elman.errors import UserError
from elman.recipes import video
from elman.recipes.job import Asked
from elman.recipes.settings import changed
from elman.recipes.video import RECIPE
from elman.recipes.video_model import build_network, frame_scores
from elman.training import Silent

TINY = {
    "data.side": 12,
    "model.hidden_size": 16,
    "model.features": 16,
    "model.channels": 4,
    "model.dropout": 0.0,
    "train.epochs": 12,
    "train.batch_size": 4,
    "train.learning_rate": 0.01,
    "train.device": "cpu",
    "train.track": "off",
}


def write_own(folder: Path, count: int = 30) -> Path:
    """Bars that move to the left or to the right: one frame does not say which."""
    folder.mkdir(parents=True)
    random, rows = np.random.default_rng(0), ["clip,start,end,label"]
    for number in range(count):
        frames = np.zeros((9, 1, 12, 12), dtype=np.uint8)
        step = -1 if number % 2 else 1
        start = int(random.integers(0, 3))
        for frame in range(8):
            place = start + frame if step > 0 else 11 - start - frame
            frames[frame, 0, number % 3 : 9 + number % 3, place] = 255 - number
        write_clip(folder / f"{number}.mkv", frames)
        rows.append(f"{number}.mkv,0,0.75,{'right' if step > 0 else 'left'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def trained(out: Path, data: Any, resume: bool = False, **settings: Any) -> recipes.Trained:
    return elman.train("video", data, out=out, settings={**TINY, **settings}, progress=Silent(), resume=resume)


@pytest.fixture(scope="module")
def own(tmp_path_factory: Any) -> recipes.Trained:
    folder = tmp_path_factory.mktemp("own")
    return trained(folder / "run", str(write_own(folder / "bars")))


def test_learns_what_a_frame_alone_does_not_say(own: recipes.Trained) -> None:
    test, baselines = own.metrics["test"], own.metrics["baselines"]
    assert list(baselines) == ["majority", "frame_by_frame"]
    assert test["accuracy"] > 0.8
    assert test["accuracy"] > baselines["frame_by_frame"]["accuracy"] + 0.1
    assert test["rows"] == 6 * 8  # the ninth frame of each clip has no label
    assert json.loads((own.folder / "metrics.json").read_text()) == own.metrics


def test_the_model_comes_back_from_its_folder_and_says_spans(own: recipes.Trained) -> None:
    loaded, folder = elman.load(own.folder), own.model.config["data"]["source"]
    assert loaded.evaluate() == own.metrics["test"]
    assert loaded.evaluate(folder)["rows"] == 30 * 8
    paths = loaded.inputs(folder)
    assert len(paths) == 30
    spans = loaded.predict(paths[:2])
    assert spans == own.model.predict(paths[:2])
    for one in spans:
        frames = [n for span in one for n in range(span["first_frame"], span["last_frame"] + 1)]
        assert frames == list(range(9))
        assert all(before["end"] == after["start"] for before, after in itertools.pairwise(one))
        assert all(0 <= span["probability"] <= 1 for span in one)
    assert loaded.answers(paths[:1]) == [{"prediction": spans[0]}]
    assert loaded.inputs(paths[0]) == paths[:1]
    assert loaded.predict([]) == []


def test_the_command_shows_the_confusion(own: recipes.Trained, capsys: Any) -> None:
    assert main(["evaluate", str(own.folder)]) == 0
    shown = capsys.readouterr().out.splitlines()
    labels = own.model.config["labels"]
    assert [line.split()[0] for line in shown[-len(labels) :]] == [label.split()[0] for label in labels]
    assert main(["evaluate", str(own.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**own.metrics["test"], "labels": labels}


def test_what_is_no_clip_is_one_message(own: recipes.Trained, tmp_path: Path) -> None:
    model = elman.load(own.folder)
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match=r"bad\.mp4: the clip cannot be read"):
        model.predict([str(tmp_path / "bad.mp4")])
    with pytest.raises(UserError, match="a list of clips is wanted"):
        model.predict("a.mp4")  # type: ignore[arg-type]
    (tmp_path / "bad.mp4").unlink()
    with pytest.raises(UserError, match="the folder holds no clip"):
        model.inputs(str(tmp_path))
    write_clip(tmp_path / "a.mkv", np.zeros((3, 1, 12, 12), dtype=np.uint8))
    (tmp_path / "labels.csv").write_text("clip,frame,label\na.mkv,1,upwards")
    with pytest.raises(
        UserError, match=r"a\.mkv, frame 1: a label must be one of those trained on; found: upwards"
    ):
        model.evaluate(str(tmp_path))


def test_no_digit_is_in_two_parts(monkeypatch: Any) -> None:
    seen: list[list[int]] = []

    def spy(hand: Any, rows: Any, count: int, key: Any) -> Any:
        seen.append(list(rows))
        return made(hand, rows, min(count, 3), key)

    made = video.moving_digits
    monkeypatch.setattr(video, "moving_digits", spy)
    settings = changed(RECIPE.settings, {"data.clips": 20})
    data = RECIPE.read(Asked(None, None, None, settings, print))
    pictures = read_handwriting(0, (0.7, 0.1, 0.2)).pictures
    parts = [{pictures[row].tobytes() for row in rows} for rows in seen]
    assert len(parts) == 3
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5000
    assert [len(part) for part in data.parts] == [3, 2, 3]
    assert len({clip.frames.tobytes() for clip in data.clips}) == 8


def test_equal_clips_under_two_names_are_in_one_part(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "bars", 12)
    rows = (folder / "labels.csv").read_text()
    for number in range(12):
        (folder / f"copy{number}.mkv").write_bytes((folder / f"{number}.mkv").read_bytes())
        rows += f"\ncopy{number}.mkv,0,0.75,{'left' if number % 2 else 'right'}"
    (folder / "labels.csv").write_text(rows)
    settings = changed(RECIPE.settings, {"data.side": 12})
    data = RECIPE.read(Asked(str(folder), None, None, settings, print))
    parts = [{data.clips[row].frames.tobytes() for row in part} for part in data.parts]
    assert sum(map(len, parts)) == 12


def test_the_default_data_trains_and_leaves_a_clip_to_try(tmp_path: Path) -> None:
    few = {"data.side": 28, "data.clips": 30, "train.epochs": 1}
    run = trained(tmp_path / "run", None, **few)
    loaded = elman.load(run.folder)
    assert loaded.evaluate() == run.metrics["test"]
    spans = loaded.predict([run.folder / "clip.mkv"])[0]
    assert spans[-1]["last_frame"] == 23
    assert trained(tmp_path / "run", None, resume=True, **few).metrics == run.metrics
    with pytest.raises(UserError, match="the recipe's own clips are grey, of 28 x 28"):
        trained(tmp_path / "other", None)


def test_padding_changes_no_answer() -> None:
    torch.manual_seed(0)
    network = build_network(changed(RECIPE.settings.model, {"channels": 4, "features": 8}), 1, 5)
    random = np.random.default_rng(0)
    clips = [Clip(random.integers(0, 256, (n, 1, 12, 12), dtype=np.uint8), range(n)) for n in (3, 7, 1)]
    together = frame_scores(network, clips)
    for clip, rows in zip(clips, together, strict=True):
        assert len(rows) == len(clip.frames)
        torch.testing.assert_close(frame_scores(network, [clip])[0], rows)
    small = frame_scores(network, clips, batch_frames=1)
    torch.testing.assert_close(torch.cat(small), torch.cat(together))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.test": 0.8, "data.validation": 0.8}, "the training part gets no clip"),
        ({"model.cell": "lstn"}, "did you mean 'lstm'"),
    ],
)
def test_wrong_settings_are_said(own: recipes.Trained, tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", own.model.config["data"]["source"], **settings)


def test_one_direction_and_colours_work(own: recipes.Trained, tmp_path: Path) -> None:
    settings = {"model.bidirectional": False, "data.colours": True, "train.epochs": 1}
    run = trained(tmp_path / "run", own.model.config["data"]["source"], **settings)
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
