"""Pictures of a user's disk: read to grids of ink, or refused with one message."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from elman.data import pictures
from elman.data.distort import distorted
from elman.data.pictures import read_picture, read_picture_folder
from elman.errors import UserError


def stroke(size: int = 64, ink: int = 255, paper: int = 0) -> np.ndarray:
    """A bar, upright and left of the middle."""
    drawn = np.full((size, size), paper, dtype=np.uint8)
    drawn[size // 8 : -size // 8, size // 4 : size // 4 + size // 8] = ink
    return drawn


def save(path: Path, drawn: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(drawn).convert(mode).save(path) if mode else Image.fromarray(drawn).save(path)
    return path


def test_ink_is_1_on_paper_of_either_colour_and_the_box_is_centred(tmp_path: Path) -> None:
    bright = read_picture(save(tmp_path / "a.png", stroke()), 8, 8)
    dark = read_picture(save(tmp_path / "b.png", stroke(ink=20, paper=230)), 8, 8)
    assert bright.dtype == np.float32
    assert bright.shape == (8, 8)
    np.testing.assert_allclose(bright, dark, atol=0.01)
    assert bright[:, 3:5].mean() > 0.5  # in the middle, from the top row to the bottom row
    assert bright[:, :2].max() == bright[:, 6:].max() == 0
    whole = read_picture(tmp_path / "a.png", 8, 8, crop=False)
    assert whole[4, 2] == 1
    assert whole[4, 4] == whole[0, 2] == 0


def test_what_is_ink_can_be_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", stroke(ink=0, paper=255))
    np.testing.assert_allclose(read_picture(path, 8, 8, "dark", False), read_picture(path, 8, 8, "auto", False))
    np.testing.assert_allclose(
        read_picture(path, 8, 8, "bright", False), 1 - read_picture(path, 8, 8, "dark", False)
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA", "I;16", "F"])
def test_every_kind_of_pixel_reads_alike(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        path = tmp_path / "a.png"
        Image.fromarray(stroke().astype(np.uint16) * 257).save(path)
    elif mode == "F":
        path = tmp_path / "a.tiff"
        Image.fromarray(stroke().astype(np.float32)).save(path)
    else:
        path = save(tmp_path / "a.png", stroke(), mode)
    plain = read_picture(save(tmp_path / "plain.png", stroke()), 8, 8)
    np.testing.assert_allclose(read_picture(path, 8, 8), plain, atol=0.02)


def test_what_is_transparent_is_white_paper(tmp_path: Path) -> None:
    layers = np.zeros((64, 64, 4), dtype=np.uint8)
    layers[..., 3] = stroke()
    Image.fromarray(layers).save(tmp_path / "a.png")
    plain = read_picture(save(tmp_path / "plain.png", stroke()), 8, 8)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", 8, 8), plain, atol=0.01)


def test_a_wide_picture_keeps_its_proportions(tmp_path: Path) -> None:
    bar = np.zeros((40, 100), dtype=np.uint8)
    bar[18:22, 10:90] = 255
    grid = read_picture(save(tmp_path / "a.png", bar), 8, 8)
    assert grid[3:5].min() > 0.19
    assert grid[:2].max() == grid[6:].max() == 0
    assert read_picture(tmp_path / "a.png", 4, 12).shape == (4, 12)


def huge(width: int, height: int) -> bytes:
    """A PNG whose head says that it is large, with no pixel behind it."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = struct.pack(">I", 10) + b"IDAT" + b"\0" * 14
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + pixels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"not a picture", "cannot be read"),
        (huge(100_000, 100_000), "at most 25000000 pixels|cannot be read"),
        (huge(6_000, 6_000), "at most 25000000 pixels; found: 36000000"),
        (huge(10, 10), "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.png: .*({words})") as caught:
        read_picture(path, 8, 8)
    assert "\n" not in str(caught.value)


def test_what_is_cut_off_blank_missing_or_too_large_is_refused(tmp_path: Path, monkeypatch) -> None:
    whole = save(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cut\.png: the picture cannot be read"):
        read_picture(tmp_path / "cut.png", 8, 8)
    save(tmp_path / "blank.png", np.full((9, 9), 7, dtype=np.uint8))
    with pytest.raises(UserError, match=r"blank\.png: a picture must show something"):
        read_picture(tmp_path / "blank.png", 8, 8)
    with pytest.raises(UserError, match="no such picture"):
        read_picture(tmp_path / "missing.png", 8, 8)
    with pytest.raises(UserError, match="no file"):
        read_picture(tmp_path, 8, 8)
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="at most 100 bytes"):
        read_picture(whole, 8, 8)


def test_a_missing_pillow_is_one_line(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(UserError, match="needs Pillow, which is not installed; pip install pillow"):
        read_picture("a.png", 8, 8)


def test_a_folder_is_read_by_its_labels(tmp_path: Path) -> None:
    for label, ink in (("bar", 255), ("dim", 128)):
        (tmp_path / label).mkdir()
        save(tmp_path / label / "1.png", stroke(ink=ink))
        (tmp_path / label / "notes.txt").write_text("left out")
        (tmp_path / label / ".hidden.png").write_text("left out")
    table = read_picture_folder(tmp_path, 8, 8)
    assert table.column("label") == ["bar", "dim"]
    assert table.where(1) == str(tmp_path / "dim" / "1.png")
    (tmp_path / "dim" / "2.png").write_text("no picture")
    with pytest.raises(UserError, match=r"dim/2\.png"):
        read_picture_folder(tmp_path, 8, 8)


def test_a_folder_without_pictures_or_with_links_out_of_it_is_refused(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", save(tmp_path / "other.png", stroke())
    (folder / "bar").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no labelled pictures; found: bar; lay the pictures out as"):
        read_picture_folder(folder, 8, 8)
    (folder / "bar" / "1.png").symlink_to(other)
    with pytest.raises(UserError, match="must lie inside its folder"):
        read_picture_folder(folder, 8, 8)


def test_distortions_move_turn_and_zoom_as_they_say() -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 8, 6)
    torch.testing.assert_close(distorted(x, 0, 0, 0), x)
    dot = torch.zeros(500, 9, 7)
    dot[:, 4, 3] = 1
    moved = distorted(dot, 1.0, 0, 0)
    rows, columns = moved.sum(2) @ torch.arange(9.0), moved.sum(1) @ torch.arange(7.0)
    assert (rows - 4).abs().max() <= 1.001
    assert (columns - 3).abs().max() <= 1.001
    assert rows.std() > 0.3
    assert columns.std() > 0.3


def test_a_quarter_turn_is_one_on_any_sides(monkeypatch) -> None:
    x = torch.zeros(1, 5, 9)
    x[0, 2, 6] = 1  # two right of the middle
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))  # every bound is reached
    turned = distorted(x, 0, 90, 0)
    assert turned[0].argmax() in (0 * 9 + 4, 4 * 9 + 4)  # two above or below it
    assert turned.max() > 0.99
