"""Clips: films of a user's disk and their labels, moving digits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import clips
from elman.data.clips import read_clip, read_labelled_clips, write_clip
from elman.data.moving_digits import MOTIONS, SIDE, moving_digits, read_handwriting
from elman.errors import UserError


def film(count: int = 10, side: int = 16) -> np.ndarray:
    """Frame n has the brightness 20 n."""
    return np.repeat(20 * np.arange(count, dtype=np.uint8), side * side).reshape(count, 1, side, side)


def write_own(folder: Path, rows: list[str], head: str = "clip,frame,label") -> Path:
    folder.mkdir(exist_ok=True)
    write_clip(folder / "a.mkv", film())
    (folder / "labels.csv").write_text("\n".join([head, *rows]))
    return folder


def test_a_clip_comes_back_frame_by_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", film(), rate=5)
    clip = read_clip(tmp_path / "a.mkv", 8)
    assert clip.frames.shape == (10, 1, 8, 8)
    np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), 20 * np.arange(10), atol=2)
    np.testing.assert_allclose(clip.times, np.arange(10) / 5, atol=2e-3)
    assert read_clip(tmp_path / "a.mkv", 8, colours=True).frames.shape == (10, 3, 8, 8)
    wide = np.full((2, 1, 8, 16), 200, dtype=np.uint8)
    write_clip(tmp_path / "wide.mkv", wide)
    frame = read_clip(tmp_path / "wide.mkv", 8).frames[0, 0]
    assert frame[2:6].min() > 190
    assert frame[:2].max() == frame[6:].max() == 0


def test_labels_stand_at_frames_or_spans(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "own", ["a.mkv,0,dark", "a.mkv,9,bright"])
    found = read_labelled_clips(str(folder), 8)
    assert found.names == ["a.mkv"]
    assert found.labels == [["dark", *[None] * 8, "bright"]]
    write_own(folder, ["a.mkv,0,0.3,dark", "a.mkv,0.3,99,bright"], "clip,start,end,label")
    assert read_labelled_clips(folder / "labels.csv", 8).labels == [["dark"] * 3 + ["bright"] * 7]


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        (["a.mkv,10,x"], "clip,frame,label", r"labels\.csv:2: a label needs its frame; a\.mkv has 10.*frame 10"),
        (["a.mkv,-1,x"], "clip,frame,label", "frame -1"),
        (["a.mkv,0.5,x"], "clip,frame,label", "frame 0.5"),
        (["a.mkv,nan,x"], "clip,frame,label", "frame nan"),
        (["a.mkv,,x"], "clip,frame,label", "or its start and end; found: neither"),
        (["a.mkv,5,6,x"], "clip,start,end,label", r"last of a\.mkv is at 0\.9 seconds; found: none from 5 to 6"),
        (
            ["a.mkv,1,x", "a.mkv,1,y"],
            "clip,frame,label",
            r"csv:3: frame 1 of a\.mkv has two labels; found: 'x' and",
        ),
        (["a.mkv,1,"], "clip,frame,label", "csv:2: every row needs a label"),
        (["b.mkv,1,x"], "clip,frame,label", r"csv:2: no such file; found: .*b\.mkv"),
        (["../a.mkv,1,x"], "clip,frame,label", "csv:2: a file must lie inside"),
        (["a.mkv,1,x"], "one,two,three", "which column holds the clips is not clear"),
    ],
)
def test_a_label_without_its_frame_is_one_message(tmp_path: Path, rows: Any, head: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_labelled_clips(str(write_own(tmp_path / "own", rows, head)), 8)
    assert "\n" not in str(caught.value)


def test_what_is_no_clip_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    for name, content, words in (
        ("a.mp4", b"", "cannot be read"),
        ("a.mkv", b"no film", "cannot be read"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "cannot be read"),
        ("a.txt", b"ffconcat version 1.0\nfile 'a.mkv'\n", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            read_clip(tmp_path / name, 8)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"missing\.mp4: no such clip"):
        read_clip(tmp_path / "missing.mp4", 8)
    write_clip(tmp_path / "whole.mkv", film())
    for limit, value, words in (
        ("MOST_PIXELS", 100, "at most 100 pixels a frame; found: 256"),
        ("MOST_FRAMES", 5, "at most 5 frames; found: 6"),
        ("MOST_SECONDS", 0.5, "at most 0.5 seconds"),
        ("MOST_BYTES", 10, "at most 10 bytes"),
    ):
        with monkeypatch.context() as patched, pytest.raises(UserError, match=words):
            patched.setattr(clips, limit, value)
            read_clip(tmp_path / "whole.mkv", 8)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"needs PyAV, which is not installed; pip install 'elman\[video\]'"):
        read_clip(tmp_path / "whole.mkv", 8)


def test_moving_digits_follow_from_their_numbers_and_do_as_they_say(monkeypatch: Any) -> None:
    hand = read_handwriting(0, (0.7, 0.1, 0.2))
    assert len({picture.tobytes() for picture in hand.pictures}) == len(hand.digits) == 5000
    assert not set(hand.parts.train) & set(hand.parts.test)
    rows = hand.parts.train[:50]
    made = moving_digits(hand, rows, 6, (3, 0))
    again = moving_digits(hand, rows, 3, (3, 0))
    for (clip, labels), (same, said) in zip(made, again, strict=False):
        np.testing.assert_array_equal(clip.frames, same.frames)
        assert labels == said
    other, _ = moving_digits(hand, rows, 1, (3, 1))[0]
    assert (other.frames != made[0][0].frames).any()
    assert {int(label[0]) for _, labels in made for label in labels} <= {hand.digits[row] for row in rows}

    for name, value in (("NOISE", 0.0), ("LOST", 0.0), ("HIDING", (0, 1))):
        monkeypatch.setattr(f"elman.data.moving_digits.{name}", value)
    places = np.arange(SIDE)
    for clip, labels in moving_digits(hand, rows, 20, (3, 0)):
        ink = clip.frames[:, 0].astype(float)
        middle = np.stack([ink.sum(2) @ places, ink.sum(1) @ places], 1) / ink.sum((1, 2))[:, None]
        for frame in range(1, len(labels)):
            if labels[frame] != labels[frame - 1]:
                continue
            moved = middle[frame] - middle[frame - 1]
            way = np.array(MOTIONS[labels[frame].split()[1]])
            assert (np.abs(moved - way * np.abs(moved).max()) < 1e-6).all()
