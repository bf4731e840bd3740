"""Music: parts without a leak, tunes of one's own, what is written on, saved and refused."""

from __future__ import annotations

import itertools
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.cli import main
from elman.data.notation import read_tune
from elman.data.vocabulary import START
from elman.errors import UserError
from elman.models import Sampling
from elman.recipes import music_model
from elman.recipes.job import Asked
from elman.recipes.music import in_keys
from elman.recipes.music_model import HEAD, checked_bars
from elman.recipes.music_sound import HARMONICS, RATE, notes, pluck, save_tune
from elman.recipes.settings import changed
from elman.training import Silent

TINY = {
    "model.hidden_size": 32,
    "model.embedding_size": 8,
    "data.window": 16,
    "data.keys": 2,
    "train.epochs": 6,
    "train.batch_size": 4,
    "train.learning_rate": 0.02,
    "train.device": "cpu",
    "train.track": "off",
}


def tune(number: int, bars: int = 8) -> str:
    draw = np.random.default_rng(number)
    notes = "|".join(" ".join("".join(draw.choice(list("GABcde"), 4)) for _ in range(2)) for _ in range(bars))
    return f"X:{number}\nT:Tune {number}\nM:4/4\nL:1/8\nK:G\n{notes}|]\n"


def file_of_tunes(path: Path, count: int = 20) -> Path:
    path.write_text("\n".join(tune(number) for number in range(1, count + 1)))
    return path


def trained(out: Path, data: Any, **options: Any) -> recipes.Trained:
    settings = {**TINY, **options.pop("settings", {})}
    return elman.train("music", data, out=out, settings=settings, progress=Silent(), **options)


def read(data: Any, **options: Any) -> Any:
    recipe = recipes.get("music")
    said: list[str] = []
    asked = Asked(data, options.get("text"), options.get("label"), changed(recipe.settings, TINY), said.append)
    return recipe.read(asked), said  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> recipes.Trained:
    place = tmp_path_factory.mktemp("music")
    return trained(place / "run", str(file_of_tunes(place / "tunes.abc")))


def test_learns_tunes_of_ones_own(run: recipes.Trained) -> None:
    test, baselines = run.metrics["test"], run.metrics["baselines"]
    assert test["rows"] == 2 and 0 <= test["valid_bars"] <= 1
    assert {name.split()[0] for name in baselines} == {"kneser_ney", "ppm"}
    assert test["bits_per_character"] < 3  # equally likely, two dozen characters would cost 4.5
    assert json.loads((run.folder / "metrics.json").read_text()) == run.metrics


def test_the_model_folder_gives_the_same_model(run: recipes.Trained) -> None:
    loaded = elman.load(run.folder)
    assert loaded.evaluate() == run.metrics["test"]
    asked = Sampling(steps=80, seed=3)
    assert list(loaded.generate("K:G", asked)) == list(run.model.generate("K:G", asked))
    data = run.model.config["data"]["source"]
    assert loaded.evaluate(data)["rows"] == 20 and loaded.evaluate(data)["tunes_left_out"] == 0


def test_the_command_measures_other_tunes(run: recipes.Trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run.folder), "--data", run.model.config["data"]["source"]]) == 0
    assert "bits_per_character" in capsys.readouterr().out
    assert main(["predict", str(run.folder), "GAB"]) == 2
    assert "predicts nothing; elman generate" in capsys.readouterr().err


def test_no_title_and_no_melody_is_in_two_parts() -> None:
    pytest.importorskip("music21")
    found, said = read(None)
    assert any("permission of the encoders" in one for one in said)
    texts = [set(found.texts(part)) for part in found.parts]
    assert not any(a & b for a, b in itertools.combinations(texts, 2))
    assert sum(map(len, texts)) == sum(map(len, found.parts))
    numbers: dict[object, int] = {}

    def runs_of_notes(text: str) -> Iterator[tuple[int, ...]]:
        melody = [numbers.setdefault(one, len(numbers)) for one in read_tune(text).melody()]
        return (tuple(melody[begin : begin + 15]) for begin in range(len(melody) - 14))

    runs = [{r for text in held for r in runs_of_notes(text)} for held in texts]
    assert not any(a & b for a, b in itertools.combinations(runs, 2))
    assert len(runs[2]) > 10_000


def test_tunes_are_learnt_in_several_keys_and_measured_in_their_own(run: recipes.Trained) -> None:
    found, _ = read(run.model.config["data"]["source"])
    taught = run.model.recipe.taught(found.texts(found.parts.train), run.model.settings)  # type: ignore[attr-defined]
    assert [text.splitlines()[2] for text in taught[:4]] == ["K:G", "K:D", "K:G", "K:D"]
    assert all("K:G" in text for text in found.texts(found.parts.test))
    assert len(in_keys("M:4/4\nL:1/8\nK:E\nE|]\n", 7)) == 4  # of more than four sharps there is none


def test_a_prompt_is_spelt_as_the_tunes_are(run: recipes.Trained) -> None:
    opening = run.model.opening
    assert opening("[M:6/8][K:Em] (GAB) c>d") == HEAD + "M:6/8\nL:1/8\nK:Em\nGAB c>d"
    assert opening("M:6/8") == HEAD + "M:6/8\n" and opening("K:D") == HEAD + "M:4/4\nL:1/8\nK:D\n"
    assert opening(None) == opening(" ") == HEAD
    written = "".join(run.model.generate("[K:G] GABc dcBA|", Sampling(steps=60, seed=0)))
    assert len(written) <= 60 and read_tune(opening("[K:G] GABc dcBA|") + written, unfinished=True).bars


@pytest.mark.parametrize("prompt", ["hello world", "K:H\nGAB", "M:9\nGAB", "GAB\x00", "\ud800", "V:2\nGAB"])
def test_a_prompt_that_is_not_abc_is_said(run: recipes.Trained, prompt: str) -> None:
    with pytest.raises(UserError, match=r"the prompt, .*--prompt"):
        list(run.model.generate(prompt, Sampling(steps=5)))


def test_a_line_with_wrong_bars_is_drawn_again(run: recipes.Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(tries: int) -> int:
        monkeypatch.setattr(music_model, "TRIES", tries)
        texts = ("".join(run.model.generate("[K:G]", Sampling(steps=200, seed=seed))) for seed in range(8))
        return sum(checked_bars("M:4/4\nL:1/8\nK:G\n" + text)[0] for text in texts)

    assert wrong(50) < 0.5 * wrong(1)


def test_what_is_written_is_what_one_offline_call_finds_likeliest(run: recipes.Trained) -> None:
    text = run.model.opening("[K:G] GABc dcBA|").removeprefix(HEAD)
    written = "".join(run.model.generate("[K:G] GABc dcBA|", Sampling(steps=40, temperature=0)))
    ids = torch.tensor([START, *run.model.vocabulary.encode(text + written)])
    with torch.no_grad():
        scores = run.model.network(ids[None])[0][0].clone()
    scores[:, [0, 1, 3]] = -torch.inf
    likeliest = scores[len(text) : len(text) + len(written)].argmax(1)
    assert "".join(run.model.characters[number] for number in likeliest) == written != ""


def test_bars_are_counted_even_where_a_tune_cannot_be_read() -> None:
    head = "M:2/4\nL:1/8\nK:G\n"
    assert checked_bars(head + "GABc|GA|G4|]") == (1, 3)
    assert checked_bars(head + "GABc|G?|G4|GA|GABc|]") == (2, 5)
    assert checked_bars("M:2/4\nK:H\nGABc|G4|]\n") == (2, 2)
    assert checked_bars(head + "|:G?|GABc:|") == (1, 2) and checked_bars(head + "d:|G?|GABc:|") == (1, 3)
    assert checked_bars(head + "GABc|A:KB|GABc|") == (1, 3)  # alone on a line, "A:KB|" would be a field
    assert checked_bars("M:2/4\nL:1/8\nGABc|[K:G]GABc|[K:D]GABc|") == (1, 3)
    assert checked_bars(head + "?") == checked_bars("?") == (1, 1) and checked_bars(head) == (0, 0)


def test_a_tune_is_saved_as_notation_midi_and_sound(run: recipes.Trained, tmp_path: Path) -> None:
    converter = pytest.importorskip("music21.converter")
    assert [path.name for path in run.model.outputs(tmp_path / "a.wav")] == ["a.abc", "a.mid", "a.wav"]
    run.model.save("X:1\nM:2/4\nL:1/8\nK:A\n|:a2 c2|a4:|\nA4|]\n", tmp_path / "a")
    assert "T:a\n" in (tmp_path / "a.abc").read_text()
    midi = converter.parse(str(tmp_path / "a.mid"), forceSource=True).flatten().notes
    assert [note.pitch.midi for note in midi] == [81, 73, 81, 81, 73, 81, 69]
    with wave.open(str(tmp_path / "a.wav")) as file:
        seconds = file.getnframes() / file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(float)
    assert seconds == pytest.approx(10 / 96 * 60 + 0.35, abs=0.1)
    assert 10_000 < np.abs(sound).max() < 32_767
    spectrum = np.abs(np.fft.rfft(sound[: RATE // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(880, abs=6)


def test_repeats_are_played_with_their_endings_and_accidentals_hold_in_their_bar() -> None:
    def heard(text: str) -> list[int]:
        return [note.pitch for note in notes(read_tune("M:2/4\nL:1/8\nK:G\n" + text))]

    assert heard("c4|d4:|e4|]") == [72, 74, 72, 74, 76]
    assert heard("c4|:d4:|:e4:|") == [72, 74, 74, 76, 76]
    assert heard("c4|1d4:|2e4||g4|]") == [72, 74, 72, 76, 79]
    assert heard("^c2C2|c2=f2|f2F,2|_c'4|]") == [73, 61, 72, 77, 78, 54, 83]
    tied = notes(read_tune("M:2/4\nL:1/8\nK:G\nz2c2-|c2d2-|e4|]"))
    assert [(float(note.begin), float(note.length)) for note in tied] == [(0.25, 0.5), (0.75, 0.25), (1.0, 0.5)]


def test_music21_hears_the_same() -> None:
    converter = pytest.importorskip("music21.converter")
    text = "X:1\nM:6/8\nL:1/8\nK:Edor\nE2F GAB|c>d^c (3def g|^G,2A,/ z/ c'3|_B4 _B2|B6|]\n"
    theirs = [
        (note.offset, note.quarterLength, note.pitch.midi)
        for note in converter.parseData(text, format="abc").flatten().notes
    ]
    ours = [(4 * note.begin, 4 * note.length, note.pitch) for note in notes(read_tune(text))]
    assert [pitch for *_, pitch in ours] == [pitch for *_, pitch in theirs]
    assert np.allclose([[float(x) for x in note] for note in ours], [[float(x) for x in note] for note in theirs])


def test_a_plucked_string_sounds_at_its_height_and_fades() -> None:
    sound = pluck(440.0, 0.5)
    assert np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound[-100:]).max() < 0.01 * np.abs(sound).max() and abs(sound[0]) < 1e-6
    assert np.isfinite(pluck(10_000.0, 0.1)).all() and HARMONICS * 10_000 > RATE / 2


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    files = [tmp_path / f"a{suffix}" for suffix in (".abc", ".mid", ".wav")]
    for text, words in (("K:G\nz8|]", "no notes to be played"), ("K:G\n??", "not ABC")):
        with pytest.raises(UserError, match=words):
            save_tune(text, *files)
    assert not any(path.exists() for path in files)


def test_what_is_asked_wrongly_is_said(tmp_path: Path, run: recipes.Trained) -> None:
    data = str(file_of_tunes(tmp_path / "tunes.abc"))
    for options, words in (
        ({"label": "x"}, "there is no column of labels"),
        ({"text": "x"}, "there is no column of texts"),
        ({"settings": {"data.test": 0.5, "data.validation": 0.5}}, "the training part gets no tune"),
        ({"settings": {"data.keys": 8}}, "data.keys"),
        ({"settings": {"data.max_characters": 9}}, "at most 9 characters"),
    ):
        with pytest.raises(UserError, match=words):
            trained(tmp_path / "run", data, **options)
    with pytest.raises(UserError, match=r"a file or folder.*dict"):
        trained(tmp_path / "run", {"text": ["GAB"]})
    with pytest.raises(UserError, match="no words to complete"):
        run.model.complete("GAB")
