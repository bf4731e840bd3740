"""The recipe sound: its data and parts, sounds of one's own, what it speaks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.cli.generate import _into_files
from elman.data.sounds import LEVELS, SILENCE, mu_law, read_sound, write_sound
from elman.data.spoken_digits import read_spoken_digits
from elman.errors import UserError
from elman.models import Sampling
from elman.recipes import sound_model
from elman.recipes.settings import changed
from elman.recipes.sound import RECIPE
from elman.recipes.sound_baselines import level_before, level_frequencies, linear_predictor
from elman.recipes.sound_listener import build_listener, loudness, teach_listener, understood
from elman.recipes.sound_model import ModelSettings, Speaker, bits_per_sample, numbered, plan_of
from elman.recipes.sound_parts import documents, prepare_sounds
from elman.training import Silent

TINY = {
    "model.hidden_size": 16,
    "model.level_size": 8,
    "model.place_size": 4,
    "data.places": 4,
    "data.window": 64,
    "train.epochs": 3,
    "train.batch_size": 4,
    "train.learning_rate": 0.02,
    "train.device": "cpu",
    "train.track": "off",
}
TONES = {"low": 200.0, "high": 1500.0}


def sound_of(word: str, number: int) -> np.ndarray:
    """A tone that swells; no two alike."""
    hertz, samples = TONES[word] * (1 + 0.01 * number), 600 + 20 * number
    swelling = np.hanning(samples) * np.sin(2 * np.pi * hertz * np.arange(samples) / 8000)
    return swelling.astype(np.float32)


def write_folder(folder: Path, count: int = 8) -> Path:
    for word in TONES:
        (folder / word).mkdir(parents=True)
        for number in range(count):
            write_sound(folder / word / f"{number}.wav", sound_of(word, number), 8000)
    return folder


def write_csv(folder: Path, speakers: int = 4) -> Path:
    write_folder(folder / "clips")
    lines = [f"clips/{w}/{n}.wav,{w},s{n % speakers}" for w in TONES for n in range(8)]
    (folder / "clips.csv").write_text("\n".join(["file,word,speaker", *lines]))
    return folder / "clips.csv"


def trained(out: Path, data: Any, resume: bool = False, **settings: Any) -> recipes.Trained:
    return elman.train("sound", data, out=out, settings={**TINY, **settings}, progress=Silent(), resume=resume)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> recipes.Trained:
    place = tmp_path_factory.mktemp("sound")
    return trained(place / "run", str(write_folder(place / "words")))


def lasting(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what a clock says."""
    return {name: value for name, value in metrics.items() if name != "times_real_time"}


def test_learns_a_folder_of_ones_own_and_the_folder_gives_the_same_model(own: recipes.Trained) -> None:
    test, baselines = own.metrics["test"], own.metrics["baselines"]
    assert [name.split(" ")[0] for name in baselines] == ["level_frequencies", "level_before", "linear_predictor"]
    assert test["bits_per_sample"] < baselines["level_frequencies"]["bits_per_sample"]
    assert test["times_real_time"] > 0
    assert json.loads((own.folder / "metrics.json").read_text()) == own.metrics
    loaded, asked = elman.load(own.folder), Sampling(steps=200, seed=3)
    assert lasting(loaded.evaluate()) == lasting(test)
    for one, other in zip(loaded.say(["low", "high"], asked), own.model.say(["low", "high"], asked), strict=True):
        assert np.array_equal(one, other)
    assert loaded.say([], asked) == []
    assert sorted(path.name for path in (own.folder / "spoken").iterdir()) == ["0.wav", "1.wav"]


def test_a_word_is_written_as_a_wav_file_of_its_plans_length(own: recipes.Trained, tmp_path: Path) -> None:
    model, whole = elman.load(own.folder), Sampling(steps=10**9, seed=0, temperature=0.5)
    assert model.write("low", whole, tmp_path / "low.wav").endswith(" s")
    samples = model.samples[model.words.index("low")]
    assert len(read_sound(tmp_path / "low.wav", 8000)) == samples
    levels = [int(line) for line in model.generate("low", Sampling(steps=50, seed=0))]
    assert len(levels) == 50
    assert all(0 <= level < LEVELS for level in levels)
    with pytest.raises(UserError, match="one of those trained on; found: 'lo'; did you mean 'low'"):
        model.write("lo", whole, tmp_path / "lo.wav")
    with pytest.raises(UserError, match="a word to say is needed"):
        model.generate(None, whole)


def test_files_are_named_after_the_word_and_none_is_written_over(
    own: recipes.Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _into_files(elman.load(own.folder), "low", Sampling(steps=10**9), 2, None, as_json=False)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["low.wav", "low-2.wav"]
    first, second = (read_sound(tmp_path / name, 8000) for name in ("low.wav", "low-2.wav"))
    assert len(first) == len(second) and not np.array_equal(first, second)


def test_the_speaker_writes_with_the_probabilities_it_was_taught_with() -> None:
    torch.manual_seed(0)
    speaker = Speaker(ModelSettings(hidden_size=8, level_size=4, place_size=4), places=6).eval()
    plan = plan_of(1, 5, places=3)
    levels = np.array([100, 140, 90, 128, 7], dtype=np.int32)
    memory, previous = speaker.begin(torch.from_numpy(plan)[None])
    nats = 0.0
    with torch.inference_mode():
        for level in levels.tolist():
            nats -= float(speaker.advance(previous, memory)[0, level])
            previous = torch.tensor([level])
    assert bits_per_sample(speaker, [numbered(levels, plan)]) == pytest.approx(nats / np.log(2) / 5, abs=1e-5)


def test_bits_depend_neither_on_pieces_nor_on_what_is_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    speaker = Speaker(ModelSettings(hidden_size=8), places=4)
    sounds = [mu_law(sound_of("low", number)) for number in range(20)]
    monkeypatch.setattr(sound_model, "PIECE", 100)
    every = documents(sounds, [0] * 20, 4)
    in_pieces = bits_per_sample(speaker, every)
    monkeypatch.undo()
    alone = sum(bits_per_sample(speaker, [one]) * (len(one) - 1) for one in every)
    assert in_pieces == pytest.approx(alone / sum(map(len, sounds)), abs=1e-5)


def test_numbers_hold_the_level_before_and_the_place_of_the_next() -> None:
    numbers = numbered(np.array([10, 20, 30, 40], dtype=np.int32), plan_of(2, 4, places=2))
    assert (numbers % LEVELS).tolist() == [SILENCE, 10, 20, 30, 40]
    assert (numbers[:-1] // LEVELS).tolist() == [4, 4, 5, 5]


def test_no_voice_of_the_default_data_is_in_two_parts() -> None:
    sounds = prepare_sounds(None, None, RECIPE.settings.data)
    voices = read_spoken_digits().column("voice")
    parts = [{voices[row] for row in part} for part in sounds.parts]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert all(parts)
    for part in sounds.parts:
        assert {sounds.codes[row] for row in part} == set(range(10))
    assert sounds.dropped == 0


def test_a_table_names_files_beside_it_and_a_group_stays_together(tmp_path: Path) -> None:
    asked = changed(RECIPE.settings.data, {"group": "speaker", "test": 0.25, "validation": 0.25})
    sounds = prepare_sounds(str(write_csv(tmp_path)), None, asked)
    parts = [{row % 8 % 4 for row in part} for part in sounds.parts]
    assert sum(map(len, parts)) == 4
    assert sounds.columns == ("word", None)
    assert sounds.words == ("high", "low")


def test_equal_sounds_are_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "words")
    write_sound(folder / "low" / "again.wav", sound_of("low", 3), 8000)
    sounds = prepare_sounds(str(folder), None, RECIPE.settings.data)
    assert (len(sounds.codes), sounds.dropped) == (16, 1)


def test_a_finished_run_resumes_as_itself_and_other_sounds_are_noticed(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "words")
    run = trained(tmp_path / "run", str(data), **{"train.epochs": 1})
    again = trained(tmp_path / "run", str(data), resume=True, **{"train.epochs": 1})
    assert lasting(again.metrics["test"]) == lasting(run.metrics["test"])
    write_sound(data / "low" / "9.wav", sound_of("low", 9), 8000)
    with pytest.raises(UserError, match="the data differs from the run being resumed"):
        trained(tmp_path / "run", str(data), resume=True, **{"train.epochs": 1})
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(run.folder).evaluate()


def test_little_sound_is_heard_more_often_and_the_plan_writes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    data = write_folder(tmp_path / "words")
    sounds = prepare_sounds(str(data), None, RECIPE.settings.data)
    model = RECIPE.build(sounds, RECIPE.settings, said.append)
    assert model.settings.train.epochs > RECIPE.settings.train.epochs
    assert said[0].startswith("little sound")
    request = recipes.Request(tmp_path / "plan", changed(RECIPE.settings, TINY), Silent(), str(data))
    plan = dict(RECIPE.plan(request))
    assert plan["words"] == "high, low"
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,word\nmissing.wav,low\n", "missing.wav: no such sound"),
        ("file,word\nclips/low/1.wav,\n", r"clips.csv:2: every sound needs its word"),
        ("file,word\n,low\n", r"clips.csv:2: every row names a sound file"),
        ("path,word\nclips/low/1.wav,low\n", "no column 'file'"),
        ("file,said\nclips/low/1.wav,low\n", "which column holds the words is not clear.*--text"),
        ("file,word\nsilence.wav,low\n", r"clips.csv:2: a sound must be heard; found: silence"),
        ("file,word\nclips.csv,low\n", "clips.csv: the sound cannot be read"),
    ],
)
def test_a_table_that_names_no_sounds_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = write_csv(tmp_path)
    write_sound(tmp_path / "silence.wav", np.zeros(800, np.float32), 8000)
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", str(path))


def test_what_cannot_be_learnt_is_said(own: recipes.Trained, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "words")
    with pytest.raises(UserError, match="leave it out; --text names the column of words"):
        elman.train("sound", str(data), label="x", out=tmp_path / "run")
    with pytest.raises(UserError, match=r"lasts 0\.05 s at most"):
        trained(tmp_path / "run", str(data), **{"data.max_seconds": 0.05})
    with pytest.raises(UserError, match="the training part gets no sound"):
        trained(tmp_path / "run", str(data), **{"data.test": 0.8, "data.validation": 0.8})
    with pytest.raises(UserError, match="at most 10 places together"), pytest.MonkeyPatch.context() as few:
        few.setattr("elman.recipes.sound_parts.MOST_PLACES", 10)
        trained(tmp_path / "run", str(data), **{"data.places": 6})
    (data / "rare").mkdir()
    write_sound(data / "rare" / "1.wav", sound_of("low", 20), 8000)
    model = elman.load(own.folder)
    with pytest.raises(UserError, match=r"rare.1\.wav: a word must be one of those trained on; found: 'rare'"):
        model.evaluate(str(data))
    assert model.evaluate(str(write_folder(tmp_path / "more", 3)))["rows"] == 6


def test_baselines_by_hand() -> None:
    train = [np.array([1, 1, 2, 1], dtype=np.int32)]
    test = [np.array([1, 2], dtype=np.int32)]
    counts = np.ones(LEVELS)
    counts[1] += 3
    counts[2] += 1
    p = counts / counts.sum()
    assert level_frequencies(train, test) == pytest.approx(-np.log2(p[[1, 2]]).mean())
    after = (1 + 16 * p[2]) / (2 + 16)
    assert level_before(train, test) == pytest.approx(-(np.log2(p[1]) + np.log2(after)) / 2)


def test_a_linear_predictor_needs_the_order_of_what_it_hears() -> None:
    random = np.random.default_rng(0)

    def resonance() -> np.ndarray:
        sound = np.zeros(3000)
        for t in range(2, 3000):
            sound[t] = 1.6 * sound[t - 1] - 0.95 * sound[t - 2] + random.normal(0, 0.02)
        return mu_law(sound / np.abs(sound).max())

    train, validation, test = ([resonance() for _ in range(3)] for _ in range(3))
    _, _, bits = linear_predictor(train, validation, test)
    assert bits < min(level_before(train, test), level_frequencies(train, test)) - 1


def test_the_listener_tells_tones_apart_whatever_their_loudness() -> None:
    sounds = [sound_of(word, number) for word in TONES for number in range(8)]
    torch.manual_seed(0)
    listener = build_listener(2)
    teach_listener(listener, sounds, [0] * 8 + [1] * 8, seed=0)
    assert understood(listener, [0.1 * sound_of(word, 9) for word in ("high", "low", "low")]) == [1, 0, 0]
    assert loudness(sound_of("low", 0)).shape == (9, 24)
    assert loudness(sound_of("low", 0)) == pytest.approx(loudness(0.5 * sound_of("low", 0)), abs=1e-4)
