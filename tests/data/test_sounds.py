"""Sounds: what is read from files and what is refused; trimming, emphasis, mu-law."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from elman.data import sounds
from elman.data.sounds import (
    borders,
    emphasised,
    from_mu_law,
    mu_law,
    read_sound,
    read_sound_folder,
    resampled,
    trimmed,
    without_emphasis,
    write_sound,
)
from elman.data.spoken_digits import DIGITS, VOICES, read_spoken_digits
from elman.errors import UserError


def tone(rate: int = 8000, hertz: float = 300, seconds: float = 0.1) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32) * np.float32(0.5)


def write_wav(path: Path, data: bytes, width: int = 2, channels: int = 1, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


def test_a_written_sound_is_read_again(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(), 8000)
    assert read_sound(tmp_path / "a.wav", 8000) == pytest.approx(tone(), abs=1e-4)
    with pytest.raises(UserError, match="cannot be written"):
        write_sound(tmp_path / "missing" / "a.wav", tone(), 8000)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_a_sample_is_read(tmp_path: Path, width: int) -> None:
    whole = (tone() * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(value).to_bytes(width, "little", signed=True) for value in whole)
    found = read_sound(write_wav(tmp_path / "a.wav", data, width), 8000)
    assert found == pytest.approx(tone(), abs=2.1 / 2 ** (8 * width - 1))


def test_channels_are_averaged(tmp_path: Path) -> None:
    pairs = np.array([[1000, 3000], [-2000, 0]], dtype="<i2").tobytes()
    found = read_sound(write_wav(tmp_path / "a.wav", pairs, channels=2), 8000)
    assert found.tolist() == [2000 / 32768, -1000 / 32768]


def test_resampling_keeps_what_fits_and_filters_what_does_not() -> None:
    low, high = (resampled(tone(22050, hertz, 0.5), 22050, 8000) for hertz in (440, 6000))
    middle = slice(400, -400)
    assert low[middle] == pytest.approx(tone(8000, 440, 0.5)[middle], abs=0.01)
    assert np.abs(high[middle]).max() < 0.01  # folded back it would be a tone of 2,000 Hz


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.wav", None, "no such sound"),
        ("empty.wav", b"", "cannot be read"),
        ("text.wav", b"this is no sound at all", "cannot be read"),
        ("cut.wav", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00", "cannot be read"),
        ("text.mp3", b"this is no sound at all", "cannot be read"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(tmp_path: Path, name: str, content, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_sound(tmp_path / name, 8000)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_caps_on_length_size_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "a.wav", bytes(16_000))
    with pytest.raises(UserError, match=r"lasts 0.5 s at most; found: 1.0 s"):
        read_sound(path, 8000, seconds=0.5)
    with pytest.raises(UserError, match="samples a second; found: 900"):
        read_sound(write_wav(tmp_path / "slow.wav", bytes(100), rate=900), 8000)
    with pytest.raises(UserError, match="must hold samples"):
        read_sound(write_wav(tmp_path / "none.wav", b""), 8000)
    monkeypatch.setattr(sounds, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="at most 1000 bytes"):
        read_sound(path, 8000)


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bytes(8000))
    header = bytearray(path.read_bytes())
    header[40:44] = (2**31).to_bytes(4, "little")
    path.write_bytes(bytes(header))
    with pytest.raises(UserError, match="lasts 10 s at most"):
        read_sound(path, 8000)


def test_other_formats_need_pyav_and_are_capped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.flac"), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(16_000) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found = read_sound(tmp_path / "a.flac", 8000)
    assert len(found) == 800
    assert found[100:-100] == pytest.approx(tone()[100:-100], abs=0.01)
    with pytest.raises(UserError, match=r"lasts 0.05 s at most"):
        read_sound(tmp_path / "a.flac", 8000, seconds=0.05)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="make it a PCM WAV file, or pip install av"):
        read_sound(tmp_path / "a.flac", 8000)


def test_a_folder_names_its_words_and_is_not_left_by_links(tmp_path: Path) -> None:
    for word in ("yes", "no"):
        (tmp_path / "words" / word).mkdir(parents=True)
        write_sound(tmp_path / "words" / word / "1.wav", tone(), 8000)
    (tmp_path / "words" / "yes" / "notes.txt").write_text("left out")
    table = read_sound_folder(tmp_path / "words", 8000)
    assert table.column("text") == ["no", "yes"]
    with pytest.raises(UserError, match="holds no sounds of words"):
        read_sound_folder(tmp_path / "words" / "yes", 8000)
    write_sound(tmp_path / "outside.wav", tone(), 8000)
    (tmp_path / "words" / "no" / "2.wav").symlink_to(tmp_path / "outside.wav")
    with pytest.raises(UserError, match="must lie inside its folder"):
        read_sound_folder(tmp_path / "words", 8000)


def test_trimming_leaves_what_is_heard() -> None:
    quiet = np.zeros(4000, np.float32)
    part = trimmed(np.concatenate([quiet, tone(seconds=0.5), quiet]), 8000)
    assert 4000 <= len(part) <= 4000 + 3 * 80
    assert np.abs(part).max() == 1
    assert len(trimmed(quiet, 8000)) == 0


def test_mu_law_keeps_every_sample_within_its_level() -> None:
    sound = np.linspace(-1, 1, 10_001).astype(np.float32)
    levels, edges = mu_law(sound), borders()
    assert (edges[levels] <= sound + 1e-6).all()
    assert (sound <= edges[levels + 1] + 1e-6).all()
    assert np.abs(from_mu_law(levels) - sound).max() < 0.03
    assert mu_law(from_mu_law(np.arange(256))).tolist() == list(range(256))
    assert edges[128] == 0


def test_emphasis_is_undone() -> None:
    sound = trimmed(tone(seconds=0.3) + 0.1 * tone(hertz=2900, seconds=0.3), 8000)
    assert without_emphasis(emphasised(sound, 0.85), 0.85) == pytest.approx(sound, abs=1e-4)


def test_the_synthesiser_says_every_word_in_every_voice_differently() -> None:
    table = read_spoken_digits()
    assert len(table) == len(VOICES) * len(DIGITS) * 6 == 960
    said = [trimmed(sound, 8000) for sound in table.column("sound")]
    seconds = np.array([len(sound) for sound in said]) / 8000
    assert seconds.min() > 0.1 and seconds.max() < 1.0
    assert len({mu_law(sound).tobytes() for sound in said}) == 960
    assert {(w, v) for w, v in zip(table.column("text"), table.column("voice"), strict=True)} == {
        (word, voice) for word in DIGITS for voice in VOICES
    }


def test_a_missing_synthesiser_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        read_spoken_digits.__wrapped__()
